"""Which way an attempt computes: as the attempt before it, as a probe of the same things found, or as one finds now.

Rank 0 looks up what is known and decides, so that all ranks do the same; where nothing is known every rank tries its own device.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from launcher.engine.attempts import taken_before
from launcher.engine.cache import keep_finding, read_finding
from launcher.engine.choice import LEAST_PASSES, Wish, choose, is_worth_probing
from launcher.engine.findings import Finding, Part, Taken
from launcher.engine.machine import cpu_name
from launcher.errors import RunStopped
from launcher.runs.attempt_directory import AttemptDir
from launcher.runs.directory import RunDir
from launcher.runs.files import write_json
from launcher.runs.records import make, tree_of
from launcher.train.compat.switch import saves_time
from launcher.train.probe.probe import Plans, probe
from launcher.train.probe.subject import Subject
from launcher.train.process.events import Events
from launcher.train.process.ranks import Ranks
from launcher.train.process.stop_requests import never

VERSIONS = ("torch", "transformers", "peft")
OWN_CODE = ("packed", "model", "compat", "tasks", "step", "probe")
"""Packages beside this one whose code decides what is computed."""


@dataclass(frozen=True)
class Question:
    """What is to be decided."""

    wish: Wish
    key: Mapping[str, str]
    subject: Callable[[], Subject]
    """Makes what is tried, where anything has to be."""
    plans: Plans
    learn: Callable[[Subject, Finding], None] = lambda _subject, _finding: None
    """Measures what else is worth knowing, on all ranks together."""


def agree(run: RunDir, attempt: AttemptDir, ranks: Ranks, events: Events, question: Question) -> Taken:
    """The way of this attempt, the same on all ranks; every rank must call it. It is noted down, and told where it matters.

    Raises RunStopped on every rank where any of them was asked to stop meanwhile.
    """
    known = ranks.broadcast(_known(run, attempt, question) if ranks.is_main else None)
    if known is not None:
        taken = make(Taken, known, "what rank 0 knows")
        is_planned = (taken.layout, taken.kernels) == (question.wish.layout, question.wish.kernels)
        is_news = taken.is_fallback or (attempt.number == 1 and not is_planned)
        _tell(attempt, ranks, events, taken, is_news=is_news)
        return taken
    events.phase("trying the engine")
    subject = question.subject()
    own = None
    with contextlib.suppress(RunStopped):
        own = probe(subject, question.key, question.plans)
    if ranks.any(own is None) or own is None:
        raise RunStopped("stopped before the training began")
    question.learn(replace(subject, stop=never), own)  # in which ranks wait for each other
    everyone = ranks.gather(tree_of(own))
    decided = None
    if everyone is not None:
        finding = together([make(Finding, tree, "a rank's finding") for tree in everyone])
        kept = keep_finding(finding)
        taken = choose(finding, question.wish, question.key["device"])
        again = "" if kept else "; the next run finds out again, since the cache can't be written"
        decided = tree_of(replace(taken, why=f"{taken.why} (tried in {finding.took_s:.1f} s{again})"))
    taken = make(Taken, ranks.broadcast(decided), "what rank 0 decided")
    _tell(attempt, ranks, events, taken, is_news=True)
    return taken


def _known(run: RunDir, attempt: AttemptDir, question: Question) -> dict[str, Any] | None:
    """What needs no probe, as plain values: a resumed run goes on as it was, and a short one as it was planned."""
    before = taken_before(run, attempt.number)
    device, wish = question.key["device"], question.wish
    if before is not None and before.device == device:
        return tree_of(before)
    finding = read_finding(question.key)
    if finding is not None:
        return tree_of(choose(finding, wish, device))
    if is_worth_probing(wish.passes):
        return None
    why = f"as planned: not tried, since {wish.passes:,} micro-batches are fewer than {LEAST_PASSES:,}"
    return tree_of(Taken(wish.layout, wish.kernels, "cheap", why, device))


def _tell(attempt: AttemptDir, ranks: Ranks, events: Events, taken: Taken, *, is_news: bool) -> None:
    if ranks.is_main:
        attempt.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_json(attempt.engine, tree_of(taken))
    if is_news:
        events.notice(f"engine: {taken.why}", "warning" if taken.is_fallback else "info")


def together(findings: list[Finding]) -> Finding:
    """One finding of all ranks: rank 0's, with whatever is wrong on another, and the slowest rank's times."""
    first = findings[0]
    others = [
        replace(part, text=f"on rank {rank} {part.text}")
        for rank, finding in enumerate(findings)
        for part in finding.parts
        if rank and part.state == "wrong"
    ]
    timings = [
        replace(
            own,
            pass_s=max(
                (t.pass_s for f in findings if (t := f.timing(own.layout, own.kernels))), default=own.pass_s
            ),
        )
        for own in first.timings
    ]
    return replace(first, parts=(*first.parts, *_new(others, first)), timings=tuple(timings))


def _new(parts: list[Part], first: Finding) -> list[Part]:
    """One of each name, where rank 0 hasn't found the same."""
    known = {part.name for part in first.wrong()}
    return list({part.name: part for part in parts if part.name not in known}.values())


def device_name(device: torch.device) -> str:
    """The model of a device."""
    return cpu_name() if device.type == "cpu" else torch.cuda.get_device_name(device)


def key_of(subject_of: Mapping[str, object], device: torch.device) -> dict[str, str]:
    """What a finding holds for: device, versions, our own code, and what is tried."""
    names = {name: _version(name) for name in VERSIONS}
    threads = str(torch.get_num_threads()) if device.type == "cpu" else "gpu"
    compat = "on" if saves_time() else "off"
    key = {"device": device_name(device), "threads": threads, "compat": compat, "code": own_code(), **names}
    return {**key, **{name: str(value) for name, value in subject_of.items()}}


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "none"


def own_code() -> str:
    """A digest of the code that decides what is computed: a newer one is tried anew."""
    here = Path(__file__).parents[1]
    hashed = hashlib.sha256()
    for package in OWN_CODE:
        for entry in sorted(os.scandir(here / package), key=lambda entry: entry.name):
            if entry.name.endswith(".py"):
                hashed.update(Path(entry.path).read_bytes())
    return hashed.hexdigest()[:12]
