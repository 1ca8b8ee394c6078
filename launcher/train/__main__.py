"""torchrun's target, and the verbs that need torch.

python -m launcher.train RUN_DIR                      one rank of an attempt
python -m launcher.train eval RUN_DIR [DATA]          verbs: JSON events on stdout
python -m launcher.train predict RUN_DIR [FILE] [--text T]... [--output F]
python -m launcher.train negatives RUN_DIR CORPUS --count K [--margin M] [--labelled] --output F
python -m launcher.train export RUN_DIR --output DIR
python -m launcher.train explain RUN_DIR --text T... [--label L]
python -m launcher.train latency RUN_DIR
python -m launcher.train sync RUN_DIR [--to wandb|tensorboard|mlflow] [--follow]
python -m launcher.train prefetch RECIPE | data RECIPE
python -m launcher.train workspace RUN_DIR
python -m launcher.train push RUN_DIR --repo OWNER/NAME [--public] [--yes]
python -m launcher.train states RUN_DIR RUN_DIR... | plant RUN_DIR
python -m launcher.train doctor | engine | prebuild
"""

from __future__ import annotations

import faulthandler
import os
import sys
import threading
from pathlib import Path
from typing import NoReturn

from launcher import start_up
from launcher.errors import EXIT_OK, EXIT_USAGE, UserError
from launcher.parent_death import die_with_parent
from launcher.runs.directory import RunDir
from launcher.runs.records import read_json
from launcher.runs.trust import checked
from launcher.train.process.heartbeat import show_signs_of_life, start_watcher
from launcher.train.process.stop_requests import StopFlag
from launcher.train.process.threads import CHECKPOINT_WRITER

VERBS = (
    *(
        "eval",
        "predict",
        "negatives",
        "explain",
        "export",
        "latency",
        "sync",
        "workspace",
        "push",
        "prefetch",
        "data",
        "step",
        "states",
        "plant",
    ),
    *("doctor", "engine", "prebuild"),
)
"""A first word that is one of these is a verb, whatever is called so in the working directory."""
WITHIN_RUNS = ("sync", "workspace")
"""Verbs whose libraries write into a run directory, where all is its owner's alone."""


def main(arguments: list[str]) -> int:
    """Exit code of the process."""
    if not arguments or arguments[0].startswith("-") or arguments[0] in VERBS:
        from launcher.train.verbs import run_verb

        within = arguments and arguments[0] in WITHIN_RUNS
        start_up.keep_from_others(start_up.OTHERS if within else start_up.OTHERS_WRITE)
        faulthandler.enable()
        die_with_parent()
        return run_verb(arguments)
    try:
        run = checked(RunDir(Path(arguments[0]).resolve()))
    except UserError as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_USAGE
    return train(run)


def train(run: RunDir) -> int:
    """One rank of an attempt; what it prints goes to its own log."""
    start_up.keep_from_others(start_up.OTHERS)
    die_with_parent()
    rank = int(os.environ.get("RANK", "0"))
    attempt = run.attempt(int(os.environ.get("LAUNCHER_ATTEMPT", "1")))
    attempt.path.mkdir(parents=True, exist_ok=True)
    if os.environ.get("LOCAL_RANK", "0") == "0":
        start_watcher(run, attempt)
    _redirect_output(run.rank_log(rank))
    faulthandler.enable()  # native code that crashes leaves the stacks there
    heartbeat = show_signs_of_life(attempt)
    _read_secrets(run)
    stop = StopFlag(run)
    stop.install()
    with start_up.without_collections():
        if not run.ds_config.exists():
            from launcher.train.compat.short_start import shorten_start

            shorten_start()
        from launcher.train.session import run_attempt

    code = run_attempt(run, attempt, stop, heartbeat)
    if code == EXIT_OK:  # whoever waits for a rank that failed waits for one that is gone
        heartbeat.ended()
    sys.stdout.flush()
    sys.stderr.flush()
    return code


def _redirect_output(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)


def _read_secrets(run: RunDir) -> None:
    for name, value in (read_json(run.secrets) or {}).items():
        os.environ.setdefault(name, value)


def leave(code: int) -> NoReturn:
    """End the process; after a success without taking a million objects apart, which would take another second.

    After a failure that second stays: a rank that lost a killed one must not be gone before torchrun has seen who was first.
    """
    for thread in threading.enumerate():
        if thread.name == CHECKPOINT_WRITER:
            thread.join()
    if code:
        sys.exit(code)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    if sys.argv[1:2] and sys.argv[1] in VERBS:
        start_up.end_in_order()
    start_up.without_plugins()
    leave(main(sys.argv[1:]))
