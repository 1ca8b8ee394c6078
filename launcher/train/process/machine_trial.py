"""A trial of the machine that a training is about to use: does each rank compute right, and as fast as its peers, and how
fast do the nodes talk to each other?

It runs in the training's own processes once they have met, so that it costs no start of torch.
"""

from __future__ import annotations

import datetime
import os
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist

from launcher.errors import RunFailed
from launcher.health.facts import this_node
from launcher.planning.plan import Plan
from launcher.runs.attempt_directory import AttemptDir
from launcher.runs.directory import RunDir
from launcher.runs.exclusions import BAD_NODE, Exclusion, are_to_blame, exclude
from launcher.runs.files import write_json
from launcher.runs.records import tree_of
from launcher.train.process.events import Events
from launcher.train.process.ranks import Ranks

REPEATS = 5
ROUNDS = 4
"""A rank is slow where it is so in every one of so many rounds: the first may have met somebody else's work."""
PAUSE_S = 0.2
SLOW = 3.0
"""A rank is slow from so many times the time of its peers on other nodes on, ..."""
SLOW_BY_S = 0.02
"""... and at least so many seconds."""
LARGE_BYTES = 64 << 20
LINK_TIMEOUT = datetime.timedelta(seconds=60)
SLOW_LINK_S = 5.0
"""64 MB between nodes that take so long deserve a word."""
REMEDY = "the run goes on without that node where there is another; have it looked at"


@dataclass(frozen=True)
class Trial:
    """health/preflight/N/trial.json: seconds."""

    product_s: tuple[float, ...]
    """A product on each rank, the fastest of some."""
    small_s: float | None = None
    """Adding up one number over all ranks."""
    large_s: float | None = None
    """Adding up 64 MB over all ranks."""


@dataclass(frozen=True)
class Fault:
    """What is wrong with a rank."""

    rank: int
    host: str
    reason: str


def try_machine(run: RunDir, attempt: AttemptDir, plan: Plan, ranks: Ranks, events: Events) -> Trial:
    """Raises RunFailed of the class `node`, the same on all ranks, where one computes wrongly or slowly."""
    hosts = _hosts(attempt, ranks)
    seconds, wrong = _products(ranks)
    faults = [Fault(rank, hosts[rank], "a product came out wrong") for rank in wrong]
    for _ in range(ROUNDS - 1):
        if faults or not any(slow_ranks(seconds, hosts)):
            break
        time.sleep(PAUSE_S)
        again, _wrong = _products(ranks)
        seconds = tuple(map(min, seconds, again))
    else:
        faults = list(slow_ranks(seconds, hosts))
    trial = Trial(seconds) if faults or plan.nodes == 1 else _links(ranks, seconds)
    if plan.request is not None and ranks.is_main:
        _record(run, attempt, trial, faults, hosts)
    ranks.barrier()
    if faults:
        raise _bad(faults, are_to_blame({fault.host for fault in faults}, set(hosts)))
    if trial.large_s is not None and trial.large_s > SLOW_LINK_S:
        events.notice(
            f"the nodes are slow to talk to each other: 64 MB take {trial.large_s:.1f} s", "warning"
        )
    return trial


def _products(ranks: Ranks) -> tuple[tuple[float, ...], list[int]]:
    """Seconds of a product on each rank, and the ranks where it came out wrong; the same on all ranks."""
    seconds, right = product(ranks.device, REPEATS if ranks.world_size > 1 else 1)
    told = [0.0] * (2 * ranks.world_size)
    told[ranks.rank], told[ranks.world_size + ranks.rank] = seconds, float(not right)
    heard = ranks.sum(told)
    wrong = [rank for rank in range(ranks.world_size) if heard[ranks.world_size + rank]]
    return tuple(heard[: ranks.world_size]), wrong


def product(device: torch.device, repeats: int = REPEATS) -> tuple[float, bool]:
    """Seconds of a product of two matrices, the fastest of some, and whether all came out right.

    On a CPU these are seconds of the processor, so that other work beside makes no node a slow one. The matrices' elements
    are small whole numbers, so that every way to add them up gives the same, to the last bit.
    """
    size, clock = (4096, time.perf_counter) if device.type == "cuda" else (512, time.thread_time)
    generator = torch.Generator().manual_seed(size)
    left, right = (_whole((size, size), generator).to(device) for _ in range(2))
    probe = _whole((size, 1), generator).to(device).double()
    expected = left.double() @ (right.double() @ probe)
    fastest, all_right = float("inf"), True
    for _ in range(repeats):
        _wait(device)
        started = clock()
        found = left @ right
        _wait(device)
        fastest = min(fastest, clock() - started)
        all_right = all_right and bool((found.double() @ probe == expected).all())
    return fastest, all_right


def _whole(shape: tuple[int, int], generator: torch.Generator) -> torch.Tensor:
    return torch.randint(-4, 5, shape, generator=generator).float()


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def slow_ranks(seconds: Sequence[float], hosts: Sequence[str]) -> Iterator[Fault]:
    """Ranks that are slow beside those of other nodes; each of two nodes has but one to be compared with."""
    for rank, took in enumerate(seconds):
        others = [other for other, host in zip(seconds, hosts, strict=True) if host != hosts[rank]]
        if not others:
            return
        usual = statistics.median(others)
        if took > max(SLOW * usual, usual + SLOW_BY_S):
            reason = f"a product takes {1e3 * took:.0f} ms, and {1e3 * usual:.0f} ms on the other nodes"
            yield Fault(rank, hosts[rank], reason)


def _links(ranks: Ranks, seconds: tuple[float, ...]) -> Trial:
    """Raises RunFailed of the class `network` where the nodes don't reach each other, or hear something else."""
    number, large = torch.ones(1, device=ranks.device), torch.ones(LARGE_BYTES // 4, device=ranks.device)
    try:
        _all_reduce(ranks, number)
        small_s = _all_reduce(ranks, number)
        large_s = _all_reduce(ranks, large)
    except RuntimeError as error:
        raise RunFailed("network", f"the nodes can't talk to each other: {error}", REMEDY) from error
    wanted = float(ranks.world_size)
    if float(number) != wanted**2 or not bool((large == wanted).all()):
        raise RunFailed("network", "what was added up over all ranks came out wrong", REMEDY)
    return Trial(seconds, small_s, large_s)


def _all_reduce(ranks: Ranks, tensor: torch.Tensor) -> float:
    """Seconds that adding up over all ranks takes, from when all are there."""
    ranks.barrier()
    started = time.perf_counter()
    work = dist.all_reduce(tensor, async_op=True)
    assert work is not None
    work.wait(LINK_TIMEOUT)
    _wait(tensor.device)
    return time.perf_counter() - started


def _hosts(attempt: AttemptDir, ranks: Ranks) -> list[str]:
    """The node of each rank: torchrun numbers ranks as it likes, so each says its own."""
    told = [0.0] * ranks.world_size
    told[ranks.rank] = float(os.environ.get("LAUNCHER_NODE", "0"))
    hosts = attempt.read().hosts or (this_node(),)
    return [hosts[min(int(node), len(hosts) - 1)] for node in ranks.sum(told)]


def _record(
    run: RunDir, attempt: AttemptDir, trial: Trial, faults: Sequence[Fault], hosts: Sequence[str]
) -> None:
    directory = run.preflight(attempt.number)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_json(directory / "trial.json", tree_of(trial))
    if faults and are_to_blame({fault.host for fault in faults}, set(hosts)):
        now = time.time()
        exclude(run, [Exclusion(fault.host, fault.reason, now, attempt.number) for fault in faults])


def _bad(faults: Sequence[Fault], of_node: bool) -> RunFailed:
    named = "; ".join(f"rank {fault.rank} on {fault.host}: {fault.reason}" for fault in faults)
    kind = BAD_NODE if of_node else "launch"
    return RunFailed(kind, named, REMEDY, rank=faults[0].rank, host=faults[0].host)
