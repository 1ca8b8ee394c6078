"""Of which step model/ is, and whether that is the step that the run's result calls the best.

Standard library alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from launcher.errors import DamagedFile
from launcher.runs.directory import RunDir
from launcher.runs.records import read_record

STEP_FILE = "launcher.json"
"""In a directory of a model, beside what others read; transformers leaves it alone."""


@dataclass(frozen=True)
class Kept:
    """What that file says."""

    step: int


def step_of(model: Path) -> int | None:
    """The step that a model is of; None where there is no model, or nobody says."""
    try:
        found = read_record(Kept, model / STEP_FILE)
        return None if found is None else found.step
    except DamagedFile:
        return None


def doubt(run: RunDir) -> str | None:
    """One sentence where model/ is not the one that the result calls the best, or None."""
    result, step = run.read_result(), step_of(run.model)
    best = None if result is None else result.best
    if best is None or step is None or step == best.step:
        return None
    is_over = result is not None and result.status == "completed"
    remedy = "" if is_over else f": launch resume {run.run_id} puts it right"
    return f"model/ is of step {step}, but the best is of step {best.step}{remedy}"


def no_model(run: RunDir) -> tuple[str, str]:
    """Message and remedy of a run without model/: there is none yet, a kill left the one before under another name, or
    it was taken away."""
    if run.former_model.is_dir():
        remedy = f"launch resume {run.run_id} puts the one before it back, which {run.former_model} holds"
        return "was killed while a better model took the place of the one before", remedy
    result = run.read_result()
    if result is not None and result.status == "completed":
        remedy = f"put back what was in {run.model}, or train it again: launch reproduce {run.run_id}"
        return "has its model no more", remedy
    return "has no model yet", f"launch status {run.run_id} says how far it is"
