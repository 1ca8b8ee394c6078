"""How long a checkpoint holds up the training: the copy, while a thread writes, hashes and publishes it.

python -m benchmarks.checkpoint [--gigabytes 1.5] [--times 5] [--directory DIR]
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

import torch

from launcher.planning.prepare import prepare
from launcher.runs.directory import RunDir
from launcher.train.process.ranks import Ranks
from launcher.train.step.checkpoints import Checkpoints, TrainState
from launcher.train.step.plain import Plain

BYTES = 12
"""Of each parameter: itself and AdamW's two moments in fp32."""
WIDTH = 1024


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gigabytes", type=float, default=1.5)
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--directory", type=Path)
    options = parser.parse_args()
    layers = round(options.gigabytes * 1e9 / BYTES / WIDTH**2)
    model = torch.nn.Sequential(*(torch.nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(layers)))
    plan = prepare(["recipe=smoke", "executor=local", "device=cpu"], {}, Path.cwd()).plan
    ranks = Ranks(0, 0, 1, torch.device("cpu"))
    with tempfile.TemporaryDirectory(dir=options.directory) as directory:
        run = RunDir(Path(directory))
        strategy = Plain(plan, ranks, model)
        checkpoints = Checkpoints(run, ranks, keep=1)
        stalls, writes, cpu = [], [], []
        for step in range(1, options.times + 1):
            for parameter in model.parameters():
                parameter.grad = torch.ones_like(parameter)
            strategy.step(1e-3)
            started, started_cpu = time.perf_counter(), time.process_time()
            checkpoints.save(strategy, TrainState(step=step))
            stalls.append((time.perf_counter() - started, time.process_time() - started_cpu))
            checkpoints.wait()
            writes.append(time.perf_counter() - started)
            cpu.append(time.process_time() - started_cpu)
            print(
                f"save {step}: stalled {stalls[-1][0]:.3f} s (CPU {stalls[-1][1]:.3f} s), "
                f"written in {writes[-1]:.1f} s (CPU of all {cpu[-1]:.3f} s)"
            )
    wall = sorted(stall for stall, _ in stalls)
    print(
        f"{layers * WIDTH**2 * BYTES / 1e9:.2f} GB: stalled {statistics.median(wall):.3f} s in the median "
        f"({wall[0]:.3f} to {wall[-1]:.3f}), written in {statistics.median(writes):.1f} s, "
        f"CPU of all {statistics.median(cpu):.3f} s; load {os.getloadavg()[0]:.1f}"
    )


if __name__ == "__main__":
    main()
