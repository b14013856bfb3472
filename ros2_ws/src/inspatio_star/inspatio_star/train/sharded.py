"""
A network whose weights lie in parts on many processes (FSDP2).

What is not split passes through: the same code runs on one process.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor

from inspatio_star.star.dit import Dit


def shard(dit: Dit) -> None:
    """Split the weights of a network, block by block, over all processes of the default group."""
    for block in dit.blocks:
        fully_shard(block)
    fully_shard(dit)
    # It may be called before `forward` is, with weights of its own.
    register_fsdp_forward_method(dit, 'refined')


def whole(tensor: Tensor) -> Tensor:
    """Return a tensor in one part; where it is split, all processes must ask for it together."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def whole_state(net: nn.Module) -> dict[str, Tensor]:
    """Return the weights of a network in one part each; see `whole`."""
    return {name: whole(tensor) for name, tensor in net.state_dict().items()}


@torch.no_grad()
def fill(tensors: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> None:
    """
    Copy values into tensors, split or not.

    :param values: in one part each, the same on all processes.
    """
    for name, tensor in tensors.items():
        value = values[name].to(tensor.dtype)
        if isinstance(tensor, DTensor):
            value = distribute_tensor(value, tensor.device_mesh, tensor.placements)
        tensor.copy_(value)
