"""Several networks side by side: values, derivatives and normal equations against plain PyTorch and plain loops."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call, jacrev

from superpose import KAN, MLP, BSpline, Chebyshev, Fourier, Gaussian, Wavelet
from superpose.fitting.bundle import Bundle, Data
from superpose.fitting.losses import CrossEntropy, Huber, MeanSquaredError
from superpose.models import Network

MAKERS = {
    "spline": lambda k, g: KAN((2, 3, k), BSpline(4), generator=g),
    "linear spline, tanh": lambda k, g: KAN((2, 3, k), BSpline(3, degree=1), base=nn.Tanh(), generator=g),
    "constant spline": lambda k, g: KAN((2, 3, k), BSpline(3, degree=0), generator=g),
    "clamped": lambda k, g: KAN((2, 3, k), BSpline(4, extrapolation="clamp"), generator=g),
    "chebyshev": lambda k, g: KAN((2, 2, 2, k), Chebyshev(3), generator=g),
    "fourier": lambda k, g: KAN((2, 3, k), Fourier(2), generator=g),
    "gaussian": lambda k, g: KAN((2, 3, k), Gaussian(4), generator=g),
    "wavelet, no base slope": lambda k, g: KAN((2, 3, k), Wavelet(1), base=nn.Identity(), generator=g),
    "products": lambda k, g: KAN((2, (1, 2, 3), 2, (2,) * k), BSpline(4), generator=g),
    "products, chebyshev": lambda k, g: KAN((2, (3,), (1,) * (k - 1) + (2,)), Chebyshev(3), generator=g),
    "perceptron": lambda k, g: MLP((2, 4, 3, k), generator=g),
    "perceptron without hidden layer": lambda k, g: MLP((2, k), nn.Tanh(), generator=g),
}
makers = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())
outputs = pytest.mark.parametrize("k", [1, 3])


def _models(make, k, count=2) -> list[Network]:
    models = [make(k, torch.Generator().manual_seed(seed)).double() for seed in range(count)]
    with torch.no_grad():
        for p in (p for model in models for p in model.parameters()):
            p.add_(0.3 * torch.randn(p.shape, generator=torch.Generator().manual_seed(9), dtype=p.dtype))
    return models


def _x(rows=11) -> torch.Tensor:
    # A few rows lie outside the grids.
    return torch.randn(rows, 2, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


def _of_flat(model, x):
    """Outputs of a model as a function of its parameters in the order of the solver."""

    def outputs(flat):
        named, start = {}, 0
        for index, layer in enumerate(model.layers):
            size = layer.matrix().numel()
            matrix = flat[start : start + size].view(layer.matrix().shape)
            if isinstance(model, KAN):
                split = matrix.view(layer.out_features, layer.in_features, -1)
                named |= {
                    f"layers.{index}.weight": split[..., 0],
                    f"layers.{index}.coef": split[..., 1:].permute(1, 2, 0),
                }
            else:
                named |= {f"layers.{index}.weight": matrix[:, :-1], f"layers.{index}.bias": matrix[:, -1]}
            start += size
        return functional_call(model, named, (x,))

    return outputs


@makers
@outputs
def test_outputs_and_jacobian_against_automatic_differentiation(make, k):
    models, x = _models(make, k), _x()
    bundle = Bundle.of(models)
    values, jacobian = bundle.outputs_and_jacobian(x)
    assert jacobian.shape == (2, 11, k, models[0].num_parameters)
    for s, model in enumerate(models):
        torch.testing.assert_close(values[s], model(x).detach(), rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(bundle.hidden(x)[-1][s], values[s], rtol=1e-12, atol=1e-12)
        want = jacrev(_of_flat(model, x))(bundle.flat()[s])
        torch.testing.assert_close(jacobian[s], want, rtol=1e-11, atol=1e-12)


@makers
def test_there_and_back(make):
    models = _models(make, 2)
    bundle = Bundle.of(models)
    again = bundle.with_flat(bundle.flat())
    for which, model in enumerate(models):
        written = again.written_to(models[0], which)
        assert all(torch.equal(a, b) for a, b in zip(model.parameters(), written.parameters(), strict=True))
        assert repr(written) == repr(model)
        # N11: nothing is shared with the bundle or the template.
        before = copy.deepcopy(bundle.matrices)
        with torch.no_grad():
            for p in [*written.parameters(), *written.buffers()]:
                p.zero_()
        assert all(torch.equal(a, b) for a, b in zip(before, bundle.matrices, strict=True))
        torch.testing.assert_close(bundle.written_to(models[0], which)(_x()), model(_x()))
    picked = bundle.picked(torch.tensor([1]))
    torch.testing.assert_close(picked.hidden(_x())[-1], bundle.hidden(_x())[-1][1:])


def _table(k, loss, rows=17):
    g = torch.Generator().manual_seed(8)
    x, weight = _x(rows), torch.rand(rows, generator=g, dtype=torch.float64)
    weight[3] = 0
    if isinstance(loss, CrossEntropy):
        y = torch.randint(0, k, (rows,), generator=g)
    else:
        y = torch.randn(rows, k, generator=g, dtype=torch.float64)
    return Data(x, y, weight / weight.sum(), float(weight.sum()))


def _curvature(loss, output, target):
    """Second derivative of one row's loss in its outputs, as the solver is meant to take it."""
    k = len(output)
    if isinstance(loss, CrossEntropy):
        p = np.exp(output - output.max())
        p /= p.sum()
        return np.diag(p) - np.outer(p, p)
    if isinstance(loss, Huber):  # iteratively re-weighted least squares: slope over error
        return np.diag([2 / k * min(1, loss.delta / max(abs(e), 1e-300)) for e in output - target])
    return 2 / k * np.eye(k)


@pytest.mark.parametrize("loss", [MeanSquaredError(), Huber(0.5), CrossEntropy()], ids=lambda loss: type(loss).__name__)
@pytest.mark.parametrize("make", [MAKERS[name] for name in ("spline", "products", "perceptron")])
@outputs
def test_normal_equations_against_a_plain_loop(make, k, loss, monkeypatch):
    monkeypatch.setattr("superpose.fitting.evaluation.CHUNK", 700)  # so that the rows come in several pieces
    models = _models(make, k)
    bundle, data = Bundle.of(models), _table(k, loss)
    gradient, hessian = bundle.normal_equations(data, loss)
    values, jacobian = bundle.outputs_and_jacobian(data.x)
    for s in range(2):
        out = values[s].clone().requires_grad_()
        (slopes,) = torch.autograd.grad((loss.values(out.unsqueeze(0), data.y)[0]).sum(), out)
        want, curved = np.zeros(gradient.shape[1]), np.zeros(hessian.shape[1:])
        for n in range(len(data)):
            j, w = jacobian[s, n].numpy(), float(data.weight[n])
            want += w * slopes[n].numpy() @ j
            curved += w * j.T @ _curvature(loss, values[s, n].numpy(), data.y[n].numpy()) @ j
        np.testing.assert_allclose(gradient[s], want, rtol=1e-10, atol=1e-13)
        np.testing.assert_allclose(hessian[s], curved, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("loss", [MeanSquaredError(), Huber(0.5), CrossEntropy()], ids=lambda loss: type(loss).__name__)
def test_the_gradient_of_the_mean_loss(loss):
    models, data = _models(MAKERS["spline"], 3), _table(3, loss)
    bundle = Bundle.of(models)
    gradient = bundle.normal_equations(data, loss)[0]
    for s, model in enumerate(models):
        flat = bundle.flat()[s].requires_grad_()
        value = (loss.values(_of_flat(model, data.x)(flat), data.y) * data.weight).sum()
        torch.testing.assert_close(bundle.losses(data, loss)[s], value.detach(), rtol=1e-12, atol=0)
        (want,) = torch.autograd.grad(value, flat)
        torch.testing.assert_close(gradient[s], want, rtol=1e-10, atol=1e-13)


def test_grids_of_a_bundle_refine_and_move():
    models = _models(MAKERS["spline"], 2)
    bundle, x = Bundle.of(models), _x(60)
    assert bundle.refined(8).intervals == 8
    data = Data(x, x[:, :1], torch.full((60,), 1 / 60, dtype=torch.float64), 60.0)
    moved = bundle.moved(data, uniform=0.5, margin=0.1)
    assert torch.equal(moved.stages[0].basis.knots, bundle.stages[0].basis.knots)
    low, high = moved.stages[1].basis.domain.unbind(-1)
    hidden = moved.hidden(x)[1].transpose(0, 1).flatten(1)
    assert bool((low < hidden.min(0).values).all()) and bool((high > hidden.max(0).values).all())
    # N1: a hidden node cut off from the inputs.
    dead = [copy.deepcopy(matrix) for matrix in bundle.matrices]
    dead[0][:, 1] = 0
    quiet = Bundle(bundle.stages, dead).moved(data, uniform=0.0, margin=0.0)
    assert all(bool(torch.isfinite(part).all()) for part in quiet.outputs_and_jacobian(x))


def test_a_part_of_the_data_keeps_its_number_of_observations():
    data = _table(1, MeanSquaredError())
    parts = [data.rows(slice(0, 5)), data.rows(torch.arange(5, 17))]
    assert sum(part.total for part in parts) == pytest.approx(data.total)
    assert all(float(part.weight.sum()) == pytest.approx(1) for part in parts)
