"""What a node says of itself before it trains: gathered on every node, in a second, without torch."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from launcher import host_memory
from launcher.health import clock, gpus
from launcher.health.gpus import Gpu
from launcher.runs.directory import RunDir
from launcher.runs.files import write_json
from launcher.runs.provenance import Versions, versions_here
from launcher.runs.records import Extensible, make, read_json, tree_of

SEEN_TIMEOUT_S = 15.0
"""How long a file that one node wrote may take to be seen on another: caches of shared file systems live for seconds."""
MEET_TIMEOUT_S = 30.0
"""How long the nodes wait for each other, once all are there."""
LATE_S = 120.0
"""How long a node may take to be there: its Python is read from a file system that all nodes read at once.

With what the look itself takes, this is less than what the job's script lets srun wait for the last node.
"""


@dataclass(frozen=True)
class NodeFacts(Extensible):
    """health/preflight/N/NODE.json; what could not be found out is None."""

    host: str
    python: str
    torch: str | None
    launcher: str
    memory_available: int | None
    """Bytes."""
    disk_free: int | None
    """Bytes, of the file system that holds the run directory."""
    code: str | None = None
    """Digest of the launcher's own files."""
    gpus: tuple[Gpu, ...] = ()
    gpu_error: str | None = None
    run_error: str | None = None
    """What is wrong with the run directory as this node sees it."""
    clock_offset_s: float | None = None
    """How far its clock is ahead of the first node's."""
    head_error: str | None = None
    """Why it can't reach the first node."""
    reached_by: int | None = None
    """On the first node: how many of the others reached it."""
    seconds: float = 0.0
    """How long the look took."""

    @property
    def versions(self) -> Versions:
        """Those that must be the same on every node."""
        return Versions(self.python, self.torch, self.launcher, self.code)


@dataclass(frozen=True)
class NodeInJob:
    """A node's place in its job, as the job's script says it."""

    node: int
    nodes: int
    head: str
    port: int

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> NodeInJob:
        return cls(
            int(environ["LAUNCHER_NODE"]),
            len(environ["LAUNCHER_ADDRESSES"].split()),
            environ["LAUNCHER_HEAD"],
            int(environ["LAUNCHER_PORT"]),
        )


def look(run: RunDir, attempt: int, place: NodeInJob, *, on_gpus: bool) -> NodeFacts:
    """Look at this node, and write down what is found."""
    started = time.monotonic()
    found = gpus.look() if on_gpus else gpus.Gpus()
    versions = versions_here()
    facts = NodeFacts(
        host=this_node(),
        python=versions.python,
        torch=versions.torch,
        launcher=versions.launcher,
        code=versions.code,
        memory_available=host_memory.available(),
        disk_free=_free(run.path),
        gpus=found.found,
        gpu_error=found.error,
        run_error=run_error(run, attempt),
    )
    directory = run.preflight(attempt)
    facts = replace(_meet(facts, place, directory), seconds=round(time.monotonic() - started, 3))
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_json(directory / f"{place.node}.json", tree_of(facts))
    return facts


def read_facts(run: RunDir, attempt: int, nodes: int) -> dict[int, NodeFacts]:
    """What the nodes of an attempt have said, by their number in the job. Raises DamagedFile."""
    paths = {node: run.preflight(attempt) / f"{node}.json" for node in range(nodes)}
    trees = {node: (read_json(path), path) for node, path in paths.items()}
    return {
        node: make(NodeFacts, tree, str(path)) for node, (tree, path) in trees.items() if tree is not None
    }


def this_node() -> str:
    """The name that the scheduler has for this node, or else its own."""
    return os.environ.get("LAUNCHER_NODE_NAME") or socket.gethostname()


def _meet(facts: NodeFacts, place: NodeInJob, directory: Path) -> NodeFacts:
    """Let the nodes meet the first of them: can they, and what time is it there? Each leaves a file that it is there."""
    if place.nodes == 1:
        return facts
    there = [directory / f"{node}.there" for node in range(place.nodes)]
    with contextlib.suppress(OSError):  # what is wrong with the directory is said already
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        there[place.node].touch(mode=0o600)
    awaited = there if place.node == 0 else there[:1]
    patience = clock.Patience(MEET_TIMEOUT_S, LATE_S, lambda: all(path.exists() for path in awaited))
    if place.node == 0:
        try:
            return replace(facts, reached_by=clock.answer(place.port, place.nodes - 1, patience))
        except OSError as error:
            return replace(facts, head_error=f"port {place.port} can't be used: {error.strerror or error}")
    found = clock.ask(place.head, place.port, patience)
    if isinstance(found, str):
        return replace(facts, head_error=f"{place.head} port {place.port}: {found}")
    return replace(facts, clock_offset_s=round(found.offset_s, 3))


def run_error(run: RunDir, attempt: int, timeout_s: float = SEEN_TIMEOUT_S) -> str | None:
    """What is wrong with the run directory as seen from here: it must be there, hold the attempt, and take files."""
    record = run.attempt(attempt).record
    deadline = time.monotonic() + timeout_s
    while not os.path.lexists(record):
        if time.monotonic() > deadline:
            return f"what the job's script has written ({record}) is not seen here: is it on a shared file system?"
        time.sleep(0.1)
    try:
        with tempfile.TemporaryFile(dir=run.path) as file:
            file.write(b"x" * 4096)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        # A full disk is no node's fault: how much is free is looked at for all of them.
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        return None if full else f"{run.path} can't be written: {error.strerror}"
    return None


def _free(path: Path) -> int | None:
    try:
        return shutil.disk_usage(path).free
    except OSError:
        return None
