"""Where Python stood when native code crashed, read from what a process that really crashed has written."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from launcher.runs.crash_reports import crash_in

TOUCHES = "def touch():\n    ctypes.string_at(0)\n"
"""Memory that nobody has."""
ALONE = (
    "libc = ctypes.CDLL(None)\n"
    "thread = ctypes.c_ulong()\n"
    "def wait():\n"
    "    libc.pthread_create(ctypes.byref(thread), None, ctypes.c_void_p(1), None)\n"
    "    time.sleep(30)\n"
)
"""A thread without Python that jumps to where no code is."""


def log_of(directory: Path, code: str) -> str:
    """What a program of this code, in code.py, writes as it crashes."""
    file = directory / "code.py"
    file.write_text(f"import ctypes, faulthandler, os, sys, threading, time\nfaulthandler.enable()\n{code}")
    done = subprocess.run([sys.executable, str(file)], capture_output=True, text=True, check=False)
    assert done.returncode < 0, done
    return done.stderr


def test_the_innermost_frames_are_told_by_short_names(tmp_path: Path) -> None:
    log = log_of(tmp_path, f"{TOUCHES}touch()\n")
    crash = crash_in("step 1\n" + log, tmp_path)
    assert crash is not None
    first, second, third = crash.lines()
    assert first.startswith("  in string_at, ctypes/__init__.py:")
    assert second == "  from touch, code.py:4"
    assert third == "  from <module>, code.py:5"
    assert crash.library is None


def test_of_several_threads_the_one_that_crashed_is_told(tmp_path: Path) -> None:
    waits = "threading.Thread(target=time.sleep, args=(30,), daemon=True).start()\n"
    crash = crash_in(log_of(tmp_path, f"{TOUCHES}{waits}touch()\n"), tmp_path)
    assert crash is not None
    assert "  from touch, code.py:4" in crash.lines()
    assert not crash.is_elsewhere


def test_of_a_thread_without_python_the_main_one_is_told(tmp_path: Path) -> None:
    crash = crash_in(log_of(tmp_path, f"{ALONE}wait()\n"), tmp_path)
    assert crash is not None
    assert crash.lines()[0].startswith("  while the main thread was in wait, code.py:")


def test_the_last_words_of_a_library_are_kept(tmp_path: Path) -> None:
    says = "os.write(2, b\"terminate called after throwing an instance of 'c10::Error'\\n  what():  no such device\\n\")\n"
    crash = crash_in(log_of(tmp_path, f"{says}os.abort()\n"), tmp_path)
    assert crash is not None
    assert crash.words == (
        "terminate called after throwing an instance of 'c10::Error'",
        "what():  no such device",
    )


def test_the_package_that_called_native_code_is_named(tmp_path: Path) -> None:
    package = tmp_path / "site-packages" / "lib"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("import ctypes\ndef call():\n    ctypes.string_at(0)\n")
    log = log_of(tmp_path, f"sys.path.insert(0, {str(package.parent)!r})\nimport lib\nlib.call()\n")
    crash = crash_in(log, tmp_path / "elsewhere")
    assert crash is not None
    assert crash.library == "lib"
    assert "  from call, lib/__init__.py:3" in crash.lines()


@pytest.mark.parametrize("deep", [False, True])
def test_every_line_fits_a_terminal_of_80_columns(tmp_path: Path, deep: bool) -> None:
    directory = tmp_path.joinpath(*["a_directory_of_some_length"] * 4) if deep else tmp_path
    directory.mkdir(parents=True, exist_ok=True)
    crash = crash_in(log_of(directory, f"{TOUCHES}touch()\n"), tmp_path / "elsewhere")
    assert crash is not None
    assert max(map(len, crash.lines())) <= 80


@pytest.mark.parametrize(
    "log", ["", "ValueError: no\n", "Fatal Python error: Aborted\n", "Fatal Python error: "]
)
def test_a_log_without_a_crash_has_none(log: str, tmp_path: Path) -> None:
    assert crash_in(log, tmp_path) is None
