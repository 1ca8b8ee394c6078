"""Run `launch ARGS` as processes of their own, forked from one that has imported what `launch plan` imports.

Importing takes longer than most commands. One JSON request a line comes in on stdin:
    {"args": [WORD, ...], "cwd": DIR, "environment": {NAME: VALUE, ...}, "files": [stdin, stdout, stderr], "timeout_s": S}
and one answer a line goes out: {"code": N} as `subprocess` counts it (-9 is SIGKILL), or null where it took too long.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import runpy
import signal
import sys
import time
from pathlib import Path
from typing import Any


def main() -> None:
    import_what_a_plan_needs()
    for line in sys.stdin:
        request = json.loads(line)
        pid = os.fork()
        if not pid:
            become(request)
            return
        print(json.dumps({"code": _ended(pid, request["timeout_s"])}), flush=True)


def import_what_a_plan_needs() -> None:
    """By planning, and by refusing to."""
    from launcher.cli import execute

    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        assert execute(["plan", "recipe=smoke", "executor=local", "device=cpu", "gpus=1"]) == 0
        assert execute(["plan", "recipe=smoke", "nodez=1"]) == 2
        execute(["status"])


def become(request: dict[str, Any]) -> None:
    """The process that `python -m launcher ARGS` would be, with its directory, environment and streams."""
    for number, (path, flags) in enumerate(
        zip(request["files"], (os.O_RDONLY, os.O_WRONLY, os.O_WRONLY), strict=True)
    ):
        descriptor = os.open(path, flags)
        os.dup2(descriptor, number)
        os.close(descriptor)
    sys.stdin, sys.stdout, sys.stderr = (
        os.fdopen(number, mode, encoding="utf-8") for number, mode in enumerate("rww")
    )
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["environment"])
    time.tzset()
    sys.path[0] = request["cwd"]
    sys.argv = ["launch", *request["args"]]
    runpy.run_module("launcher", run_name="__main__", alter_sys=True)


def _ended(pid: int, timeout_s: float) -> int | None:
    """Its exit code; None, and it is killed, where it takes longer."""

    def kill(*_: object) -> None:
        nonlocal late
        late = True
        os.kill(pid, signal.SIGKILL)

    late = False
    signal.signal(signal.SIGALRM, kill)
    signal.setitimer(signal.ITIMER_REAL, timeout_s)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    signal.setitimer(signal.ITIMER_REAL, 0)
    return None if late else code


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    main()
