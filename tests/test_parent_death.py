"""What is on a leash dies with its parent, whatever kills that; and so does what it becomes or starts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.waiting import wait_until

LEASH = f"{sys.executable} -m launcher.parent_death"
SAY_AND_SLEEP = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
START_ANOTHER = f"""
import subprocess, sys
from launcher.parent_death import die_with_parent
if sys.argv[1:] == ["child"]:
    die_with_parent()
    {SAY_AND_SLEEP}
subprocess.run([sys.executable, __file__, "child"])
"""
COME_LATE = """
import os, signal, sys, time
from launcher.parent_death import die_with_parent
if os.fork():
    os._exit(0)  # what LAUNCHER_PARENT names is gone before the child gets to its leash
while os.getppid() == int(os.environ["LAUNCHER_PARENT"]):
    time.sleep(0.01)
die_with_parent()
print("lives on", flush=True)
"""


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


@pytest.mark.parametrize("program", [SAY_AND_SLEEP, START_ANOTHER])
def test_it_dies_with_the_shell_that_started_it(tmp_path: Path, program: str) -> None:
    (tmp_path / "program.py").write_text(program)
    script = f"{LEASH} {tmp_path}/program.py & wait"
    shell = subprocess.Popen(["bash", "-c", script], stdout=subprocess.PIPE, text=True)
    assert shell.stdout is not None
    leashed = int(shell.stdout.readline())
    assert not gone(leashed)
    os.kill(shell.pid, signal.SIGKILL)
    shell.communicate(timeout=10)
    wait_until(lambda: gone(leashed), "the process to be gone", timeout_s=5)


def test_it_does_not_start_where_its_parent_is_gone_already(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(COME_LATE)
    done = subprocess.run([*LEASH.split(), tmp_path / "program.py"], stdout=subprocess.PIPE, check=True)
    assert done.stdout == b""


def test_what_it_becomes_ends_with_its_own_code() -> None:
    assert subprocess.run([*LEASH.split(), "-c", "raise SystemExit(7)"], check=False).returncode == 7
