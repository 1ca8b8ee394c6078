"""A machine whose clock jumps while it trains: nothing that counts seconds may take an hour for one of its own."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.fault_rows import Seen
from support.launched import RECIPE, Training
from support.training import losses

from launcher.executors import executor_for

Start = Callable[..., Training]
Undisturbed = Callable[[int], list[float]]
HOUR = 3600
CLOCK = """
#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile long *ahead;  /* seconds, in a file that all processes map */

__attribute__((constructor)) static void map(void) {
    int file = open(AHEAD, O_RDONLY | O_CLOEXEC);
    void *found = mmap(0, sizeof(long), PROT_READ, MAP_SHARED, file, 0);
    if (found != MAP_FAILED) ahead = found;
    close(file);
}

int clock_gettime(clockid_t id, struct timespec *now) {
    int code = syscall(SYS_clock_gettime, id, now);
    if (code == 0 && id == CLOCK_REALTIME && ahead) now->tv_sec += *ahead;
    return code;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec exact;
    clock_gettime(CLOCK_REALTIME, &exact);
    now->tv_sec = exact.tv_sec;
    now->tv_usec = exact.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *where) {
    struct timespec exact;
    clock_gettime(CLOCK_REALTIME, &exact);
    if (where) *where = exact.tv_sec;
    return exact.tv_sec;
}
"""


@pytest.fixture
def jump(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Put the clock of everything that is started so many seconds ahead of the right time."""
    if shutil.which("cc") is None:
        pytest.skip("there is no C compiler")
    source, library, ahead = tmp_path / "clock.c", tmp_path / "clock.so", tmp_path / "ahead"
    source.write_text(CLOCK)
    ahead.write_bytes(struct.pack("=q", 0))
    words = ["cc", "-shared", "-fPIC", "-O1", f'-DAHEAD="{ahead}"', "-o", str(library), str(source), "-ldl"]
    subprocess.run(words, check=True)
    monkeypatch.setenv("LD_PRELOAD", str(library))

    def put(seconds: int) -> None:
        with ahead.open("r+b") as file:
            file.write(struct.pack("=q", seconds))

    return put


def status(directory: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "launcher", "status", "r", "--json"]
    done = subprocess.run(command, cwd=directory, check=True, capture_output=True, text=True)
    state: dict[str, Any] = json.loads(done.stdout)
    return state


@pytest.mark.fault(33)
@pytest.mark.parametrize("hours", [1, -1])
def test_the_clock_jumps_in_the_middle_of_a_run(
    start: Start,
    undisturbed: Undisturbed,
    jump: Callable[[int], None],
    tmp_path: Path,
    hours: int,
    happened: Seen,
) -> None:
    """And back while it is stopped: the second attempt began before the first ended, by the clock."""
    whole = undisturbed(2)
    training = start(*RECIPE, "gpus=2", "run_id=r")
    training.wait_for_step(15)
    jump(hours * HOUR)
    training.wait_for_step(30)
    seen = status(tmp_path)
    assert seen["stall"] is None, seen
    assert seen["eta_s"] is None or 0 <= seen["eta_s"] < HOUR / 2, seen
    executor_for("local").stop(training.run)
    training.end(code=75)
    jump(0)
    start("resume", "r").end(code=0)
    assert losses(training.run) == whole
    assert not training.run.attempt(1).hang.exists()
    result = training.run.read_result()
    assert result is not None
    assert result.wall_s is not None
    assert 0 < result.wall_s < HOUR / 2, "an hour that the clock has jumped is no time of training"
    happened("the clock jumped by an hour, and back: no hang, no time that wasn't spent, the same losses")
