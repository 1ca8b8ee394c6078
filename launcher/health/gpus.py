"""What nvidia-smi says of a node's GPUs. A driver that doesn't know a field is asked without it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, replace

from launcher.commands import run_command

TIMEOUT_S = 60.0
"""Where no daemon keeps the driver loaded, nvidia-smi takes seconds for each GPU."""
FIELDS = ("index", "uuid", "name", "memory.total", "memory.used")
MORE_FIELDS = ("ecc.errors.uncorrected.volatile.total", "remapped_rows.failure")
NEWER_FIELDS = ("gpu_recovery_action",)
"""What to do about an Xid error, in the driver's words: `None`, `Reset`, `Reboot`, `Drain P2P`, ..."""
MOST_DIGITS = 15
LONGEST = 80
"""Characters of what is told that is no table."""


@dataclass(frozen=True)
class Gpu:
    """One GPU; bytes, and None where the driver doesn't say."""

    index: int
    uuid: str
    name: str
    memory: int | None = None
    used: int | None = None
    ecc_errors: int | None = None
    """Errors since the driver was loaded that could not be corrected; those of its whole life are not asked for."""
    rows_lost: bool = False
    """Whether memory that went bad could not be replaced."""
    recovery: str | None = None
    is_judged: bool = False
    """Whether the driver says what is to be done about its errors; that may be nothing."""


@dataclass(frozen=True)
class Gpus:
    """The GPUs that a job has on a node."""

    found: tuple[Gpu, ...] = ()
    error: str | None = None
    """What nvidia-smi complains of, or why it can't be asked."""


def look(environ: Mapping[str, str] = os.environ) -> Gpus:
    """Ask nvidia-smi about the GPUs that this process may use."""
    if shutil.which("nvidia-smi") is None:
        return Gpus(error="nvidia-smi is not on PATH")
    complaint = ""
    for fields in ((*FIELDS, *MORE_FIELDS, *NEWER_FIELDS), (*FIELDS, *MORE_FIELDS), FIELDS):
        done = _query(fields)
        if isinstance(done, str):
            return Gpus(error=done)
        complaint = _complaint(done)
        if "not a valid field" not in complaint:
            return _parsed(done, fields, environ)
    return Gpus(error=complaint)


def _query(fields: tuple[str, ...]) -> subprocess.CompletedProcess[str] | str:
    command = ["nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits"]
    try:
        return run_command(command, TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return f"nvidia-smi did not return in {TIMEOUT_S:.0f} s"
    except OSError as error:
        return f"nvidia-smi can't be started: {error.strerror}"


def _complaint(done: subprocess.CompletedProcess[str]) -> str:
    """The last line of a refusal."""
    if done.returncode == 0:
        return ""
    lines = [line.strip() for line in (done.stdout + "\n" + done.stderr).splitlines() if line.strip()]
    return lines[-1] if lines else f"nvidia-smi ended with code {done.returncode}"


def _parsed(
    done: subprocess.CompletedProcess[str], fields: tuple[str, ...], environ: Mapping[str, str]
) -> Gpus:
    rows = [
        dict(zip(fields, map(str.strip, line.split(",")), strict=False)) for line in done.stdout.splitlines()
    ]
    listed = [gpu for gpu in map(_gpu, rows) if gpu is not None]
    found = list({gpu.index: gpu for gpu in listed}.values())  # none twice
    complaint = _complaint(done) or (None if found else _no_table(done))
    return Gpus(tuple(_visible(found, environ)), complaint)


def _no_table(done: subprocess.CompletedProcess[str]) -> str:
    """What it says instead of a line for each GPU."""
    words = done.stdout.split()
    return f"nvidia-smi says {' '.join(words)[:LONGEST]!r}" if words else "nvidia-smi says nothing"


def _gpu(row: Mapping[str, str]) -> Gpu | None:
    """The GPU in a line; None for a line that is no table's, such as one that says which GPU is lost."""
    index = _number(row.get("index"))
    if index is None or "uuid" not in row:
        return None
    memory, used = _number(row.get("memory.total")), _number(row.get("memory.used"))
    recovery = row.get("gpu_recovery_action")
    is_judged = recovery is not None and recovery != "" and not recovery.startswith("[")
    return Gpu(
        index,
        row["uuid"],
        row.get("name", "?"),
        None if memory is None else memory << 20,
        None if used is None else used << 20,
        _number(row.get("ecc.errors.uncorrected.volatile.total")),
        row.get("remapped_rows.failure") in ("Yes", "1"),
        recovery if is_judged and recovery != "None" else None,
        is_judged,
    )


def _number(text: str | None) -> int | None:
    is_number = text is not None and text.isascii() and text.isdigit() and len(text) <= MOST_DIGITS
    return int(text) if text is not None and is_number else None


def _visible(found: list[Gpu], environ: Mapping[str, str]) -> list[Gpu]:
    """Those that CUDA_VISIBLE_DEVICES names; all where it names none, or parts of GPUs, whose other parts others may use."""
    words = [word.strip() for word in environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if word.strip()]
    if not words:
        return found
    if any(word.startswith("MIG") for word in words):
        return [replace(gpu, used=None) for gpu in found]
    return [
        gpu for gpu in found if any(word == str(gpu.index) or _is_start(word, gpu.uuid) for word in words)
    ]


def _is_start(word: str, uuid: str) -> bool:
    return word.startswith("GPU-") and uuid.startswith(word)
