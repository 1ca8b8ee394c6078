"""Harm that is done on purpose to a job of Slurm's, for `launch drill`: from a step of its own, beside the training."""

from __future__ import annotations

import time

from launcher.errors import RunFailed
from launcher.executors.shared.slurm_commands import message_of, run_slurm
from launcher.executors.shared.slurm_states import asked_for, known_state
from launcher.runs.directory import RunDir

GONE_TIMEOUT_S = 120.0
"""Longest that a node is left down while its job is ended."""


def harm(run: RunDir, job: str, fault: str, rank: int) -> str:
    """Do it to the node of that rank, and say what was done. Raises RunFailed where it couldn't be."""
    attempt, plan = run.last_attempt(), run.plan_tree()
    node = None if attempt is None else attempt.hosts_of_ranks().get(rank)
    if node is None:
        raise RunFailed("drill", f"rank {rank} of {run.run_id} has not started")
    step = ["--overlap", "--nodes=1", "--ntasks=1", "--cpus-per-task=1", f"--nodelist={node}"]
    module = [plan["python"], "-P", "-m", "launcher.executors.shared.injection"]
    harmed = run_slurm(["srun", f"--jobid={asked_for(job)}", *step, *module, str(run.path), fault, str(rank)])
    # A node that is lost may take the step along that did it.
    if harmed.returncode and not harmed.stdout.strip():
        raise RunFailed("drill", f"nothing could be done on {node}: {message_of(harmed.stderr)}")
    done = f"{harmed.stdout.strip()} on {node}"
    return f"{done}; {_lose(node, asked_for(job))}" if fault == "node" else done


def _lose(node: str, job: str) -> str:
    """Have Slurm take the node for lost until it has ended the job, where it may be; says what became of that.

    Nobody else's job is harmed.
    """
    listed = run_slurm(["squeue", "--all", "--noheader", f"--nodelist={node}", "--format=%i"])
    others = set(listed.stdout.split()) - {job}
    if others:
        return f"the node itself stays up, for job {min(others)} uses it, too"
    update = ["scontrol", "update", f"nodename={node}"]
    lost = run_slurm([*update, "state=down", "reason=launch drill"])
    if lost.returncode:
        return f"the node itself stays up, for Slurm won't take it down: {message_of(lost.stderr)}"
    try:
        _wait_for_end(job)
    finally:
        run_slurm([*update, "state=resume"])
    return "the node was taken down, and given back once Slurm had ended the job"


def _wait_for_end(job: str) -> None:
    deadline = time.monotonic() + GONE_TIMEOUT_S
    while time.monotonic() < deadline:
        state = known_state(job)
        if state is None or not state.active:
            return
        time.sleep(0.5)
