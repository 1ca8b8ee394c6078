"""The parts of a run that W&B's client has written offline, and which of them W&B has."""

from __future__ import annotations

from launcher.runs.directory import RunDir


def has_unsent(run: RunDir) -> bool:
    """Whether a part of the run was recorded offline that nobody has sent."""
    parts = run.path.glob(f"wandb/offline-run-*/run-{run.run_id}.wandb")
    return any(not part.with_name(f"{part.name}.synced").exists() for part in parts)
