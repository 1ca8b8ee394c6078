"""Joining the other ranks, and the few things that all of them agree on."""

from __future__ import annotations

import datetime
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist

from launcher.errors import RunFailed, first_line
from launcher.planning.plan import Plan
from launcher.train.process.heartbeat import Heartbeat

COLLECTIVE_TIMEOUT = datetime.timedelta(minutes=60)
"""Longest that one rank may wait for another: preparing data or writing a model is done by one rank alone."""


@dataclass(frozen=True)
class Ranks:
    """This process among the others."""

    rank: int
    local_rank: int
    world_size: int
    device: torch.device
    heartbeat: Heartbeat = field(default_factory=Heartbeat)
    """Told while this rank waits for the others."""

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def sum(self, values: Sequence[float]) -> list[float]:
        """Element-wise sum over all ranks, in float64; the same on all of them."""
        if self.world_size == 1:
            return list(values)
        tensor = torch.tensor(values, dtype=torch.float64, device=self.device)
        with self.heartbeat.waiting():
            dist.all_reduce(tensor)
        return [float(value) for value in tensor.tolist()]

    def sum_unread(self, first: torch.Tensor, values: Sequence[float]) -> torch.Tensor:
        """As `sum` of `first` and `values`, as a tensor that the host has not waited for: (1 + len(values),) float64."""
        rest = torch.tensor(values, dtype=torch.float64)
        if self.device.type == "cuda":
            rest = rest.pin_memory().to(self.device, non_blocking=True)
        tensor = torch.cat([first.double().reshape(1), rest])
        if self.world_size > 1:
            dist.all_reduce(tensor)
        return tensor

    def any(self, flag: bool) -> bool:
        """Whether `flag` is true on any rank."""
        return self.sum([float(flag)])[0] > 0

    def broadcast(self, value: Any) -> Any:
        """Rank 0's value, on all ranks."""
        if self.world_size == 1:
            return value
        box = [value]
        with self.heartbeat.waiting():
            dist.broadcast_object_list(box, src=0, device=self.device)
        return box[0]

    def gather(self, value: Any) -> list[Any] | None:
        """All ranks' values in rank order on rank 0, None elsewhere."""
        if self.world_size == 1:
            return [value]
        boxes: list[Any] | None = [None] * self.world_size if self.is_main else None
        with self.heartbeat.waiting():
            dist.gather_object(value, boxes, dst=0)
        return boxes

    def barrier(self) -> None:
        if self.world_size > 1:
            # The GPU of this rank, which torch would otherwise guess, and say so in the log.
            with self.heartbeat.waiting():
                dist.barrier(device_ids=[self.local_rank] if self.device.type == "cuda" else None)


def join(plan: Plan, heartbeat: Heartbeat) -> Ranks:
    """Set up the process group of this attempt. Raises RunFailed where torchrun's world is not the plan's."""
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    rank = int(os.environ.get("RANK", "0"))
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    if world_size != plan.world_size:
        raise RunFailed(
            "launch", f"{world_size} ranks were started, and the plan has {plan.world_size}", "start job.sh"
        )
    if plan.recipe.deterministic:
        # cuBLAS and torch read it at the first product of a process, which is the trial of the machine.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    device = _device(plan, local_rank)
    if device.type == "cpu":
        # transformers imports DeepSpeed when it saves a model, and that looks for a GPU and warns where there is none.
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    if world_size > 1 or plan.strategy == "deepspeed":
        for name, value in _alone().items():
            os.environ.setdefault(name, value)
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=COLLECTIVE_TIMEOUT)
        assert dist.get_world_size() == plan.world_size
    return Ranks(rank, local_rank, world_size, device, heartbeat)


def leave() -> None:
    """Give the process group back."""
    if dist.is_initialized():
        dist.destroy_process_group()


def _device(plan: Plan, local_rank: int) -> torch.device:
    if plan.device == "cpu":
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise RunFailed(
            "device",
            f"the plan asks for GPUs, and torch finds none on this node: {_why_none()}",
            "use device=cpu, or see launch doctor",
        )
    if local_rank >= torch.cuda.device_count():
        raise RunFailed(
            "device",
            f"rank {local_rank} of this node has no GPU: torch finds {torch.cuda.device_count()} here",
            "use gpus=N for no more than that; of a GPU cut up by MIG a process sees one part",
        )
    torch.cuda.set_device(local_rank)
    return torch.device("cuda", local_rank)


def _why_none() -> str:
    """What torch says where it finds no GPU: it was built without CUDA, or the driver is too old for it, or there is none."""
    try:
        torch.cuda.init()  # type: ignore[no-untyped-call]
    except (AssertionError, RuntimeError) as error:
        return first_line(error)
    return "it doesn't say why"


def _alone() -> dict[str, str]:
    """Environment of a process group of one, as torchrun would set it."""
    if "MASTER_ADDR" in os.environ:
        return {}
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "RANK": "0",
        "LOCAL_RANK": "0",
        "WORLD_SIZE": "1",
    }
