"""Tiny trainings: run directories without the command line, and what they leave behind."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from launcher.loading.resolve import dump_recipe
from launcher.planning.plan import Identity, Plan, make_plan
from launcher.planning.prepare import templates
from launcher.planning.render import render
from launcher.planning.surroundings import DataSize, Machine
from launcher.reading.check import check_data
from launcher.recipe.cluster import Cluster
from launcher.recipe.recipe import Recipe
from launcher.runs.directory import RunDir, create
from launcher.runs.events import VerbDone, event_of
from launcher.runs.records import make, read_json
from launcher.runs.verb_results import Evaluations
from launcher.train.job import make_job
from launcher.train.loop import train
from launcher.train.process.events import Events
from launcher.train.process.ranks import Ranks
from launcher.train.process.stop_requests import StopFlag

ROOT = Path(__file__).resolve().parents[2]
OF_A_USER = ("HOME", "XDG_CACHE_HOME", "WANDB_DIR")
"""Variables that name a home and caches: each test has its own, and finds nothing that another has left in them."""
EXAMPLES = {"train": 97, "validation": 41, "test": 30}
"""97 = 6 x 16 + 1: with batch.global=16 the last batch of an epoch is a single example, and all ranks but one are idle."""

Row = dict[str, Any]


def write_data(directory: Path) -> Path:
    """Write train.csv, validation.csv and test.csv, the first rows of the smoke recipe's data."""
    directory.mkdir(parents=True, exist_ok=True)
    for split, count in EXAMPLES.items():
        with (ROOT / "recipes" / "smoke" / f"{split}.csv").open(encoding="utf-8") as source:
            rows = list(islice(csv.reader(source), count + 1))
        with (directory / f"{split}.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows(rows)
    return directory


def recipe(data: Path, /, **changes: Any) -> Recipe:
    """A recipe that trains a BERT of width 32 from scratch on the files in `data`; nested `changes` are merged in."""
    base: Row = {
        "task": "classification",
        "device": "cpu",
        "executor": "local",
        "precision": "fp32",
        "model": {
            "init": "scratch",
            "scratch": {"hidden": 32, "layers": 2, "heads": 2, "intermediate": 64, "vocab": 256},
        },
        "data": {
            **{split: str(data / f"{split}.csv") for split in EXAMPLES},
            "cache_dir": str(data / "cache"),
            "max_length": 48,
        },
        "batch": {"global": 16},
        "train": {"lr": 1e-3, "max_steps": 18},
        "tracking": {"wandb": {"mode": "disabled"}},
    }
    return Recipe.model_validate_json(json.dumps(_merged(base, changes)))


def _merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> Row:
    merged = dict(base)
    for key, value in changes.items():
        known = merged.get(key)
        merged[key] = _merged(known, value) if isinstance(known, dict) and isinstance(value, dict) else value
    return merged


def make_run(path: Path, wanted: Recipe) -> RunDir:
    """Plan, render and create the run directory `path`, as `launch` does."""
    facts = check_data(wanted)
    identity = Identity("tiny", path.name, str(path), sys.executable, None, "0")
    plan = make_plan(wanted, Cluster(), Machine(), identity, None, DataSize(facts.train_examples))
    return create(path, render(plan, templates(), dump_recipe(plan.recipe)))


def train_here(
    run: RunDir, compiled: str, max_steps: int | None = None, device: str = "cpu", number: int = 1
) -> Any:
    """Train in this process, where a test can change things, as the attempt of this number; the job."""
    tree = json.loads(run.plan.read_text())
    tree["compile"] = compiled
    if max_steps is not None:
        tree["recipe"]["train"]["max_steps"] = max_steps
    plan = Plan.model_validate_json(json.dumps(tree))
    run.attempt(number).path.mkdir(parents=True, exist_ok=True)
    run.logs.mkdir(exist_ok=True)
    with run.events.open("a") as stream:
        ranks = Ranks(0, 0, 1, torch.device(device))
        job, state = make_job(run, run.attempt(number), plan, ranks, Events(stream, number), StopFlag(run))
        train(job, state)
        job.checkpoints.wait()
        job.record.finish(0)
    return job


@dataclass(frozen=True)
class Fault:
    """What happens to rank `rank` when it has come to `event` after `step` steps: kill, term, starve, stop or dawdle.

    With `after_s` it happens so many seconds later, whatever the rank does then.
    """

    action: str
    event: str
    step: int
    rank: int = 0
    after_s: float = 0.0


class RankServer:
    """Runs attempts through tests/support/rank_server.py, which has imported everything already."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("rank_server.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT),
                "GLOO_SOCKET_IFNAME": "lo",
                "OMP_NUM_THREADS": "1",
                # CUDA is not to be had in a fork of a process that has looked for GPUs by CUDA itself.
                "PYTORCH_NVML_BASED_CUDA_CHECK": "1",
            },
        )

    def attempt(self, run: RunDir, ranks: int = 1, number: int = 1, fault: Fault | None = None) -> list[int]:
        """Run one attempt to its end; exit code of each rank."""
        run.stop.unlink(missing_ok=True)
        request = {"run": str(run.path), "ranks": ranks, "attempt": number, "fault": fault and vars(fault)}
        codes: list[int] = self._ask(request)["codes"]
        return codes

    def verb(self, *arguments: object, code: int = 0) -> Row:
        """Run `python -m launcher.train ARGUMENTS`, whose exit code must be `code`; its last event.

        What `eval` has found is as `launch eval --json` shows it.
        """
        with tempfile.NamedTemporaryFile("r", suffix=".jsonl") as output:
            ended = self._ask({"verb": list(map(str, arguments)), "output": output.name})
            text = output.read()
        assert ended["codes"] == [code], text
        last: Row = json.loads(text.splitlines()[-1])
        assert last["event"] == ("error" if code else "result")
        done = event_of(last)
        if arguments[0] == "eval" and isinstance(done, VerbDone):
            return make(Evaluations, done.others, "eval").tree()
        return last

    def _ask(self, request: Row) -> Row:
        assert self._process.stdin
        assert self._process.stdout
        user = {name: os.environ[name] for name in OF_A_USER}
        self._process.stdin.write(json.dumps({**request, "user": user}) + "\n")
        self._process.stdin.flush()
        answer: Row = json.loads(self._process.stdout.readline())
        return answer

    def complete(self, run: RunDir, ranks: int = 1, number: int = 1) -> RunDir:
        """Run one attempt that must complete."""
        codes = self.attempt(run, ranks, number)
        assert codes == [0] * ranks, f"{codes}\n{log(run)}"
        assert result(run)["status"] == "completed", result(run)
        return run

    def close(self) -> None:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.wait(timeout=60)
        self._process.stdout.close()


def torchrun(run: RunDir, ranks: int, number: int = 1) -> subprocess.Popen[str]:
    """Start one attempt with the real torchrun."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"]
    return subprocess.Popen(
        [*command, "--max-restarts=0", "-m", "launcher.train", str(run.path)],
        env={**os.environ, "LAUNCHER_ATTEMPT": str(number), "GLOO_SOCKET_IFNAME": "lo"},
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def log(run: RunDir) -> str:
    """What all ranks printed, for messages."""
    return "\n".join(f"== {path.name}\n{path.read_text()}" for path in sorted(run.logs.glob("rank_*.log")))


def result(run: RunDir) -> Row:
    found = read_json(run.result)
    assert found is not None, log(run)
    return found


def metrics(run: RunDir, split: str | None = None) -> list[Row]:
    """Lines of metrics.jsonl: the train lines, or those of a split."""
    rows: list[Row] = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    return [row for row in rows if row.get("split") == split]


def losses(run: RunDir) -> list[float]:
    """train/loss of every step, which must stand there once and in order."""
    rows = metrics(run)
    assert [row["step"] for row in rows] == list(range(1, len(rows) + 1))
    return [row["train/loss"] for row in rows]


def events(run: RunDir, kind: str) -> list[Row]:
    rows: list[Row] = [json.loads(line) for line in run.events.read_text().splitlines()]
    return [row for row in rows if row["event"] == kind]


def tensors(directory: Path) -> dict[str, torch.Tensor]:
    """Every tensor in every .pt file of a checkpoint, by its place."""
    found: dict[str, torch.Tensor] = {}
    for path in sorted(directory.rglob("*.pt")):
        loaded = torch.load(path, map_location="cpu", weights_only=False)
        _collect(loaded, str(path.relative_to(directory)), found)
    return found


def _collect(value: Any, place: str, found: dict[str, torch.Tensor]) -> None:
    if isinstance(value, torch.Tensor):
        found[place] = value
    elif isinstance(value, dict):
        for key, item in value.items():
            _collect(item, f"{place}/{key}", found)
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            _collect(item, f"{place}/{index}", found)
