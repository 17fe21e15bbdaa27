"""What every basis promises, whatever its family. A new family enters by being exported from `superpose.bases`."""

from itertools import product

import pytest
import torch
from torch.func import grad, hessian, jacrev, jvp, vmap

import superpose.bases
from superpose.bases import Basis, BeamModes, Bernstein, BSpline, Chebyshev, Fourier, Gaussian, Legendre, Wavelet

SIZES = {
    BSpline: [{"intervals": 1}, {"intervals": 5}, *({"intervals": 4, "degree": degree} for degree in (0, 1, 2, 5))],
    Bernstein: [{"degree": 0}, {"degree": 1}, {"degree": 5}, {"degree": 12}],
    Chebyshev: [{"degree": 0}, {"degree": 1}, {"degree": 7}],
    Legendre: [{"degree": 0}, {"degree": 1}, {"degree": 7}],
    Fourier: [{"harmonics": 1}, {"harmonics": 4}],
    Gaussian: [{"centers": 2}, {"centers": 8}],
    Wavelet: [{"levels": 1}, {"levels": 3}],
    BeamModes: [{"modes": 1}, {"modes": 8}],
}
DEFAULT = {BSpline: 5, Bernstein: 5, Chebyshev: 7, Legendre: 7, Fourier: 4, Gaussian: 8, Wavelet: 3, BeamModes: 8}


def _name(config: dict) -> str:
    return "-".join(map(str, config.values()))


def _every():
    """All families, all sizes, all extrapolations."""
    for family, configs in SIZES.items():
        for config, how in product(configs, family.extrapolations):
            chosen = config if how == "periodic" else {**config, "extrapolation": how}
            yield pytest.param(family, chosen, id=f"{family.__name__}-{_name(chosen)}")


every = pytest.mark.parametrize(("family", "config"), list(_every()))
families = pytest.mark.parametrize("family", list(SIZES), ids=lambda family: family.__name__)
ending = pytest.mark.parametrize(
    "family", [family for family in SIZES if "linear" in family.extrapolations], ids=lambda family: family.__name__
)
dtypes = pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)


def _placed(basis: Basis, generator: torch.Generator, inputs: int = 3) -> Basis:
    """The basis in float64 on another, uneven placement for every input."""
    points = basis.breakpoints.shape[-1]
    steps = 0.3 + torch.rand(inputs, points - 1, generator=generator, dtype=torch.float64)
    start = torch.randn(inputs, 1, generator=generator, dtype=torch.float64)
    return basis.at(torch.cat([start, start + steps.cumsum(-1)], -1)).double()


def _spread(basis: Basis, count: int = 41, beyond: float = 0.0) -> torch.Tensor:
    """Points from end to end of every input's domain, both ends included, or a share of its width further."""
    low, high = basis.domain.unbind(-1)
    share = torch.linspace(-beyond, 1 + beyond, count, dtype=low.dtype).unsqueeze(-1)
    return (low + (high - low) * share).where(share != 1, high)


def _between(basis: Basis, count: int = 23) -> torch.Tensor:
    """Points of the domain away from its ends and from all inner knots."""
    low, high = basis.domain.unbind(-1)
    share = (torch.arange(count, dtype=low.dtype) + 0.318309886) / count
    return low + (high - low) * share.unsqueeze(-1)


def test_every_exported_family_is_tested():
    exported = {value for value in vars(superpose.bases).values() if isinstance(value, type)} - {Basis}
    assert exported == set(SIZES) == set(DEFAULT)


@families
def test_default_size(family):
    basis = family()
    assert basis.size == DEFAULT[family]
    assert basis.inputs == 1
    assert basis.domain.tolist() == [[-1, 1]]
    assert repr(basis).startswith(family.__name__)


@every
def test_shape_and_config(family, config):
    basis = family(**config)
    assert {**basis.config(), **config} == basis.config()
    again = family(**basis.config())
    x = torch.linspace(-1.5, 1.5, 6).unsqueeze(-1)
    assert again(x).shape == (6, 1, basis.num)
    assert torch.equal(again(x), basis(x))
    assert list(basis.parameters()) == []


@every
@dtypes
def test_dtype_and_finite_everywhere(family, config, dtype):
    basis = family(**config).to(dtype)
    x = torch.linspace(-3, 3, 61, dtype=dtype).unsqueeze(-1)
    for order in range(5):
        values = basis(x, order)
        assert values.dtype == dtype
        assert values.isfinite().all()


@families
def test_float32_agrees_with_float64(family):
    basis = family()
    x = torch.linspace(-1.2, 1.2, 101).unsqueeze(-1)
    for order in range(3):
        exact = family().double()(x.double(), order)
        torch.testing.assert_close(basis(x, order).double(), exact, rtol=1e-5, atol=2e-6 * exact.abs().max().item())


@families
def test_a_basis_without_data_has_shapes(family):
    with torch.device("meta"):
        basis = family().expanded(3)
        assert basis(torch.empty(5, 3)).shape == (5, 3, basis.num)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@families
def test_device(family):
    x = torch.linspace(-1.5, 1.5, 30).unsqueeze(-1)
    torch.testing.assert_close(family().cuda()(x.cuda()).cpu(), family()(x), rtol=1e-5, atol=1e-5)


@every
def test_derivatives_are_those_of_autograd(family, config, generator):
    """Orders 1 to 4, by differentiating each order once more; points between the knots, inside the domain and out."""
    basis = _placed(family(**config), generator)
    x = torch.cat([_between(basis), _spread(basis, 2, beyond=0.4)]).requires_grad_()
    for order in range(4):
        for m, column in enumerate(basis(x, order).unbind(-1)):
            (slope,) = torch.autograd.grad(column.sum(), x, retain_graph=True)
            expected = basis(x, order + 1)[..., m].detach()
            torch.testing.assert_close(slope, expected, rtol=1e-9, atol=1e-9 * (1 + expected.abs().max().item()))


@families
def test_four_derivatives_by_nested_autograd(family, generator):
    basis = _placed(family(**({"degree": 5} if family is BSpline else {})), generator)
    x = _between(basis, 7).requires_grad_()
    cotangent = torch.randn(basis.num, generator=generator, dtype=torch.float64)
    nested = basis(x) @ cotangent
    for order in range(1, 5):
        (nested,) = torch.autograd.grad(nested.sum(), x, create_graph=True)
        torch.testing.assert_close(nested, basis(x, order) @ cotangent, rtol=1e-8, atol=1e-6)


@families
def test_derivatives_by_central_differences(family, generator):
    """Independent of autograd: each order against central differences of the one below."""
    basis = _placed(family(**({"degree": 5} if family is BSpline else {})), generator)
    x, step = _between(basis), 1e-5
    for order in range(4):
        difference = (basis(x + step, order) - basis(x - step, order)) / (2 * step)
        expected = basis(x, order + 1)
        torch.testing.assert_close(difference, expected, rtol=1e-5, atol=1e-6 * (1 + expected.abs().max().item()))


@every
def test_gradients_at_the_ends_are_not_lost(family, config, generator):
    """The domain's ends belong to it, whatever rounding makes of them."""
    basis = _placed(family(**config), generator, 50)
    x = basis.domain.T.clone().requires_grad_()
    (slope,) = torch.autograd.grad(basis(x)[..., -1].sum(), x)
    torch.testing.assert_close(slope, basis(x, 1)[..., -1].detach(), rtol=1e-9, atol=1e-9)


@families
def test_gradcheck(family, generator):
    basis = _placed(family(), generator, 2)
    inside = _between(basis, 3).requires_grad_()
    outside = _spread(basis, 2, beyond=0.3).requires_grad_()
    for x in (inside, outside):
        assert torch.autograd.gradcheck(basis, x, check_forward_ad=True)
        assert torch.autograd.gradgradcheck(basis, x)


@families
def test_function_transforms(family, generator):
    basis = _placed(family(), generator)
    x = _between(basis, 5)
    torch.testing.assert_close(vmap(basis)(x), basis(x))
    values, tangent = jvp(basis, (x,), (torch.ones_like(x),))
    torch.testing.assert_close(values, basis(x))
    torch.testing.assert_close(tangent, basis(x, 1))
    jacobian = vmap(jacrev(basis))(x)
    torch.testing.assert_close(jacobian.diagonal(dim1=1, dim2=3).transpose(1, 2), basis(x, 1))
    curvature = vmap(hessian(lambda point: basis(point).sum()))(x)
    torch.testing.assert_close(curvature.diagonal(dim1=1, dim2=2), basis(x, 2).sum(-1))


@families
def test_per_sample_gradients(family, generator):
    basis = _placed(family(), generator)
    coef = torch.randn(3, basis.num, 2, generator=generator, dtype=torch.float64)
    x = _spread(basis, 6, beyond=0.2)
    each = vmap(grad(lambda c, point: basis.linear(point, c).sum()), (None, 0))(coef, x)
    torch.testing.assert_close(each, basis(x).unsqueeze(-1).expand(-1, -1, -1, 2))


@families
def test_compile_in_one_graph(family):
    torch._dynamo.reset()
    basis = family().expanded(2)
    compiled = torch.compile(basis, fullgraph=True, backend="aot_eager")
    here = torch.linspace(-1.4, 1.4, 12).view(6, 2).requires_grad_()
    there = here.detach().clone().requires_grad_()
    ours, expected = compiled(here), basis(there)
    torch.testing.assert_close(ours, expected)
    ours.square().sum().backward()
    expected.square().sum().backward()
    torch.testing.assert_close(here.grad, there.grad, rtol=1e-5, atol=1e-4)


@every
def test_state_dict_round_trip(family, config, generator):
    basis = _placed(family(**config), generator)
    again = family(**config).expanded(3).double()
    again.load_state_dict(basis.state_dict())
    x = _spread(basis, beyond=0.2)
    assert torch.equal(again(x), basis(x))
    assert torch.equal(again.breakpoints, basis.breakpoints)


@families
def test_parts_serve_their_inputs(family, generator):
    """One input's values depend on that input and its own placement alone."""
    basis = _placed(family(), generator)
    x = _spread(basis, beyond=0.2)
    for i in range(3):
        alone = basis.at(basis.breakpoints[i : i + 1])
        torch.testing.assert_close(alone(x[:, i : i + 1])[:, 0], basis(x)[:, i], rtol=1e-12, atol=1e-12)


def _refinements():
    nested = [
        (BSpline, 4, 8),
        (BSpline, 1, 5),
        (BSpline, 3, 3),
        (Bernstein, 0, 3),
        (Bernstein, 5, 6),
        (Bernstein, 5, 15),
    ]
    nested += [
        (Chebyshev, 0, 1),
        (Chebyshev, 7, 12),
        (Legendre, 4, 9),
        (Fourier, 2, 5),
        (Wavelet, 1, 4),
        (BeamModes, 2, 5),
        (Gaussian, 6, 6),
    ]
    return [pytest.param(*case, id=f"{case[0].__name__}-{case[1]}-{case[2]}") for case in nested]


@pytest.mark.parametrize(("family", "coarse", "fine"), _refinements())
def test_refinement_is_exact(family, coarse, fine, generator):
    old = _placed(family(coarse), generator)
    new, matrix = old.refined(fine)
    assert new.size == fine
    assert matrix.shape == (3, new.num, old.num)
    assert matrix.dtype == torch.float64
    torch.testing.assert_close(new.domain, old.domain, rtol=0, atol=0)
    coef = torch.randn(3, old.num, 2, generator=generator, dtype=torch.float64)
    finer = matrix @ coef
    x = _spread(old, 101, beyond=0.1)
    torch.testing.assert_close(new.linear(x, finer), old.linear(x, coef), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("family", "coarse", "fine"),
    [
        (BSpline, 4, 6),
        (BSpline, 4, 2),
        (Gaussian, 8, 16),
        (Bernstein, 5, 4),
        (Chebyshev, 5, 4),
        (Fourier, 3, 2),
        (Wavelet, 3, 2),
        (BeamModes, 3, 2),
    ],
)
def test_a_family_that_does_not_contain_the_old_one_says_so(family, coarse, fine):
    new, matrix = family(coarse).refined(fine)
    assert matrix is None
    assert new.size == fine


@ending
def test_linear_extrapolation_matches_value_and_slope(family, generator):
    basis = _placed(family(), generator)
    low, high = basis.domain.unbind(-1)
    for end, side in ((low, -1), (high, 1)):
        for distance in (0.0, 0.1, 2.0, 50.0):
            x = (end + side * distance).unsqueeze(0)
            value, slope = basis(end.unsqueeze(0)), basis(end.unsqueeze(0), 1)
            torch.testing.assert_close(basis(x), value + side * distance * slope, rtol=1e-12, atol=1e-11)
            torch.testing.assert_close(basis(x, 1), slope)
            assert distance == 0 or not basis(x, 2).any()


@ending
def test_clamped_and_zero_extrapolation(family):
    clamp, zero = (_placed(family(extrapolation=how), torch.Generator().manual_seed(1)) for how in ("clamp", "zero"))
    low, high = clamp.domain.unbind(-1)
    for end, side in ((low, -1), (high, 1)):
        inside, outside = end.unsqueeze(0), (end + side * 0.1).unsqueeze(0)
        assert torch.equal(clamp(outside), clamp(inside))
        assert torch.equal(clamp(inside), zero(inside))
        assert not clamp(outside, 1).any()
        assert not zero(outside).any()
        assert not zero(outside, 1).any()


@every
def test_nan_in_is_nan_out(family, config):
    basis = family(**config)
    x = torch.tensor([[0.1], [torch.nan]])
    for order in range(3):
        values = basis(x, order)
        assert values[1].isnan().any()
        assert values[0].isfinite().all()


@every
def test_infinity_is_harmless_to_the_others(family, config):
    basis = family(**config)
    x = torch.tensor([[0.1], [torch.inf], [-torch.inf]])
    assert basis(x).shape == (3, 1, basis.num)
    assert torch.equal(basis(x)[0], basis(x[:1])[0])


@families
@pytest.mark.parametrize("batch", [(), (0,), (1,), (2, 0), (4, 3, 2)], ids=str)
def test_any_batch_shape(family, batch, generator):
    basis = _placed(family(), generator)
    x = torch.randn(*batch, 3, generator=generator, dtype=torch.float64)
    values = basis(x)
    assert values.shape == (*batch, 3, basis.num)
    torch.testing.assert_close(values.reshape(-1, 3, basis.num), basis(x.reshape(-1, 3)))
    coef = torch.randn(3, basis.num, 5, generator=generator, dtype=torch.float64)
    assert basis.linear(x, coef).shape == (*batch, 5)


@families
def test_strides_do_not_matter(family, generator):
    basis = _placed(family(), generator)
    x = torch.randn(3, 8, generator=generator, dtype=torch.float64).T
    assert not x.is_contiguous()
    assert torch.equal(basis(x), basis(x.contiguous()))
    assert torch.equal(basis(x[::2]), basis(x)[::2])


@families
def test_no_hidden_randomness_and_no_change_in_place(family):
    state = torch.get_rng_state()
    x = torch.linspace(-2, 2, 9).unsqueeze(-1)
    before = x.clone()
    basis = family().expanded(1)
    basis(x)
    basis.refined(basis.size)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(x, before)


@families
def test_expanded_copies(family):
    basis = family()
    copy = basis.expanded(4)
    assert copy.inputs == 4
    assert copy.breakpoints.data_ptr() != basis.breakpoints.data_ptr()
    assert copy.config() == basis.config()


@families
def test_wrong_arguments_are_explained(family):
    basis = family()
    size = next(iter(basis.config()))
    for wrong in (-1, 2.5, True, "many", None, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=f"{size} is .*; it must be an integer"):
            family(**{size: wrong})
    with pytest.raises(ValueError, match=r"the last axis of x has size 2, but the basis is placed for 3"):
        basis.expanded(3)(torch.zeros(4, 2))
    with pytest.raises(ValueError, match="cannot serve 2"):
        basis.expanded(3).expanded(2)
    with pytest.raises(ValueError, match="order is -1"):
        basis(torch.zeros(4, 1), -1)
    with pytest.raises(ValueError, match="breakpoints must have shape"):
        basis.at(torch.zeros(3))
    for wrong in ([[1.0, 0.0]], [[0.0, 0.0]], [[0.0, torch.nan]], [[0.0, torch.inf]]):
        with pytest.raises(ValueError, match="increase strictly"):
            basis.at(torch.tensor(wrong))


@ending
def test_extrapolation_is_checked(family):
    with pytest.raises(ValueError, match="choose one of linear, clamp, zero"):
        family(extrapolation="cubic")
