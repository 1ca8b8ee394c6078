"""`launch doctor --cluster`: what jobs look at before they train, looked at on all nodes by a job of its own."""

from __future__ import annotations

import random
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from launcher import paths
from launcher.errors import DamagedFile, UserError
from launcher.executors import Executor
from launcher.executors.shared.site import Node
from launcher.health import findings
from launcher.health.facts import NodeFacts, read_facts
from launcher.health.findings import Finding
from launcher.network import PORTS
from launcher.planning.prepare import templates
from launcher.planning.render import examination_options, render_examination
from launcher.recipe.cluster import Cluster
from launcher.runs.attempts import Attempt
from launcher.runs.directory import RunDir
from launcher.runs.provenance import Versions, versions_here
from launcher.runs.run_plan import PlannedMemory

CHECKS = ("answer", "run directory", "gpus", "ecc", "xid", "memory", "clock", "versions", "network")
GPU_CHECKS = ("gpus", "ecc", "xid")
State = Literal["ok", "note", "failed", "busy", "away"]
ORDER: Sequence[State] = ("failed", "note", "away", "busy", "ok")
"""In which order nodes are shown."""


@dataclass(frozen=True)
class CheckedNode:
    """A node, and what was found there."""

    name: str
    state: State
    why: str | None = None
    """Why it was not looked at."""
    checks: Mapping[str, str] = field(default_factory=dict)
    """ok, note, failed or - (nothing to look at) of each check."""
    findings: tuple[Finding, ...] = ()
    seconds: float | None = None

    def tree(self) -> dict[str, Any]:
        """Plain values for JSON."""
        found = [{"check": each.check, "state": each.state, "text": each.text} for each in self.findings]
        return {**vars(self), "checks": dict(self.checks), "findings": found}


@dataclass(frozen=True)
class Need:
    """What every node should have: see `launcher.health.findings.Need`."""

    device: str
    gpus: int
    memory: PlannedMemory = field(default_factory=PlannedMemory)


def examine_cluster(
    executor: Executor, profile: Cluster, wanted: str | None, directory: Path
) -> list[CheckedNode]:
    """Look at all nodes of the profile's partition, or at the wanted ones, that are free; those that fail come first.

    `directory` is where runs are: all nodes must see it, and nothing stays in it. Raises UserError where there are no such
    nodes, or their job is refused.
    """
    gpus = profile.gpus_per_node
    if gpus is None:
        gpus = executor.gpus_per_node(profile.partition) or 0
    need = Need("cuda" if gpus else "cpu", gpus)
    for _ in range(2):  # somebody else may take a node meanwhile
        nodes = executor.nodes(profile, wanted, may_share=not gpus)
        free = [node.name for node in nodes if node.state == "free"]
        found = _examine(executor, profile, need, free, directory) if free else {}
        if found is not None:
            break
    else:
        taken = "others were quicker"
        nodes = [Node(node.name, "busy", taken) if node.state == "free" else node for node in nodes]
        found = {}
    examined = [
        found.get(node.name)
        or CheckedNode(node.name, "busy" if node.state == "free" else node.state, node.why)
        for node in nodes
    ]
    return sorted(examined, key=lambda each: ORDER.index(each.state))


def _examine(
    executor: Executor, profile: Cluster, need: Need, hosts: Sequence[str], directory: Path
) -> dict[str, CheckedNode] | None:
    """What was found on these nodes; None where they can't be had now."""
    existing = next(
        path for path in (directory.absolute(), *directory.absolute().parents) if paths.exists(path)
    )
    try:
        place = tempfile.TemporaryDirectory(prefix=".doctor-", dir=existing, ignore_cleanup_errors=True)
    except OSError as error:
        remedy = "name a directory of yours that all nodes see: --runs-dir DIR"
        raise UserError(f"can't be written: {error.strerror}", where=str(existing), remedy=remedy) from None
    with place as name:
        run = RunDir(Path(name))
        run.attempt(1).path.mkdir(mode=0o700, parents=True)
        run.attempt(1).write(Attempt(1, hosts=tuple(hosts)))
        addresses = dict(zip(hosts, executor.addresses(hosts), strict=True))
        script = render_examination(profile, templates(), name, need.device, addresses, random.choice(PORTS))
        printed = executor.run_on_nodes(profile, hosts, need.gpus, script, examination_options(profile, name))
        if printed is None:
            return None
        try:
            facts = read_facts(run, 1, len(hosts))
        except DamagedFile as error:
            raise UserError(error.problems) from None
        here = [versions_here()] if profile.python in (None, sys.executable) else []
        return {each.name: each for each in _judged(need, hosts, facts, here)}


def _judged(
    need: Need, hosts: Sequence[str], facts: Mapping[int, NodeFacts], here: Sequence[Versions]
) -> Iterator[CheckedNode]:
    found = findings.find(need, hosts, facts, here)
    for number, host in enumerate(hosts):
        own = tuple(sorted((each for each in found if each.host == host), key=lambda each: each.state))
        checks = {check: _of(check, own, need, answered=number in facts) for check in CHECKS}
        states = [each.state for each in own]
        state: State = "failed" if "failed" in states else "note" if states else "ok"
        seconds = facts[number].seconds if number in facts else None
        yield CheckedNode(host, state, None, checks, own, seconds)


def _of(check: str, found: Sequence[Finding], need: Need, *, answered: bool) -> str:
    states = [each.state for each in found if each.check == check]
    if states:
        return "failed" if "failed" in states else "note"
    return "ok" if answered and (need.gpus or check not in GPU_CHECKS) else "-"


def cluster_lines(examined: Sequence[CheckedNode]) -> Iterator[Sequence[str]]:
    """A row of each node for a table under `cluster_headers`."""
    for each in examined:
        yield [each.name, _word(each.state), *(_word(each.checks.get(check, "-")) for check in CHECKS)]


def cluster_headers() -> Sequence[str]:
    """The names of the columns."""
    return ["node", "state", *("directory" if check == "run directory" else check for check in CHECKS)]


def reasons(examined: Sequence[CheckedNode]) -> Iterator[str]:
    """A sentence on everything that isn't as it should be, what fails first."""
    for each in examined:
        for finding in each.findings:
            yield f"{_word(finding.state)}  {each.name}: {finding.text}"
    for each in examined:
        if each.why is not None:
            yield f"not looked at  {each.name}: {each.why}"


def _word(state: str) -> str:
    return "FAILED" if state == "failed" else state
