"""From what the nodes of a job say of themselves to what is wrong with which: pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from launcher.figures import human_bytes, human_seconds
from launcher.health.facts import NodeFacts
from launcher.health.gpus import Gpu
from launcher.runs.checkpoint_size import WEIGHT_BYTES, checkpoint_bytes
from launcher.runs.provenance import Versions
from launcher.runs.run_plan import PlannedMemory, RunPlan

NOTED_SKEW_S = 2.0
MOST_SKEW_S = 60.0
"""Clocks that are further apart break certificates, and the order of what is recorded."""
BUSY_BYTES = 2 << 30
BUSY_FRACTION = 0.05
"""A GPU of which more is taken is used by somebody else: what a driver or a daemon keeps is less."""
LEAST_MEMORY = 512 << 20
SILENT = "did not answer: it hangs, can't start Python, or can't write the run directory"


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong with a node: `failed` is what it can't train with."""

    host: str
    check: str
    state: Literal["failed", "note"]
    text: str


@dataclass(frozen=True)
class Findings:
    """health/preflight/N/findings.json."""

    hosts: tuple[str, ...]
    """Every node that was looked at."""
    chosen: tuple[str, ...]
    """Those that train."""
    found: tuple[Finding, ...] = ()
    seconds: float | None = None
    """How long the slowest of them took."""

    def failed(self) -> dict[str, str]:
        """The nodes that can't train, each with its reasons."""
        bad = [finding for finding in self.found if finding.state == "failed"]
        return {
            host: "; ".join(finding.text for finding in bad if finding.host == host)
            for host in self.hosts
            if any(finding.host == host for finding in bad)
        }


class Need(Protocol):
    """What nodes are held against: a run's plan, or less."""

    @property
    def device(self) -> str: ...

    @property
    def gpus(self) -> int:
        """Of each node."""

    @property
    def memory(self) -> PlannedMemory:
        """Of a rank."""


def find(
    plan: Need, hosts: Sequence[str], facts: Mapping[int, NodeFacts], elsewhere: Iterable[Versions] = ()
) -> list[Finding]:
    """Everything that is wrong with these nodes; what each said stands under its number.

    `elsewhere`: what other machines have, which decides where no version is that of most nodes.
    """
    found: list[Finding] = []
    for number, host in enumerate(hosts):
        if number not in facts:
            found.append(Finding(host, "answer", "failed", SILENT))
    said = {hosts[number]: node for number, node in facts.items() if number < len(hosts)}
    for host, node in said.items():
        found += [Finding(host, check, state, text) for check, state, text in _of_one(plan, node)]
    return [*found, *_apart(said, tuple(elsewhere)), *_unreached(hosts, facts)]


Said = tuple[str, Literal["failed", "note"], str]


def _of_one(plan: Need, node: NodeFacts) -> Iterator[Said]:
    """What is wrong with a node by itself."""
    if node.run_error is not None:
        yield "run directory", "failed", node.run_error
    if plan.device == "cuda":
        yield from _gpu_findings(plan, node)
    yield from _memory_findings(plan, node)
    offset = node.clock_offset_s
    if offset is not None and abs(offset) > NOTED_SKEW_S:
        ahead = "ahead of" if offset > 0 else "behind"
        text = f"its clock is {human_seconds(abs(offset))} {ahead} the first node's"
        yield "clock", "failed" if abs(offset) > MOST_SKEW_S else "note", text


def _gpu_findings(plan: Need, node: NodeFacts) -> Iterator[Said]:
    if not node.gpus and node.gpu_error is not None and "not on PATH" in node.gpu_error:
        yield "gpus", "note", f"{node.gpu_error}: GPUs are not counted"
        return
    if len(node.gpus) < plan.gpus:
        why = f" ({node.gpu_error})" if node.gpu_error else ""
        yield "gpus", "failed", f"{len(node.gpus)} of {plan.gpus} GPUs answer{why}"
    elif node.gpu_error:
        yield "gpus", "note", node.gpu_error
    for gpu in node.gpus:
        yield from _of_gpu(gpu)


def _of_gpu(gpu: Gpu) -> Iterator[Said]:
    if gpu.used is not None and gpu.used > max(BUSY_BYTES, BUSY_FRACTION * (gpu.memory or 0)):
        yield "gpus", "failed", f"GPU {gpu.index} is in use: {human_bytes(gpu.used)} of its memory are taken"
    if gpu.ecc_errors:
        text = f"GPU {gpu.index} has {gpu.ecc_errors} memory errors that could not be corrected, since its driver was loaded"
        # Newer GPUs do without the memory that went bad, and their driver says whether that suffices.
        is_over = gpu.is_judged and gpu.recovery is None
        yield (
            "ecc",
            "note" if is_over else "failed",
            text + ("; the driver asks for nothing" if is_over else ""),
        )
    if gpu.rows_lost:
        yield "ecc", "failed", f"GPU {gpu.index} has bad memory that could not be replaced"
    if gpu.recovery is not None:
        yield (
            "xid",
            "failed",
            f"GPU {gpu.index} is in an error from which the driver recovers by: {gpu.recovery}",
        )


def _memory_findings(plan: Need, node: NodeFacts) -> Iterator[Said]:
    free = node.memory_available
    predicted = (plan.memory.total if plan.device == "cpu" else plan.memory.host) or 0
    needed = max(LEAST_MEMORY, predicted * plan.gpus)
    if free is not None and free < needed:
        yield (
            "memory",
            "failed",
            f"{human_bytes(free)} of memory are free, and about {human_bytes(needed)} are needed",
        )


def _apart(said: Mapping[str, NodeFacts], elsewhere: Sequence[Versions]) -> Iterator[Finding]:
    """Nodes with other versions than most; every node where nobody knows which version is right."""
    version_of: dict[str, Callable[[Versions], str | None]] = {
        "python": lambda versions: versions.python,
        "torch": lambda versions: versions.torch,
        "launcher": lambda versions: f"{versions.launcher} (code {(versions.code or 'unknown')[:8]})",
    }
    for name, of in version_of.items():
        here = {host: of(node.versions) for host, node in said.items()}
        count, others = Counter(here.values()), Counter(map(of, elsewhere))
        usual = [version for version in count if 2 * count[version] > len(here)]
        which = "most nodes" if usual else "others"
        usual = usual or [each for each in count if others[each] == max(others[one] for one in count)]
        for host, version in here.items():
            text = f"{name} {version or 'is missing'}, where {which} have "
            if len(usual) > 1:
                different = " and ".join(sorted(other or "none" for other in count if other != version))
                yield Finding(
                    host, "versions", "failed", f"{text}{different}, and nobody knows which is right"
                )
            elif version not in usual:
                yield Finding(host, "versions", "failed", f"{text}{usual[0] or 'none'}")


def _unreached(hosts: Sequence[str], facts: Mapping[int, NodeFacts]) -> Iterator[Finding]:
    """Who can't reach the first node; where nobody can, it is the first node's fault."""
    head = facts.get(0)
    if head is None:  # that it said nothing is said already
        return
    cut_off = {hosts[number]: node.head_error for number, node in facts.items() if number and node.head_error}
    if head.head_error is not None:
        yield Finding(hosts[0], "network", "failed", head.head_error)
    elif len(cut_off) > 1 and len(cut_off) == len(facts) - 1:
        yield Finding(
            hosts[0], "network", "failed", f"no other node reaches it: {next(iter(cut_off.values()))}"
        )
    else:
        for host, why in cut_off.items():
            yield Finding(host, "network", "failed", f"can't reach the first node: {why}")


def disk_problem(plan: RunPlan, facts: Mapping[int, NodeFacts]) -> str | None:
    """Why two checkpoints and the best model don't fit onto the run directory's disk; None where they do, or nobody knows."""
    traffic, shards = plan.traffic, plan.world_size if plan.zero_stage else 1
    size = checkpoint_bytes(traffic.trainable_parameters, plan.memory.optimizer, shards)
    free = [node.disk_free for node in facts.values() if node.disk_free is not None]
    if size is None or traffic.parameters is None or not free:
        return None
    needed = 2 * size + WEIGHT_BYTES * traffic.parameters
    if min(free) >= needed:
        return None
    return (
        f"{human_bytes(min(free))} are free for the run directory, and two checkpoints and the best model take about "
        f"{human_bytes(needed)}"
    )
