"""Something is broken in one place, and that place must be named."""

import math
import pickle

import pytest
import torch
from torch import nn

from superpose.train.watching import Finding, NonFiniteError, find_nonfinite


def _x(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def _search(network, x, *, backward=False):
    found = find_nonfinite(network, lambda: network(x).square().mean(), torch.Tensor.backward if backward else None)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in network.modules())
    return found


class Function(nn.Module):
    """A function as a module."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def test_nothing_is_wrong(make):
    assert _search(make().blocks, _x(4, 8), backward=True) is None


@pytest.mark.parametrize(
    "name", ["0.norm.weight", "0.mlp.act2.weight_denominator", "1.mlp.fc1.weight", "1.mlp.fc2.bias"]
)
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_parameter(make, name, value):
    network = make().blocks
    parameter = network.get_parameter(name)
    with torch.no_grad():
        parameter.view(-1)[1] = value
    layer, _, tensor = name.rpartition(".")
    assert _search(network, _x(4, 8)) == Finding(
        layer, tensor, "nan" if math.isnan(value) else "inf", 1, parameter.numel()
    )


def test_a_parameter_of_the_network_itself(make):
    network = make().blocks
    network.register_parameter("position", nn.Parameter(torch.tensor([math.nan])))
    assert _search(network, _x(4, 8)).layer == "Sequential"


@pytest.mark.parametrize(
    ("dtype", "bias", "layer"), [(torch.float16, 6e4, "1.mlp.fc1"), (torch.bfloat16, 1e30, "1.mlp.act2")]
)
def test_an_overflow(make, dtype, bias, layer):
    """Of a linear map in float16; bfloat16 reaches as far as float32, but a rational function takes the fifth power."""
    network = make(depth=3).blocks
    with torch.no_grad():
        network[1].mlp.fc1.weight.mul_(2e4)
        network[1].mlp.fc1.bias.fill_(bias)
    assert all(p.to(dtype).isfinite().all() for p in network.parameters())
    with torch.autocast("cpu", dtype):
        found = _search(network, _x(4, 8))
    assert (found.layer, found.tensor) == (layer, "output")
    assert found.kind == ("inf" if dtype == torch.float16 else "nan")


def test_between_modules():
    """What no module has made is found where the next one takes it."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(8, 8), nn.Linear(8, 8)

        def forward(self, x):
            return self.second(torch.log(self.first(x)))

    found = _search(Net(), _x(4, 8))
    assert (found.layer, found.tensor, found.kind) == ("second", "input", "nan")


def test_the_loss_alone(make):
    network = make().blocks
    found = find_nonfinite(network, lambda: (network(_x(4, 8)) * 0).sum().log())
    assert str(found) == "the loss holds inf (1 of 1 values are not finite)"


def test_a_mask_is_no_error():
    mask = torch.zeros(5, 5).masked_fill(torch.ones(5, 5).triu(1).bool(), -math.inf)
    layer = nn.MultiheadAttention(8, 2)
    x = _x(5, 1, 8).requires_grad_()
    assert find_nonfinite(layer, lambda: layer(x, x, x, attn_mask=mask)[0].sum(), torch.Tensor.backward) is None
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0)
    assert find_nonfinite(layer, lambda: layer(x, mask).sum(), torch.Tensor.backward) is None


def test_the_backward_pass_of_a_module():
    """The square root of zero is finite, its slope is not."""
    network = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), Function(torch.sqrt), nn.Linear(8, 2))
    assert _search(network, _x(4, 8)) is None
    found = _search(network, _x(4, 8), backward=True)
    assert (found.layer, found.tensor, found.kind) == ("2", "gradient of the input", "inf")


def test_the_backward_pass_between_modules():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(8, 8), nn.Linear(8, 8)

        def forward(self, x):
            return self.second((self.first(x) * 0).sqrt())

    found = _search(Net(), _x(4, 8), backward=True)
    assert (found.layer, found.tensor) == ("first", "gradient of the output")


def test_the_gradient_of_a_weight(make):
    class Scale(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(8))

        def forward(self, x):
            return x.detach() * self.weight.sqrt()

    found = _search(nn.Sequential(nn.Linear(8, 8), Scale()), _x(4, 8), backward=True)
    assert (found.layer, found.tensor) == ("1", "gradient of weight")


@pytest.mark.parametrize("how", ["in place", "wrapped"])
def test_compiled(make, how):
    network = make().blocks
    with torch.no_grad():
        network[1].mlp.fc1.bias[0] = math.nan
    if how == "in place":
        network.compile(backend="eager")
    else:
        network = torch.compile(network, backend="eager")
    network(_x(4, 8))
    assert _search(network, _x(4, 8)).layer == "1.mlp.fc1"


def test_the_error_says_what_and_where(tmp_path):
    error = NonFiniteError(Finding("blocks.3.mlp.fc1", "output", "inf", 3, 4096), 12, tmp_path / "file.pt")
    assert str(error) == (
        "step 12: the output of blocks.3.mlp.fc1 holds inf (3 of 4,096 values are not finite). "
        f"The batch and the state from before this step are in {tmp_path / 'file.pt'}."
    )
    assert str(pickle.loads(pickle.dumps(error))) == str(error), "processes send it to each other"  # noqa: S301
