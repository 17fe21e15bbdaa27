"""What optimizers are to know of the parameters around a transformer."""

import re
from typing import Any

from timm.models import VisionTransformer
from torch import nn


class TransformerParameters:
    """A mixin for networks with a transformer of timm somewhere inside, which tells timm's optimizers of its parameters.

    Layer-wise learning rates (`timm.optim.param_groups_layer_decay`) fall from the last block to the patch embedding, and
    what is around the transformer, such as a pyramid and heads, learns at the full rate.
    """

    def no_weight_decay(self) -> set[str]:
        """Names or patterns of the parameters that are not decayed: those of the transformer."""
        prefix, transformer = self._transformer()
        return set() if transformer is None else {prefix + name for name in transformer.no_weight_decay()}

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Patterns of the names in each layer, as timm reads them."""
        prefix, transformer = self._transformer()
        if transformer is None:
            return {}
        start = "^" + re.escape(prefix)
        return {
            "stem": start + "(?:cls_token|reg_token|pos_embed|patch_embed|norm_pre)",
            "blocks": [(start + r"blocks\.(\d+)", None), (start + "norm", (99999,))],
        }

    def _transformer(self) -> tuple[str, VisionTransformer | None]:
        assert isinstance(self, nn.Module)
        found = ((name, part) for name, part in self.named_modules() if isinstance(part, VisionTransformer))
        name, part = next(found, ("", None))
        return f"{name}." if name else "", part
