"""What Slurm has allocated of this machine, where `launch` itself runs within a job: a site may enforce nothing of it."""

from __future__ import annotations

import os
import platform


def allocated() -> tuple[int | None, int | None]:
    """Cores and bytes of main memory; None where nothing is said, as on a machine that isn't the job's."""
    if os.environ.get("SLURMD_NODENAME") != platform.node().partition(".")[0]:
        return None, None
    cores = _number("SLURM_CPUS_ON_NODE")
    mebibytes = _number("SLURM_MEM_PER_NODE")
    of_each = _number("SLURM_MEM_PER_CPU")
    if mebibytes is None and of_each is not None and cores is not None:
        mebibytes = of_each * cores
    return cores, None if mebibytes is None else mebibytes << 20


def _number(name: str) -> int | None:
    """None for 0 as well, by which all that there is was asked for."""
    text = os.environ.get(name, "")
    return int(text) or None if text.isascii() and text.isdigit() else None
