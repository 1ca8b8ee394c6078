"""What pruning costs and saves: a trained model is made smaller in several ways, and each is trained on.

    python -m benchmarks.compression RUN [--data DIR] [--limit N] [--only NAME ...] [--plot FILE] [key=value ...]
    python -m benchmarks.compression --collect RUN ... [--plot FILE]

RUN is a completed classification of SST-2 by this project (benchmarks.quality leaves one); DIR holds sst2/. Each way starts
from RUN's model, prunes it and trains on with RUN as the teacher. Prints a line for each: size, latency and accuracy beside
those of RUN; --plot draws accuracy over size and latency. --collect reads runs that are there already.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

WAYS = {
    "quarter": ("prune.heads=0.25", "prune.ffn=0.5"),
    "half": ("prune.heads=0.5", "prune.ffn=0.5"),
    "neurons": ("prune.ffn=0.5",),
    "layers": ("prune.layers=3",),
    "layers and neurons": ("prune.layers=2", "prune.ffn=0.5"),
}
SETTINGS = (
    "recipe=roberta-cls",
    "executor=local",
    "data.source=null",
    "data.text=sentence",
    "batch.global=32",
    "train.epochs=1",
    "train.lr=3e-4",
    "tracking.wandb.mode=disabled",
    "checkpoint.every=null",
)
Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("run", nargs="*", type=Path)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--limit", type=int)
    parser.add_argument("--only", nargs="+", choices=list(WAYS), default=list(WAYS))
    parser.add_argument("--runs-dir", type=Path, default=Path("runs"))
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--collect", nargs="+", type=Path)
    options, overrides = parser.parse_known_args()
    found = options.collect or [_train(options, name, overrides) for name in options.only]
    rows = [_row(path) for path in found]
    for row in rows:
        print(_line(row))
    if options.plot:
        _plot(rows, options.plot)


def _train(options: argparse.Namespace, name: str, overrides: list[str]) -> Path:
    """The directory of a run that prunes in this way."""
    (start,) = options.run
    files = options.data.resolve() / "sst2"
    run_id = f"pruned-{name.replace(' ', '-')}"
    words = [
        *SETTINGS,
        *WAYS[name],
        f"init_from={start.resolve()}",
        f"distill.teacher={start.resolve()}",
        f"data.train=[{files}/train.tsv,{files}/dev.tsv]",
        f"data.validation={files}/test.tsv",
        f"runs_dir={options.runs_dir}",
        f"run_id={run_id}",
        *([f"data.limit={options.limit}"] if options.limit else []),
        *overrides,
    ]
    last = {word.partition("=")[0]: word for word in words}  # what is given by hand replaces what stands here
    subprocess.run([sys.executable, "-m", "launcher", *last.values()], check=True)
    return Path(options.runs_dir) / run_id


def _row(run: Path) -> Row:
    account = json.loads((run / "result.json").read_text(encoding="utf-8"))["compression"]
    recovery = account["before_recovery"]
    return {"name": run.name, **account, "before_recovery": recovery and recovery["accuracy"]}


def _line(row: Row) -> str:
    before, after = row["before"], row["after"]
    return (
        f"{row['name']:<28}size {before['bytes'] / 2**20:.1f} -> {after['bytes'] / 2**20:.1f} MiB "
        f"({after['bytes'] / before['bytes'] - 1:+.0%})  latency {before['latency_ms']:.1f} -> "
        f"{after['latency_ms']:.1f} ms ({after['latency_ms'] / before['latency_ms'] - 1:+.0%})  accuracy "
        f"{before['metrics']['accuracy']:.4f} -> {row['before_recovery'] or float('nan'):.4f} pruned "
        f"-> {after['metrics']['accuracy']:.4f} recovered"
    )


def _words(run: str) -> str:
    """What was taken out, for the plot."""
    name = run.removeprefix("pruned-")
    taken = {
        "quarter": "a quarter of the heads,\nhalf of the neurons",
        "half": "half of the heads and neurons",
    }
    return taken.get(name, name.replace("-", " "))


def _plot(rows: list[Row], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(9, 3.5), sharey=True)
    for axis, key, title in zip(axes, ("bytes", "latency_ms"), ("size", "latency of a text"), strict=True):
        shares = [100 * row["after"][key] / row["before"][key] for row in rows]
        values = [row["after"]["metrics"]["accuracy"] for row in rows]
        axis.plot(100, rows[0]["before"]["metrics"]["accuracy"], "k*", markersize=10)
        axis.plot(shares, values, "o")
        for share, value, row in zip(shares, values, rows, strict=True):
            place = {"textcoords": "offset points", "xytext": (6, 5), "fontsize": 8}
            axis.annotate(_words(row["name"]), (share, value), **place)
        axis.axhline(rows[0]["before"]["metrics"]["accuracy"] - 0.02, color="grey", linestyle=":")
        axis.set_xlabel(f"{title}, % of the model that was pruned")
        axis.margins(x=0.15, y=0.15)
    axes[0].set_ylabel("accuracy on the dev split of SST-2")
    figure.suptitle(
        "Pruned models beside the one they were made from (star); dotted: two points of accuracy less"
    )
    figure.tight_layout()
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main()
