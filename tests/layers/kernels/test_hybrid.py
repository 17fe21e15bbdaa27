"""Kernels made of kernels against the kernels they are made of."""

import pytest
import torch

from superpose.layers import KernelAttention
from superpose.layers.kernels import CubicSplineKernel, Gated, GaussianKernel, LinearKernel, PerHead, SquaredDistance


def scores(kernel, q, k, left, right, relative=False):
    a, b = kernel.double()(q, k, left, right, relative)
    return torch.einsum("bshf,brhf->bhsr", a, b)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("each", [True, False])
def test_every_head_has_its_kernel(tied, each, generator):
    q, k = torch.randn(2, 1, 5, 3, 4, generator=generator, dtype=torch.float64)
    k = q if tied else k
    left = right = None
    if not each:
        left, right = torch.randn(2, 3, 4, 2, generator=generator, dtype=torch.float64)
    kernel = PerHead((GaussianKernel(0.7), 2), (LinearKernel(), 1)).expanded(3)
    ours = scores(kernel, q, k, left, right)
    first = scores(GaussianKernel(0.7), q[:, :, :2], k[:, :, :2], *(m if m is None else m[:2] for m in (left, right)))
    last = scores(LinearKernel(), q[:, :, 2:], k[:, :, 2:], *(m if m is None else m[2:] for m in (left, right)))
    torch.testing.assert_close(ours, torch.cat([first, last], 1))


def test_a_gate_mixes_two_kernels(generator):
    q = torch.randn(1, 5, 2, 4, generator=generator, dtype=torch.float64)
    mix = torch.ones(1, 4, 1, dtype=torch.float64)
    kernel = Gated(GaussianKernel(), LinearKernel(), share=0.25).expanded(2)
    parts = [scores(each, q, q, mix, mix) for each in (GaussianKernel(), LinearKernel())]
    torch.testing.assert_close(scores(kernel, q, q, mix, mix), 0.25 * parts[0] + 0.75 * parts[1])
    (slope,) = torch.autograd.grad(scores(kernel, q, q, mix, mix).sum(), kernel.gate)
    expected = (parts[0] - parts[1]).sum((0, 2, 3)) * 0.25 * 0.75
    torch.testing.assert_close(slope, expected)


def test_what_is_made_of_positive_kernels_is_positive():
    assert Gated(GaussianKernel(), CubicSplineKernel()).positive
    assert not PerHead((GaussianKernel(), 1), (LinearKernel(), 1)).positive
    assert PerHead((SquaredDistance(), 1), (LinearKernel(), 1)).vectors


def test_hybrids_that_do_not_fit_raise():
    with pytest.raises(ValueError, match=r"\(2, 1\) heads, 3 in all, not 4"):
        KernelAttention(16, 4, kernel=PerHead((GaussianKernel(), 2), (LinearKernel(), 1)))
    with pytest.raises(ValueError, match="want different coordinates"):
        KernelAttention(16, 4, kernel=Gated(GaussianKernel(), CubicSplineKernel()))
    with pytest.raises(ValueError, match="share is 1"):
        Gated(GaussianKernel(), LinearKernel(), share=1)
    with pytest.raises(ValueError, match="one or more pairs"):
        PerHead()
