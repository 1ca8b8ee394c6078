"""What the benchmark of speed writes: all figures as JSON, a table in Markdown, and a plot."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from importlib import metadata
from math import sqrt
from pathlib import Path
from typing import Any

from launcher.families import shape_from_config
from launcher.loading.resolve import read_recipe_file
from launcher.planning.estimate import Setup
from launcher.planning.hardware import known_device
from launcher.planning.model_config import find_config
from launcher.planning.step_time import step_flops

OURS = "ours"
Row = dict[str, Any]
WITHIN = {"fp32": 1e-5, "bf16": 2e-2, "fp32, filled up": 1e-5, "bf16, filled up": 2e-2}
"""Largest relative error of a gradient."""
HALF_A_POINT = 0.005
FEWEST = 3
"""Seeds that accuracies are compared over."""
LEARNT = 0.1
"""How far above the share of the commonest class an accuracy must be to say that anything was learnt."""
LOCAL = ("data", "work", "output")
"""Paths of the machine, which say nothing elsewhere."""
COLUMNS: tuple[tuple[str, str, Callable[[float], str]], ...] = (
    ("examples_per_s", "training, examples/s", lambda v: f"{v:.1f}"),
    ("tokens_per_s", "real tokens/s", lambda v: f"{v:.0f}"),
    ("train_cpu_s", "training, CPU s", lambda v: f"{v:.1f}"),
    ("train_s", "wall s", lambda v: f"{v:.1f}"),
    ("first_step_s", "command to first step, s", lambda v: f"{v:.1f}"),
    ("first_step_cpu_s", "CPU s", lambda v: f"{v:.1f}"),
    ("eval_examples_per_s", "evaluation, examples/s", lambda v: f"{v:.0f}"),
    ("process_s", "whole process, s", lambda v: f"{v:.1f}"),
    ("process_cpu_s", "CPU s", lambda v: f"{v:.1f}"),
    ("peak_bytes", "peak memory, GiB", lambda v: f"{v / 2**30:.2f}"),
)
RATIOS = (
    ("training", "examples_per_s", False),
    ("training, CPU time", "train_cpu_s", True),
    ("command to first step", "first_step_s", True),
    ("command to first step, CPU time", "first_step_cpu_s", True),
    ("evaluation", "eval_examples_per_s", False),
    ("evaluation, CPU time", "eval_cpu_s", True),
    ("whole process", "process_s", True),
    ("whole process, CPU time", "process_cpu_s", True),
)
"""(what, field, whether less is better): how many times better ours is."""


def write(directory: Path, name: str, facts: Row, rows: list[Row]) -> None:
    """Write NAME.json, NAME.md and, where matplotlib is installed, NAME.png."""
    directory.mkdir(parents=True, exist_ok=True)
    document: dict[str, Any] = {"machine": machine(facts["device"]), "facts": facts, "runs": rows}
    kept = {key: value for key, value in facts.items() if key not in LOCAL}
    (directory / f"{name}.json").write_text(json.dumps(document | {"facts": kept}, indent=2) + "\n")
    text = markdown(document)
    (directory / f"{name}.md").write_text(text)
    print(text)
    try:
        plot(directory / f"{name}.png", heading(document["facts"], document["machine"], rows), rows)
    except ImportError:
        print("no plot: pip install 'launch-encoders[benchmark]'")


def machine(device: str) -> Row:
    """What was measured on."""
    if device == "cuda":
        import torch

        where = torch.cuda.get_device_name()
    else:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        where = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "?")
    packages = ("torch", "transformers", "datasets", "peft", "numpy")
    return {
        "device": where,
        "cores": len(os.sched_getaffinity(0)),
        "threads": os.environ.get("OMP_NUM_THREADS", "not set"),
        "load": os.getloadavg()[0],
        "versions": {"python": platform.python_version(), **{p: _version(p) for p in packages}},
    }


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def markdown(document: Row) -> str:
    """The table, the ratios and the gates."""
    facts, rows = document["facts"], document["runs"]
    names = list(dict.fromkeys(row["contender"] for row in rows))
    lines = [*_heading(facts, document["machine"]), ""]
    utilised = _mfu(document, rows) is not None
    titles = [title for _, title, _ in COLUMNS] + ["accuracy"] + ["MFU"] * utilised
    lines += ["| | " + " | ".join(titles) + " |", "|---" * (len(titles) + 1) + "|"]
    for name in names:
        own = [row for row in rows if row["contender"] == name]
        cells = [shown(statistics.median(float(row[field]) for row in own)) for field, _, shown in COLUMNS]
        cells.append(_spread([row["accuracy"] for row in own]))
        utilisation = _mfu(document, own)
        cells += [utilisation] if utilisation else []
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    peers = [name for name in names if name != OURS]
    lines += [
        "",
        "Ours is so many times better (median over rounds of the ratio within a round; least to most):",
        "",
    ]
    lines += [
        "| against | " + " | ".join(what for what, _, _ in RATIOS) + " |",
        "|---" * (len(RATIOS) + 1) + "|",
    ]
    lines += [
        f"| {peer} | " + " | ".join(_ratio(rows, peer, field, less) for _, field, less in RATIOS) + " |"
        for peer in peers
    ]
    lines += ["", *(f"- {peer}: not measured: {reason}." for peer, reason in facts["not measured"].items())]
    return "\n".join([*lines, *gates(facts, rows, peers), "", f"`{facts['command']}`", ""])


def _heading(facts: Row, where: Row) -> list[str]:
    what = (
        f"{facts['model']}, {facts['workload']} texts ({facts['mean_tokens']:.1f} tokens in the mean), {facts['tuning']}, "
        f"batch {facts['batch']}, {facts['rows']} training examples, ours in {facts['precision']}; "
        f"{facts['rounds']} rounds, medians."
    )
    versions = ", ".join(f"{package} {version}" for package, version in where["versions"].items())
    machine = f"{where['device']}, cores {where['cores']}, OMP_NUM_THREADS {where['threads']}; {versions}"
    return [what, "", machine]


def gates(facts: Row, rows: list[Row], peers: list[str]) -> list[str]:
    """Whether what was computed is the same."""
    lines = []
    for kind, most in WITHIN.items():
        error = facts["gradients"][kind]
        verdict = "within" if error <= most else "NOT within"
        lines.append(f"- Gradients in {kind}: relative error {error:.1e}, {verdict} {most:g}.")
    if facts["model"] != "minilm":
        return [*lines, "- Accuracy is not compared: the weights began as random ones."]
    scores = {name: [row["accuracy"] for row in rows if row["contender"] == name] for name in (OURS, *peers)}
    chance = facts["chance"]
    lines += [f"- Accuracy against {peer}: {compared(scores[OURS], scores[peer], chance)}." for peer in peers]
    return lines


def compared(ours: list[float], theirs: list[float], chance: float) -> str:
    """What the accuracies over seeds say: the difference of the means with twice its standard error, and a verdict.

    Half a point is allowed; fewer than FEWEST seeds say nothing, nor does a spread that hides so much, nor two models that
    learnt nothing: `chance` is what the commonest class alone would reach.
    """
    best = max(statistics.mean(ours), statistics.mean(theirs))
    if best < chance + LEARNT:
        return f"says nothing, {100 * best:.1f}% at best where the commonest class is {100 * chance:.1f}%: take more --rows"
    if len(ours) < FEWEST:
        return f"not judged by {len(ours)} seed{'s' * (len(ours) > 1)}, {FEWEST} are needed"
    difference = statistics.mean(ours) - statistics.mean(theirs)
    spread = 2 * sqrt(statistics.variance(ours) / len(ours) + statistics.variance(theirs) / len(theirs))
    told = f"{100 * difference:+.2f} ± {100 * spread:.2f} points over {len(ours)} seeds"
    if abs(difference) <= HALF_A_POINT:
        return f"{told}, within half a point"
    if abs(difference) <= spread:
        return f"{told}, more than half a point, and less than the seeds' spread: more seeds are needed"
    return f"{told}, {'better' if difference > 0 else 'NOT within half a point'}"


def _ratio(rows: list[Row], peer: str, field: str, less: bool) -> str:
    ratios = sorted(ratios_of(rows, peer, field, less))
    return f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"


def ratios_of(rows: list[Row], peer: str, field: str, less: bool) -> list[float]:
    """How many times better ours is in each round."""
    values = {(row["contender"], row["seed"]): float(row[field]) for row in rows}
    seeds = sorted({row["seed"] for row in rows})
    pairs = [(values[OURS, seed], values[peer, seed]) for seed in seeds]
    return [theirs / ours if less else ours / theirs for ours, theirs in pairs]


def _spread(values: list[float]) -> str:
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.mean(values):.4f} ± {deviation:.4f}"


def _mfu(document: Row, rows: list[Row]) -> str | None:
    """Model FLOPs of the real tokens over what the GPU could do in that time; None on a CPU."""
    facts = document["facts"]
    device = known_device(document["machine"]["device"]) if facts["device"] == "cuda" else None
    if device is None:
        return None
    recipe = read_recipe_file(Path(facts["work"]) / "recipe.yaml")
    config = find_config(str(recipe.model.name))
    assert config is not None
    setup = Setup(tuning=recipe.tuning, lora_r=recipe.lora.r)
    per_token = step_flops(
        shape_from_config(config, str(recipe.model.name)), setup, tokens=1, mean_length=facts["mean_length"]
    )
    tokens_per_s = statistics.median(float(row["tokens_per_s"]) for row in rows)
    return f"{100 * per_token * tokens_per_s / device.half_flops:.1f}%"


_TEXTS = {
    "short": "Sentences of SST-2",
    "medium": "Texts as long as AG News",
    "long": "Texts of about 500 words",
    "pairs": "Pairs of sentences",
}


def heading(facts: Row, machine: Row, rows: Sequence[Row]) -> str:
    """What was measured where, in words."""
    rounds = max(Counter(row["contender"] for row in rows).values())
    how = {"full": "full fine-tuning", "lora": "LoRA"}[facts["tuning"]]
    return (
        f"{_TEXTS[facts['workload']]}, {how}, {facts['batch']} examples a step, on {machine['device']}\n"
        + ("one round" if rounds == 1 else f"median and range over {rounds} rounds")
    )


def plot(path: Path, title: str, rows: list[Row]) -> None:
    """Bars of throughput and of start-up, one for each contender, with the range over rounds."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    names = list(dict.fromkeys(row["contender"] for row in rows))
    panels = (
        ("training, examples/s", "examples_per_s"),
        ("evaluation, examples/s", "eval_examples_per_s"),
        ("command to first step, s", "first_step_s"),
        ("whole process, s", "process_s"),
    )
    figure, axes = pyplot.subplots(1, len(panels), figsize=(13, 0.9 + 0.45 * len(names)), sharey=True)
    for axis, (label, field) in zip(axes, panels, strict=True):
        groups = [[float(row[field]) for row in rows if row["contender"] == name] for name in names]
        middles = [statistics.median(group) for group in groups]
        reach = [[m - min(g) for m, g in zip(middles, groups, strict=True)],
                 [max(g) - m for m, g in zip(middles, groups, strict=True)]]  # fmt: skip
        colours = ["#c8553d" if name == OURS else "#8d99ae" for name in names]
        bars = axis.barh(names, middles, xerr=reach, color=colours, ecolor="#333333")
        # Behind the end of the range, where nothing else is drawn.
        farthest = max(max(group) for group in groups)
        for bar, middle, group in zip(bars, middles, groups, strict=True):
            text = f"{middle:.3g}" if middle < 1000 else f"{middle:,.0f}"
            place = max(group) + 0.03 * farthest, bar.get_y() + bar.get_height() / 2
            axis.text(*place, text, ha="left", va="center")
        axis.set_xlim(0, 1.3 * farthest)
        axis.set_xlabel(label)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].invert_yaxis()
    figure.suptitle(title)
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
