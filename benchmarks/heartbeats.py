"""What heartbeats, step times by rank and the watcher cost: on and off in turn within one run, as JSON on stdout.

    python -m benchmarks.heartbeats [--steps N] [--directory DIR]

Two ranks train a model of the smoke recipe's size, then one of MiniLM's. Blocks of steps with everything on take turns with
blocks in which no mark is made, no times are exchanged and the watcher is halted. `ratio` is the median over pairs of
neighbouring blocks of what a step takes with over without, with its standard error; `cpu_ratio` is that of the processor time
of rank 0, which other work on the machine disturbs less. `marks_us` is what the marks of a step and the comparison of times
need by themselves, `watcher_share` the processor time of the watcher as a share of one core, and `share` both as a share of a
step on the cores that the ranks have.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from launcher.health.beats import Beats
from launcher.health.stragglers import Stragglers
from launcher.train.process import heartbeat

ORDINARY = heartbeat.Heartbeat
RANKS = 2
BLOCK = 20
"""Steps of a block."""
LEFT_OUT = 2 * BLOCK
"""Steps at the beginning that are not counted."""
SMOKE = ("model.scratch.hidden=64", "model.scratch.layers=2", "data.max_length=32", "batch.global=16")
MINILM = (
    "model.scratch.hidden=384",
    "model.scratch.layers=6",
    "model.scratch.heads=12",
    "model.scratch.intermediate=1536",
    "data.max_length=64",
    "batch.global=32",
)
WORDS = (
    "recipe=smoke",
    "executor=local",
    "device=cpu",
    f"gpus={RANKS}",
    "eval.every=null",
    "checkpoint.every=null",
    "tracking.wandb.mode=disabled",
)


class Alternating(heartbeat.Heartbeat):
    """A heartbeat that is on in every other block of steps; rank 0 leaves what it has measured in heartbeats.json."""

    def __init__(self, beats: Beats | None = None) -> None:
        super().__init__(beats)
        self.on = True
        self.times: list[tuple[bool, float, float]] = []
        self.began = self.began_cpu = self.watcher_s = 0.0

    def begin_step(self, step: int) -> None:
        on = step // BLOCK % 2 == 0
        if on != self.on:
            self.on = on
            for watcher in heartbeat._kept:
                watcher.send_signal(signal.SIGCONT if on else signal.SIGSTOP)
        if step == LEFT_OUT:
            self.watcher_s = _watcher_s()
        self.began, self.began_cpu = time.perf_counter(), time.process_time()
        if on:
            super().begin_step(step)

    def _go_on(self, part: int) -> None:
        if self.on:
            super()._go_on(part)

    def shares(self, rank: int, world_size: int) -> list[float]:
        return super().shares(rank, world_size) if self.on else []

    def end_step(self) -> None:
        if self.on:
            super().end_step()
        wall_s, cpu_s = time.perf_counter() - self.began, time.process_time() - self.began_cpu
        self.times.append((self.on, wall_s, cpu_s))

    def ended(self) -> None:
        super().ended()
        for watcher in heartbeat._kept:
            watcher.send_signal(signal.SIGCONT)
        if os.environ["RANK"] == "0":
            on_s = sum(seconds for on, seconds, _ in self.times[LEFT_OUT:] if on)
            share = (_watcher_s() - self.watcher_s) / on_s
            told = {"times": self.times, "watcher_share": share, "marks_us": _marks_us()}
            Path(sys.argv[-1], "heartbeats.json").write_text(json.dumps(told))


def train_rank(run_dir: str) -> int:
    """One rank of the measured run."""
    from launcher.train import __main__ as program

    heartbeat.Heartbeat = Alternating  # type: ignore[misc]
    return program.main([run_dir])


def _watcher_s() -> float:
    return sum(_cpu_seconds(watcher.pid) for watcher in heartbeat._kept)


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _marks_us(steps: int = 20_000) -> float:
    """Microseconds of processor time for what a step with one micro-batch does for its heartbeat, on rank 0."""
    heart, stragglers = ORDINARY(), Stragglers(("data", "forward", "backward", "optimizer"))
    began = time.process_time()
    for step in range(steps):
        heart.begin_step(step)
        for mark in (
            heart.forward,
            heart.backward,
            heart.data,
            heart.gradients,
            heart.optimizer,
            heart.results,
        ):
            mark()
        shares = heart.shares(0, RANKS)
        heart.end_step()
        stragglers.add(shares)
    return 1e6 * (time.process_time() - began) / steps


def measure(directory: Path, size: Sequence[str], steps: int) -> Mapping[str, float]:
    """Train a model of this size; see this module's docstring for the figures."""
    run_id = f"heartbeats-{os.getpid()}-{steps}-{size[0].rpartition('=')[2]}"
    words = [*WORDS, *size, f"train.max_steps={steps}", f"run_id={run_id}"]
    launch = [sys.executable, "-m", "launcher"]
    planned = directory / "planned" / run_id
    subprocess.run([*launch, "plan", *words, "--out", str(planned)], check=True, capture_output=True)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={RANKS}"]
    environment = {**os.environ, "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1", "LAUNCHER_ATTEMPT": "1"}
    subprocess.run(
        [*torchrun, "-m", "benchmarks.heartbeats", "--rank-of", str(planned)], check=True, env=environment
    )
    return _figures(json.loads((planned / "heartbeats.json").read_text()))


def _figures(told: Mapping[str, Any]) -> Mapping[str, float]:
    times = told["times"][LEFT_OUT:]
    on = [bool(on) for on, *_ in times]
    wall, cpu = ([float(time[column]) for time in times] for column in (1, 2))
    ratio, ratio_error = _ratio(on, wall)
    cpu_ratio, cpu_ratio_error = _ratio(on, cpu)
    step_s = statistics.median(wall)
    watcher = float(told["watcher_share"])
    return {
        "step_ms": 1000 * step_s,
        "steps": len(times),
        "ratio": ratio,
        "ratio_error": ratio_error,
        "cpu_ratio": cpu_ratio,
        "cpu_ratio_error": cpu_ratio_error,
        "marks_us": told["marks_us"],
        "watcher_share": watcher,
        "share": told["marks_us"] / 1e6 / step_s + watcher / RANKS,
    }


def _ratio(on: Sequence[bool], seconds: Sequence[float]) -> tuple[float, float]:
    """With over without: the median over pairs of neighbouring blocks, and its standard error."""
    starts = range(0, len(seconds) - BLOCK + 1, BLOCK)
    blocks = [(on[at], statistics.median(seconds[at : at + BLOCK])) for at in starts]
    ratios = [one / two if first else two / one for (first, one), (_, two) in itertools.pairwise(blocks)]
    spread = statistics.median(abs(ratio - statistics.median(ratios)) for ratio in ratios)
    # 1.48 MAD is a standard deviation; a median's error is 1.25 times that of a mean; half of the pairs are independent.
    return statistics.median(ratios), 1.25 * 1.48 * spread / math.sqrt(len(ratios) / 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--directory", type=Path, default=Path("runs"))
    parser.add_argument("--rank-of", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.rank_of:
        sys.exit(train_rank(arguments.rank_of))
    for name, size, steps in (("smoke", SMOKE, arguments.steps), ("MiniLM", MINILM, arguments.steps // 6)):
        found = measure(arguments.directory, size, steps)
        print(
            json.dumps({"model": name, **{key: round(value, 4) for key, value in found.items()}}), flush=True
        )


if __name__ == "__main__":
    main()
