"""What a CPU calls itself."""

from __future__ import annotations

import functools
import platform
from pathlib import Path

TELLING = ("amx_bf16", "avx512_bf16", "avx512f", "avx2")
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
