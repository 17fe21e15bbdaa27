"""Networks whose weights are shared out among processes (FSDP2)."""

import torch
from lightning.pytorch.strategies import ModelParallelStrategy
from torch.distributed.fsdp import fully_shard

from superpose.train.module import Training

STACK = "blocks"
"""What timm's transformers call their layers."""


class ShardedTraining(Training):
    """Trains a task whose network is sharded: each block by itself, then what is left."""

    def configure_model(self) -> None:
        """Shard it, once there is a mesh of processes."""
        mesh = self.device_mesh["data_parallel"]
        for name, module in self.task.model.named_modules():
            if name.rpartition(".")[2] == STACK:
                for block in module.children():
                    fully_shard(block, mesh=mesh)
        fully_shard(self.task.model, mesh=mesh)


def sharded(devices: int | str, nodes: int) -> ModelParallelStrategy:
    """Lightning's strategy for it; checkpoints are whole files, as without it."""
    each = max(1, torch.cuda.device_count()) if isinstance(devices, str) else devices
    return ModelParallelStrategy(each * nodes, tensor_parallel_size=1, save_distributed_checkpoint=False)
