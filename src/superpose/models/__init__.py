"""Networks."""

from superpose.models.kan import KAN as KAN
from superpose.models.mlp import MLP as MLP
from superpose.models.network import Network as Network
