"""Learning rates and what decays."""

import pytest
import timm
import torch
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, SequentialLR

from superpose.train.optimization import Optimization, lr_factor, parameter_groups


def test_learning_rates_are_those_of_pytorchs_own_schedulers():
    optimization = Optimization(epochs=10, lr=0.2, warmup_epochs=3, warmup_lr=0.01, min_lr=0.02)
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.2)
    parts = [LinearLR(optimizer, 0.05, 1.0, total_iters=12), CosineAnnealingLR(optimizer, 28, eta_min=0.02)]
    scheduler = SequentialLR(optimizer, parts, [12])
    for step in range(40):
        assert 0.2 * lr_factor(step, optimization, 40) == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-12)
        optimizer.step()
        scheduler.step()
    assert lr_factor(40, optimization, 40) == pytest.approx(0.1)


class Rational(nn.Module):
    """As the coefficients of GR-KAN are called."""

    def __init__(self):
        super().__init__()
        self.weight_numerator = nn.Parameter(torch.zeros(1, 6))
        self.weight_denominator = nn.Parameter(torch.zeros(8, 4))
        self.fc = nn.Linear(3, 3)


@pytest.mark.parametrize("layer_decay", [None, 0.5])
@pytest.mark.parametrize(("decays", "count"), [(True, 3), (False, 1)])
def test_coefficients_decay_if_asked_to(decays, count, layer_decay):
    network = Rational()
    groups = parameter_groups(network, Optimization(1, decay_coefficients=decays, layer_decay=layer_decay))
    decayed = [p for group in groups if group["weight_decay"] for p in group["params"]]
    assert len(decayed) == count
    assert network.fc.weight in set(decayed)
    assert sum(len(group["params"]) for group in groups) == 4


def test_layers_learn_at_their_own_rates_and_exempt_parameters_do_not_decay():
    network = timm.create_model("vit_tiny_patch16_224", img_size=32, embed_dim=16, depth=3, num_heads=2, num_classes=4)
    groups = parameter_groups(network, Optimization(1, layer_decay=0.5))
    scale = {p: group["lr_scale"] for group in groups for p in group["params"]}
    assert scale[network.head.weight] == 1
    assert scale[network.blocks[2].mlp.fc1.weight] == 0.5
    assert scale[network.blocks[0].mlp.fc1.weight] == 0.125
    (plain,) = (group for group in parameter_groups(network, Optimization(1)) if group["weight_decay"] == 0)
    assert any(p is network.pos_embed for p in plain["params"])
