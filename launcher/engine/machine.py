"""What a CPU calls itself, and how many of its cores one process computes on."""

from __future__ import annotations

import functools
import os
import platform
from collections.abc import Mapping
from pathlib import Path

PLAIN_UNIT = "avx2"
TELLING = ("amx_bf16", "avx512_bf16", "avx512f", PLAIN_UNIT)
"""Units that matter for products of matrices, the best first."""


@functools.cache
def cpu_name(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """The CPU's model and its best unit for products, such as `AMD EPYC, avx512_bf16`."""
    fields: dict[str, str] = {}
    try:
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            fields.setdefault(name.strip(), value.strip())
    except OSError:
        pass
    model = " ".join(fields.get("model name", "").split()) or platform.machine() or "CPU"
    flags = set(fields.get("flags", fields.get("Features", "")).split())
    unit = next((flag for flag in TELLING if flag in flags), None)
    return model if unit is None else f"{model}, {unit}"


def cores_of_rank(cores: int, ranks: int, threads: int | None) -> int:
    """Cores that one of the ranks of a node computes on, which `threads` may hold back; 1 where several share one."""
    return max(1, min(cores // ranks, threads or cores))


def asked_threads(environ: Mapping[str, str] = os.environ) -> int | None:
    """The threads that OMP_NUM_THREADS gives a process; None where it says nothing of use."""
    first = environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return int(first) if first.isascii() and first.isdigit() and int(first) else None
