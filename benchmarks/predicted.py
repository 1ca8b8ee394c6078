"""The step that `launch` predicts beside the one that it measures: models of three sizes on 1, 2 and 4 ranks of this machine.

    python -m benchmarks.predicted [--ranks 1 2 4] [--models 2x128 4x256 6x384] [--steps 24] [--precision fp32 bf16]

Each training is a real one from `launch` to its end. Two of other batch sizes come first, in a cache of their own, and teach the
plan of the third as any runs do; what the very first was told, when nothing was known of this machine, stands beside it.
The processor time of a step is that of rank 0, which other work on the machine lengthens least; on such a machine, runs teach
nothing.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shutil
import statistics
import sys
from pathlib import Path
from typing import Any

from benchmarks.finetune import timed
from benchmarks.workloads import write_data

TAUGHT = (32, 128)
BATCH = 64
WITHIN = 0.15
Row = dict[str, float]


def main() -> None:
    options = arguments()
    work = options.work.resolve()
    shutil.rmtree(work, ignore_errors=True)
    write_data("short", max(TAUGHT) * options.steps, options.data, work)
    print(
        f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start, batch {BATCH}, {options.steps} steps"
    )
    print(
        "| layers x width | precision | ranks | measured | predicted | | processor time | at first | of processor time |\n"
        "|---|---|---|---|---|---|---|---|---|"
    )
    off = []
    for name, precision, ranks in itertools.product(options.models, options.precision, options.ranks):
        first, *_, last = [run(options, work, name, precision, ranks, size) for size in (*TAUGHT, BATCH)]
        off.append(last["predicted"] / last["measured"] - 1)
        print(
            f"| {name} | {precision} | {ranks} | {1e3 * last['measured']:.0f} ms | {1e3 * last['predicted']:.0f} ms "
            f"| {off[-1]:+.0%} | {1e3 * last['cpu']:.0f} ms | {first['predicted'] / first['measured'] - 1:+.0%} "
            f"| {first['predicted'] / first['cpu'] - 1:+.0%} |",
            flush=True,
        )
    good = sum(abs(each) <= WITHIN for each in off)
    print(f"{good} of {len(off)} within {WITHIN:.0%}; load {os.getloadavg()[0]:.1f} at the end")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--models", nargs="+", default=["2x128", "4x256", "6x384"], help="LAYERSxWIDTH")
    parser.add_argument("--precision", nargs="+", default=["fp32"], choices=("fp32", "bf16"))
    parser.add_argument(
        "--steps", type=int, default=24, help="of each training; a plan learns from 22 and more"
    )
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--work", type=Path, default=Path("runs/predicted"))
    return parser.parse_args()


def run(options: argparse.Namespace, work: Path, model: str, precision: str, ranks: int, batch: int) -> Row:
    """Train once; the median step, on the wall and of rank 0's processor, and what its plan said."""
    layers, width = map(int, model.split("x"))
    run_id = f"{model}-{precision}-{ranks}-{batch}"
    words = [
        sys.executable, "-m", "launcher", "recipe=roberta-cls", "device=cpu", "executor=local", f"gpus={ranks}",
        f"precision={precision}", "model.name=null", "model.init=scratch", f"model.scratch.layers={layers}",
        f"model.scratch.hidden={width}", f"model.scratch.heads={width // 32}",
        f"model.scratch.intermediate={4 * width}", f"data.train={work / 'train.jsonl'}",
        f"data.validation={work / 'validation.jsonl'}", "data.text=text", f"batch.global={batch}",
        f"train.max_steps={options.steps}", "train.warmup=0", "zero.stage=0", "eval.every=null",
        "checkpoint.every=null", "tracking.wandb.mode=disabled", f"run_id={run_id}", f"runs_dir={work}",
    ]  # fmt: skip
    timed(words, {**os.environ, "XDG_CACHE_HOME": str(work / "cache")}, work / "launch.log")
    result: dict[str, Any] = json.loads((work / run_id / "result.json").read_text())
    events = (work / run_id / "logs" / "events.jsonl").read_text().splitlines()
    spent = [event["cpu_s"] for event in map(json.loads, events) if event["event"] == "step"]
    return {
        "measured": result["measured"]["step_s"],
        "predicted": result["predicted"]["step_s"],
        "cpu": statistics.median(after - before for before, after in itertools.pairwise(spent)),
    }


if __name__ == "__main__":
    main()
