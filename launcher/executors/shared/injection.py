"""Harm that is done on purpose to the processes of a run on this machine, for `launch drill`.

    python -m launcher.executors.shared.injection RUN_DIR FAULT RANK     prints what was done

Nothing is simulated: processes are killed or halted by signals, and the disk's refusal is the kernel's own.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil

from launcher.errors import RunFailed
from launcher.runs.directory import RunDir

AGENT = "launcher.train.process.torchrun"
TRAINING = "launcher.train"
LARGEST_FILE = 16 * 1024
"""Bytes that a file may have once the disk refuses more: any checkpoint has larger ones."""


def inject(run: RunDir, fault: str, rank: int) -> str:
    """Do it, and say what was done. Raises RunFailed where the rank is not on this machine."""
    ranks = ranks_here(run)
    if rank not in ranks:
        raise RunFailed("drill", f"rank {rank} of {run.run_id} is not on this machine")
    process = ranks[rank]
    match fault:
        case "kill":
            process.send_signal(signal.SIGKILL)
            return f"SIGKILL to rank {rank}"
        case "hang":
            process.send_signal(signal.SIGSTOP)
            return f"SIGSTOP to rank {rank}"
        case "disk":
            for each in ranks.values():
                resource.prlimit(each.pid, resource.RLIMIT_FSIZE, (LARGEST_FILE, LARGEST_FILE))
            return f"no file of more than {LARGEST_FILE} bytes can be written where rank {rank} is"
        case "node":
            return _lose_node(run, ranks)
    raise AssertionError(fault)


def ranks_here(run: RunDir) -> dict[int, psutil.Process]:
    """The processes that train this run on this machine, by rank."""
    return {int(seen.get("RANK", "0")): process for process, seen in _processes(run, TRAINING)}


def _lose_node(run: RunDir, ranks: dict[int, psutil.Process]) -> str:
    """Kill everything that trains here at once: halted first, so that nobody sees another die."""
    agents = [process for process, _ in _processes(run, AGENT)]
    everything = [*agents, *ranks.values()]
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for process in everything:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(number)
    names = ", ".join(str(rank) for rank in sorted(ranks))
    return f"SIGKILL to {'torchrun and ' if agents else ''}rank{'s' * (len(ranks) > 1)} {names} at once"


def _processes(run: RunDir, module: str) -> Iterator[tuple[psutil.Process, dict[str, str]]]:
    """Processes that run this module on this run, with their environments."""
    for process in psutil.process_iter():
        try:
            words = process.cmdline()
            is_agent = AGENT in words
            if str(run.path) in words and module in words and is_agent == (module == AGENT):
                yield process, process.environ()
        except psutil.Error:
            continue


def main(arguments: Sequence[str]) -> None:
    """The command line in this module's docstring."""
    directory, fault, rank = arguments
    sys.stdout.write(inject(RunDir(Path(os.path.realpath(directory))), fault, int(rank)) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
