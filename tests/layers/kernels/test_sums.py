"""Sums that keep no values of functions: derivatives of all kinds, and what they hold in memory."""

import pytest
import torch
from torch.func import grad, jvp, vmap

from superpose.bases import BSpline, Chebyshev
from superpose.layers.kernels import BasisKernel, CubicSplineKernel, GaussianKernel
from superpose.layers.kernels import sums as module
from superpose.layers.kernels.harmonics import Harmonics

KERNELS = {
    "gaussian": lambda: GaussianKernel(0.8, radius=3.0, eps=1e-3),  # few harmonics: each function by itself
    "narrow": lambda: GaussianKernel(0.5, radius=3.0, eps=1e-5),  # many: from few cosines
    "spline": lambda: CubicSplineKernel(4),
    "basis": lambda: BasisKernel(Chebyshev(3)),
    "b-spline": lambda: BasisKernel(BSpline(4, 3, extrapolation="clamp")),
}
kinds = pytest.mark.parametrize("kind", list(KERNELS))
mixes = pytest.mark.parametrize("mix", [None, 1, 2], ids=["each", "shared", "own"])


def drawn(mix, generator):
    x = torch.rand(2, 3, 2, 4, generator=generator, dtype=torch.float64) * 0.9 + 0.05
    if mix is None:
        return x.requires_grad_(), None
    return x.requires_grad_(), torch.randn(mix, 4, 3, generator=generator, dtype=torch.float64).requires_grad_()


@kinds
@mixes
@pytest.mark.parametrize("tokens", [1, 4, 100])
def test_sums_are_those_of_the_basis_in_parts_of_any_size(kind, mix, tokens, generator, monkeypatch):
    kernel = KERNELS[kind]().double()
    x, w = drawn(mix, generator)
    monkeypatch.setattr(module, "_tokens", lambda *_: tokens)
    ours = kernel.sums(x, w, 0)
    values = kernel.basis(x)
    expected = values if w is None else torch.einsum("bshdm,hdc->bshcm", values, w.expand(2, -1, -1))
    torch.testing.assert_close(ours, expected, rtol=1e-12, atol=1e-12)
    inputs = [each for each in (x, w) if each is not None]
    mine, theirs = (torch.autograd.grad(each.sin().sum(), inputs) for each in (ours, expected))
    torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("kind", "expected"), [("gaussian", module.Direct), ("narrow", Harmonics)])
def test_few_cosines_serve_where_there_are_more_harmonics_than_columns(kind, expected, generator):
    _, w = drawn(2, generator)
    assert type(KERNELS[kind]().work(0, w)) is expected


@kinds
@mixes
def test_gradcheck(kind, mix, generator):
    kernel = KERNELS[kind]().double()
    x, w = drawn(mix, generator)
    x = x.detach()[:1, :2].requires_grad_()
    inputs = (x,) if w is None else (x, w)
    assert torch.autograd.gradcheck(lambda x, w=None: kernel.sums(x, w, 0), inputs)
    assert torch.autograd.gradgradcheck(lambda x, w=None: kernel.sums(x, w, 0), inputs)


@kinds
@mixes
def test_batched_derivatives(kind, mix, generator):
    kernel = KERNELS[kind]().double()
    inputs = tuple(each for each in drawn(mix, generator) if each is not None)
    total = kernel.sums(inputs[0], inputs[1] if len(inputs) > 1 else None, 0).sin().sum((0, 1, 2)).flatten()
    seeds = torch.eye(len(total), dtype=torch.float64)
    ours = torch.autograd.grad(total, inputs, seeds, retain_graph=True, is_grads_batched=True)
    rows = [torch.autograd.grad(each, inputs, retain_graph=True) for each in total]
    for mine, theirs in zip(ours, zip(*rows, strict=True), strict=True):
        torch.testing.assert_close(mine, torch.stack(theirs))


@kinds
def test_function_transforms(kind, generator):
    kernel = KERNELS[kind]().double()
    x, w = (each.detach() for each in drawn(2, generator))

    def total(x):
        return kernel.sums(x, w, 0).sin().sum()

    expected = torch.autograd.grad(total(x.requires_grad_()), x)[0]
    x = x.detach()
    torch.testing.assert_close(grad(total)(x), expected)
    _, tangent = jvp(total, (x,), (torch.ones_like(x),))
    torch.testing.assert_close(tangent, expected.sum())
    torch.testing.assert_close(vmap(grad(total))(x.unsqueeze(1))[:, 0], expected)


@kinds
def test_only_points_and_weights_are_kept(kind, generator):
    kernel = KERNELS[kind]().double()
    x, w = drawn(2, generator)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda each: kept.append(each.numel()) or each, lambda each: each):
        kernel.sums(x, w, 0)
    assert sum(kept) <= x.numel() + w.numel()
