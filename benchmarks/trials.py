"""What the measurements of quality share: rows, training with `launch`, all kinds and seeds with mean and spread."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launcher.reading.files import read_rows
from launcher.reading.options import ReadOptions
from launcher.tasks.shared.rows import Row

Metrics = dict[str, float]
AS_NAMED = ReadOptions()


@dataclass(frozen=True)
class Table:
    """A file of a data set, and how it is read."""

    name: str
    options: ReadOptions = AS_NAMED

    def rows(self, data: Path) -> Iterable[Row]:
        """Its rows; `data` is the directory of the data sets."""
        return read_rows(data / self.name, self.options)


@dataclass(frozen=True)
class Files:
    """Json lines that all kinds train on and are measured on."""

    train: Path
    validation: Path

    @classmethod
    def write(
        cls,
        directory: Path,
        data: Path,
        splits: tuple[Sequence[Table], Sequence[Table]],
        parts: tuple[float, float],
    ) -> Files:
        """Write every 1 / part-th row of the tables of both splits."""
        directory.mkdir(parents=True, exist_ok=True)
        files = cls(directory / "train.jsonl", directory / "validation.jsonl")
        for path, tables, part in zip((files.train, files.validation), splits, parts, strict=True):
            rows = [row.values for table in tables for row in table.rows(data)][:: round(1 / part)]
            new = path.with_suffix(f".{os.getpid()}")
            new.write_text("".join(json.dumps(row) + "\n" for row in rows))
            new.replace(path)  # the same rows, which another measurement may be reading
        return files


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a file of json lines."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def parser(tasks: Sequence[str], kinds: Sequence[str], default: Sequence[str]) -> argparse.ArgumentParser:
    """Arguments of every measurement of one or several tasks; without `tasks` there is only one."""
    made = argparse.ArgumentParser()
    if tasks:
        made.add_argument("task", choices=tasks, nargs="+")
    made.add_argument("--part", type=_share, default=1.0, help="train on every 1 / PART-th row")
    made.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    made.add_argument("--kinds", nargs="+", choices=kinds, default=list(default))
    made.add_argument("--data", type=Path, default=Path("../shared/data"))
    made.add_argument(
        "--set", nargs="*", default=[], metavar="KEY=VALUE", help="further overrides of our runs"
    )
    made.add_argument("--runs", type=Path, default=Path("runs/quality"))
    made.add_argument("--output", type=Path, default=Path("runs/quality/results.jsonl"))
    return made


def _share(text: str) -> float:
    value = float(text)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError("must be above 0 and at most 1")
    return value


@dataclass(frozen=True)
class Trial:
    """One training by one kind."""

    task: str
    part: float
    kind: str
    seed: int
    runs: Path
    """Where our runs are left."""

    def launch(self, recipe: str, *settings: Sequence[str]) -> Metrics:
        """Train with `launch` and measure; of a key that is set twice the later value counts."""
        run_id = f"{self._name}-{self.kind}-{int(time.time())}"
        words = [
            sys.executable, "-m", "launcher", f"recipe={recipe}", *_merged(settings), f"seed={self.seed}",
            f"run_id={run_id}", f"runs_dir={self.runs}", "executor=local", "tracking.wandb.mode=disabled",
            "checkpoint.every=null",
        ]  # fmt: skip
        seconds = run(words)
        return {**_last_metrics(self.runs / run_id), "process_s": seconds}

    def newest_run(self) -> Path:
        """Our latest run of this task and seed, whose settings the peer takes."""
        found = [path for path in self.runs.glob(f"{self._name}-*") if (path / "recipe.yaml").is_file()]
        if not found:
            raise SystemExit(f"{self.runs} has no run {self._name}-*: the peer takes its settings from one")
        return max(found, key=lambda path: (path / "recipe.yaml").stat().st_mtime)

    @property
    def _name(self) -> str:
        return f"{named(self.task, self.part)}-{self.seed}"


def named(task: str, part: float) -> str:
    """What files and runs of a part of a task are called."""
    return task if part == 1 else f"{task}-{part:g}"


def _merged(groups: Iterable[Sequence[str]]) -> list[str]:
    chosen = dict(assignment.split("=", 1) for group in groups for assignment in group)
    return [f"{key}={value}" for key, value in chosen.items()]


def _last_metrics(run: Path) -> Metrics:
    """Those of the last model, as the peer's, not of the best one."""
    lines = read_lines(run / "metrics.jsonl")
    last = [line for line in lines if line.get("split") == "validation"][-1]
    return {
        name.removeprefix("eval/"): value
        for name, value in last.items()
        if name.startswith("eval/") and isinstance(value, int | float)
    }


def run(words: Sequence[str], environment: dict[str, str] | None = None) -> float:
    """Run a command in silence; the seconds it took. Where it fails, show what it said last."""
    started = time.perf_counter()
    done = subprocess.run(
        words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, check=False
    )
    if done.returncode:
        raise SystemExit(f"{shlex.join(words)}\nended with {done.returncode}:\n{done.stdout[-3000:]}")
    return time.perf_counter() - started


def measure(
    options: argparse.Namespace, task: str, metrics: Sequence[str], once: Callable[[Trial], Metrics]
) -> None:
    """Every kind with every seed: a line for each, then mean and spread; lines are appended to options.output."""
    runs = options.runs.resolve()
    runs.mkdir(parents=True, exist_ok=True)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    found: dict[str, list[Metrics]] = {kind: [] for kind in options.kinds}
    for seed in options.seeds:
        for kind in options.kinds:
            result = once(Trial(task, options.part, kind, seed, runs))
            found[kind].append(result)
            line = json.dumps({"task": task, "part": options.part, "kind": kind, "seed": seed, **result})
            print(line, flush=True)
            with options.output.open("a") as file:
                file.write(line + "\n")
    for kind, results in found.items():
        for metric in metrics:
            values = [result[metric] for result in results]
            spread = statistics.stdev(values) if len(values) > 1 else 0.0
            mean = statistics.mean(values)
            each = ", ".join(f"{value:.4f}" for value in values)
            print(
                f"{task} {kind}: {metric} {each}: {mean:.4f} ± {spread:.4f} ({len(values)} seeds)", flush=True
            )
