"""Completion in real shells at a real terminal, and what is written to have it."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest
from support.commands import Launch
from support.stand_ins import stand_in

from launcher.cli import completion
from launcher.cli.app import VERBS

DEADLINE_S = 60


class Terminal:
    """An interactive shell that has read its start file, in a directory."""

    def __init__(self, home: Path, directory: Path, shell: str = "bash") -> None:
        environment = {
            "HOME": str(home),
            "PATH": f"{home}/bin:/usr/bin:/bin",
            "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
            "TERM": "dumb",
        }
        path = shutil.which(shell)
        assert path is not None
        start = ["--rcfile", str(home / ".bashrc")] if shell == "bash" else []
        self.pid, self.descriptor = pty.fork()
        if self.pid == 0:
            os.chdir(directory)
            os.execve(path, [shell, *start, "-i"], environment)
        fcntl.ioctl(self.descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
        quiet = "bind 'set enable-bracketed-paste off'; PS1=; " if shell == "bash" else ""
        self.type(f"{quiet}echo rea''dy\n", "ready")

    def type(self, text: str, until: str) -> str:
        """Type some text, and return what is shown until that appears."""
        os.write(self.descriptor, text.encode())
        shown, deadline = "", time.monotonic() + DEADLINE_S
        while until not in shown:
            assert time.monotonic() < deadline, shown
            if select.select([self.descriptor], [], [], 0.5)[0]:
                shown += os.read(self.descriptor, 1 << 16).decode(errors="replace")
        return shown


@pytest.fixture
def home(tmp_path: Path, launch: Launch) -> Path:
    """A home with `launch` on PATH, and completion installed as the verb does it."""
    home = tmp_path / "home"
    (home / "bin").mkdir(parents=True)
    stand_in(home / "bin" / "launch", f'exec {sys.executable} -m launcher "$@"')
    (home / ".bashrc").write_text("export MINE=1")
    launch("completion", "bash", env={**os.environ, "HOME": str(home), "XDG_DATA_HOME": ""})
    return home


def in_bash(home: Path, directory: Path, line: str) -> list[str]:
    """What bash would offer for a line, its own function asked in a shell of its own."""
    program = f"""
    . {home}/.bashrc
    compopt() {{ :; }}
    COMP_LINE={line!r}; COMP_POINT=${{#COMP_LINE}}; COMP_WORDBREAKS=$' \\t\\n"\\'><=;|&(:'
    _launch_completion launch; printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    environment = {**os.environ, "HOME": str(home), "PATH": f"{home}/bin:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-c", program],
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=DEADLINE_S,
    )
    return done.stdout.split()


def test_it_says_what_it_writes_and_does_it_once(home: Path, launch: Launch) -> None:
    file = home / ".local/share/launcher/completion.bash"
    start = (home / ".bashrc").read_text()
    assert start.splitlines() == ["export MINE=1", f'[ -r "{file}" ] && . "{file}"  # completion of launch']
    again = launch("completion", "bash", env={**os.environ, "HOME": str(home), "XDG_DATA_HOME": ""})
    assert again.stdout.split() == [str(file)]
    assert (home / ".bashrc").read_text() == start


def test_bash_offers_verbs_keys_values_recipes_and_runs(home: Path, tmp_path: Path) -> None:
    (tmp_path / "runs" / "smoke-1").mkdir(parents=True)
    (tmp_path / "train.csv").write_text("")
    assert in_bash(home, tmp_path, "launch sta") == ["status"]
    assert in_bash(home, tmp_path, "launch recipe=smo") == ["smoke"]
    assert in_bash(home, tmp_path, "launch recipe=smoke zero.off") == ["zero.offload="]
    assert in_bash(home, tmp_path, "launch plan recipe=smoke zero.offload=") == ["none", "cpu", "nvme"]
    assert in_bash(home, tmp_path, "launch plan recipe=smoke data.train=tr") == ["train.csv"]
    assert in_bash(home, tmp_path, "launch status sm") == ["smoke-1"]
    assert in_bash(home, tmp_path, "launch status --js") == ["--json"]


def test_a_tabulator_completes_at_a_terminal(home: Path, tmp_path: Path) -> None:
    terminal = Terminal(home, tmp_path)
    try:
        shown = terminal.type("launch recipes show smo\t; echo do''ne\n", "done")
    finally:
        os.close(terminal.descriptor)
        os.waitpid(terminal.pid, 0)
    assert "train.lr" in shown


@pytest.mark.shell
@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_complete_at_a_terminal(shell: str, home: Path, launch: Launch, tmp_path: Path) -> None:
    """Of zsh with an empty start file, too; and nothing is put behind a key's `=`."""
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell} here")
    installed = {**os.environ, "HOME": str(home), "XDG_DATA_HOME": "", "XDG_CONFIG_HOME": ""}
    launch("completion", shell, env=installed)
    terminal = Terminal(home, tmp_path, shell)
    try:
        line = "launch plan recipe=smo\t zero.off\tnone batch.glo\t7 --js\t; echo do''ne\n"
        shown = terminal.type(line, "done")
    finally:
        os.kill(terminal.pid, signal.SIGKILL)
        os.close(terminal.descriptor)
        os.waitpid(terminal.pid, 0)
    assert '"plan_id"' in shown


@pytest.mark.parametrize(
    ("args", "incomplete", "some"),
    [
        ([], "", {*VERBS, "recipe="}),
        (["run"], "train.l", {"train.lr=", "train.loss.name="}),
        (["recipe=smoke"], "executor=", {"executor=auto", "executor=local"}),
        (["plan"], "deterministic=t", {"deterministic=true"}),
        (["recipes"], "", {"show", "explain", "schema"}),
        (["recipes", "explain"], "train.warm", {"train.warmup"}),
        (["recipes", "show"], "roberta-n", {"roberta-ner"}),
        (["eval", "x"], "data.te", {"data.text=", "data.test="}),
        (["plan"], "cluster=lo", {"cluster=local"}),
        (["no such verb"], "", set()),
    ],
)
def test_words_behind_others(
    args: list[str], incomplete: str, some: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = completion.words(args, incomplete)
    assert some <= set(found)
    assert all(word.startswith(incomplete) for word in found)


def test_names_that_a_shell_would_take_for_something_else_are_not_offered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("plain", "a b", "$(reboot)", "x;y", "\x1b[31m"):
        (tmp_path / "runs" / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert completion.words(["status"], "") == ["plain"]


def test_every_shell_has_its_lines_and_another_is_refused(launch: Launch) -> None:
    for shell in completion.SHELLS:
        assert "_LAUNCH_COMPLETE" in launch("completion", shell, "--print").stdout
    refused = launch("completion", env={**os.environ, "SHELL": "/bin/tcsh"}, code=2)
    assert "no shell that can be completed in: tcsh" in refused.stderr


def test_half_a_line_is_never_added_to_what_every_shell_reads(tmp_path: Path) -> None:
    before = "# " + "x" * 1000 + "\n"
    (tmp_path / ".bashrc").write_text(before)
    done = subprocess.run(
        ["bash", "-c", 'ulimit -f 1; exec "$0" -m launcher completion bash', sys.executable],
        env={**os.environ, "HOME": str(tmp_path), "XDG_DATA_HOME": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (2, f"launch: {tmp_path / '.bashrc'}: File too large\n")
    assert (tmp_path / ".bashrc").read_text() == before
