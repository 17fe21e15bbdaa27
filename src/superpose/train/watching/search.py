"""Where the first value that is not finite comes from."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from superpose.layers.statistics import tensors_in, uncompiled


@dataclass(frozen=True)
class Finding:
    """A tensor that is not finite.

    Attributes:
        layer: Name of the module, or `batch` or `loss`.
        tensor: Which of its tensors: `input`, `output`, the name of a parameter or of a part of the batch, or `gradient
            of` one of them.
        kind: `nan` if there is one, else `inf`.
        count: How many of its values are not finite.
        size: How many it has.
    """

    layer: str
    tensor: str
    kind: Literal["nan", "inf"]
    count: int
    size: int

    def __str__(self) -> str:
        where = self.layer if self.layer == self.tensor else f"{self.tensor} of {self.layer}"
        if self.layer == "batch" != self.tensor:
            where = f"part {self.tensor} of the batch"
        return f"the {where} holds {self.kind} ({self.count:,} of {self.size:,} values are not finite)"


class NonFiniteError(FloatingPointError):
    """A training step in which something is not finite.

    Attributes:
        finding: The first tensor that is not finite, in the order of execution; None if computing the step again, layer
            by layer and uncompiled, gave finite values everywhere.
        step: Updates before the step.
        path: File with the batch and the state from before the step.
    """

    def __init__(self, finding: Finding | None, step: int, path: Path) -> None:
        super().__init__(finding, step, path)
        self.finding, self.step, self.path = finding, step, path

    def __str__(self) -> str:
        found = self.finding or "loss or gradients are not finite, but were when the step was computed once more"
        return f"step {self.step}: {found}. The batch and the state from before this step are in {self.path}."


def find_nonfinite(
    module: nn.Module, loss: Callable[[], Tensor | None], backward: Callable[[Tensor], None] | None = None
) -> Finding | None:
    """The first tensor in the order of execution that is not finite.

    Each module is examined when it runs: its parameters, its inputs, and then its outputs. So what is found in an
    output was made there, or between the modules inside. Infinity alone is taken for a mask in buffers and in inputs that
    have no gradients.

    If all of this is finite, gradients are examined as they arrive. The gradient of an input was made by the module that
    takes it; the gradient of an output, by what follows the module and is no module itself.

    Args:
        module: The network.
        loss: Runs it and gives the loss.
        backward: Computes gradients from the loss, which are added to those that the parameters have; if None, gradients
            are not examined.

    Example:
        >>> from superpose.layers import RationalMlp
        >>> mlp, x = RationalMlp(8), torch.ones(2, 8)
        >>> _ = nn.init.constant_(mlp.fc1.bias, float("inf"))
        >>> print(find_nonfinite(mlp, lambda: mlp(x).sum()))
        the bias of fc1 holds inf (8 of 8 values are not finite)
    """
    search = _Search()
    with uncompiled(), torch.enable_grad():
        try:
            search.attach(module)
            value = loss()
            if value is not None:
                search.see("loss", "loss", value)
            if search.found is None and value is not None and backward is not None:
                backward(value)
        finally:
            search.detach()
    return search.found


def examine(layer: str, tensor: str, value: Tensor, *, nan_only: bool = False) -> Finding | None:
    """What is not finite in a tensor, if anything."""
    finite = torch.isfinite(value)
    if bool(finite.all()):
        return None
    nan = bool(value.isnan().any())
    if nan_only and not nan:
        return None
    return Finding(layer, tensor, "nan" if nan else "inf", int((~finite).sum()), value.numel())


class _Search:
    """Hooks that remember the first tensor that is not finite. They stop nothing: processes must stay in step."""

    def __init__(self) -> None:
        self.found: Finding | None = None
        self._hooks: list[Any] = []
        self._labels: dict[int, tuple[str, str]] = {}
        self._kept: list[Tensor] = []  # so that no other tensor gets the same id

    def attach(self, root: nn.Module) -> None:
        for path, module in root.named_modules():
            name = path.replace("_orig_mod.", "") or type(root).__name__
            before, after = self._before(name), self._after(name)
            self._hooks.append(module.register_forward_pre_hook(before, with_kwargs=True))
            self._hooks.append(module.register_forward_hook(after))

    def detach(self) -> None:
        for hook in self._hooks:
            hook.remove()

    def see(self, layer: str, tensor: str, value: Tensor, *, nan_only: bool = False) -> None:
        if self.found is None:
            self.found = examine(layer, tensor, value.detach(), nan_only=nan_only)

    def _before(self, layer: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, kwargs: Any) -> None:
            for name, parameter in module.named_parameters(recurse=False):
                self.see(layer, name, parameter)
                self._follow(layer, f"gradient of {name}", parameter)
            for name, buffer in module.named_buffers(recurse=False):
                self.see(layer, name, buffer, nan_only=True)
            for _, value in tensors_in([args, kwargs]):
                self.see(layer, "input", value, nan_only=not value.requires_grad)
                self._follow(layer, "gradient of the input", value)

        return hook

    def _after(self, layer: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            for _, value in tensors_in(output):
                self.see(layer, "output", value)
                if id(value) not in self._labels:
                    self._follow(layer, "gradient of the output", value)

        return hook

    def _follow(self, layer: str, tensor: str, value: Tensor) -> None:
        """Examine its gradient as that of the module which takes it last: the innermost one."""
        if not value.requires_grad:
            return
        key = id(value)
        if key not in self._labels:
            self._kept.append(value)
            self._hooks.append(value.register_hook(lambda gradient: self.see(*self._labels[key], gradient)))
        self._labels[key] = layer, tensor
