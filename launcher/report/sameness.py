"""Whether two runs computed the same, to the last bit: losses, evaluations and weights."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launcher.runs.directory import RunDir
from launcher.runs.drills import Sameness, StepDifference
from launcher.runs.events import Step, read_events
from launcher.runs.manifest import read_manifest
from launcher.runs.metrics import read_metrics
from launcher.runs.records import open_regular

WEIGHTS = ("model.pt", "optimizer.pt")
"""Files of a checkpoint of the plain strategy, whose bytes depend on their content alone."""
FAR_OFF = {"fp32": 1e-3, "bf16": 2e-2}
"""How far losses may come from each other by rounding alone, over a drill's steps."""


def computed_alike(one: RunDir, two: RunDir) -> tuple[Sameness, ...]:
    """What `reported_alike` compares, and the weights at the end."""
    return (*reported_alike(one, two), _same("weights", _hashes(one), _hashes(two)))


def reported_alike(one: RunDir, two: RunDir, attempts: bool = False) -> tuple[Sameness, ...]:
    """Every loss that either run reported, and the metrics of evaluations.

    With `attempts`, losses of steps that a killed attempt of `two` did and a later one did again are looked at too.
    """
    again = [_same("losses of all attempts", _event_losses(one), _event_losses(two), subset=True)]
    return (
        _same("training losses", _losses(one), _losses(two)),
        *(again if attempts else ()),
        _same("evaluations", _evaluations(one), _evaluations(two)),
    )


@dataclass(frozen=True)
class Nearness:
    """How far the losses of two runs are from each other."""

    finding: Sameness
    largest: float


def near_losses(one: RunDir, two: RunDir, precision: str) -> Nearness:
    """The losses of two runs whose sums are rounded in another order: the same within FAR_OFF, as a share of the loss."""
    expected, found = _losses(one), _losses(two)
    far = {key: _distance(expected.get(key), found.get(key)) for key in dict.fromkeys([*expected, *found])}
    bound = FAR_OFF.get(precision, FAR_OFF["bf16"])
    different = [
        key
        for key, distance in far.items()
        if not distance <= bound * max(1.0, abs(expected.get(key) or 0.0))
    ]
    first = next((f"{key}: {expected.get(key)} and {found.get(key)}" for key in different), None)
    what = f"training losses, within {bound:.0e}"
    return Nearness(
        Sameness(what, len(far) - len(different), len(far), first), max(far.values(), default=0.0)
    )


def _distance(one: float | None, two: float | None) -> float:
    return math.inf if one is None or two is None else abs(one - two)


def first_step(one: RunDir, two: RunDir) -> StepDifference | None:
    """The first step whose loss differs, in any attempt of `two` or in metrics.jsonl; None where all are the same."""
    expected = {step: loss for (attempt, step), loss in _event_losses(one).items() if attempt == 1}
    found = [
        StepDifference(step, expected.get(step), loss, attempt)
        for (attempt, step), loss in _event_losses(two).items()
        if expected.get(step) != loss
    ]
    ours, theirs = (
        {row["step"]: row["train/loss"] for row in _metrics(run) if "train/loss" in row} for run in (one, two)
    )
    found += [
        StepDifference(step, ours.get(step), theirs.get(step))
        for step in {*ours, *theirs}
        if ours.get(step) != theirs.get(step)
    ]
    return min(found, key=lambda difference: (difference.step, difference.attempt or 0), default=None)


def interrupted_at(run: RunDir) -> int:
    """The last step of the first attempt, 0 where it had none."""
    return max((step for attempt, step in _event_losses(run) if attempt == 1), default=0)


def _same(
    what: str, expected: Mapping[Any, Any], found: Mapping[Any, Any], *, subset: bool = False
) -> Sameness:
    """Compare two mappings; with `subset`, keys of `found` are (attempt, step) and those of `expected` (1, step)."""
    pairs = (
        {
            f"step {step} in attempt {attempt}": (expected.get((1, step)), value)
            for (attempt, step), value in found.items()
        }
        if subset
        else {key: (expected.get(key), found.get(key)) for key in dict.fromkeys([*expected, *found])}
    )
    different = {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}
    first = next((f"{key}: {one} and {two}" for key, (one, two) in different.items()), None)
    return Sameness(what, len(pairs) - len(different), len(pairs), first)


def _losses(run: RunDir) -> dict[str, Any]:
    return {f"step {row['step']}": row["train/loss"] for row in _metrics(run) if "train/loss" in row}


def _evaluations(run: RunDir) -> dict[str, Any]:
    return {
        f"{key.removeprefix('eval/')} on {row['split']} at step {row['step']}": row[key]
        for row in _metrics(run)
        if "split" in row
        for key in row
        if key.startswith("eval/")
    }


def _metrics(run: RunDir) -> list[dict[str, Any]]:
    return list(read_metrics(run).trees)


def _event_losses(run: RunDir) -> dict[tuple[int, int], float | None]:
    """(attempt, step) -> loss: steps that were done again after a kill are here and not in metrics.jsonl."""
    return {(step.attempt or 0, step.step): step.loss for step in read_events(run.events, Step)}


def _hashes(run: RunDir) -> dict[str, str]:
    """Name -> sha256 of the best model's weights and of what the last checkpoint holds."""
    found = {f"model/{path.name}": sha256(path) for path in sorted(run.model.glob("*.safetensors"))}
    steps = run.checkpoint_directories()
    manifest = read_manifest(steps[-1]) if steps else None
    for name in WEIGHTS:
        if manifest is not None and name in manifest.files:
            found[f"{steps[-1].name}/{name}"] = manifest.files[name].sha256
    return found


def sha256(path: Path) -> str:
    """Of a file's bytes, in hexadecimal. Raises DamagedFile where it is no regular file."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
