"""Attention whose scores are Kolmogorov-Arnold functions of pairs of tokens."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

from superpose.layers.attend import NORMALIZATIONS, Mask
from superpose.layers.attention_weights import CoordinateWeights, Weights
from superpose.layers.kan_linear import KANLinear
from superpose.layers.kernels import (
    CubicSplineKernel,
    GaussianKernel,
    Kernel,
    LinearKernel,
    SeriesKernel,
    SquaredDistance,
)

Value = Literal["shared", "head", "proj"]
Normalize = Literal["softmax", "kernel", "sigmoid"]


class KernelAttention(nn.Module):
    r"""Attention with the scores $s \sum_{dd'} A_{dd'}\, \kappa(q_d, k_{d'})$ of a kernel of two numbers, exact and small.

    Each head projects the tokens to coordinates, which the kernel compares in all pairs, weighted by a matrix A of the
    head (arXiv 2503.23038). Where the kernel is a sum of products $\lambda_m \psi_m(a) \psi_m(b)$ the scores are dot
    products, so that PyTorch's fused attention computes the rest: neither the tensor of all pairs of coordinates nor the
    values of the functions are ever held. With learned weights of rank r **the queries and keys are the outputs of
    Kolmogorov-Arnold layers** on the kernel's basis, see `kan`. It stands where timm has its `Attention`, whose
    arguments come first; `attention_class` makes timm's models take it.

    Args:
        dim: Width of the tokens.
        num_heads: Number of heads, a divisor of `dim`.
        qkv_bias: Whether the projection to coordinates has a bias.
        qk_norm: Whether `norm_layer` normalises the coordinates, in place of `coordinates`.
        scale_norm: Whether `norm_layer` normalises what the heads give, before the last projection.
        proj_bias: Whether the last projection has a bias.
        attn_drop: Share of attention weights dropped in training.
        proj_drop: Share of outputs dropped in training.
        norm_layer: Makes a normalisation from a width.
        device: Where the parameters are made.
        dtype: Their type.
        kernel: The function of two numbers, see `superpose.layers.kernels`; a copy of it is made for the heads.
            `GaussianKernel()` if None.
        weights: The matrix A, see `CoordinateWeights`.
        tie_qk: Whether queries and keys have the same coordinates.
        value: What is averaged: the keys' coordinates (`"shared"`), these times a matrix of the head (`"head"`), or a
            projection of the tokens of its own (`"proj"`).
        normalize: Whether weights are `"softmax"` of the scores, in proportion to them (`"kernel"`, linear in the number
            of tokens), or `"sigmoid"` of them; see `superpose.layers.attend`.
        scale: The factor s; 1 / coordinates of a head if None.
        coordinates: Makes what is applied to the coordinates from their number, `nn.LayerNorm` for example; what the
            kernel needs if None.
        project: Whether tokens are projected to coordinates; else they are split among the heads as they are.

    Raises:
        TypeError: If `kernel` is no kernel.
        ValueError: If a number is out of its range, or parts do not go together.

    Example:
        >>> layer = KernelAttention(64, 4, kernel=GaussianKernel(0.5), weights=2)
        >>> layer(torch.zeros(3, 10, 64)).shape
        torch.Size([3, 10, 64])
    """

    def __init__(  # noqa: PLR0913 - the first eleven are timm's
        self,
        dim: int,
        num_heads: int = 8,
        qkv_bias: bool = False,
        qk_norm: bool = False,
        scale_norm: bool = False,
        proj_bias: bool = True,
        attn_drop: float = 0.0,
        proj_drop: float = 0.0,
        norm_layer: Callable[..., nn.Module] | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        kernel: Kernel | None = None,
        weights: Weights = 1,
        tie_qk: bool = True,
        value: Value = "shared",
        normalize: Normalize = "softmax",
        scale: float | None = None,
        coordinates: Callable[[int], nn.Module] | None = None,
        project: bool = True,
    ) -> None:
        super().__init__()
        kernel = GaussianKernel() if kernel is None else kernel
        _check(dim, num_heads, kernel, weights, value, normalize)
        if not project and (not tie_qk or value == "proj"):
            raise ValueError(
                "project=False leaves one set of coordinates: it needs tie_qk=True and value shared or head."
            )
        if (qk_norm or scale_norm) and norm_layer is None:
            raise ValueError("qk_norm and scale_norm need a norm_layer, such as torch.nn.LayerNorm.")
        if qk_norm and coordinates is not None:
            raise ValueError("qk_norm and coordinates both say what is applied to the coordinates; give one of them.")
        made: dict[str, Any] = {"device": device, "dtype": dtype}
        self.num_heads, self.head_dim = num_heads, dim // num_heads
        self.tie_qk, self.value, self.normalize = tie_qk, value, normalize
        self.scale = 1 / self.head_dim if scale is None else scale
        self.parts = (1 if tie_qk else 2) + (value == "proj")
        self.qkv = nn.Linear(dim, self.parts * dim, bias=qkv_bias, **made) if project else nn.Identity()
        self.weights = CoordinateWeights(num_heads, self.head_dim, weights, **made)
        if qk_norm and norm_layer is not None:
            coordinates = norm_layer
        norms = [kernel.coordinates(self.head_dim) if coordinates is None else coordinates(self.head_dim) for _ in "qk"]
        self.q_norm, self.k_norm = norms[0].to(**made), (None if tie_qk else norms[1].to(**made))
        square = torch.empty(num_heads, self.head_dim, self.head_dim, **made)
        self.value_weight = nn.Parameter(square) if value == "head" else None
        self.attn_drop, self.proj_drop = nn.Dropout(attn_drop), nn.Dropout(proj_drop)
        self.norm = norm_layer(dim, **made) if scale_norm and norm_layer is not None else nn.Identity()
        self.proj = nn.Linear(dim, dim, bias=proj_bias, **made)
        self.kernel = kernel.expanded(num_heads).to(self.proj.weight.device, dtype)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw the matrices of the values anew; the parts that are modules have a `reset_parameters` of their own."""
        if self.value_weight is not None:
            self.value_weight.normal_(std=0.02)

    @classmethod
    def standard(cls, dim: int, num_heads: int = 8, **options: Any) -> "KernelAttention":
        """Ordinary attention: products of separate queries and keys. Its parameters fit timm's `Attention`."""
        chosen = {"tie_qk": False, "value": "proj", "scale": (dim // num_heads) ** -0.5}
        return cls(dim, num_heads, **{"kernel": LinearKernel(), "weights": "identity", **chosen, **options})

    @classmethod
    def semi_fusion(cls, dim: int, num_heads: int = 8, **options: Any) -> "KernelAttention":
        """Semi-Fusion: one projection, from which each head makes scores and values with a matrix each; see `fold`."""
        layer = cls(dim, num_heads, **{"kernel": LinearKernel(), "weights": "full", "value": "head", **options})
        if isinstance(layer.qkv, nn.Linear):
            nn.init.normal_(layer.qkv.weight, std=dim**-0.5)
        return layer

    @classmethod
    def param_fusion(cls, dim: int, num_heads: int = 8, **options: Any) -> "KernelAttention":
        """Param-Fusion: one projection that is keys and values at once, and a matrix for each head's scores."""
        return cls(dim, num_heads, **{"qkv_bias": True, "kernel": LinearKernel(), "weights": "full", **options})

    @classmethod
    def gaussian_mhsa(
        cls, dim: int, num_heads: int = 8, *, sigma: float = 1.0, paper_compat: bool = False, **options: Any
    ) -> "KernelAttention":
        """Gaussian attention over all pairs of coordinates.

        As published (`paper_compat`) the width is fixed and all pairs count the same, so that a score does not see
        which coordinate holds which number, and attention is nearly even over all tokens. The learned affine map of
        its normalisation may take numbers beyond 6 and beyond all that normalisation alone can give; they then count as
        the larger of these. Repaired, there is no such map, and every head learns its width, within a factor of 1.4, and
        a matrix of weights of rank one.
        """
        reach = max(1.0, (dim // num_heads - 1) ** 0.5)
        if paper_compat:
            kernel, more = (
                GaussianKernel(sigma, radius=max(6.0, reach)),
                {"weights": "ones", "coordinates": nn.LayerNorm},
            )
        else:
            kernel, more = (
                GaussianKernel(sigma, learn=(sigma / 2**0.5, sigma * 2**0.5), eps=1e-3, radius=reach),
                {"weights": 1},
            )
        return cls(dim, num_heads, **{"qkv_bias": True, "kernel": kernel, **more, **options})

    @classmethod
    def spline_mhsa(
        cls, dim: int, num_heads: int = 8, *, modes: int = 24, paper_compat: bool = False, **options: Any
    ) -> "KernelAttention":
        """Attention with the kernel of cubic splines.

        As published (`paper_compat`) softmax makes the coordinates, which then sum to one, so that all tokens score
        nearly alike. Repaired, a sigmoid makes them, and every head learns weights of rank one.
        """
        compat = {"weights": "ones", "coordinates": lambda head_dim: nn.Softmax(-1)}
        more = compat if paper_compat else {"weights": 1}
        return cls(dim, num_heads, **{"qkv_bias": True, "kernel": CubicSplineKernel(modes), **more, **options})

    @classmethod
    def full_vector_gaussian(
        cls, dim: int, num_heads: int = 8, *, sigma: float | None = None, **options: Any
    ) -> "KernelAttention":
        """Softmax of negative squared distances of queries and keys, with a width that each head learns."""
        kernel = SquaredDistance((dim // num_heads) ** 0.25 if sigma is None else sigma, learn=True)
        chosen = {"weights": "identity", "tie_qk": False, "value": "proj", "scale": 1.0}
        return cls(dim, num_heads, **{"kernel": kernel, **chosen, **options})

    @classmethod
    def gka(cls, dim: int, num_heads: int = 8, *, sigma: float | None = None, **options: Any) -> "KernelAttention":
        """Gaussian kernel attention without projections to queries, keys and values (arXiv 2605.02144).

        The tokens' own coordinates are compared and averaged, with a width that each head learns.
        """
        kernel = SquaredDistance((dim // num_heads) ** 0.25 if sigma is None else sigma, learn=True)
        return cls(
            dim, num_heads, **{"kernel": kernel, "weights": "identity", "scale": 1.0, "project": False, **options}
        )

    def forward(
        self, x: Float[Tensor, "batch tokens dim"], attn_mask: Mask = None, is_causal: bool = False
    ) -> Float[Tensor, "batch tokens dim"]:
        """What every token takes from the others.

        Args:
            x: Tokens.
            attn_mask: True where a query sees a key, or what is added to scores; it broadcasts to (batch, heads, queries,
                keys).
            is_causal: Whether a token sees itself and those before it alone.

        Raises:
            ValueError: If x has another width, or there are a mask and causality at once.
        """
        if x.ndim != 3 or x.shape[-1] != self.proj.in_features:
            raise ValueError(f"x must have shape (batch, tokens, {self.proj.in_features}), got {tuple(x.shape)}.")
        if is_causal and attn_mask is not None:
            raise ValueError("give an attn_mask or is_causal=True, not both; put causality into the mask.")
        q, k, v = self.heads(x)
        queries, keys = (part.to(v.dtype).transpose(1, 2) for part in self.features(q, k))
        drop = self.attn_drop.p if self.training else 0.0
        attend = NORMALIZATIONS[self.normalize]
        out = attend(queries, keys, v.transpose(1, 2), self.scale, attn_mask, is_causal, drop)
        return self.proj_drop(self.proj(self.norm(out.transpose(1, 2).flatten(2))))

    def heads(
        self, x: Float[Tensor, "batch tokens dim"]
    ) -> tuple[
        Float[Tensor, "batch tokens heads coordinates"],
        Float[Tensor, "batch tokens heads coordinates"],
        Float[Tensor, "batch tokens heads coordinates"],
    ]:
        """The coordinates of queries and keys, one object where they are tied, and the values of every head."""
        parts = self.qkv(x).unflatten(-1, (self.parts, self.num_heads, self.head_dim)).unbind(2)
        q = self.q_norm(parts[0])
        k = q if self.k_norm is None else self.k_norm(parts[1])
        if self.value == "proj":
            return q, k, parts[-1]
        return q, k, k if self.value_weight is None else torch.einsum("bshd,hde->bshe", k, self.value_weight)

    def features(
        self, q: Float[Tensor, "batch queries heads coordinates"], k: Float[Tensor, "batch keys heads coordinates"]
    ) -> tuple[Float[Tensor, "batch queries heads features"], Float[Tensor, "batch keys heads features"]]:
        """What the scores, before their scale, are dot products of; in float32 or wider.

        With softmax, scores are given up to a number of the query's own.
        """
        wide = torch.promote_types(q.dtype, torch.float32)
        queries = q.to(wide)
        keys = queries if q is k else k.to(wide)
        left, right = self.weights(queries)
        left_wide = None if left is None else left.to(wide)
        right_wide = left_wide if left is right else None if right is None else right.to(wide)
        with torch.autocast(q.device.type, enabled=False):
            return self.kernel(queries, keys, left_wide, right_wide, self.normalize == "softmax")

    @torch.no_grad()
    def kan(self, head: int) -> tuple[KANLinear, KANLinear]:
        """The Kolmogorov-Arnold layers from a head's coordinates whose outputs are its queries and its keys.

        A `StationaryKernel` takes numbers beyond its radius for its ends, and these layers do not: the two agree for
        coordinates up to the radius.

        Raises:
            TypeError: If the kernel is not a series over a basis.
            IndexError: If there is no such head.

        Example:
            >>> queries, keys = KernelAttention(16, 2, weights=1).kan(0)
            >>> queries
            KANLinear(
              8, 33
              (basis): Fourier(harmonics=16)
              (base): Identity()
            )
        """
        if not isinstance(self.kernel, SeriesKernel):
            raise TypeError(
                f"{type(self.kernel).__name__} is not a series over a basis; only such kernels are KAN layers."
            )
        if not 0 <= head < self.num_heads:
            raise IndexError(f"head is {head}, but there are {self.num_heads} heads, from 0 on.")
        layers = []
        for mix, query in zip(self.weights(self.proj.weight), (True, False), strict=True):
            coef = self.kernel.coef(mix, self.head_dim, query=query)
            mine = coef[head if len(coef) > 1 else 0]
            layer = KANLinear(self.head_dim, mine.shape[-1], self.kernel.basis, base=nn.Identity()).to(mine)
            layer.weight.zero_()
            layer.coef.copy_(mine)
            layers.append(layer)
        return layers[0], layers[1]

    @torch.no_grad()
    def fold(self) -> "KernelAttention":
        """The same function with the heads' value matrices multiplied into the last projection: fewer parameters.

        This makes Param-Fusion of Semi-Fusion: the two are one class of functions.

        Raises:
            ValueError: If there are no such matrices, or a normalisation stands between them and the projection.
        """
        if self.value_weight is None or not isinstance(self.norm, nn.Identity):
            raise ValueError(f"fold needs value='head', got {self.value!r}, and scale_norm=False.")
        folded = deepcopy(self)
        blocks = self.proj.weight.unflatten(1, (self.num_heads, self.head_dim))
        folded.proj.weight.copy_(torch.einsum("ohe,hde->ohd", blocks, self.value_weight).flatten(1))
        folded.value, folded.value_weight = "shared", None
        return folded

    def extra_repr(self) -> str:
        return f"tie_qk={self.tie_qk}, value={self.value!r}, normalize={self.normalize!r}, scale={self.scale:.4g}"


def _check(dim: int, num_heads: int, kernel: Kernel, weights: Weights, value: str, normalize: str) -> None:
    """Raise what is wrong with the parts, or with their company."""
    if num_heads < 1 or dim < 1 or dim % num_heads:
        raise ValueError(f"dim must be a positive multiple of num_heads, got {dim} and {num_heads}.")
    if not isinstance(kernel, Kernel):
        raise TypeError(f"kernel must be an object such as superpose.layers.kernels.GaussianKernel(), got {kernel!r}.")
    if value not in get_args(Value):
        raise ValueError(f"value is {value!r}; choose one of {', '.join(get_args(Value))}.")
    if normalize not in NORMALIZATIONS:
        raise ValueError(f"normalize is {normalize!r}; choose one of {', '.join(NORMALIZATIONS)}.")
    name = type(kernel).__name__
    if kernel.vectors and (weights != "identity" or normalize != "softmax"):
        raise ValueError(
            f"{name} compares whole vectors, up to a number for every query: it needs weights='identity' and "
            f"normalize='softmax', got {weights!r} and {normalize!r}."
        )
    if normalize == "kernel" and not (kernel.positive and weights in ("ones", "identity")):
        raise ValueError(
            f"normalize='kernel' divides by sums of scores, which must be positive: it needs a positive kernel such as "
            f"GaussianKernel and weights 'ones' or 'identity', got {name} and {weights!r}."
        )


def attention_class(factory: Callable[..., nn.Module], **options: Any) -> type[nn.Module]:
    """A class that timm takes as `attn_layer`, whose objects are what `factory` makes with these options.

    Example:
        >>> kind = attention_class(KernelAttention.gaussian_mhsa, sigma=0.5)
        >>> type(kind(64, num_heads=4)).__name__
        'KernelAttention'
    """

    def make(cls: type[nn.Module], *args: Any, **given: Any) -> nn.Module:
        return factory(*args, **{**given, **options})

    return type(getattr(factory, "__name__", "attention"), (nn.Module,), {"__new__": make})
