"""The compiled kernels against plain PyTorch, and what they do not take."""

import pytest
import torch
from torch import nn

from superpose import KAN, MLP, BSpline, Chebyshev
from superpose._select import kernels
from superpose.fitting import compiled, evaluation
from superpose.fitting.bundle import Bundle, Data
from superpose.fitting.losses import CrossEntropy, Huber, MeanSquaredError

native = pytest.mark.skipif(not hasattr(kernels, "network"), reason="the compiled kernels are missing")


def _bundle(widths, basis, base=None, count=3) -> Bundle:
    """Networks with grids of their own, some of whose hidden values lie beyond them."""
    models = [KAN(widths, basis, base=base, generator=torch.Generator().manual_seed(s)).double() for s in range(count)]
    for seed, model in enumerate(models):
        for layer in model.layers:
            gaps = torch.rand(layer.basis.breakpoints.shape, generator=torch.Generator().manual_seed(seed)) + 0.2
            layer.basis = layer.basis.at(gaps.double().cumsum(1) * (1.6 / layer.basis.intervals) - 1)
    return Bundle.of(models)


def _table(rows, widths, loss) -> Data:
    g = torch.Generator().manual_seed(rows)
    x = 0.8 * torch.randn(rows, widths[0], generator=g, dtype=torch.float64)
    y = torch.randn(rows, widths[-1], generator=g, dtype=torch.float64)
    if isinstance(loss, CrossEntropy):
        y = torch.randint(0, widths[-1], (rows,), generator=g)
    weight = torch.rand(rows, generator=g, dtype=torch.float64)
    weight[1] = 0
    return Data(x, y, weight / weight.sum(), float(weight.sum()))


def _close(found, want):
    for one, other in zip(found, want, strict=True):
        scale = float(other.abs().amax())
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-13 * scale)


def _both(bundle, data, loss, monkeypatch):
    """Gradient and matrix by the kernels and by PyTorch."""
    found = []
    for name in ("native", "reference"):
        monkeypatch.setattr(Bundle, "_chosen", lambda self, x, name=name: name)
        found.append(bundle.normal_equations(data, loss))
    return found


@native
@pytest.mark.parametrize("degree", [1, 2, 3])
@pytest.mark.parametrize("extrapolation", ["linear", "clamp", "zero"])
@pytest.mark.parametrize("base", [nn.SiLU(), nn.Identity()], ids=repr)
@pytest.mark.parametrize("widths", [(1, 1), (2, 5, 1), (3, 9, 2, 3)], ids=str)
@pytest.mark.parametrize("intervals", [1, 4, 23])
def test_values_and_normal_equations(degree, extrapolation, base, widths, intervals, monkeypatch):
    """Few intervals take the dense way to the matrix, many the pairs of edges."""
    bundle = _bundle(widths, BSpline(intervals, degree, extrapolation), base)
    data = _table(77, widths, MeanSquaredError())
    args = bundle.stages, bundle.matrices, data.x
    assert compiled.obstacle(data.x, bundle.stages) is None
    _close(compiled.hidden(*args), evaluation.hidden(*args))
    found, want = _both(bundle, data, MeanSquaredError(), monkeypatch)
    _close(found, want)
    monkeypatch.setattr(Bundle, "_chosen", lambda self, x: "native")
    known = bundle.normal_equations(data, MeanSquaredError(), compiled.hidden(*args)[-1])
    assert all(torch.equal(a, b) for a, b in zip(found, known, strict=True))


@native
@pytest.mark.parametrize("loss", [Huber(0.5), CrossEntropy()], ids=lambda loss: type(loss).__name__)
def test_other_losses(loss, monkeypatch):
    bundle = _bundle((2, 4, 3), BSpline(4))
    _close(*_both(bundle, _table(40, (2, 4, 3), loss), loss, monkeypatch))


@native
@pytest.mark.parametrize("threads", [2, 7])
@pytest.mark.parametrize("intervals", [4, 30])
def test_more_threads_share_the_samples_and_give_the_same_bits_each_time(threads, intervals, monkeypatch):
    bundle, data = _bundle((2, 3, 1), BSpline(intervals), count=2), _table(2100, (2, 3, 1), MeanSquaredError())
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    found, want = _both(bundle, data, MeanSquaredError(), monkeypatch)
    _close(found, want)
    monkeypatch.setattr(Bundle, "_chosen", lambda self, x: "native")
    again = bundle.normal_equations(data, MeanSquaredError())
    assert all(torch.equal(a, b) for a, b in zip(found, again, strict=True))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    alone = bundle.normal_equations(data, MeanSquaredError())
    assert torch.equal(alone[1], alone[1].mT)


@native
def test_inputs_at_knots_at_the_ends_and_of_every_network_its_own():
    bundle = _bundle((2, 3), BSpline(4))
    stage = bundle.stages[0]
    x = stage.basis.breakpoints.view(3, 2, -1).mT.contiguous()
    args = bundle.stages, bundle.matrices
    _close(compiled.hidden(*args, x), evaluation.hidden(*args, x))
    beyond = torch.cat([x, x + 1e6, x - 1e6], 1).mT.contiguous().mT  # and with strides of any kind
    _close(compiled.hidden(*args, beyond), evaluation.hidden(*args, beyond))


@native
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_is_no_number_stays_with_its_sample(value):
    bundle = _bundle((2, 3, 1), BSpline(4))
    x = torch.zeros(5, 2, dtype=torch.float64)
    x[2, 1] = value
    found = compiled.hidden(bundle.stages, bundle.matrices, x)[-1]
    assert not bool(found[:, 2].isfinite().any())
    assert bool(found[:, [0, 1, 3, 4]].isfinite().all())


def test_what_the_kernels_do_not_take_is_said(monkeypatch):
    monkeypatch.setattr(compiled, "kernels", type("Kernels", (), {"network": None}))
    x = torch.zeros(1, 2, dtype=torch.float64)
    mixed = KAN((2, 2, 1))
    mixed.layers[1].basis = BSpline(5, extrapolation="clamp").expanded(2)
    for model, reason in (
        (KAN((2, 1)), None),
        (KAN((2, 1), base=nn.Identity()), None),
        (MLP((2, 3, 1)), "B-splines"),
        (KAN((2, 1), Chebyshev(3)), "B-splines"),
        (KAN((2, 1), BSpline(3, 4)), "degrees from 1 to 3, not 4"),
        (KAN((2, 1), base=nn.Tanh()), "Identity and SiLU, not Tanh"),
        (mixed, "one degree, extrapolation and base function"),
    ):
        found = compiled.obstacle(x, Bundle.of([model]).stages)
        assert found is None if reason is None else reason in found
    monkeypatch.setattr(compiled, "kernels", None)
    assert "compiler" in compiled.obstacle(x, Bundle.of([KAN((2, 1))]).stages)
