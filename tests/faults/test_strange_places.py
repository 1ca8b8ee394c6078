"""A place as few have it: no locale, files that nobody else may read, and a path with blanks and Chinese."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.fault_rows import Seen
from support.launched import RECIPE
from support.training import losses

from launcher.runs.directory import RunDir

Undisturbed = Callable[[int], list[float]]


@pytest.mark.fault(30)
def test_the_whole_path_without_a_locale_and_under_a_strange_name(
    tmp_path: Path, undisturbed: Undisturbed, happened: Seen
) -> None:
    place = tmp_path / "a b  \u5b9e\u9a8c '1'"
    place.mkdir()
    launch = Launch(place)
    launch(*RECIPE, "gpus=2", "run_id=r")
    run = RunDir(place / "runs" / "r")
    assert losses(run) == undisturbed(2)
    assert json.loads(launch("status", "r", "--json"))["status"] == "completed"
    assert "positive" in launch("predict", "r", "--text", "\u4e00\u4e2a\u597d good day")
    shared = [path for path in run.path.rglob("*") if path.stat().st_mode & 0o077]
    assert shared == []
    happened("trained on two ranks, shown and used: the losses of any other place")


def test_a_limit_on_addresses_is_named_and_not_shown_as_a_traceback(tmp_path: Path) -> None:
    def launch(*words: str) -> subprocess.CompletedProcess[str]:
        command = ["sh", "-c", 'ulimit -v 400000; exec "$@"', "sh", sys.executable, "-m", "launcher", *words]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300)

    assert launch(*RECIPE, "run_id=r").returncode == 1
    limit = "a process may have 0.4 GB of addresses here (ulimit -v 400000), too little for torch and its libraries"
    result = RunDir(tmp_path / "runs" / "r").read_result()
    assert result is not None
    error = result.error
    assert error is not None
    assert error.kind == "launch"
    assert error.message.endswith(limit)
    assert "Traceback" not in error.message
    looked = launch("data", "recipe=smoke")
    assert looked.returncode == 2
    said = f"launch: data could not load libtorch_cpu.so: {limit}\n    -> ulimit -v unlimited, or ask for more memory\n"
    assert looked.stderr == said


class Launch:
    """`launch` in a place, without a locale, where new files are their owner's alone."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._env = {
            name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG"))
        }

    def __call__(self, *words: str) -> str:
        done = subprocess.run(
            ["sh", "-c", 'umask 077; exec "$@"', "sh", sys.executable, "-m", "launcher", *words],
            cwd=self._place,
            env={**self._env, "LANG": "C", "LC_ALL": "C"},
            capture_output=True,
            check=False,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.decode()
