"""Other work on the machine, as the threads of a training meet it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from launcher.train.process.core_waits import CoreTime, core_time, share_waited

SPIN = """
import json, os, time
from launcher.train.process.core_waits import core_time, share_waited
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
rivals = [os.fork() for _ in range(2)]
if 0 in rivals:
    end = time.monotonic() + 60
    while time.monotonic() < end and os.getppid() != 1:
        pass
    os._exit(0)
before, end = core_time(), time.process_time() + 0.5
while time.process_time() < end:
    pass
print(share_waited(before, core_time()))
for rival in rivals:
    os.kill(rival, 9)
"""


def test_two_others_on_the_same_core_take_most_of_the_time() -> None:
    if core_time() is None:
        pytest.skip("this kernel doesn't count")
    done = subprocess.run(
        [sys.executable, "-c", SPIN], capture_output=True, text=True, check=True, timeout=120
    )
    assert 0.4 < float(done.stdout) < 1


def test_ranks_that_share_a_core_are_no_other_work() -> None:
    before, after = CoreTime(1.0, 1.0), CoreTime(2.0, 2.0)
    assert share_waited(before, after) == pytest.approx(0.5)
    assert share_waited(before, after, ranks_per_core=2) == 0
    assert share_waited(before, CoreTime(2.0, 4.0), ranks_per_core=2) == pytest.approx(0.5)


def test_where_nobody_counts_nothing_is_said(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "schedstat").write_text("0 0 0\n")
    assert core_time(tmp_path) is None
    assert core_time(tmp_path / "no such directory") is None
    assert share_waited(None, core_time()) is None
