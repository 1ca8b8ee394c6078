"""What lies in control/ and is no regular file is no request: never followed, opened, waited for or written to."""

from __future__ import annotations

import errno
import os
import resource
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.plans import new_run, plan_of, stand_in_python

from launcher.errors import RunFailed, UserError
from launcher.executors.shared.base import recording_its_end, request_stop
from launcher.node import begin, end
from launcher.runs.directory import RunDir
from launcher.runs.files import write_text
from launcher.runs.requests import ask_to_end, is_asked
from launcher.runs.trust import checked
from launcher.train.process.stop_requests import StopFlag


def pipe(path: Path) -> None:
    os.mkfifo(path)


def link(path: Path) -> None:
    target = path.parent / "target"
    target.write_text("user")
    path.symlink_to(target)


def dangling_link(path: Path) -> None:
    path.symlink_to("made")


def unix_socket(path: Path) -> None:
    before = Path.cwd()
    os.chdir(path.parent)  # names of sockets are short
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.chdir(before)


Place = Callable[[Path], None]
PLACED = pytest.mark.parametrize("place", [pipe, link, dangling_link, unix_socket])


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    python = stand_in_python(tmp_path / "python", TRAINING)
    return new_run(plan_of({"executor": "local"}, run_dir=tmp_path / "runs" / "r", python=python))


TRAINING = """
rm -f "$run_dir/control/stop"
case $(<"$run_dir/logs/placed") in pipe) mkfifo "$run_dir/control/stop" ;; *) ln -s made "$run_dir/control/stop" ;; esac
kill -TERM "$PPID"
for _ in {1..600}; do
    [[ -f $run_dir/control/stop && ! -L $run_dir/control/stop ]] && break
    sleep 0.1
done
printf '75\\n' >"$run_dir/attempts/$LAUNCHER_ATTEMPT/exit_code"
"""
"""A training that finds something in the place of its stop file, and is then asked to stop by a signal."""


@PLACED
def test_a_training_is_not_stopped_by_it(run: RunDir, place: Place) -> None:
    place(run.stop)
    assert not is_asked(run.stop)
    assert not StopFlag(run)()


@PLACED
@pytest.mark.parametrize("name", ["stop", "cancel"])
def test_an_attempt_begins_without_it_and_says_so(
    run: RunDir, place: Place, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    place(getattr(run, name))
    assert begin(run, "local 1", 0, ["here"]) != "cancelled"
    assert not os.path.lexists(getattr(run, name))
    assert f"control/{name} was " in capsys.readouterr().err
    assert not (run.control / "made").exists()


@PLACED
def test_an_attempt_ends_in_spite_of_it(run: RunDir, place: Place) -> None:
    begin(run, "local 1", 0, ["here"])
    place(run.stop)
    write_text(run.attempt(1).exit_code, "75\n")
    assert end(run, run.attempt(1), 0) == (75, "stay")
    assert run.attempt(1).read().stop is None


@PLACED
@pytest.mark.parametrize("name", ["stop", "cancel", "jobs", "secrets", "submitting", "lock"])
def test_no_command_believes_such_a_run(run: RunDir, place: Place, name: str) -> None:
    getattr(run, name).unlink(missing_ok=True)
    place(getattr(run, name))
    with pytest.raises(UserError, match=r"is a link|is neither a file nor a directory"):
        checked(run)


@pytest.mark.parametrize("placed", ["pipe", "link"])
def test_a_script_that_is_signalled_puts_its_request_in_the_place_of_it(run: RunDir, placed: str) -> None:
    (run.logs / "placed").write_text(placed)
    done = subprocess.run(["bash", str(run.job_sh)], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 75, done.stdout + done.stderr
    assert run.attempt(1).read().stop == "signal"
    assert not (run.control / "made").exists()


@pytest.fixture
def no_room() -> Iterator[None]:
    """This process can write nothing into files."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.usefixtures("no_room")
def test_a_full_disk_takes_a_request_without_a_word(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    run.control.mkdir()
    request_stop(run)
    assert run.stop_requested_by() == "user"
    assert ask_to_end(run)
    assert is_asked(run.cancel)


def test_what_cannot_be_asked_or_recorded_is_said_with_the_remedy(tmp_path: Path) -> None:
    read_only = OSError(errno.EROFS, "Read-only file system", "result.json")
    with (
        pytest.raises(RunFailed, match="is killed, which can't be recorded") as error,
        recording_its_end(RunDir(tmp_path)),
    ):
        raise read_only
    assert error.value.error_class == "disk"
    assert "make it writable" in str(error.value)
    with pytest.raises(PermissionError), recording_its_end(RunDir(tmp_path)):
        raise PermissionError
