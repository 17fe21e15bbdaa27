"""Layers: `nn.Module`s to build networks from."""

from superpose.layers.affine import Affine as Affine
from superpose.layers.group_rational import GRKANLinear as GRKANLinear
from superpose.layers.group_rational import GroupRational as GroupRational
from superpose.layers.init import power_law as power_law
from superpose.layers.init import variance_preserving as variance_preserving
from superpose.layers.kan_linear import KANLinear as KANLinear
from superpose.layers.kernel_attention import KernelAttention as KernelAttention
from superpose.layers.kernel_attention import attention_class as attention_class
from superpose.layers.products import Products as Products
from superpose.layers.rational_mlp import RationalMlp as RationalMlp
