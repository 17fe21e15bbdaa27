"""B-splines as a family: against SciPy on uneven knots, and how they are placed and refined."""

import numpy as np
import pytest
import torch
from scipy.interpolate import BSpline as ScipyBSpline

from superpose.bases import BSpline


@pytest.mark.parametrize("degree", range(6))
@pytest.mark.parametrize("order", range(4))
def test_values_against_scipy(degree, order):
    inner = np.array([-2.0, -1.5, 0.0, 0.25, 3.0])
    basis = BSpline(1, degree).at(torch.from_numpy(inner).unsqueeze(0))
    x = np.linspace(-2, 3, 51)
    ours = basis(torch.from_numpy(x).unsqueeze(-1), order).squeeze(1).numpy()
    for m in range(basis.num):
        spline = ScipyBSpline(basis.knots[0].numpy(), np.eye(basis.num)[m], degree)
        expected = spline.derivative(order)(x) if 0 < order <= degree else spline(x) * (order == 0)
        np.testing.assert_allclose(ours[:, m], expected, rtol=1e-11, atol=1e-11)


def test_knots_continue_with_the_width_of_the_last_interval():
    basis = BSpline(degree=2).at(torch.tensor([[0.0, 1.0, 3.0]]))
    assert basis.knots.tolist() == [[-2, -1, 0, 1, 3, 5, 7]]
    assert basis.breakpoints.tolist() == [[0, 1, 3]]
    assert (basis.intervals, basis.num) == (2, 4)


def test_refinement_splits_every_interval_evenly():
    basis = BSpline(degree=3).at(torch.tensor([[0.0, 1.0, 3.0], [5.0, 6.0, 6.5]]))
    finer, _ = basis.refined(4)
    assert finer.breakpoints.tolist() == [[0, 0.5, 1, 2, 3], [5, 5.5, 6, 6.25, 6.5]]


@pytest.mark.parametrize("degree", range(6))
def test_every_degree_refines_exactly(degree, generator):
    basis = BSpline(degree=degree).at(torch.tensor([[0.0, 1.0, 3.0], [5.0, 6.0, 6.5]], dtype=torch.float64))
    finer, matrix = basis.refined(6)
    coef = torch.randn(2, basis.num, 4, generator=generator, dtype=torch.float64)
    x = torch.linspace(0, 1, 61, dtype=torch.float64).unsqueeze(-1) * torch.tensor([3, 1.5]) + torch.tensor([0, 5])
    new = finer.linear(x, matrix @ coef)
    torch.testing.assert_close(new, basis.linear(x, coef), rtol=1e-12, atol=1e-12)


def test_partition_of_unity_also_beyond_the_domain():
    basis = BSpline(7, 3).double()
    x = torch.linspace(-4, 4, 101, dtype=torch.float64).unsqueeze(-1)
    torch.testing.assert_close(basis(x).sum(-1), torch.ones_like(x))
    assert (basis(x)[abs(x[:, 0]) <= 1] >= 0).all()


def test_degree_zero_is_a_step_function():
    basis = BSpline(2, 0)
    values = basis(torch.tensor([[-1.0], [-0.1], [0.0], [1.0], [2.0]]))
    assert values[:, 0].tolist() == [[1, 0], [1, 0], [0, 1], [0, 1], [0, 1]]


def test_wrong_degrees_and_placements_are_explained():
    with pytest.raises(ValueError, match="degree is 6; it must be an integer from 0 to 5"):
        BSpline(degree=6)
    with pytest.raises(ValueError, match="increase strictly"):
        BSpline().at(torch.tensor([[0.0, 2.0, 1.0]]))
    with pytest.raises(ValueError, match="intervals is 0"):
        BSpline().refined(0)
