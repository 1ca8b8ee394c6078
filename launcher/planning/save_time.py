"""How long a checkpoint will take to be on disk, and what follows from that for stopping in time. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from launcher.figures import human_bytes, human_seconds
from launcher.runs.time_limits import minutes

DISK_BYTES_PER_S = 200e6
"""Written, hashed and synchronised: what torch.save of 1.5 GB reached on a common disk. Shared file systems differ by far."""
NOTICE_S = 120
"""Seconds before the time limit at which a job is asked to save and stop, where nothing needs more."""
STEPS_S = 60
"""Of these, what is for the steps under way and for ending processes."""
SMALL_S = 5.0
"""A save that takes less than this fits everywhere."""


def save_s(size: int | None) -> float:
    """Seconds until a checkpoint of this many bytes is on disk; 0 where its size is unknown."""
    return (size or 0) / DISK_BYTES_PER_S


def notice_s(limit: str | None, grace_s: int | None, size: int | None) -> int:
    """How long before its time limit a job is asked to stop, until it has measured what that takes.

    As the profile says, else time for two saves, since one may be under way; at most a quarter of a short limit, or a job
    would stop as it starts.
    """
    if grace_s is not None:
        return grace_s
    wanted = max(NOTICE_S, int(STEPS_S + 2 * save_s(size)))
    return wanted if limit is None else max(1, min(wanted, int(minutes(limit) * 15)))


def save_notes(
    limit: str | None, profile_s: int | None, preempted_s: float | None, size: int | None
) -> Iterator[str]:
    """What is too short for a save: the notice before the time limit, or what a job gets that gives way to another."""
    seconds = save_s(size)
    if size is None or seconds < SMALL_S:
        return
    save = f"a checkpoint of {human_bytes(size)} takes about {human_seconds(seconds)} at {human_bytes(int(DISK_BYTES_PER_S))}/s"
    notice = notice_s(limit, profile_s, size)
    if notice < seconds:
        remedy = "a larger grace_s in the profile" if profile_s is not None else "more time"
        yield f"{save}, and the job is asked to stop {human_seconds(notice)} before its time limit: give {remedy}"
    if preempted_s is not None and preempted_s < seconds:
        yield (
            f"{save}, and a job of this partition is given {human_seconds(preempted_s)} when it must give way to another: it "
            "may lose the steps since its last checkpoint, and checkpoint.every decides how many those are"
        )
