"""torchrun, which leaves in a file which ranks of its node failed, with what code and when.

    python -m launcher.train.process.torchrun OPTIONS -m launcher.train RUN_DIR

By itself it only prints that: its own error file holds what a rank wrote before it died, and a killed rank writes nothing.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import main as torchrun

from launcher.errors import EXIT_UNRECORDED
from launcher.runs.attempt_directory import AttemptDir
from launcher.runs.attempts import FailedNode, FailedRank
from launcher.runs.directory import RunDir

POLL_S = 0.5


def main(arguments: list[str]) -> None:
    """Run the ranks of this node. Raises ChildFailedError where one failed."""
    attempt = RunDir(Path(arguments[-1])).attempt(int(os.environ["LAUNCHER_ATTEMPT"]))
    try:
        torchrun(arguments)
    except ChildFailedError as error:
        failed = [
            FailedRank(rank, failure.exitcode, float(failure.timestamp))
            for rank, failure in error.failures.items()
        ]
        _record(attempt, failed)
        raise
    wait_for_the_end(attempt)


def _record(attempt: AttemptDir, failed: list[FailedRank]) -> None:
    """Where a rank could record nothing, and nor can this, the exit code says so."""
    try:
        attempt.write_failed_node(int(os.environ["LAUNCHER_NODE"]), FailedNode(tuple(failed)))
    finally:
        if any(rank.exit_code == EXIT_UNRECORDED for rank in failed):
            sys.exit(EXIT_UNRECORDED)


def wait_for_the_end(attempt: AttemptDir) -> None:
    """Wait until rank 0 has recorded the end: it may evaluate for long, and a scheduler takes who leaves early for a sign."""
    while not attempt.exit_code.exists():
        time.sleep(POLL_S)


if __name__ == "__main__":
    main(sys.argv[1:])
