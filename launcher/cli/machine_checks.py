"""What `launch doctor` looks at on the launch side; none of it needs torch, a network answer or more than seconds."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from launcher import paths
from launcher.cli import wandb_account
from launcher.figures import human_bytes
from launcher.runs.provenance import DISTRIBUTION

OLDEST_PYTHON = (3, 11)
LITTLE_DISK = 10 * 2**30
STALE_LOCK_S = 900
SHARED_FILE_SYSTEMS = (
    "nfs",
    "lustre",
    "gpfs",
    "beegfs",
    "ceph",
    "afs",
    "weka",
    "panfs",
    "wekafs",
    "9p",
    "cifs",
    "glusterfs",
)


@dataclass(frozen=True)
class Check:
    """One thing looked at: `broken` is what nothing works with, `note` what some recipes don't work with."""

    name: str
    state: Literal["ok", "note", "broken"]
    text: str
    remedy: str | None = None


def launch_side_checks(runs_dir: Path) -> Iterator[Check]:
    """Every check that needs no torch."""
    yield _python()
    yield from _packages()
    yield _gpus()
    yield from _schedulers()
    yield from _runs_dir(runs_dir)
    yield _cache()
    yield _environment()
    yield _hub_cache()
    yield from _wandb()
    yield from _operators()


def _python() -> Check:
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < OLDEST_PYTHON:
        return Check("python", "broken", f"{version} at {sys.executable}", "Python 3.11 or newer is needed")
    return Check("python", "ok", f"{version} at {sys.executable}")


def _packages() -> Iterator[Check]:
    try:
        needed = importlib.metadata.requires(DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        yield Check(
            "packages", "note", f"{DISTRIBUTION} is not installed: versions can't be compared", "make install"
        )
        return
    found = []
    for requirement in needed:
        match = re.match(r"([A-Za-z0-9_.-]+)(?:>=([0-9.]+))?", requirement)
        if match is None or "extra ==" in requirement:
            continue
        name, least = match.groups()
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            yield Check("packages", "broken", f"{name} is missing", f"pip install '{requirement}'")
            continue
        found.append(f"{name} {version}")
        if least and _numbers(version) < _numbers(least):
            yield Check("packages", "broken", f"{name} {version} is too old", f"pip install '{requirement}'")
    yield Check("packages", "ok", ", ".join(sorted(found, key=str.lower)))


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version.partition("+")[0])[:3])


def _gpus() -> Check:
    from launcher.commands import ask
    from launcher.planning.machine import local_gpus

    count = local_gpus()
    if count == 0:
        return Check("gpus", "ok", "none on this machine: local runs use the CPU")
    listed = ask(["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"])
    return Check("gpus", "ok", f"{count}" + (f": {'; '.join(listed.splitlines())}" if listed else ""))


def _schedulers() -> Iterator[Check]:
    from launcher.executors import SCHEDULERS, executor_for

    for name in SCHEDULERS:
        for finding in executor_for(name).look():
            yield Check(name, *finding)


def _runs_dir(runs_dir: Path) -> Iterator[Check]:
    from launcher.planning.machine import scheduler_here

    existing = next(
        path for path in (runs_dir.absolute(), *runs_dir.absolute().parents) if paths.exists(path)
    )
    if not (paths.is_dir(existing) and os.access(existing, os.W_OK | os.X_OK)):
        yield Check(
            "runs_dir",
            "broken",
            f"{runs_dir}: {existing} can't be written",
            "choose another with runs_dir=DIR",
        )
        return
    kind = file_system(existing)
    yield Check("runs_dir", "ok", f"{runs_dir.absolute()} on {kind}")
    if scheduler_here() is not None and not kind.startswith(SHARED_FILE_SYSTEMS):
        text = f"{kind} doesn't look shared, and every node writes to runs_dir"
        yield Check(
            "runs_dir", "note", text, "with several machines, use runs_dir=DIR on the shared file system"
        )
    free = shutil.disk_usage(existing).free
    low = free < LITTLE_DISK
    remedy = "checkpoints of a large model take several GiB each" if low else None
    yield Check("disk", "note" if low else "ok", f"{human_bytes(free)} free for runs", remedy)


def _cache() -> Check:
    from launcher.planning.prepare import CACHE_REMEDY, cache_refusal

    refusal = cache_refusal(None)
    if refusal is not None:
        return Check("cache", "broken", f"tokenised data can't be kept: {refusal}", CACHE_REMEDY)
    return Check("cache", "ok", str(paths.user_cache()))


def file_system(path: Path) -> str:
    """Type of the file system that holds a path, as Linux names it."""
    mounts = Path("/proc/self/mounts")
    if not mounts.exists():
        return "an unknown file system"
    best = ("", "an unknown file system")
    for line in mounts.read_text(encoding="utf-8", errors="replace").splitlines():
        _, point, kind, *_ = line.split(" ")
        if path.resolve().is_relative_to(point) and len(point) >= len(best[0]):
            best = (point, kind)
    return best[1]


def _environment() -> Check:
    """What of this environment a job would have; the names alone, and those of keys without their values."""
    from launcher.executors.shared.environment import split_environment

    found = split_environment(os.environ)
    text = f"a job gets {', '.join(sorted(found.passed))}"
    if found.secrets:
        text += f"; by a file that only you can read: {', '.join(sorted(found.secrets))}"
    if found.left_out:
        text += f"; not: {', '.join(found.left_out)} (a cluster profile adds to them with pass_env)"
    return Check("environment", "ok", text)


def _hub_cache() -> Check:
    home = Path(os.environ.get("HF_HOME", Path.home() / ".cache" / "huggingface"))
    cache = Path(os.environ.get("HF_HUB_CACHE", home / "hub"))
    models = len(list(cache.glob("models--*"))) if cache.is_dir() else 0
    offline = [
        name
        for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
        if os.environ.get(name) in ("1", "true", "True")
    ]
    flags = f"; offline by {' and '.join(offline)}" if offline else ""
    return Check("hub", "ok", f"{models} models in {cache}{flags}")


def _wandb() -> Iterator[Check]:
    url = wandb_account.server()
    parts = urlsplit(url)
    if (mode := wandb_account.mode()) is not None:
        text = f"WANDB_MODE, WANDB_DISABLED or W&B's settings say {mode}: so are runs of tracking.wandb.mode=auto"
        yield Check("wandb", "ok", text)
    if not wandb_account.has_key(url):
        text = f"no key for {url}: runs are recorded offline, launch sync sends them"
        yield Check("wandb", "ok", text, "wandb login")
        return
    yield Check("wandb", "ok", "a key is there")
    own = os.environ.get(f"WANDB_{parts.scheme.upper()}_PROXY")
    if own or (parts.scheme in getproxies() and not proxy_bypass(parts.hostname or "")):
        yield Check("wandb", "ok", f"{url} is behind a proxy, which isn't tried here")
        return
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
        socket.create_connection((parts.hostname or "", port), timeout=2).close()
    except (OSError, ValueError) as error:
        text = f"{url} can't be reached ({getattr(error, 'strerror', None) or error})"
        yield Check("wandb", "note", text, "runs are recorded offline, launch sync sends them")
    else:
        yield Check("wandb", "ok", f"{url} answers")


def _operators() -> Iterator[Check]:
    compiler = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        yield Check(
            "compiler",
            "note",
            "no C++ compiler: DeepSpeed can't build its operators",
            "needed for zero.stage above 0",
        )
    else:
        yield Check("compiler", "ok", compiler)
    given = os.environ.get("TORCH_EXTENSIONS_DIR")
    if given:
        built = sorted(Path(given).rglob("*.so"))
    else:
        own = paths.operators_cache("*")
        built = sorted(own.parent.glob(f"{own.name}/**/*.so"))
    if built:
        yield Check("operators", "ok", f"built: {', '.join(map(str, built))}")
    else:
        text = "none built: the first run with ZeRO on the CPU compiles for minutes"
        yield Check("operators", "ok", text)
    # Of what a killed build leaves in our own place, the next run makes an end.
    for lock in Path(given).rglob("lock") if given else ():
        if time.time() - lock.stat().st_mtime > STALE_LOCK_S:
            yield Check("operators", "broken", f"a stale lock hangs every rank: {lock}", f"rm {lock}")
