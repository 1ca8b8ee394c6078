"""What the nodes of an attempt found before it trains, and which of them train."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from dataclasses import replace

from launcher.health import findings
from launcher.health.facts import read_facts
from launcher.health.findings import Finding, Findings
from launcher.runs.attempt_directory import AttemptDir
from launcher.runs.directory import RunDir
from launcher.runs.exclusions import BAD_NODE, Exclusion, are_to_blame, exclude, exclusions
from launcher.runs.failure_classes import FREE_SPACE
from launcher.runs.files import write_json
from launcher.runs.provenance import Versions, read_launched
from launcher.runs.records import read_record, tree_of
from launcher.runs.results import Error

SPARE = "spare_nodes in the cluster profile asks for more nodes than are needed"
OF_ALL = "all nodes have it, so it is none's fault: look at what they share, then launch resume"
ONE_INSTALLATION = (
    "install the same on all nodes, or name one installation that all see, python in the cluster profile"
)


def judge(run: RunDir, attempt: AttemptDir) -> Findings | Error:
    """Which nodes of the attempt train. Writes down what was found, and keeps the run from the nodes that failed.

    An Error where too few are left, or what is wrong is no node's fault.
    """
    plan, hosts = run.read_plan(), attempt.read().hosts
    said = read_facts(run, attempt.number, len(hosts))
    known = {node.host: node for node in exclusions(run)}
    found = [_again(host, known[host]) for host in hosts if host in known]
    found += findings.find(plan, hosts, said, _elsewhere(run, attempt, known))
    took = max((node.seconds for node in said.values()), default=None)
    all_found = Findings(tuple(hosts), (), tuple(found), took)
    failed = all_found.failed()
    chosen = tuple(host for host in hosts if host not in failed)[: plan.nodes]
    result = replace(all_found, chosen=chosen)
    run.preflight(attempt.number).mkdir(mode=0o700, parents=True, exist_ok=True)
    write_json(run.preflight(attempt.number) / "findings.json", tree_of(result))
    fresh = {host: reason for host, reason in failed.items() if host not in known}
    if are_to_blame(failed, hosts):
        now = time.time()
        exclude(run, [Exclusion(host, reason, now, attempt.number) for host, reason in fresh.items()])
    if (full := findings.disk_problem(plan, said)) is not None:
        return Error("disk", full, FREE_SPACE)
    if len(chosen) >= plan.needed_nodes:
        return result
    kind, remedy = (BAD_NODE, SPARE) if are_to_blame(failed, hosts) else ("launch", OF_ALL)
    if kind == "launch" and any(finding.check == "versions" for finding in found):
        remedy = ONE_INSTALLATION
    return _too_few(failed, len(chosen), plan.needed_nodes, kind, remedy)


def _elsewhere(run: RunDir, attempt: AttemptDir, failed: Collection[str]) -> Iterator[Versions]:
    """What the run was launched or resumed with, and what other nodes of its job had that have not failed.

    A resume is a new job: what nodes had before may have been replaced since.
    """
    launched = read_launched(run)
    if launched is not None:
        yield launched
    this = attempt.read()
    others = {*this.hosts, *failed}
    earlier = [run.attempt(number) for number in range(1, attempt.number)]
    for number, before in ((each.number, each.read()) for each in earlier):
        if before.went_on_by_itself_in != this.went_on_by_itself_in:
            continue
        there = read_facts(run, number, len(before.hosts))
        yield from (node.versions for node in there.values() if node.host not in others)


def read_findings(run: RunDir, attempt: int) -> Findings | None:
    """What was found before an attempt; None where nobody looked. Raises DamagedFile."""
    return read_record(Findings, run.preflight(attempt) / "findings.json")


def _too_few(failed: dict[str, str], left: int, needed: int, kind: str, remedy: str) -> Error:
    """The error of a job that has not enough nodes left."""
    named = "; ".join(f"{host}: {reason}" for host, reason in failed.items())
    count = f"{left} of the {needed} nodes that it needs" if left else "none of its nodes"
    host = next(iter(failed), None) if kind == BAD_NODE else None
    return Error(kind, f"{named} ({count} can train)", remedy, host=host)


def _again(host: str, known: Exclusion) -> Finding:
    return Finding(host, "excluded", "failed", f"is left out since it failed before: {known.reason}")


def has_spare(run: RunDir, attempt: AttemptDir) -> bool:
    """Whether the job of this attempt has enough nodes without those that failed the run."""
    found = read_findings(run, attempt.number)
    gone = {node.host for node in exclusions(run)}
    return found is not None and sum(host not in gone for host in found.hosts) >= run.read_plan().needed_nodes
