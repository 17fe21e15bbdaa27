"""Kernels over bases against SciPy's splines, a sort, and their integral."""

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.interpolate import BSpline as SciPySpline

from superpose.bases import BSpline, Chebyshev
from superpose.layers import KANLinear
from superpose.layers.kernels import BasisKernel, CubicSplineKernel
from superpose.layers.kernels.series import Squeeze


def scores(kernel, x, y, left, right, relative=False):
    q, k = kernel.double()(x[None, :, None], y[None, :, None], left, right, relative)
    return q[0, :, 0] @ k[0, :, 0].T


def ones(dim):
    return torch.ones(1, dim, 1, dtype=torch.float64)


def by_sorting(x, y):
    """The double sum of the integral, exactly: prefix sums of powers of the sorted numbers."""
    y = np.sort(y)
    powers = np.concatenate([np.zeros((4, 1)), np.cumsum(y ** np.arange(4)[:, None], 1)], 1)
    p0, p1, p2, p3 = powers[:, np.searchsorted(y, x)]
    below, above = x * p2 / 2 - p3 / 6, x**2 * (powers[1, -1] - p1) / 2 - x**3 * (powers[0, -1] - p0) / 6
    return float((below + above).sum())


@pytest.mark.parametrize("modes", [8, 16, 24, 48])
def test_cubic_splines_against_a_sort(modes, generator):
    x = torch.rand(5, 12, generator=generator, dtype=torch.float64)
    x[0] = torch.linspace(0, 1, 12)
    kernel = CubicSplineKernel(modes)
    ours = scores(kernel, x, x, ones(12), ones(12)).numpy()
    for s in range(5):
        for r in range(5):
            exact = 144 + float(x[s].sum() * x[r].sum()) + by_sorting(x[s].numpy(), x[r].numpy())
            assert abs(ours[s, r] - exact) <= 144 * kernel.error


def test_the_error_of_cubic_splines_is_sharp():
    x = torch.linspace(0, 1, 201, dtype=torch.float64)[:, None]
    small, large = torch.minimum(x, x.T), torch.maximum(x, x.T)
    exact = 1 + x * x.T + small**2 * large / 2 - small**3 / 6
    for modes, stated in ((8, 2.7e-5), (16, 3.3e-6), (24, 9.9e-7), (48, 1.2e-7)):
        kernel = CubicSplineKernel(modes)
        error = float((scores(kernel, x, x, ones(1), ones(1)) - exact).abs().max())
        assert 0.95 * kernel.error <= error <= kernel.error
        assert kernel.error == pytest.approx(stated, rel=0.05)


def test_the_formula_is_the_integral():
    for a, b in ((0.3, 0.8), (0.5, 0.5), (1.0, 0.1)):
        found = scores(
            CubicSplineKernel(200),
            torch.tensor([[a]], dtype=torch.float64),
            torch.tensor([[b]], dtype=torch.float64),
            ones(1),
            ones(1),
        )
        integral = quad(lambda t, a=a, b=b: max(a - t, 0) * max(b - t, 0), 0, min(a, b))[0]
        assert found.item() == pytest.approx(1 + a * b + integral, abs=1e-8)


def test_splines_are_exact(generator):
    basis = BSpline(intervals=6, degree=3, extrapolation="clamp").double()
    x = torch.rand(4, 3, generator=generator, dtype=torch.float64) * 2 - 1
    ours = scores(BasisKernel(basis), x, x, ones(3), ones(3)).numpy()
    design = (
        SciPySpline.design_matrix(x.flatten().numpy(), basis.knots[0].numpy(), 3).toarray().reshape(4, 3, -1).sum(1)
    )
    np.testing.assert_allclose(ours, design @ design.T, atol=1e-12)
    assert basis.num == 9


def test_a_learned_spectrum_weights_the_functions(generator):
    kernel = BasisKernel(Chebyshev(2), learn=True, heads=2).double()
    with torch.no_grad():
        kernel.spread.copy_(torch.tensor([[0.0, 1.0, 2.0], [-1.0, 0.5, 0.0]]))
    x = torch.rand(1, 4, 2, 3, generator=generator, dtype=torch.float64)
    q, k = kernel(x, x, ones(3), ones(3), False)
    for h, row in enumerate(kernel.spread.exp()):
        psi = torch.stack([torch.ones_like(x[0, :, h]), x[0, :, h], 2 * x[0, :, h] ** 2 - 1], -1).sum(1)
        torch.testing.assert_close(q[0, :, h] @ k[0, :, h].T, (psi * row) @ psi.T)


@pytest.mark.parametrize("left", [None, 1, 2], ids=["each", "shared", "own"])
@pytest.mark.parametrize("right", [None, 2], ids=["each", "own"])
def test_features_are_outputs_of_kan_layers(left, right, generator):
    """Queries and keys of a head are what KANLinear on the same basis computes with the coefficients `coef`."""
    kernel = CubicSplineKernel(5).double()
    mixes = [
        None if n is None else torch.randn(n, 3, 2, generator=generator, dtype=torch.float64) for n in (left, right)
    ]
    if (left is None) != (right is None):
        mixes = [torch.randn(2, 3, 3, generator=generator, dtype=torch.float64) if m is None else None for m in mixes]
    x = torch.rand(2, 5, 2, 3, generator=generator, dtype=torch.float64)
    features = kernel(x, x.clone(), *mixes, False)
    for query, mix, feature in zip((True, False), mixes, features, strict=True):
        coef = kernel.coef(mix, 3, query=query)
        for head in range(2):
            mine = coef[head % len(coef)]
            layer = KANLinear(3, mine.shape[-1], kernel.basis, base=torch.nn.Identity()).double()
            with torch.no_grad():
                layer.weight.zero_()
                layer.coef.copy_(mine)
            torch.testing.assert_close(layer(x[:, :, head]), feature[:, :, head], rtol=1e-10, atol=1e-12)


def test_relative_scores_differ_by_a_number_of_the_query(generator):
    kernel = CubicSplineKernel(6).double()
    x = torch.rand(7, 4, generator=generator, dtype=torch.float64)
    mix = torch.randn(1, 4, 2, generator=generator, dtype=torch.float64)
    difference = scores(kernel, x, x, mix, mix, True) - scores(kernel, x, x, mix, mix, False)
    torch.testing.assert_close(difference, difference[:, :1].expand(-1, 7))


def test_coordinates_are_squeezed_into_the_domain():
    squeeze = CubicSplineKernel().coordinates(8)
    assert isinstance(squeeze, Squeeze)
    assert squeeze(torch.tensor([-1e4, 0.0, 1e4])).tolist() == [0, 0.5, 1]
    assert BasisKernel(BSpline()).coordinates(8)(torch.tensor([-1e4, 0.0, 1e4])).tolist() == [-1, 0, 1]


def test_wrong_arguments_raise():
    with pytest.raises(TypeError, match="basis must be an object"):
        BasisKernel("spline")
    with pytest.raises(ValueError, match="placed for 3 inputs"):
        BasisKernel(BSpline().expanded(3))
    with pytest.raises(ValueError, match="modes is 0"):
        CubicSplineKernel(0)
