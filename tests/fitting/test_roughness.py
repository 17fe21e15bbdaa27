"""The roughness penalty against SciPy and NumPy, and the strength that the evidence gives it."""

from itertools import islice

import numpy as np
import pytest
import scipy.integrate
import scipy.interpolate
import scipy.optimize
import torch

from superpose import KAN, MLP, Bernstein, BSpline, Chebyshev, Fourier, Gaussian, Legendre, Wavelet
from superpose.fitting.bundle import Bundle, Data
from superpose.fitting.levenberg_marquardt import Smoothing, levenberg_marquardt
from superpose.fitting.losses import MeanSquaredError
from superpose.fitting.roughness import Penalty, penalty_root, rank, roughness, roughness_rows

SMOOTH = [Bernstein(5), Chebyshev(6), Legendre(6), Fourier(2), Gaussian(5), Wavelet(1)]
bases = pytest.mark.parametrize("basis", [*(BSpline(4, d) for d in range(6)), *SMOOTH], ids=repr)
splines = pytest.mark.parametrize("degree", range(6))


def _knots(intervals=6):
    gaps = np.random.default_rng(0).uniform(0.5, 2, intervals)
    return torch.tensor(np.r_[-3, -3 + gaps.cumsum()]).unsqueeze(0)


def _coef(basis):
    return torch.randn(basis.num, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@splines
def test_splines_against_the_jumps_of_scipys_derivative(degree):
    basis = BSpline(6, degree).at(_knots()).double()
    coef, knots = _coef(basis), _knots()[0].numpy()
    spline = scipy.interpolate.BSpline(basis.knots[0].numpy(), coef.numpy(), degree)
    top = spline.derivative(degree) if degree else spline
    middles, gaps = (knots[1:] + knots[:-1]) / 2, np.diff(knots)
    half = (knots[-1] - knots[0]) / 2
    jumps = np.diff(top(middles)) * half**degree
    want = (jumps**2 / ((gaps[1:] + gaps[:-1]) / 2 / half)).sum()
    form = roughness(basis)[0]
    assert float(coef @ form @ coef) == pytest.approx(want, rel=1e-10)


@pytest.mark.parametrize("basis", SMOOTH, ids=repr)
def test_smooth_bases_against_quadrature(basis):
    basis = basis.at(torch.tensor([[1.0, 4.0]], dtype=torch.float64)).double()
    coef = _coef(basis)

    def third(t):  # on a domain of length 2
        return 1.5**3 * float(basis(torch.tensor([[2.5 + 1.5 * t]], dtype=torch.float64), order=3)[0, 0] @ coef)

    want = scipy.integrate.quad(lambda t: third(t) ** 2, -1, 1, limit=200)[0]
    exact = isinstance(basis, (Bernstein, Chebyshev, Legendre))
    assert float(coef @ roughness(basis)[0] @ coef) == pytest.approx(want, rel=1e-9 if exact else 0.05)


@bases
def test_roughness_does_not_depend_on_units(basis):
    points = _knots(basis.breakpoints.shape[1] - 1)
    form = roughness(basis.at(points).double())
    for scale, shift in ((1e-6, 3e-6), (1e3, -1e5), (7.0, 0.0)):
        other = roughness(basis.at(points * scale + shift).double())
        torch.testing.assert_close(other, form, rtol=1e-6, atol=1e-8 * float(form.abs().max()))


@bases
def test_roughness_is_positive_and_blind_to_low_polynomials(basis):
    form = roughness(basis.double())[0]
    eigenvalues = torch.linalg.eigvalsh(form)
    assert float(eigenvalues.min()) > -1e-9 * float(eigenvalues.max())
    grid = torch.linspace(-1, 1, 60, dtype=torch.float64).unsqueeze(1)
    free = basis.degree + 1 if isinstance(basis, BSpline) else 3
    if isinstance(basis, (BSpline, Bernstein, Chebyshev, Legendre)):
        powers = torch.cat([grid**power for power in range(free)], 1)
        coef = torch.linalg.lstsq(basis(grid)[:, 0], powers).solution
        assert float((coef.T @ form @ coef).abs().max()) < 1e-9 * float(eigenvalues.max())
        assert int((eigenvalues < 1e-9 * eigenvalues.max()).sum()) == min(free, basis.num)


@splines
def test_roughness_of_a_smooth_function_does_not_depend_on_the_number_of_intervals(degree):
    """It is the integral of the squared derivative of order degree + 1, as far as the intervals can tell."""
    grid = torch.linspace(-1, 1, 4001, dtype=torch.float64).unsqueeze(1)
    slope = 2.0 ** (degree + 1)
    phase = degree % 2  # sin or cos
    want = slope**2 * scipy.integrate.quad(lambda t: (np.sin if phase else np.cos)(2 * t) ** 2, -1, 1)[0]
    for intervals in (12, 24) if degree > 2 else (40, 80):
        basis = BSpline(intervals, degree).double()
        coef = torch.linalg.lstsq(basis(grid)[:, 0], (2 * grid).sin()).solution[:, 0]
        assert float(coef @ roughness(basis)[0] @ coef) == pytest.approx(want, rel=0.15)


@pytest.mark.parametrize("basis", [Bernstein(5), Chebyshev(5), Legendre(5)], ids=repr)
def test_roughness_of_a_polynomial_does_not_depend_on_the_degree_of_its_basis(basis):
    finer, carry = basis.refined(11)
    coef = _coef(basis)
    fine = carry[0] @ coef
    want = float(coef @ roughness(basis.double())[0] @ coef)
    assert float(fine @ roughness(finer.double())[0] @ fine) == pytest.approx(want, rel=1e-8)


def test_roughness_of_a_smooth_function_on_a_fine_grid_does_not_cancel():
    """The quadratic form of a degree-4 spline on 100 intervals gave a negative roughness."""
    basis = BSpline(100, 4).double()
    coef = torch.randn(1, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    coarse = BSpline(2, 4).double()
    finer, carry = coarse.refined(100)
    want = float((roughness_rows(coarse)[0] @ coef[0]).square().sum())
    assert basis.num == finer.num
    assert float((roughness_rows(finer)[0] @ (carry[0] @ coef[0])).square().sum()) == pytest.approx(want * 50, rel=1e-3)


def test_a_perceptron_has_no_roughness():
    bundle = Bundle.of([MLP((2, 3, 1)).double()])
    assert penalty_root(bundle, torch.zeros(4, 2, dtype=torch.float64)).shape == (1, 0, bundle.flat().shape[1])
    assert rank(bundle, bundle.frozen()).tolist() == [0]


def test_every_edge_has_its_own_block_relative_to_the_variance_of_its_node():
    model = KAN((2, 3, 2), BSpline(4)).double().requires_grad_(False)
    bundle, x = Bundle.of([model]), torch.randn(50, 2, dtype=torch.float64)
    root = penalty_root(bundle, x)[0]
    whole = root.T @ root
    want, hidden = 0.0, x
    for layer in model.layers:
        out = layer(hidden)
        form = roughness(layer.basis)
        edges = torch.einsum("inj,inm,imj->j", layer.coef, form, layer.coef)
        hidden = out
        spread = 1 if layer is model.layers[-1] else out.var(0, correction=0)
        want += float((edges / spread).sum())
    flat = bundle.flat()[0]
    assert float(flat @ whole @ flat) == pytest.approx(want, rel=1e-10)
    # 12 edges with a base and 7 splines each: 1 + 4 directions of each are free.
    assert rank(bundle, bundle.frozen()).tolist() == [12 * 3] == [int(torch.linalg.matrix_rank(whole))]


@pytest.fixture(scope="module")
def noisy():
    """A noisy curve, what the solver made of it, and the pieces of the linear-Gaussian problem."""
    noise, rows = 0.1, 400
    rng = np.random.default_rng(3)
    x = torch.tensor(rng.uniform(-1, 1, (rows, 1)))
    y = (4 * x).sin() / 0.75 + noise * torch.tensor(rng.standard_normal((rows, 1)))
    bundle = Bundle.of([KAN((1, 1), BSpline(20), generator=torch.Generator().manual_seed(0)).double()])
    data = Data(x, y, torch.full((rows,), 1 / rows, dtype=torch.float64), float(rows))
    steps = levenberg_marquardt(bundle, data, MeanSquaredError(), Smoothing(), lambda step, bundle: None)
    *_, state = islice(steps, 60)
    design = bundle.stages[0].features(x.unsqueeze(0), slopes=False)[0][0].T.numpy()
    root = penalty_root(bundle, x)[0].numpy()
    penalty = root.T @ root
    return noise, state, design, y[:, 0].numpy(), penalty


def _solved(design, y, penalty, strength):
    gram = design.T @ design + len(y) * strength * penalty
    weights = np.linalg.solve(gram, design.T @ y)
    return gram, weights, ((y - design @ weights) ** 2).sum()


def test_the_evidence_finds_the_noise(noisy):
    noise, state, design, y, penalty = noisy
    gram, _, squares = _solved(design, y, penalty, float(state.strength[0]))
    used = np.trace(np.linalg.solve(gram, design.T @ design))
    assert np.sqrt(squares / (len(y) - used)) == pytest.approx(noise, rel=0.15)
    assert 4 < used < 20


def test_the_evidence_finds_the_maximum_of_the_marginal_likelihood(noisy):
    """With the noise and the free directions integrated out by hand (restricted maximum likelihood)."""
    _, state, design, y, penalty = noisy
    seen = 20 - 1
    free = design.shape[1] - seen

    def surprise(log_strength):
        strength = np.exp(log_strength)
        gram, weights, squares = _solved(design, y, penalty, strength)
        variance = (squares + len(y) * strength * weights @ penalty @ weights) / (len(y) - free)
        return (len(y) - free) * np.log(variance) + np.linalg.slogdet(gram)[1] - seen * log_strength

    best = scipy.optimize.minimize_scalar(surprise, bounds=(-40, 0), method="bounded", options={"xatol": 1e-6}).x
    assert float(state.strength[0]) == pytest.approx(np.exp(best), rel=0.1)


def test_the_penalty_of_a_network_without_a_node_sees_nothing_of_it():
    """The quadratic form, the rows and the number of directions tell the same, and frozen parameters cost nothing."""
    bundle = Bundle.of([KAN((2, 3, 1), BSpline(4)).double().requires_grad_(False)]).without_node(0, 1)
    x, frozen = torch.randn(50, 2, dtype=torch.float64), bundle.frozen()
    penalty = Penalty.of(bundle, x, frozen)
    flat = torch.randn(1, frozen.shape[1], dtype=torch.float64)
    want = float(penalty.roughness(flat))
    assert float(flat[0] @ penalty.form[0] @ flat[0]) == pytest.approx(want, rel=1e-10)
    assert float(penalty.roughness(torch.where(frozen, 1e6, flat))) == pytest.approx(want, rel=1e-12)
    assert penalty.directions.tolist() == [int(torch.linalg.matrix_rank(penalty.form[0]))] == [6 * 3]
