"""Nodes that a run keeps away from, since they failed it: the record of health/excluded.json.

Standard library alone, since a node reads it before anything else starts.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from launcher.runs.directory import RunDir
from launcher.runs.files import locked, write_json
from launcher.runs.records import read_record, tree_of

BAD_NODE = "node"
"""The class of an error that another node would not have made."""
FORGOTTEN_AFTER_S = 24 * 3600.0
"""A node that failed is repaired, or taken out of service by others, within a day."""


@dataclass(frozen=True)
class Exclusion:
    """A node that failed a run."""

    host: str
    reason: str
    since: float
    """Unix seconds."""
    attempt: int | None = None


@dataclass(frozen=True)
class Exclusions:
    """health/excluded.json."""

    nodes: tuple[Exclusion, ...] = ()


def all_exclusions(run: RunDir) -> tuple[Exclusion, ...]:
    """Every node that has failed this run, the latest last. Raises DamagedFile."""
    found = read_record(Exclusions, run.excluded)
    return () if found is None else found.nodes


def exclusions(run: RunDir, now: float | None = None) -> tuple[Exclusion, ...]:
    """Those that still count. Raises DamagedFile."""
    moment = time.time() if now is None else now
    return tuple(node for node in all_exclusions(run) if moment - node.since < FORGOTTEN_AFTER_S)


def exclude(run: RunDir, failed: Iterable[Exclusion]) -> None:
    """Keep these nodes from the run's next attempts; a newer reason takes the place of an older one."""
    run.health.mkdir(mode=0o700, exist_ok=True)
    with locked(run.health / "lock"):
        known = {node.host: node for node in all_exclusions(run)}
        for node in failed:
            known.pop(node.host, None)
            known[node.host] = node
        write_json(run.excluded, tree_of(Exclusions(tuple(known.values()))))


def are_to_blame(failed: Collection[str], hosts: Collection[str]) -> bool:
    """Whether it is these nodes' fault: where all of several fail, what is asked of them is."""
    return len(hosts) == 1 or set(failed) < set(hosts)


def exclude_option(run: RunDir, options: Sequence[str]) -> str:
    """The nodes that a job of this run must not get, as schedulers take a list; empty for none.

    `options` are the further options of the plan's request, where the site may exclude nodes as well.
    """
    of_site = [option.partition("=")[2] for option in options if option.startswith("--exclude=")]
    own = [node.host for node in exclusions(run)]
    return ",".join(dict.fromkeys([*of_site, *own])) if own else ""
