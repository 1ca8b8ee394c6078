"""The directory of one start of a run, and its files."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launcher.runs.attempts import Attempt, FailedNode, Gone, Hang, Member
from launcher.runs.entry import Entry
from launcher.runs.files import WORD_BYTES, write_json, write_text
from launcher.runs.records import make, read_json, read_record, read_text, readable, tree_of

_RANK = re.compile(r"rank_[0-9]{1,6}\.json", re.ASCII)


@dataclass(frozen=True)
class AttemptDir:
    """One start of the run: `attempts/N/`."""

    path: Path

    @property
    def number(self) -> int:
        return int(self.path.name)

    plan = Entry("plan.json")
    """This attempt's plan, only where it differs from the run's."""
    max_tokens = Entry("max_tokens")
    """Most tokens of a micro-batch, where `batch.tokens=auto` found them by a trial on the GPU."""
    engine = Entry("engine.json")
    """Which way it computes, and why; launcher.engine.findings says what is in it."""
    environment = Entry("environment.json")
    """Python, packages and machine of this attempt, only where they differ from the first's."""
    record = Entry("attempt.json")
    """Host list, start and end, job id, outcome."""
    exit_code = Entry("exit_code")
    """The exit code the job script passes on: torchrun itself knows only 0 and 1."""
    result = Entry("result.json")
    """The result of this attempt, once another has begun."""
    failed_ranks = Entry("failed_ranks")
    """A file for each node where ranks failed."""
    health = Entry("health")
    """Where its ranks stand, as the watchers of its nodes see them."""
    hang = Entry("hang.json")
    """Why a watcher has ended this attempt."""
    gone = Entry("gone.json")
    """Which rank's process was gone first."""

    def read(self) -> Attempt:
        """attempt.json; where there is none, all but the number is unknown. Raises DamagedFile."""
        tree = read_json(self.record)
        if tree is None:
            return Attempt(self.number)
        return make(Attempt, {"number": self.number, **tree}, str(self.record))

    def write(self, attempt: Attempt) -> None:
        """Write attempt.json."""
        write_json(self.record, tree_of(attempt))

    def write_failed_node(self, node: int, failed: FailedNode) -> None:
        """Record which ranks of a node failed; nodes count from 0 in the order of the attempt's hosts."""
        self.failed_ranks.mkdir(mode=0o700, exist_ok=True)
        write_json(self.failed_ranks / f"{node}.json", tree_of(failed))

    def failed_nodes(self) -> dict[int, FailedNode]:
        """Which ranks failed, by node. Raises DamagedFile."""
        if not self.failed_ranks.is_dir():
            return {}
        files = {
            int(path.stem): path
            for path in sorted(self.failed_ranks.iterdir())
            if path.suffix == ".json" and re.fullmatch(r"[0-9]{1,6}", path.stem, re.ASCII)
        }
        return {node: make(FailedNode, read_json(path) or {}, str(path)) for node, path in files.items()}

    def members(self) -> list[Member]:
        """The ranks that have started, in no order."""
        return list(readable(self.health, _RANK, Member, WORD_BYTES))

    def hosts_of_ranks(self) -> dict[int, str]:
        """The node of each rank that has started, as that says itself: torchrun numbers nodes by the letters of their addresses.

        Raises DamagedFile where the attempt can't be read.
        """
        hosts = dict(enumerate(self.read().hosts))
        return {member.rank: hosts[member.node] for member in self.members() if member.node in hosts}

    def read_hang(self) -> Hang | None:
        """hang.json, or None where nothing hung. Raises DamagedFile."""
        return read_record(Hang, self.hang)

    def write_hang(self, hang: Hang) -> None:
        """Write hang.json. Raises FileExistsError where another node has done so before."""
        _write_first(self.hang, tree_of(hang))

    def read_gone(self) -> Gone | None:
        """gone.json, or None where no watcher saw a rank go. Raises DamagedFile."""
        return read_record(Gone, self.gone)

    def write_gone(self, gone: Gone) -> None:
        """Write gone.json. Raises FileExistsError where another node has done so before."""
        _write_first(self.gone, tree_of(gone))

    def number_in(self, path: Path) -> int | None:
        """The whole number that a small file of this attempt holds, or None."""
        text = (read_text(path, WORD_BYTES) or "").strip()
        return int(text) if re.fullmatch(r"-?[0-9]{1,18}", text, re.ASCII) else None


def _write_first(path: Path, tree: dict[str, Any]) -> None:
    """Write a small file that only the first to come may write, whole or not at all. Raises FileExistsError."""
    whole = path.with_name(f".{path.name}.{os.getpid()}.whole")
    write_text(whole, json.dumps(tree))
    try:
        path.hardlink_to(whole)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        if path.exists():
            raise FileExistsError(path) from None
        whole.replace(path)
    finally:
        whole.unlink(missing_ok=True)
