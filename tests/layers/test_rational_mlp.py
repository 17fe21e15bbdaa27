"""The feed-forward part: its order, its names, and that timm takes it."""

import pytest
import torch
from torch import nn

from superpose._select import kernels
from superpose.layers import RationalMlp
from superpose.layers.rational_init import kat_release


def _x(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_order_of_execution():
    """Both activations and dropouts stand in front of the linear maps."""
    mlp = RationalMlp(16, 32, drop=(0.1, 0.2))
    seen = []
    for name, module in mlp.named_children():
        module.register_forward_hook(lambda *_, name=name: seen.append(name))
    mlp(_x(2, 16))
    assert seen == ["act1", "drop1", "fc1", "act2", "drop2", "fc2"]
    assert (mlp.drop1.p, mlp.drop2.p) == (0.1, 0.2)


def test_values():
    mlp = RationalMlp(16, 32, 8).double()
    x = _x(3, 5, 16).double()
    hidden = x @ mlp.fc1.weight.T + mlp.fc1.bias
    expected = mlp.act2.fit(hidden) @ mlp.fc2.weight.T + mlp.fc2.bias
    # Coefficients pass through float32 where the module is made before it is double.
    torch.testing.assert_close(mlp(x), expected, atol=1e-5, rtol=1e-5)


def test_names_and_shapes_of_the_published_weights():
    shapes = {name: tuple(value.shape) for name, value in RationalMlp(192, 768).state_dict().items()}
    assert shapes == {
        "fc1.weight": (768, 192),
        "fc1.bias": (768,),
        "act1.weight_numerator": (1, 6),
        "act1.weight_denominator": (8, 4),
        "act2.weight_numerator": (1, 6),
        "act2.weight_denominator": (8, 4),
        "fc2.weight": (192, 768),
        "fc2.bias": (192,),
    }


def test_timm_takes_it():
    timm = pytest.importorskip("timm")
    model = timm.models.VisionTransformer(
        img_size=16, patch_size=8, embed_dim=16, depth=1, num_heads=2, num_classes=3, mlp_layer=RationalMlp
    )
    assert isinstance(model.blocks[0].mlp, RationalMlp)
    assert model(_x(2, 3, 16, 16)).shape == (2, 3)


def test_options_reach_both_activations():
    mlp = RationalMlp(
        16, bias=(True, False), activations=("silu", "gelu"), groups=4, degrees=(3, 2), form="abs_sum", init=kat_release
    )
    assert {(act.groups, act.fit.degrees, act.form) for act in (mlp.act1, mlp.act2)} == {(4, (3, 2), "abs_sum")}
    assert (mlp.act1.fit.name, mlp.act2.fit.name) == ("silu", "gelu")
    assert mlp.fc1.bias is not None
    assert mlp.fc2.bias is None
    assert mlp.fc1.weight.std() < 0.03


def test_dropout_is_active_in_training_only():
    mlp = RationalMlp(16, drop=0.5)
    x = _x(4, 16)
    assert not torch.equal(mlp(x), mlp(x))
    assert torch.equal(mlp.eval()(x), mlp(x))


def test_a_norm_is_refused():
    with pytest.raises(ValueError, match="no norm between its layers"):
        RationalMlp(16, norm_layer=nn.LayerNorm)


@pytest.mark.skipif(kernels is None, reason="the compiled kernels are missing")
def test_x_alone_is_kept_unless_somebody_watches():
    """Two layers keep their two inputs; with a hook they also keep what the activations give, with the same gradients."""
    mlp = RationalMlp(16, 64, init=kat_release, dtype=torch.float64)
    x = _x(1000, 16).double().requires_grad_()
    plain, kept = _grads(mlp, x)
    assert kept == 1000 * (16 + 64)
    seen = []
    for module in (mlp.fc1, mlp.act2):
        module.register_forward_hook(lambda *args: seen.append(args[2]))
    watched, kept = _grads(mlp, x)
    assert kept == 1000 * (16 + 16 + 64 + 64)
    assert len(seen) == 2
    for one, other in zip(plain, watched, strict=True):
        torch.testing.assert_close(one, other)


def _grads(mlp, x):
    """Gradients of the input and the parameters, and how many numbers of the activations were kept for them."""
    sizes = {}

    def keep(tensor):
        sizes[tensor.data_ptr()] = tensor.numel()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        y = mlp(x)
    grads = torch.autograd.grad(y.square().sum(), [x, *mlp.parameters()])
    return grads, sum(size for size in sizes.values() if size >= 10 * len(x))


def test_a_dropout_that_somebody_watches_or_replaces_is_called():
    mlp, x, seen = RationalMlp(8), torch.randn(3, 8), []
    mlp.drop2.register_forward_hook(lambda *given: seen.append(len(given)))
    mlp.eval()(x)
    assert seen == [3]
    mlp.drop2 = nn.Identity()
    assert mlp.train()(x).shape == x.shape
    mlp.drop2 = nn.Threshold(1e9, 0.0)  # everything becomes zero
    torch.testing.assert_close(mlp(x), mlp.fc2.bias.expand(3, 8))


def test_a_forward_of_ones_own_and_hooks_for_all_modules_are_called():
    """Tools that move weights about put a `forward` in place of the module's; profilers hook all modules at once."""
    mlp, x, seen = RationalMlp(8).eval(), torch.randn(3, 8), []
    old = mlp.fc1.forward
    mlp.fc1.forward = lambda x: seen.append("fc1") or old(x)
    mlp(x)
    assert seen == ["fc1"]
    handle = nn.modules.module.register_module_forward_hook(lambda module, *_: seen.append(type(module).__name__))
    mlp(x)
    handle.remove()
    assert seen.count("GroupRational") == 2
