"""A part of a network: the edges that are left, without the nodes and factors that have none."""

import copy

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from superpose.layers import Products
from superpose.models.kan import KAN


class Filled(Products):
    """Products in which factors without edges are constants."""

    constants: Tensor

    @classmethod
    def of(cls, products: Products, mask: Bool[Tensor, "factors inputs"], means: Float[Tensor, " factors"]) -> Products:
        """With the means of the factors that have lost their edges, while others of the same node have some."""
        if products.plain:
            return products
        made, filled = cls(products.arities).to(mask.device), mask.any(1)
        made.constants = torch.where(products.by_factor(products.any(filled)) & ~filled, means, 0)
        return made

    def forward(self, x: Float[Tensor, "*batch factors"]) -> Float[Tensor, "*batch nodes"]:
        return super().forward(x + self.constants)


def shrunk(model: KAN, source: KAN, masks: list[Bool[Tensor, "_ _"]]) -> KAN:
    """A copy of `model` with the parameters of `source` and without the hidden nodes and factors that have no edges."""
    model = copy.deepcopy(model)
    ins = torch.arange(model.widths[0], device=masks[0].device)
    for n, (layer, made, mask) in enumerate(zip(model.layers, source.layers, masks, strict=True)):
        products, filled = source.products[n], mask.any(1)
        alive = products.any(filled)
        nodes = _some(alive if n < len(masks) - 1 else torch.ones_like(alive))
        outs, arities, scale = _left_factors(products, filled, nodes)
        if len(ins) < layer.in_features:
            layer.basis = layer.basis.at(layer.basis.breakpoints[ins])
        layer.in_features, layer.out_features = len(ins), len(outs)
        layer.weight = _like(layer.weight, made.weight[outs][:, ins] * scale.unsqueeze(1))
        layer.coef = _like(layer.coef, made.coef[ins][:, :, outs] * scale)
        mask = mask[outs][:, ins]
        layer.mask = None if bool(mask.all()) else mask
        model.products[n] = Products(arities).to(mask.device)
        ins = nodes
    model.widths = (model.widths[0], *map(len, model.arities))
    model.output_scaling.shift.copy_(source.output_scaling.shift)
    return model


def _left_factors(
    products: Products, filled: Bool[Tensor, " factors"], nodes: Tensor
) -> tuple[list[int], list[int], Tensor]:
    """The factors with edges of some nodes, how many each node has, and what constant factors multiply them by."""
    constants = getattr(products, "constants", torch.zeros_like(filled, dtype=torch.float64))
    outs: list[int] = []
    arities, scale = [], []
    for node in nodes.tolist():
        place = products.place(node)
        left = (torch.where(filled[place])[0] + place.start).tolist()
        outs += left or [place.start]
        arities.append(max(1, len(left)))
        constant = float(constants[place][~filled[place]].prod()) if left else 1.0
        scale += [constant] + [1.0] * (arities[-1] - 1)
    return outs, arities, constants.new_tensor(scale)


def _some(alive: Bool[Tensor, " nodes"]) -> Tensor:
    """Numbers of the nodes that live, or of one dead one: a layer is never empty."""
    return torch.where(alive)[0] if bool(alive.any()) else torch.zeros(1, dtype=torch.long, device=alive.device)


def _like(old: nn.Parameter, values: Tensor) -> nn.Parameter:
    return nn.Parameter(values.to(old.dtype, memory_format=torch.contiguous_format), requires_grad=old.requires_grad)
