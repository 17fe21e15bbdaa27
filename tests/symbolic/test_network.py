"""Networks as formulas: the same values as the network, whatever was pruned, and edges that symbols can replace."""

import pickle

import numpy as np
import pytest
import torch
from torch import nn

from superpose import KAN, Bernstein, BSpline, Chebyshev, Fourier, Gaussian, Legendre, Wavelet, move_grid
from superpose.symbolic.expression import Apply, Constant, apply, rebuilt, times
from superpose.symbolic.network import edges, network_expression, tabulated
from superpose.symbolic.program import FormulaModule, Program

BASES = [
    BSpline(4), BSpline(3, degree=1, extrapolation="clamp"), BSpline(5, extrapolation="zero"), Bernstein(4),
    Chebyshev(4), Legendre(4), Fourier(3), Gaussian(6), Wavelet(2),
]  # fmt: skip


def network(widths, basis=None, seed=0, base=None):
    """A network that was never fitted, with units of its own and rows that fill and leave its grids."""
    draw = torch.Generator().manual_seed(seed)
    model = KAN(widths, basis, base=base, generator=draw).double()
    x = torch.rand(100, widths[0], generator=draw, dtype=torch.float64) * 2 - 1
    with torch.no_grad():
        model.input_scaling.scale.copy_(0.5 + torch.rand(widths[0], generator=draw))
        model.input_scaling.shift.copy_(torch.rand(widths[0], generator=draw))
        model.output_scaling.scale.fill_(3.0)
        model.output_scaling.shift.fill_(-2.0)
    return move_grid(model, x), 1.2 * x


def prune_at_random_(model, seed, share=0.4):
    draw = torch.Generator().manual_seed(seed)
    for layer in model.layers:
        layer.keep_(torch.rand(layer.weight.shape, generator=draw) > share)


def check(model, x, output=0):
    root = network_expression(model, output)
    expected = model(x)[:, output].detach().numpy()
    np.testing.assert_allclose(Program(root)(x.numpy()), expected, rtol=1e-9, atol=1e-9)
    return root


@pytest.mark.parametrize("basis", BASES, ids=repr)
def test_a_network_is_its_formula(basis):
    model, x = network((3, 4, 2), basis)
    for output in range(2):
        root = check(model, x, output)
        assert len(edges(root)) == 3 * 4 + 4


@pytest.mark.parametrize("seed", range(20))
def test_a_pruned_network_is_its_formula(seed):
    widths = [(3, 1), (2, 3, 1), (3, 2, 2, 1), (1, 3, 3, 2)][seed % 4]
    model, x = network(widths, BSpline(4), seed)
    prune_at_random_(model, seed)
    for output in range(widths[-1]):
        root = check(model, x, output)
        alive = sum(int(layer.mask.sum()) for layer in model.layers)
        assert len(edges(root)) <= alive


def test_dead_nodes_and_dead_networks_are_constants():
    model, x = network((2, 2, 1))
    model.layers[0].keep_(torch.tensor([[False, False], [True, False]]))
    assert [edge.function.place for edge in edges(check(model, x))] == [(0, 1, 0), (1, 0, 1)]
    model.layers[1].keep_(torch.tensor([[False, False]]))
    assert isinstance(check(model, x), Constant)


def test_single_precision_networks_become_double():
    model, x = network((2, 2, 1))
    single = model.float()
    np.testing.assert_allclose(
        Program(network_expression(single))(x.numpy()), single(x.float())[:, 0].detach().numpy(), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("base", [nn.SiLU(), nn.Identity(), nn.Tanh()], ids=repr)
@pytest.mark.parametrize("basis", [BSpline(4), Chebyshev(5), Fourier(2)], ids=repr)
def test_slopes_are_derivatives(basis, base):
    model, _ = network((1, 1), basis, base=base)
    function = edges(network_expression(model))[0].function
    t, step = np.linspace(-0.9, 2.5, 101), 1e-6
    finite = (function.value(t + step) - function.value(t - step)) / (2 * step)
    np.testing.assert_allclose(function.slope(t), finite, rtol=1e-6, atol=1e-6)
    assert np.isnan(function.value(np.array([np.nan, np.inf]))).all()


def test_the_module_of_a_network_has_its_values_and_gradients():
    model, x = network((2, 3, 1))
    x.requires_grad_()
    values = FormulaModule(network_expression(model), 2)(x)
    torch.testing.assert_close(values, model(x))
    mine, expected = (torch.autograd.grad(v.sum(), x)[0] for v in (values, model(x)))
    torch.testing.assert_close(mine, expected)


@pytest.mark.parametrize("seed", range(6))
def test_products_are_products(seed):
    model, x = network((2, (1, 1, 2), (3,), 1), BSpline(4), seed)
    if seed:
        prune_at_random_(model, seed, 0.2)
    check(model, x)


def test_an_empty_factor_makes_its_product_zero():
    model, x = network((2, (1, 2), 1))
    model.layers[0].keep_(torch.tensor([[True, True], [True, True], [False, False]]))
    root = check(model, x)
    assert {edge.function.place for edge in edges(root)} == {(0, 0, 0), (0, 0, 1), (1, 0, 0)}


def test_tables_are_near_the_edges_and_beyond_them_the_same():
    model, x = network((2, 3, 1), BSpline(6))
    root = network_expression(model)
    fast = tabulated(root, x.numpy())
    expected = Program(root)(x.numpy())
    np.testing.assert_allclose(Program(fast)(x.numpy()), expected, atol=1e-6 * np.ptp(expected))
    np.testing.assert_allclose(Program(fast)(20 * x.numpy()), Program(root)(20 * x.numpy()), rtol=1e-6, atol=1e-6)
    for exact, table in zip(edges(root), edges(fast), strict=True):
        t = np.linspace(-3, 3, 401)
        np.testing.assert_allclose(table.function.slope(t), exact.function.slope(t), atol=1e-3)


def test_with_symbols_on_some_edges_it_is_what_loops_say():
    model, x = network((2, 3, 1), BSpline(4))
    names = ["sin", "exp", "x^2", "tanh", "gaussian", "cos"]
    root, symbols = network_expression(model), {}
    for number, name in enumerate(names):
        edge = edges(root)[number % 2]
        assert isinstance(edge, Apply)
        symbols[edge.function.place] = (name, 0.5 + number)
        root = rebuilt(root, {id(edge): times(Constant(0.5 + number), apply(name, edge.argument))})
        np.testing.assert_allclose(Program(root)(x.numpy()), looped(model, x, symbols), rtol=1e-9, atol=1e-9)


def looped(model, x, symbols):
    """The network with symbols on some edges, edge by edge."""
    functions = {
        "sin": np.sin, "cos": np.cos, "exp": np.exp, "x^2": np.square, "tanh": np.tanh,
        "gaussian": lambda t: np.exp(-t * t),
    }  # fmt: skip
    values = model.input_scaling(x).detach()
    for number, layer in enumerate(model.layers):
        sums = torch.zeros(len(x), layer.out_features, dtype=torch.float64)
        for o in range(layer.out_features):
            for i in range(layer.in_features):
                if (number, o, i) in symbols:
                    name, scale = symbols[number, o, i]
                    sums[:, o] += torch.from_numpy(scale * functions[name](values[:, i].numpy()))
                else:
                    alone = torch.zeros_like(layer.weight, dtype=torch.bool)
                    alone[o, i] = True
                    weight, coef = layer.weight * alone, layer.coef * alone.T.unsqueeze(1)
                    sums[:, o] += layer.basis.edges(values, coef, layer.base, weight)[:, o].detach()
        values = sums
    return model.output_scaling(values)[:, 0].detach().numpy()


def test_edges_cannot_be_saved():
    with pytest.raises(TypeError, match="edge of a network"):
        pickle.dumps(edges(network_expression(network((1, 1))[0]))[0].function)
