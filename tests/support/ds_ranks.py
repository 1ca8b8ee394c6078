"""One rank that trains a small model under each DeepSpeed configuration given; rank 0 writes the losses.

torchrun ds_ranks.py REPORT.json CONFIGURATION.json ...
"""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from launcher.train.step.zero import import_deepspeed

STEPS = 6
LR = 1e-2


def make_model() -> torch.nn.Module:
    torch.manual_seed(0)
    layers = [torch.nn.Linear(16, 64), torch.nn.GELU(), torch.nn.LayerNorm(64), torch.nn.Linear(64, 3)]
    return torch.nn.Sequential(*layers)


def batches() -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(1)
    for _ in range(STEPS):
        inputs = torch.randn(8, 16, generator=generator)
        yield inputs, inputs[:, :3].argmax(dim=1)


def reference_losses(clip: float, bf16: bool) -> list[float]:
    """Losses of the whole batches in one process, without DeepSpeed."""
    model = make_model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR)
    losses = []
    for inputs, labels in batches():
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            loss = torch.nn.functional.cross_entropy(model(inputs), labels)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


def deepspeed_losses(deepspeed: Any, configuration: dict[str, Any]) -> list[float]:
    """Losses of the same batches, each split over the ranks, averaged over them."""
    rank, world_size = dist.get_rank(), dist.get_world_size()
    model = make_model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR)
    engine, *_ = deepspeed.initialize(model=model, optimizer=optimizer, config=configuration)
    losses = []
    for inputs, labels in batches():
        part = slice(rank, None, world_size)
        loss = torch.nn.functional.cross_entropy(engine(inputs[part]), labels[part])
        engine.backward(loss)
        engine.step()
        total = loss.detach().float().clone()
        dist.all_reduce(total)
        losses.append(total.item() / world_size)
    engine.destroy()
    return losses


def main(paths: list[str]) -> None:
    deepspeed = import_deepspeed("cpu")
    deepspeed.init_distributed(dist_backend="gloo", auto_mpi_discovery=False)
    report = {}
    for path in paths:
        configuration = json.loads(Path(path).read_text())
        clip, bf16 = configuration["gradient_clipping"], "torch_autocast" in configuration
        losses = deepspeed_losses(deepspeed, copy.deepcopy(configuration))
        report[Path(path).stem] = [losses, reference_losses(clip, bf16)]
    if dist.get_rank() == 0:
        Path(sys.argv[1]).write_text(json.dumps(report))
    dist.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[2:])
