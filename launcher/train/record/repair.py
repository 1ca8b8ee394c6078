"""Puts metrics.jsonl right when a run is resumed: what it lacks comes from W&B's own file, or from events.jsonl."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from launcher.runs.directory import RunDir
from launcher.runs.metrics import Recorded, from_events, row_key, scan
from launcher.train.process.events import Events
from launcher.train.record.metrics_log import write_back
from launcher.train.record.wandb_files import histories


def put_right(run: RunDir, step: int, events: Events) -> None:
    """Mend the record of a run that goes on from `step`, and say what was done and what is still missing."""
    found = scan(run.metrics, step)
    whole = found
    if found.lacking or found.is_damaged:
        whole = found.filled(from_wandb(run)).filled(from_events(run.events))
    if write_back(run.metrics, whole) and (found.is_damaged or found.lacking):
        events.notice(f"metrics.jsonl was damaged and is put right{_restored(found, whole)}", "warning")
    if whole.doubt:
        events.notice(f"{whole.doubt}: neither W&B's files nor events.jsonl have them", "warning")


def from_wandb(run: RunDir) -> Iterator[dict[str, Any]]:
    """The lines of the training that W&B's files hold."""
    for row in histories(run.path / "wandb", run.run_id):
        figures = {key: value for key, value in row.items() if key.startswith(("train/", "perf/"))}
        if figures and type(row.get("_step")) is int:
            yield {"step": row["_step"], "epoch": row.get("epoch"), **figures}


def _restored(found: Recorded, whole: Recorded) -> str:
    steps = len(whole.trees) - len(found.trees)
    known = set(map(row_key, found.trees))
    names = [
        f"step {step}" if split == "train" else f"{split} at step {step}"
        for step, split in map(row_key, whole.trees)
        if (step, split) not in known
    ]
    shown = ", ".join(names[:5]) + (f" and {steps - 5} more" if steps > 5 else "")
    return f": restored {shown}" if names else ""
