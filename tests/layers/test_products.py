"""Products of neighbouring features, against plain loops and automatic differentiation."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.func import jvp, vmap

from superpose import KAN
from superpose.bases import BSpline, Chebyshev, Gaussian
from superpose.layers import KANLinear, Products, power_law
from superpose.layers.products import balance_

ARITIES = st.lists(st.integers(1, 4), min_size=1, max_size=5)


def _drawn(seed, *shape):
    """Small integers, so that products are exact and zeros are frequent."""
    return torch.randint(-2, 3, shape, generator=torch.Generator().manual_seed(seed)).double()


def _loop(arities, row):
    """Nodes of one row, and the derivative of each node by each factor, without a tensor operation."""
    nodes, slopes, start = [], [], 0
    for arity in arities:
        factors = row[start : start + arity]
        nodes.append(math.prod(factors))
        slopes += [math.prod(factors[:k] + factors[k + 1 :]) for k in range(arity)]
        start += arity
    return nodes, slopes


@given(ARITIES, st.integers(0, 1000))
@settings(max_examples=60, deadline=None)
def test_against_a_plain_loop_with_zeros_among_the_factors(arities, seed):
    products, x = Products(arities), _drawn(seed, 6, sum(arities))
    for row, nodes, slopes in zip(x, products(x), products.cofactors(x), strict=True):
        assert (nodes.tolist(), slopes.tolist()) == _loop(arities, row.tolist())
    assert products.plain == (set(arities) == {1})


@given(ARITIES, st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_derivatives_of_two_orders(arities, seed):
    products, x = Products(arities), _drawn(seed, 3, sum(arities)).requires_grad_()
    assert torch.autograd.gradcheck(products, x)
    assert torch.autograd.gradgradcheck(products, x)
    (slopes,) = torch.autograd.grad(products(x).sum(), x)
    assert torch.equal(slopes, products.cofactors(x.detach()))
    direction = _drawn(seed + 1, *x.shape)
    along = jvp(products, (x.detach(),), (direction,))[1]
    assert products.by_factor(torch.zeros(3, len(arities))).shape == x.shape
    want = torch.stack([(slopes * direction)[:, products.place(n)].sum(1) for n in range(len(arities))], 1)
    torch.testing.assert_close(along, want)


def test_places_of_factors():
    products = Products((1, 2, 3))
    assert products.nodes == [0, 1, 1, 2, 2, 2]
    assert [list(range(6))[products.place(n)] for n in range(3)] == [[0], [1, 2], [3, 4, 5]]
    assert products.by_factor(torch.tensor([7, 8, 9])).tolist() == [7, 8, 8, 9, 9, 9]
    marks = torch.tensor([[False, False, True, False, False, False], [True, False, False, False, False, True]])
    assert products.any(marks).tolist() == [[False, True, False], [True, False, True]]


@pytest.mark.parametrize("batch", [(), (0,), (2, 3)], ids=str)
def test_any_batch(batch):
    assert Products((2, 1))(torch.ones(*batch, 3)).shape == (*batch, 2)


def test_many_at_once():
    products, x = Products((2, 3)), _drawn(0, 4, 6, 5)
    assert torch.equal(vmap(products)(x), products(x))
    assert not products.state_dict()


@pytest.mark.parametrize("arities", [(), (0,), (2, -1)], ids=str)
def test_arities_that_cannot_be(arities):
    with pytest.raises(ValueError, match="one or more positive integers"):
        Products(arities)


@torch.no_grad()
@pytest.mark.parametrize("basis", [BSpline(), Chebyshev(5), Gaussian()], ids=repr)
@pytest.mark.parametrize("arity", [2, 3, 4])
def test_fresh_products_are_as_large_as_fresh_sums(basis, arity):
    """The mean square over evenly spread inputs and many draws; factors are large at the same inputs, which adds some."""
    generator = torch.Generator().manual_seed(0)
    layer = KANLinear(8, 600, basis, generator=generator)
    x = torch.rand(2000, 8, generator=generator) * 2 - 1
    sums = layer(x).square().mean()
    products = Products((arity,) * (600 // arity))
    balance_(layer, products)
    assert 0.5 < products(layer(x)).square().mean() / sums < 3


def test_initialisations_of_ones_own_are_balanced_too_and_zeros_stay():
    model = KAN((2, (2, 2), 1), init=power_law, generator=torch.Generator().manual_seed(0))
    assert all(bool(torch.isfinite(p).all()) for p in model.parameters())

    def zero(layer, generator):
        for parameter in layer.parameters():
            torch.nn.init.zeros_(parameter)

    assert not any(p.any() for p in KAN((2, (2,), 1), init=zero).parameters())
