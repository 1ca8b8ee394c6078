"""What W&B's client has written beside a run, and whether W&B has all of it."""

from __future__ import annotations

from launcher.runs.directory import RunDir

LACKING = "lacking"
"""File there from the time on that the server has a part of the run until it has the whole."""


def has_unsent(run: RunDir) -> bool:
    """Whether a part of the run was recorded offline that nobody has sent, or the server lacks rows of one that has ended."""
    directory = run.path / "wandb"
    parts = directory.glob(f"offline-run-*/run-{run.run_id}.wandb")
    if any(not part.with_name(f"{part.name}.synced").exists() for part in parts):
        return True
    return (directory / LACKING).exists() and run.result.exists()
