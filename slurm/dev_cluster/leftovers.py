"""Processes that outlive the daemons of a cluster: job steps outlive their slurmd, orphans their step."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from dev_cluster.machine import ClusterError
from dev_cluster.record import RECORD, exports, read_record

SLURM_PROGRAMS = {"munged", "slurmctld", "slurmd", "slurmstepd", "srun", "salloc", "sbatch"}


def sweep(directory: Path, *, spare_visitors: bool) -> None:
    """Kill what is left of the cluster in `directory`, and only that: it is known by SLURM_CONF in its environment.

    With `spare_visitors`, a process that is neither part of a job nor one of Slurm's own programs is left alone,
    such as an editor started from a shell that exported SLURM_CONF.
    """
    deadline = time.monotonic() + 5
    while leftovers := _leftovers(directory, spare_visitors):
        if time.monotonic() > deadline:
            raise ClusterError(f"processes that do not die: {', '.join(map(str, sorted(leftovers)))}")
        for pid in leftovers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.005)


def discard_remains(directory: Path) -> None:
    """Clear away what an owner that was killed could not: processes, its socket directory, its record."""
    sweep(directory, spare_visitors=True)
    record = read_record(directory)
    if record is not None and record.sockets != str(directory):
        shutil.rmtree(record.sockets, ignore_errors=True)
    (directory / RECORD).unlink(missing_ok=True)


def _leftovers(directory: Path, spare_visitors: bool) -> set[int]:
    """Processes of the cluster in `directory` and below them, without this one and those above it."""
    parents: dict[int, int] = {}
    found: set[int] = set()
    mark = f"SLURM_CONF={exports(directory)['SLURM_CONF']}".encode()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            pid = int(process.name)
            name, parents[pid] = _name_and_parent(process)
            variables = (process / "environ").read_bytes().split(b"\0")
            in_job = any(variable.startswith(b"SLURM_JOB_ID=") for variable in variables)
            if mark in variables and (in_job or name in SLURM_PROGRAMS or not spare_visitors):
                found.add(pid)
    below = {pid for pid in parents if not found.isdisjoint(_ancestors(pid, parents))}
    own = os.getpid()
    return (found | below) - {own, *_ancestors(own, parents)}


def _ancestors(pid: int, parents: Mapping[int, int]) -> Iterator[int]:
    while (pid := parents.get(pid, 0)) != 0:
        yield pid


def _name_and_parent(process: Path) -> tuple[str, int]:
    name, _, rest = (process / "stat").read_text().partition("(")[2].rpartition(")")
    return name, int(rest.split()[1])
