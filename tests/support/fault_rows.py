"""The faults that the suite tries: what each row is, what its tests left on record, and the page that is made of both.

    python tests/support/fault_rows.py RECORD.jsonl docs/reliability.md [NOTE]

A test says by `@pytest.mark.fault(N)` which row it is of, and by the fixture `happened` what it saw. With FAULTS_RECORD set
each such test leaves one JSON line in that file: `row` `test` `outcome` `seconds` `reason` and what it saw.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

RECORD = "FAULTS_RECORD"
"""Environment variable with the file that outcomes are appended to."""


@dataclass(frozen=True)
class Row:
    """One fault of the table."""

    fault: str
    how: str
    """How it is injected."""
    holds: str
    """What must hold."""
    not_here: str = ""
    """What of it one machine can't do, and why."""


ROWS: Mapping[int, Row] = {
    1: Row(
        "SIGKILL of a random rank at a random point of a save",
        "the rank kills itself 0 to 40 ms after its save began, 200 times in one run of two ranks (1,000 in `make soak`)",
        "each time the run resumes; losses and final state are those of the undisturbed run, bit for bit",
    ),
    2: Row(
        "Kill between each system call of a commit",
        "strace kills the writer as it enters its Nth system call, for every N of a commit",
        "the checkpoint before it or the new one is found whole; the next save works",
    ),
    3: Row(
        "Kill while checkpoints rotate and while model/ is replaced",
        "strace kills at every rename and unlink",
        "model/ is whole and of a step that is named; the newest checkpoint is whole",
    ),
    4: Row(
        "torchrun or the job's script killed",
        "SIGKILL",
        "no rank outlives it; the cause is named; the run resumes",
    ),
    5: Row(
        "Slurm's step daemon or node daemon killed",
        "SIGKILL to slurmstepd and to slurmd of a node of a running job",
        "the run goes on, or ends by name and resumes to the same losses",
    ),
    6: Row(
        "Time limit; a limit too short to train a step",
        "Slurm's warning signal; attempts that end before their first step",
        "saves and requeues; the second time without a step is named `time-limit`",
    ),
    7: Row("scancel", "scancel of a running job", "recorded as cancelled, final, nothing left behind"),
    8: Row(
        "Preemption",
        "a job of a higher partition, PreemptMode REQUEUE and CANCEL, grace 0 and 30 s",
        "with grace the state is saved; without it one save interval is lost at most; REQUEUE goes on by itself",
    ),
    9: Row(
        "A signal to one rank, ranks skewed",
        "SIGTERM to a rank that is ahead of or behind the others",
        "all ranks stop at the same step, and resume bit for bit",
    ),
    10: Row(
        "A signal in each phase",
        "SIGTERM, the stop file and SIGKILL while loading, stepping, evaluating, saving",
        "the same",
    ),
    11: Row(
        "A save that takes longer than the grace",
        "strace delays every fsync; SIGKILL before the save that a stop asked for is done",
        "the torn save is no checkpoint; the run resumes from the one before, bit for bit",
    ),
    12: Row(
        "SIGSTOP of a rank, of torchrun, of a node",
        "SIGSTOP to a rank, to torchrun, to every process of a node",
        "named with the rank, ended, and the run goes on by itself",
    ),
    13: Row(
        "An exception on rank k at step s",
        "a loss file that raises on one rank at one step",
        "rank and step are named, its own words quoted, exit code 1",
    ),
    14: Row(
        "A bad node",
        "a node that fails the product, lies about its GPUs, is slow",
        "named before torchrun starts, and left out by the next attempt",
    ),
    15: Row(
        "The same failure three times",
        "a run that fails at the same step again and again",
        "the second time ends it, however much Slurm would go on",
    ),
    16: Row(
        "Each file of a checkpoint truncated, deleted, flipped",
        "done to every file of plain and ZeRO checkpoints",
        "named; the one before it is used",
    ),
    17: Row(
        "Disk full, erring or lost, in a save, in metrics, in logs",
        "a full file system of 16 MiB; a limit on the size of files; /dev/full; strace has an fsync of a save fail "
        "with EIO; the loop device below an ext4 is cut off, or its journal given up",
        "the run fails by name (`checkpoint`, `disk` or `storage`), by exit codes where nothing can be written; the last "
        "checkpoint stays, and it resumes once there is space",
    ),
    18: Row(
        "Delayed visibility on the shared file system",
        "an empty file system is mounted over the newest checkpoint, for one of two ranks, and taken away after 4 s",
        "what a rank doesn't see yet is waited for; what it never sees is said",
        "one machine has one page cache: nothing here delays what a node sees of the other files",
    ),
    19: Row(
        "Ranks that see different checkpoints",
        "the newest checkpoint is hidden from one of two ranks",
        "rank 0 chooses for all; who can't read it fails by name; nobody trains on another state",
    ),
    20: Row(
        "W&B down at the start, in the middle, at the end; wrong key; client killed; dripping",
        "a W&B server of the tests' own that goes down, refuses, hangs",
        "training doesn't notice, nothing is lost",
    ),
    21: Row(
        "Five requeues",
        "a run of real trainings, killed and started again five times, that sends to a W&B server of the tests' own",
        "one W&B run, each step once and in order",
    ),
    22: Row(
        "NaN, a spike",
        "a loss that is NaN in some steps, on one rank; a learning rate that overflows the weights",
        "never in a checkpoint or model/; the run stops, leaves the step out or goes back, as asked",
    ),
    23: Row(
        "Out of memory on one rank",
        "RLIMIT_AS on a rank; a launcher of stand-in runs",
        "the run goes on with half the micro-batch, the global batch unchanged",
    ),
    24: Row(
        "Port busy; two runs on a node",
        "a listener on the port; two runs of two ranks that start together",
        "another port is taken; both come to the losses of one alone",
    ),
    25: Row(
        "sbatch that errs after it accepted",
        "it times out, says nothing, says nothing known, exits 0 without a number",
        "the job is found by its name; no second job",
    ),
    26: Row(
        "slurmctld restarted, unreachable",
        "slurmctld killed and started again under a running job; a controller that doesn't answer",
        "the training doesn't notice; commands say that Slurm doesn't answer",
        "the suite leaves it away for 20 s, not for 5 min",
    ),
    27: Row(
        "Another world size",
        "stopped on 4 ranks, resumed on 2, then on 4; from 2 ranks on 1",
        "the same global batches go on; how far off is said",
        "offload to nvme is refused another number of ranks",
    ),
    28: Row(
        "Recipe, data, code, plan changed",
        "files of a stopped run edited by hand; rows changed",
        "refused with what differs; data that changed are not trained on",
    ),
    29: Row(
        "Hub offline, moved on, stale lock, cold ranks",
        "HF_HUB_OFFLINE; a hub of the tests' own whose main moves and which then answers nobody; a lock that nobody holds; "
        "a builder of the token cache killed; four ranks and four processes at once",
        "each file is downloaded once; one builds, the others wait; a run goes on with the commit that it began with; what "
        "can't be had is said",
        "the client of the hub is the real one, the hub is a server on loopback without hf_xet",
    ),
    30: Row(
        "LANG=C, umask 077, blanks and Chinese in the path",
        "the whole main path in such a place",
        "the same losses",
    ),
    31: Row(
        "Power-off of a node",
        "the node's PID namespace is killed",
        "the job is requeued or fails by name, and the run ends with the same losses",
    ),
    32: Row(
        "Network cut for 3 s, 30 s, for good",
        "the node's link is taken down",
        "3 s are survived; a longer cut ends the attempt, and the run goes on to the same losses",
    ),
    33: Row(
        "The clock jumps by an hour, both ways",
        "a node whose clock is an hour ahead, as the look before a training sees it; a library before libc's that moves the "
        "clock of all processes of a run while it trains, and back while it is stopped",
        "found and named; no hang, no time left or time spent that is an hour off, the same losses",
    ),
    34: Row(
        "Foreign and damaged run directories",
        "owners, modes, links; hundreds of damaged records",
        "refused or told in a sentence; nothing executed, no traceback",
    ),
    35: Row(
        "A GPU that falls off",
        "a stand-in for nvidia-smi",
        "the node is named",
        "there is no GPU here: what nvidia-smi says is stood in for",
    ),
}


@dataclass
class Seen:
    """What a test saw: kept on its item until its outcome is recorded."""

    words: list[str] = field(default_factory=list)
    steps_lost: int | None = None
    to_next_step_s: float | None = None
    scheduler_s: float | None = None
    """How much of that was the scheduler's own delay, where there was one."""

    def __call__(
        self,
        words: str,
        *,
        steps_lost: int | None = None,
        to_next_step_s: float | None = None,
        scheduler_s: float | None = None,
    ) -> None:
        self.words.append(words)
        self.steps_lost = self.steps_lost if steps_lost is None else steps_lost
        self.to_next_step_s = self.to_next_step_s if to_next_step_s is None else to_next_step_s
        self.scheduler_s = self.scheduler_s if scheduler_s is None else scheduler_s


def record(rows: Iterable[int], test: str, outcome: str, seconds: float, reason: str, seen: Seen) -> None:
    """Append one line for each row, where FAULTS_RECORD names a file."""
    if path := os.environ.get(RECORD):
        for row in rows:
            assert row in ROWS, row
            line = {"row": row, "test": test, "outcome": outcome, "seconds": seconds, "reason": reason}
            with Path(path).open("a", encoding="utf-8") as file:
                file.write(json.dumps(line | asdict(seen), ensure_ascii=False) + "\n")


def main(arguments: Sequence[str]) -> None:
    """The command line in this module's docstring."""
    source, target = map(Path, arguments[:2])
    lines = [json.loads(line) for line in source.read_text(encoding="utf-8").splitlines()]
    target.write_text(page(lines, *arguments[2:]), encoding="utf-8")
    print(f"{target}: {summary(lines)}")


def page(lines: Sequence[Mapping[str, Any]], note: str = "") -> str:
    """docs/reliability.md; `note` is what else is to be known of these runs."""
    newest = {(line["row"], line["test"]): line for line in lines}
    tests = {row: [line for (of, _), line in newest.items() if of == row] for row in ROWS}
    return TEMPLATE.format(
        date=time.strftime("%Y-%m-%d"),
        machine=f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, Python {platform.python_version()}",
        summary=f"{summary(lines)}. {note}".rstrip(". "),
        table="\n".join(_line(number, row, tests[number]) for number, row in ROWS.items()),
        figures="\n".join(_figures(tests)) or "None of the rows that measure it was run.",
        failures="\n".join(_failures(tests)) or "None.",
    )


def summary(lines: Sequence[Mapping[str, Any]]) -> str:
    """How many rows were run, and how they came out."""
    newest = {(line["row"], line["test"]): line for line in lines}.values()
    run = {line["row"] for line in newest if line["outcome"] in ("passed", "failed")}
    failed = {line["row"] for line in newest if line["outcome"] == "failed"}
    count = sum(line["outcome"] in ("passed", "failed") for line in newest)
    missing = ", ".join(map(str, sorted(ROWS.keys() - run))) or "none"
    return (
        f"{len(run)} of {len(ROWS)} rows were run, by {count} tests; {len(run - failed)} held, {len(failed)} didn't; "
        f"not run: {missing}"
    )


def _line(number: int, row: Row, tests: Sequence[Mapping[str, Any]]) -> str:
    lost = max((test["steps_lost"] for test in tests if test["steps_lost"] is not None), default="")
    slowest = max(
        (test["to_next_step_s"] for test in tests if test["to_next_step_s"] is not None), default=None
    )
    seconds = "" if slowest is None else f"{slowest:.1f}"
    cells = (number, row.fault, row.how, row.holds, _happened(row, tests), lost, seconds)
    return "| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def _happened(row: Row, tests: Sequence[Mapping[str, Any]]) -> str:
    """The outcome of a row, and what its tests saw."""
    passed = sum(test["outcome"] == "passed" for test in tests)
    failed = sum(test["outcome"] == "failed" for test in tests)
    skipped = {test["reason"] for test in tests if test["outcome"] == "skipped"}
    words = list(dict.fromkeys(word for test in tests for word in test["words"]))
    parts = []
    if failed:
        parts.append(f"**{failed} of {passed + failed} tests failed**")
    elif passed:
        parts.append(f"held in {passed} test{'s' * (passed != 1)}")
    elif not skipped:
        parts.append("not run")
    parts += [f"not run: {reason}" for reason in sorted(skipped)]
    if row.not_here:
        parts.append(f"not done here: {row.not_here}")
    return "; ".join([*parts, *words])


def _figures(tests: Mapping[int, Sequence[Mapping[str, Any]]]) -> Iterator[str]:
    for number, lines in tests.items():
        for line in lines:
            if line["to_next_step_s"] is not None and line["outcome"] == "passed":
                scheduler = line["scheduler_s"]
                beside = line["to_next_step_s"] - (scheduler or 0.0)
                own = "" if scheduler is None else f"{scheduler:.1f}"
                yield f"| {number} | {'; '.join(line['words'])} | {line['to_next_step_s']:.1f} | {own} | {beside:.1f} |"


def _failures(tests: Mapping[int, Sequence[Mapping[str, Any]]]) -> Iterator[str]:
    for number, lines in tests.items():
        for line in lines:
            if line["outcome"] == "failed":
                yield f"- row {number}, `{line['test']}`: {line['reason']}"


TEMPLATE = """\
# What happens when something goes wrong

`make faults` does all of this to real trainings, on a real Slurm of four nodes on this machine where one is needed, and writes
this page. Where it may, as root, each node has its own network, host name, processes and mounts. Nothing is simulated that can be
done: processes are killed and halted by signals, disks are full, cables are pulled, and strace ends a process at any
of its system calls. Where the result of a run is compared, that is with a run that nobody touched, and to the last bit.

The same can be proved for any recipe of yours, here or on a cluster:
```
launch drill recipe=smoke gpus=2 --faults stop,kill,hang,node,disk,world
```

Written on {date}: {machine}. {summary}.

| | fault | how | what must hold | what happened | steps lost | seconds to the next step |
|---|---|---|---|---|---|---|
{table}

Steps lost are those that were done again, the most of a row's tests. `make test` runs the quick ones of these tests, `make soak`
the long ones.

## From a failure to the first new step
Seconds from the fault to the first step that had not been done before, on this machine while it did other things too. Beside
Slurm's own delay (it holds a requeued job for two minutes, and notices a lost node only after its timeout) there remain the start
of the job's script, the imports, the data, the model and the checkpoint.

| row | what | seconds | of these the scheduler's | beside it |
|---|---|---|---|---|
{figures}

## What failed
{failures}
"""

if __name__ == "__main__":
    main(sys.argv[1:])
