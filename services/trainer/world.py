"""The workers that train together, as one of them sees it."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch
import torch.distributed as dist


@dataclass(frozen=True)
class World:
    """`size` workers of which this is number `rank`, from 0. With more than one, torch's process group is up."""

    rank: int = 0
    size: int = 1
    device: str = "cpu"
    threads: int = 0
    """Of this worker; 0: as torch has it."""

    @classmethod
    def of_environment(cls) -> World:
        """The world `torchrun` describes; alone without it."""
        size = int(os.environ.get("WORLD_SIZE", "1"))
        gpu = torch.cuda.is_available()
        if size > 1:
            dist.init_process_group("nccl" if gpu else "gloo")
        device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if gpu else "cpu"
        return cls(int(os.environ.get("RANK", "0")), size, device)

    @property
    def first(self) -> bool:
        """Whether this is the worker that writes files and tells of progress."""
        return self.rank == 0

    def add_up(self, tensor: torch.Tensor) -> torch.Tensor:
        """The sum over all workers, in place."""
        if self.size > 1:
            dist.all_reduce(tensor)
        return tensor

    def take_firsts(self, tensor: torch.Tensor) -> torch.Tensor:
        """What the first worker has, in place."""
        if self.size > 1:
            dist.broadcast(tensor, 0)
        return tensor
