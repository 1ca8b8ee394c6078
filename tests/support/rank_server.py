"""Start the ranks of an attempt as torchrun does, but by forking a process that has imported everything already.

Importing takes longer than a tiny training. One JSON request a line comes in on stdin:
    {"run": DIR, "ranks": N, "attempt": K, "fault": {"event": E, "step": S, "rank": R, "action": A} | null}
    {"verb": [WORD, ...], "output": FILE}
each with "user": {VARIABLE: DIR, ...}, the home and the caches of whoever asks;
and when all processes of it have ended one answer goes out: {"codes": [...]} (-9 is SIGKILL).
tests/train/process/test_torchrun.py shows that ranks started by torchrun itself compute the same.

A fault happens when rank R has got to event E (of step S): a real signal to the process, a real limit, or the stop file;
or the rank dawdles, and reports the event a second later than the others get there. The event `save` is the start of a save.
With `hide` the rank doesn't see the checkpoint of step S, for `after_s` seconds or for good.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import random
import resource
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from launcher.network import free_port
from launcher.runs.directory import RunDir
from launcher.train import __main__ as train_main
from launcher.train import session  # noqa: F401
from launcher.train.compat.unused_muon import import_muon
from launcher.train.process import stop_requests as preempt
from launcher.train.process.events import Events
from launcher.train.step import checkpoints
from launcher.train.step.checkpoints import Checkpoints
from launcher.train.step.zero import import_deepspeed

NEW_MOUNTS = 0x00020000
"""CLONE_NEWNS."""


def main() -> None:
    import_everything()
    # Threads don't survive a fork, and what they lock stays locked; jemalloc (in pyarrow) sees to that itself.
    threads = {path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")}
    assert len(threads - {"jemalloc_bg_thd"}) == 1, threads
    gc.freeze()  # what is here is shared by all ranks: their collectors need not look at it
    for line in sys.stdin:
        request = json.loads(line)
        os.environ.update(request["user"])
        if "verb" in request:
            pids = [_fork(partial(_verb, request["verb"], request["output"]))]
        else:
            port = free_port(random.SystemRandom().randrange(10**6))
            pids = [_fork(partial(_rank, request, rank, port)) for rank in range(request["ranks"])]
        statuses = [os.waitpid(pid, 0)[1] for pid in pids]
        print(json.dumps({"codes": [os.waitstatus_to_exitcode(status) for status in statuses]}), flush=True)


def import_everything() -> None:
    import peft  # noqa: F401
    import scipy.stats  # noqa: F401
    import sklearn.metrics  # noqa: F401
    from transformers import BertForSequenceClassification  # noqa: F401
    from transformers.conversion_mapping import get_checkpoint_conversion_mapping

    import_deepspeed("cpu")
    import_muon()
    from deepspeed.ops.op_builder.cpu import ShareMemCommBuilder

    ShareMemCommBuilder().load(verbose=False)
    get_checkpoint_conversion_mapping("bert")  # the renamings of all models, which saving one makes


def _fork(work: Callable[[], int]) -> int:
    pid = os.fork()
    if pid:
        return pid
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    code = 1
    try:
        code = work()
    except BaseException:  # noqa: BLE001  (as the interpreter would)
        traceback.print_exc()
    os._exit(code)  # the interpreter would take seconds to clear away what is shared


def _verb(words: list[str], output: str) -> int:
    descriptor = os.open(output, os.O_WRONLY)
    os.dup2(descriptor, 1)
    return train_main.main(words)


def _rank(request: dict[str, Any], rank: int, port: int) -> int:
    ranks = request["ranks"]
    os.environ |= {"LAUNCHER_ATTEMPT": str(request["attempt"])}
    if ranks > 1:
        os.environ |= {
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": str(ranks),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
        }
    run = RunDir(Path(request["run"]))
    fault = request["fault"]
    if fault is not None and fault["rank"] == rank:
        if fault["action"] == "hide":
            _hide(run.checkpoints / f"step_{fault['step']}", fault["after_s"])
        else:
            preempt.POLL_S = 0.0
            _arm(fault, run)
    return train_main.train(run)


def _arm(fault: dict[str, Any], run: RunDir) -> None:
    """Let the fault happen right after the event that it waits for; every rank passes all events."""
    emit = Events.emit
    act: Callable[[], object] = {
        "dawdle": lambda: None,
        "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
        "term": lambda: os.kill(os.getpid(), signal.SIGTERM),
        "stop": lambda: run.stop.write_text("user"),
        "starve": _take_no_more_memory,
    }[fault["action"]]
    seen = {"step": 0}

    def emit_and_act(self: Events, event: str, **fields: Any) -> None:
        if fault["action"] == "dawdle" and (event, fields.get("step")) == (fault["event"], fault["step"]):
            time.sleep(1)
        emit(self, event, **fields)
        begun = fields["done"] if fields.get("name") == "training" else seen["step"]
        seen["step"] = fields.get("step", begun)
        if fault["event"] in (event, fields.get("name")) and seen["step"] == fault["step"]:
            _act_later(act, fault["after_s"])

    Events.emit = emit_and_act  # type: ignore[method-assign]
    if fault["event"] == "save":
        _act_in_saves(fault, act)


def _hide(directory: Path, seconds: float) -> None:
    """Have this process see an empty directory there: for so long, or for good where that is 0."""
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.unshare(NEW_MOUNTS) == 0, os.strerror(ctypes.get_errno())
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(directory)], check=True)
    if seconds:
        threading.Timer(seconds, lambda: subprocess.run(["umount", str(directory)], check=True)).start()
    else:
        checkpoints.VISIBLE_WITHIN_S = 2.0


def _act_in_saves(fault: dict[str, Any], act: Callable[[], object]) -> None:
    """Let it happen in the first save after so many steps."""
    save = Checkpoints.save

    def save_and_act(self: Checkpoints, strategy: Any, state: Any) -> float:
        if state.step >= fault["step"]:
            _act_later(act, fault["after_s"])
        return save(self, strategy, state)

    Checkpoints.save = save_and_act  # type: ignore[method-assign]


def _act_later(act: Callable[[], object], after_s: float) -> None:
    if after_s:
        threading.Timer(after_s, act).start()
    else:
        act()


def _take_no_more_memory() -> None:
    """Refuse this process all but 448 MiB more of address space than it has."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + (448 << 20)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


if __name__ == "__main__":
    main()
