"""The processes of a run, and what they tell each other.

A launcher starts them (torchrun, or ``srun`` of SLURM) and says in the environment who is who; a recipe
knows nothing of it. Tensors of a step travel by DDP. What is here is for the rest: Python objects, a few
times per epoch, always over gloo, so that no GPU waits for them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from rich.console import Console
from torch import Tensor

from gazehound.errors import ConfigError, GazehoundError
from gazehound.metrics import Evaluation

T = TypeVar("T")


@dataclass(frozen=True)
class Processes:
    """This process among those of its run.

    Attributes:
        rank: of this process among all, from 0.
        world: how many there are.
        local_rank: of this process on its machine; the number of its GPU.
        machines: how many there are, all with the same number of processes.
    """

    rank: int = 0
    world: int = 1
    local_rank: int = 0
    machines: int = 1

    @property
    def first(self) -> bool:
        """Return whether this is the process that writes and speaks."""
        return self.rank == 0

    @property
    def per_machine(self) -> int:
        """Return the processes of one machine."""
        return self.world // self.machines

    def console(self, given: Console | None = None) -> Console:
        """Return where this process prints: where it was told to, or nowhere when it is not the first."""
        if not self.first:
            return Console(stderr=True, quiet=True)
        return given or Console(stderr=True)


def launched() -> Processes:
    """Return how this process was started: by torchrun, by SLURM's srun, or alone.

    Raises:
        ConfigError: SLURM was asked for tasks in a way that leaves their places open.
    """
    environment: TorchElasticEnvironment | SLURMEnvironment
    if TorchElasticEnvironment.detect():
        environment = TorchElasticEnvironment()
        machines = environment.world_size() // int(os.environ["LOCAL_WORLD_SIZE"])
    elif SLURMEnvironment.detect():
        try:
            environment = SLURMEnvironment()
        except RuntimeError as error:
            raise ConfigError(f"SLURM: {error}") from None
        machines = int(os.environ.get("SLURM_NNODES", 1))
    else:
        return Processes()
    os.environ["MASTER_ADDR"] = environment.main_address
    os.environ["MASTER_PORT"] = str(environment.main_port)
    return Processes(
        environment.global_rank(), environment.world_size(), environment.local_rank(), machines
    )


def join() -> Processes:
    """Connect this process to the others of its run, and return its place among them.

    The connection is kept: processes that parted cannot meet again at the same address.
    """
    place = launched()
    if place.world == 1 or dist.is_initialized():
        return place
    if torch.cuda.is_available():
        torch.cuda.set_device(place.local_rank)
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo",
        rank=place.rank,
        world_size=place.world,
    )
    return place


def leave() -> None:
    """Part from the others at the end of a program that succeeded; after an error they may be waiting."""
    if together():
        dist.destroy_process_group()


def together() -> bool:
    """Return whether this process is connected to others."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def gather(value: T) -> list[T]:
    """Return the values of all processes, in the order of their ranks, to all of them."""
    if not together():
        return [value]
    values: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values


def from_first(make: Callable[[], T]) -> T:
    """Return what the first process makes to all of them; an error of ours is raised in all.

    Raises:
        GazehoundError: as the first process did.
    """
    if not together():
        return make()
    answer: list[Any] = [None, None]
    if dist.get_rank() == 0:
        try:
            answer = [make(), None]
        except GazehoundError as error:
            answer = [None, error]
    dist.broadcast_object_list(answer, src=0)
    if answer[1] is not None:
        raise answer[1]
    made: T = answer[0]
    return made


@torch.no_grad()
def take_firsts(tensors: Sequence[Tensor]) -> None:
    """Overwrite tensors of one type with those of the first process."""
    if not together() or not tensors:
        return
    flat = torch.cat([tensor.flatten() for tensor in tensors])
    dist.broadcast(flat, src=0)
    for tensor, numbers in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
        tensor.copy_(numbers.view_as(tensor))


def gathered(evaluation: Evaluation) -> Evaluation:
    """Return the evaluation of the images of all processes, to all: each gets the same digits."""
    if not together():
        return evaluation
    return Evaluation.from_state(gather(evaluation.state()))
