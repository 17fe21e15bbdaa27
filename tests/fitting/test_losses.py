"""Losses against NumPy, SciPy and scikit-learn."""

import numpy as np
import pytest
import torch
from scipy.special import huber, log_softmax

from superpose import KAN
from superpose.fitting.losses import CallableLoss, CrossEntropy, Huber, MeanSquaredError
from superpose.fitting.problem import chosen_loss

OUTPUTS = torch.randn(2, 9, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 2
TARGETS = torch.randn(9, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
CLASSES = torch.arange(9) % 3


def test_mean_squared_error():
    want = ((OUTPUTS - TARGETS).numpy() ** 2).mean(-1)
    np.testing.assert_allclose(MeanSquaredError().values(OUTPUTS, TARGETS), want)


def test_huber_against_scipy():
    want = 2 * huber(0.4, (OUTPUTS - TARGETS).numpy()).mean(-1)
    np.testing.assert_allclose(Huber(0.4).values(OUTPUTS, TARGETS), want)


def test_cross_entropy_against_scipy():
    want = -log_softmax(OUTPUTS.numpy(), -1)[:, np.arange(9), CLASSES.numpy()]
    np.testing.assert_allclose(CrossEntropy().values(OUTPUTS, CLASSES), want)


@pytest.mark.parametrize("loss", [MeanSquaredError(), Huber(0.4), CrossEntropy()], ids=lambda loss: type(loss).__name__)
def test_slopes_are_the_gradient(loss):
    targets = CLASSES if isinstance(loss, CrossEntropy) else TARGETS
    out = OUTPUTS.clone().requires_grad_()
    (want,) = torch.autograd.grad(loss.values(out, targets).sum(), out)
    torch.testing.assert_close(loss.slopes(OUTPUTS, targets), want)


def test_huber_stays_below_the_parabola_of_its_curvature():
    """The curvature that the solver takes bounds the loss from above, so that a full step cannot overshoot."""
    loss, grid = Huber(0.4), torch.linspace(-3, 3, 121, dtype=torch.float64).view(1, -1, 1)
    target = torch.zeros(1, 1, dtype=torch.float64)
    for at in (-2.0, -0.4, 0.1, 1.3):
        here = torch.full((1, 1, 1), at, dtype=torch.float64)
        value, slope = loss.values(here, target), loss.slopes(here, target)
        curvature = loss.rooted(torch.ones(1, 1, 1, 1, dtype=torch.float64), here, target).square()[..., 0]
        parabola = value + (slope * (grid - here) + curvature * (grid - here).square() / 2)[..., 0]
        assert bool((loss.values(grid, target.expand(121, 1)) <= parabola + 1e-12).all())


def test_cross_entropy_of_sure_and_wrong_logits_is_finite():
    logits = torch.tensor([[[1e4, -1e4], [-1e4, 1e4]]], dtype=torch.float64)
    loss, wrong = CrossEntropy(), torch.tensor([1, 0])
    assert bool(torch.isfinite(loss.values(logits, wrong)).all())
    assert bool(torch.isfinite(loss.rooted(torch.ones(1, 2, 2, 3, dtype=torch.float64), logits, wrong)).all())


def test_a_function_sees_the_units_of_the_data():
    model = KAN((1, 3)).double()
    model.output_scaling.scale.fill_(10)
    model.output_scaling.shift.fill_(5)
    seen = []
    loss = CallableLoss(lambda out, y: seen.append((out, y)) or (out - y).abs(), model.output_scaling)
    values = loss.values(OUTPUTS[0], TARGETS)
    torch.testing.assert_close(values, 10 * (OUTPUTS[0] - TARGETS).abs().mean(-1))
    torch.testing.assert_close(seen[0][1], TARGETS * 10 + 5)


def test_a_scalar_loss_counts_for_every_row():
    loss = chosen_loss(lambda out, y: (out - y).square().mean(), KAN((1, 3)).double())
    torch.testing.assert_close(loss.values(OUTPUTS[0], TARGETS), (OUTPUTS[0] - TARGETS).square().mean().expand(9))


def test_a_function_of_the_wrong_shape_is_explained():
    loss = chosen_loss(lambda out, y: out[:4], KAN((1, 3)).double())
    with pytest.raises(
        ValueError, match=r"the loss returned shape \(4, 3\); a scalar or one value for each of the 9 rows"
    ):
        loss.values(OUTPUTS[0], TARGETS)


@pytest.mark.parametrize("delta", [0, -1, float("nan")])
def test_a_delta_that_cannot_be(delta):
    with pytest.raises(ValueError, match="delta must be positive"):
        Huber(delta)


def test_a_second_order_form_is_asked_for_by_name():
    with pytest.raises(
        NotImplementedError, match="CallableLoss has no second-order form; choose solver='lbfgs' or 'adam'"
    ):
        chosen_loss(lambda out, y: out.sum(), KAN((1, 3))).rooted(
            torch.zeros(1, 1, 3, 1), torch.zeros(1, 1, 3), CLASSES
        )
