"""What a scheduler says of its site, for a first cluster profile; and what a short job finds on a node."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

PROBE = """
echo "host=$(hostname)"
echo "cpus=$(nproc)"
echo "python=$({python} -c 'import sys; print(sys.version.split()[0])' 2>/dev/null)"
echo "directory=$(test -w {directory} && echo writable)"
for each in /sys/class/net/*; do
    test "$(cat "$each/operstate" 2>/dev/null)" = up && echo "interface=${{each##*/}}"
done
command -v apptainer >/dev/null && echo "container=apptainer"
nvidia-smi --query-gpu=name,memory.total --format=csv,noheader,nounits 2>/dev/null | sed 's/^/gpu=/'
true
"""
"""What a node is asked; every line that it prints is NAME=VALUE."""
ANSWER = re.compile(r"(host|cpus|python|directory|interface|container|gpu)=([\x20-\x7e]{1,200})")
MOST_LINES = 200


@dataclass(frozen=True)
class Partition:
    """One partition, as its scheduler describes it; None where it sets no limit or says nothing."""

    name: str
    default: bool
    nodes: int
    cpus: int
    """Of the smallest node."""
    gpus: int
    """Of a node that has most."""
    gpu_types: tuple[str, ...]
    most_nodes: int | None
    """In one job."""
    longest: str | None
    """Time limit in the scheduler's notation."""
    has_default_time: bool
    memory_mib_per_cpu: int | None
    """What a job gets for each CPU that it asks for, where it says nothing of memory."""


@dataclass(frozen=True)
class Site:
    """A cluster."""

    name: str
    partitions: tuple[Partition, ...]
    account: str | None
    """The user's default account; None where jobs aren't charged."""
    accounts: tuple[str, ...]
    counts_gpus: bool
    """Whether GPUs can be asked for by `gpus-per-node`; otherwise as a generic resource."""
    containers: tuple[str, ...]
    """Container runtimes that the scheduler itself offers."""


@dataclass(frozen=True)
class Node:
    """A node, and whether a job could start on it now."""

    name: str
    state: Literal["free", "busy", "away"]
    why: str | None = None
    """What it is busy with, or why it is not there, in the scheduler's words."""


@dataclass(frozen=True)
class NodeFacts:
    """What a job found on the node that it ran on."""

    host: str | None
    python: str | None
    """Version of the Python that would train; None where it can't be started there."""
    sees_directory: bool
    """Whether the directory that was asked about can be written from there."""
    interfaces: tuple[str, ...]
    """Network interfaces that are up, without loopback."""
    containers: tuple[str, ...]
    gpus: tuple[str, ...]
    gpu_memory_mib: int | None


def probe_script(python: str, directory: str) -> str:
    """The shell lines that a node is asked by."""
    return PROBE.format(python=shlex.quote(python), directory=shlex.quote(directory))


def read_probe(printed: str) -> NodeFacts:
    """What a node answered; lines that aren't answers are left out."""
    found: dict[str, list[str]] = {}
    for line in printed.splitlines()[:MOST_LINES]:
        if match := ANSWER.fullmatch(line.strip()):
            found.setdefault(match[1], []).append(match[2])
    gpus = [entry.rpartition(",") for entry in found.get("gpu", ())]
    memory = [int(mib) for _, _, text in gpus if (mib := text.strip()).isdecimal()]
    return NodeFacts(
        host=_first(found, "host"),
        python=_first(found, "python"),
        sees_directory=_first(found, "directory") == "writable",
        interfaces=tuple(name for name in found.get("interface", ()) if name != "lo"),
        containers=tuple(found.get("container", ())),
        gpus=tuple(name.strip() for name, _, _ in gpus),
        gpu_memory_mib=min(memory, default=None),
    )


def _first(found: Mapping[str, list[str]], name: str) -> str | None:
    return next(iter(found.get(name, ())), None)
