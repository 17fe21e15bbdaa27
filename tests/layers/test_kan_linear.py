"""The layer against a double loop over its edges, and what PyTorch's tools do with it."""

import copy
import math

import numpy as np
import pytest
import torch
from scipy.interpolate import BSpline as ScipyBSpline
from torch import nn
from torch.func import functional_call, grad, hessian, jacrev, jvp, vmap
from torch.utils._python_dispatch import TorchDispatchMode

from superpose.bases import Bernstein, BSpline, Chebyshev, Fourier, Gaussian, Legendre, Wavelet
from superpose.layers import KANLinear

BASES = [BSpline(), Bernstein(), Chebyshev(4), Legendre(4), Fourier(), Gaussian(), Wavelet()]
bases = pytest.mark.parametrize("basis", BASES, ids=lambda basis: type(basis).__name__)


def _layer(basis=None, inputs=3, outputs=2, **more):
    return KANLinear(inputs, outputs, basis, generator=torch.Generator().manual_seed(0), **more).double()


def _x(*shape, scale=0.9):
    return scale * (2 * torch.rand(*shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64) - 1)


@pytest.mark.parametrize("degree", [0, 1, 3, 5])
def test_against_a_loop_over_edges(degree):
    layer = _layer(BSpline(4, degree), 3, 2)
    x = _x(20, 3)
    expected = np.zeros((20, 2))
    for o in range(2):
        for i in range(3):
            points = x[:, i].numpy()
            spline = ScipyBSpline(layer.basis.knots[i].numpy(), layer.coef[i, :, o].detach().numpy(), degree)
            silu = points / (1 + np.exp(-points))
            expected[:, o] += layer.weight[o, i].item() * silu + spline(points)
    np.testing.assert_allclose(layer(x).detach(), expected, rtol=1e-12, atol=1e-13)


@bases
def test_features_times_matrix_is_forward(basis):
    layer = _layer(basis)
    x = _x(9, 3, scale=1.3)
    assert layer.features(x).shape == (9, 3 * (basis.num + 1))
    torch.testing.assert_close(layer.features(x) @ layer.matrix().T, layer(x), rtol=1e-12, atol=1e-12)


@bases
def test_set_matrix_undoes_matrix(basis):
    layer, other = _layer(basis), _layer(basis, base=nn.Identity())
    other.set_matrix_(layer.matrix() + 1)
    torch.testing.assert_close(other.weight, layer.weight + 1)
    torch.testing.assert_close(other.coef, layer.coef + 1)
    assert other.weight.requires_grad
    assert other.coef.is_leaf


@bases
def test_gradcheck_in_inputs_and_parameters(basis):
    layer = _layer(basis, 2, 2)
    x = torch.cat([_x(2, 2), 1.5 + _x(1, 2, scale=0.2)]).requires_grad_()
    names = ("weight", "coef")
    values = [getattr(layer, name).detach().clone().requires_grad_() for name in names]

    def call(x, *parameters):
        return functional_call(layer, dict(zip(names, parameters, strict=True)), (x,))

    assert torch.autograd.gradcheck(call, (x, *values))
    assert torch.autograd.gradgradcheck(call, (x, *values))


@bases
@pytest.mark.parametrize("batch", [(), (0,), (1,), (4, 5)], ids=str)
def test_any_batch_shape(basis, batch):
    layer = _layer(basis)
    x = _x(*batch, 3)
    assert layer(x).shape == (*batch, 2)
    torch.testing.assert_close(layer(x).reshape(-1, 2), layer(x.reshape(-1, 3)))


def test_wrong_sizes_are_explained():
    with pytest.raises(ValueError, match="the last axis of x has size 4, but in_features is 3"):
        KANLinear(3, 2)(torch.zeros(5, 4))
    with pytest.raises(ValueError, match="must be at least 1, got 0 and 2"):
        KANLinear(0, 2)
    with pytest.raises(ValueError, match="cannot serve 3"):
        KANLinear(3, 2, BSpline().expanded(2))


class _Largest(TorchDispatchMode):
    """Remembers the size of the largest tensor made, views left out."""

    def __init__(self):
        super().__init__()
        self.numel = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        for value in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(value, torch.Tensor):
                self.numel = max(self.numel, value.untyped_storage().nbytes() // value.element_size())
        return out


@bases
def test_memory_grows_with_samples_times_inputs_plus_outputs(basis):
    """Neither forward nor backward makes a tensor of samples x outputs x inputs."""
    samples, inputs, outputs = 64, 16, 128
    layer = _layer(basis, inputs, outputs)
    x = _x(samples, inputs).requires_grad_()
    with _Largest() as largest:
        layer(x).square().sum().backward()
    # A spline gathers up to this many numbers around each input, knots or functions.
    around = layer.basis.num + 2 * getattr(basis, "degree", 0)
    allowed = max(samples * inputs * around, samples * outputs, outputs * inputs * layer.basis.num)
    assert 0 < largest.numel <= allowed < samples * inputs * outputs


@bases
def test_function_transforms(basis):
    layer = _layer(basis)
    x, tangent = _x(5, 3), _x(5, 3)
    torch.testing.assert_close(vmap(layer)(x), layer(x))
    jacobian = vmap(jacrev(layer))(x)
    _, pushed = jvp(layer, (x,), (tangent,))
    torch.testing.assert_close(pushed, torch.einsum("noi,ni->no", jacobian, tangent))
    assert pushed.abs().max() > 1e-3
    second = vmap(hessian(layer))(x)
    curvature = torch.einsum("imo,nim->noi", layer.coef, layer.basis(x, 2))
    silu = vmap(vmap(grad(grad(nn.functional.silu))))(x)
    curvature = curvature + layer.weight * silu.unsqueeze(1)
    torch.testing.assert_close(second.diagonal(dim1=2, dim2=3), curvature)
    torch.testing.assert_close(second - second.diagonal(dim1=2, dim2=3).diag_embed(), torch.zeros_like(second))


@bases
def test_per_sample_gradients_add_up(basis):
    layer = _layer(basis)
    x = _x(6, 3, scale=1.2)
    parameters = {name: value.detach() for name, value in layer.named_parameters()}

    def loss(parameters, x):
        return functional_call(layer, parameters, (x,)).square().sum()

    each = vmap(grad(loss), (None, 0))(parameters, x)
    layer(x).square().sum().backward()
    for name, parameter in layer.named_parameters():
        torch.testing.assert_close(each[name].sum(0), parameter.grad)


@pytest.mark.parametrize("basis", [BSpline(), Chebyshev()], ids=lambda basis: type(basis).__name__)
def test_compile_in_one_graph(basis):
    torch._dynamo.reset()
    layer = _layer(basis).float()
    other = copy.deepcopy(layer)
    compiled = torch.compile(other, fullgraph=True, backend="aot_eager")
    x = _x(8, 3, scale=1.2).float()
    layer(x).square().sum().backward()
    compiled(x).square().sum().backward()
    torch.testing.assert_close(compiled(x), layer(x))
    torch.testing.assert_close(other.coef.grad, layer.coef.grad)
    torch.testing.assert_close(other.weight.grad, layer.weight.grad)


@pytest.mark.slow
def test_compile_with_inductor():
    torch._dynamo.reset()
    layer = _layer(BSpline()).float()
    compiled = torch.compile(layer, fullgraph=True)
    x = _x(8, 3, scale=1.2).float().requires_grad_()
    torch.testing.assert_close(compiled(x), layer(x))
    (ours,) = torch.autograd.grad(compiled(x).sum(), x)
    (expected,) = torch.autograd.grad(layer(x).sum(), x)
    torch.testing.assert_close(ours, expected)


@bases
def test_autocast_stays_close(basis):
    layer = _layer(basis, 8, 4).float()
    x = _x(32, 8, scale=1.2).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        reduced = layer(x)
    reduced.float().sum().backward()
    exact = layer(x)
    assert (reduced - exact).abs().max() <= 0.02 * exact.abs().max()
    assert layer.coef.grad.dtype == torch.float32


@bases
def test_bfloat16_runs(basis):
    layer = _layer(basis).bfloat16()
    out = layer(_x(5, 3).bfloat16())
    assert out.dtype == torch.bfloat16
    assert out.isfinite().all()


@bases
def test_a_layer_can_be_laid_out_without_memory(basis):
    with torch.device("meta"):
        layer = KANLinear(3, 2, type(basis)(**basis.config()))
        assert layer(torch.empty(5, 3)).shape == (5, 2)


@bases
def test_state_dict_round_trip(basis):
    layer, other = _layer(basis), KANLinear(3, 2, basis).double()
    other.load_state_dict(layer.state_dict())
    x = _x(7, 3, scale=1.5)
    assert torch.equal(other(x), layer(x))


def test_the_callers_basis_is_copied():
    basis = BSpline()
    first, second = KANLinear(3, 2, basis), KANLinear(3, 2, basis)
    first.basis.knots.mul_(2)
    assert torch.equal(second.basis.knots[0], basis.knots[0])
    assert basis.inputs == 1


def test_base_modules():
    x = _x(6, 3)
    identity = _layer(base=nn.Identity())
    torch.testing.assert_close(identity(x), x @ identity.weight.T + identity.basis.linear(x, identity.coef))
    empty = nn.Sequential()
    assert _layer(base=empty).base is empty
    assert isinstance(_layer().base, nn.SiLU)


def test_a_single_sample_far_away_does_not_disturb_the_others():
    layer = _layer()
    x = _x(4, 3)
    x[1] = math.inf
    x[2] = math.nan
    out = layer(x)
    torch.testing.assert_close(out[[0, 3]], layer(x[[0, 3]]))
    assert out[2].isnan().all()


def test_repr():
    assert repr(KANLinear(3, 2)).startswith("KANLinear(\n  3, 2\n")


def test_wide_inputs_keep_their_own_domains():
    layer = _layer(Chebyshev(3), 2, 1)
    layer.basis = layer.basis.at(torch.tensor([[0.0, 1.0], [-10.0, 10.0]], dtype=torch.float64))
    x = torch.tensor([[0.5, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(layer.basis(x)[0, 0], layer.basis(x)[0, 1])
