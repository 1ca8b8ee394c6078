"""Trains on the CPU and on `stand_in_gpu`, for a test in another process, which asks on stdin and is answered on stdout."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from support import stand_in_gpu


def main() -> None:
    """For each line, a training's {family, task, precision, capability, compiled, changes}, a line {cpu, gpu, waits, graphs}."""
    stand_in_gpu.load()
    from support.every_task import write_rows

    with tempfile.TemporaryDirectory() as directory:
        rows = write_rows(Path(directory))
        for number, line in enumerate(sys.stdin):
            print(
                json.dumps(_train_both(rows, Path(directory) / str(number), **json.loads(line))), flush=True
            )


def _train_both(
    rows: Path,
    directory: Path,
    *,
    family: str,
    task: str,
    precision: str,
    capability: list[int],
    compiled: str,
    changes: dict[str, Any],
) -> dict[str, Any]:
    import torch
    from support.every_task import recipe_of
    from support.training import losses, make_run, train_here

    stand_in_gpu.CAPABILITY = tuple(capability)
    model = {"scratch": {"family": family}, "dropout": {"hidden": 0.0, "attention": 0.0, "classifier": 0.0}}
    settings = {**changes, "model": model, "train": {"max_steps": 2, **changes.get("train", {})}}
    on_cpu = recipe_of(rows, task, **settings)
    on_gpu = recipe_of(rows, task, **settings, device="cuda", precision=precision, deterministic=True)
    directory.mkdir()
    cpu, gpu = make_run(directory / "cpu", on_cpu), make_run(directory / "gpu", on_gpu)
    train_here(cpu, "none")
    try:
        with stand_in_gpu.stand_in() as device:
            train_here(gpu, compiled, device="cuda:0")
    finally:
        torch.use_deterministic_algorithms(False)
    return {"cpu": losses(cpu), "gpu": losses(gpu), "waits": sorted(device.waits), "graphs": device.graphs}


if __name__ == "__main__":
    main()
