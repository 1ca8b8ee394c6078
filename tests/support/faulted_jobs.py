"""Real trainings as jobs of a real Slurm, for tests that do something to the cluster beneath them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from support.plans import new_run, plan_of
from support.slurm_cluster import Cluster
from support.training import losses
from support.waiting import wait_until

from launcher.runs.directory import RunDir
from launcher.runs.events import Step, read_events
from launcher.runs.records import read_json

STEPS = 400
LONG_S = 300.0
ENDED = (
    "COMPLETED",
    "FAILED",
    "CANCELLED",
    "TIMEOUT",
    "NODE_FAIL",
    "PREEMPTED",
    "OUT_OF_MEMORY",
    "BOOT_FAIL",
)


class FaultedJob:
    """A run of STEPS steps that is saved every 20, and its newest job."""

    def __init__(self, cluster: Cluster, directory: Path, recipe: Mapping[str, Any], **profile: Any) -> None:
        tree = {
            "executor": "slurm",
            "train": {"max_steps": STEPS},
            "eval": {"every": 100},
            "checkpoint": {"every": 20},
            "data": {"cache_dir": str(directory.parent / "cache"), "limit": 400},
            **recipe,
        }
        self.cluster = cluster
        self.run: RunDir = new_run(plan_of(tree, profile, run_dir=directory))
        self.job = ""
        self.struck_at = 0.0
        self.attempt = 0
        """The attempt that the fault came to."""

    def submit(self, *options: str) -> None:
        command = ["sbatch", "--parsable", *options, str(self.run.job_sbatch)]
        self.job = self.cluster.run(command).stdout.strip()

    def wait_for_step(self, step: int) -> None:
        wait_until(lambda: self.last_step() >= step or self.over(), f"step {step}", timeout_s=LONG_S)
        assert not self.over(), self.report()

    def strike(self) -> None:
        """Say that the fault comes now."""
        self.struck_at, self.attempt = time.time(), max(self.run.attempt_numbers())

    def state(self) -> str:
        """Slurm's word for the job, empty where its controller doesn't answer."""
        done = self.cluster.run(["scontrol", "-o", "show", "job", self.job], check=False)
        words = [word for word in done.stdout.split() if word.startswith("JobState=")]
        return words[0].removeprefix("JobState=") if words else ""

    def over(self) -> bool:
        return self.state() in ENDED

    def wait_for_end(self, *, hurry: bool = False) -> str:
        """Slurm's word for how it ended; with `hurry` a job that was put back is started at once, not after two minutes."""

        def ended() -> bool:
            if hurry and self.state() == "PENDING":
                time.sleep(2.1)  # Slurm must be left alone for two seconds, or it refuses
                self.cluster.run(["scontrol", "update", f"jobid={self.job}", "StartTime=now"], check=False)
            return self.over()

        wait_until(ended, f"job {self.job} to end", timeout_s=LONG_S)
        return self.state()

    def complete(self) -> RunDir:
        """Start it anew as long as it doesn't complete by itself, at most three times."""
        for _ in range(3):
            if (read_json(self.run.result) or {}).get("status") == "completed":
                return self.run
            self.submit()
            self.wait_for_end(hurry=True)
        raise AssertionError(self.report())

    def last_step(self) -> int:
        return max((event.step for event in read_events(self.run.events, Step)), default=0)

    def seen(self) -> dict[str, Any]:
        """What `happened` takes: steps done again, seconds to the first new step, and the scheduler's part of these."""
        steps = list(read_events(self.run.events, Step))
        before = [event.step for event in steps if (event.attempt or 0) <= self.attempt]
        later = [event for event in steps if (event.attempt or 0) > self.attempt]
        if not later:  # the attempt has lived on
            return {"steps_lost": 0, "to_next_step_s": None, "scheduler_s": None}
        at = max(before, default=0)
        new = next((event for event in later if event.step > at and event.t is not None), None)
        began = self.run.attempt(later[0].attempt or 0).read().started_at
        return {
            "steps_lost": max(0, at + 1 - later[0].step),
            "to_next_step_s": None if new is None or new.t is None else new.t - self.struck_at,
            "scheduler_s": None if began is None else began - self.struck_at,
        }

    def losses(self) -> list[float]:
        return losses(self.run)

    def report(self) -> str:
        """All that was said."""
        logs = "\n".join(
            f"== {path}\n{path.read_text(errors='replace')[-3000:]}"
            for path in sorted(self.run.logs.glob("*.log"))
        )
        return f"{self.state()} {read_json(self.run.result)}\n{logs}"
