"""What reaches a terminal, a pipe and a page: no character that it obeys, no traceback, nothing that is cut off."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from launcher.cli import execute
from launcher.cli.output import EXIT_NO_READER, rich_text, say, show, show_json, table
from launcher.cli.progress import PlainBar, show_event
from launcher.cli.verbs.explain import show_explanation
from launcher.executors.shared.environment import single_process, split_environment
from launcher.report.attribution_page import page
from launcher.runs.events import Notice, Phase
from launcher.runs.verb_results import Explanation, Word
from launcher.visible import COMMANDS, columns_of, visible

TITLE = "\x1b]0;X\x07"
TURNED = "a\u202eb\u2066c\u200fd\ufeff\x9b31m\x7f"


def test_commands_to_a_terminal_are_shown_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    show(TITLE + TURNED)
    say(TITLE + TURNED)
    expected = r"\x1b]0;X\x07a\u202eb\u2066c\u200fd\ufeff\x9b31m\x7f" + "\n"
    assert capsys.readouterr() == (expected, expected)


def test_languages_and_emoji_stay_as_they_are() -> None:
    for text in ("诸葛亮", "می\u200cروم", "क्\u200dष", "👩\u200d🚀", "a\tb\nc", "naïve …"):
        assert visible(text) == text


def test_columns_stand_below_each_other_in_any_script() -> None:
    lines = table([["体育", "0.9"], ["sport", "0.8"]], ["class", "f1"]).splitlines()
    assert [
        columns_of(line[: line.index(cell)]) for line, cell in zip(lines, ("f1", "0.9", "0.8"), strict=True)
    ] == [7] * 3


def test_bytes_of_file_names_are_shown() -> None:
    assert visible("\udcff\U000e0041") == r"\udcff\U000e0041"


def test_json_is_escaped_as_json_does(capsys: pytest.CaptureFixture[str]) -> None:
    value = {"text": TITLE + TURNED + "\udcff\U000e0041 诸葛亮"}
    show_json(value)
    printed = capsys.readouterr().out
    assert not COMMANDS.search(printed)
    assert r"\u001b]0;X\u0007a\u202eb" in printed
    assert "诸葛亮" in printed
    assert json.loads(printed) == value


def test_progress_and_tables_are_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    bar = PlainBar(interval_s=0)
    show_event(bar, Phase(name=TITLE))
    show_event(bar, Notice(text=TURNED))
    assert not COMMANDS.search(capsys.readouterr().err)
    from rich.text import Text

    assert not COMMANDS.search(rich_text([Text(TITLE + TURNED)]))


def test_a_page_is_escaped() -> None:
    words = (Word(f"<b>{TURNED}", 1.0, 0),)
    shown = Explanation(TITLE, probability=0.5, logit=1.0, masked_logit=0.0, words=words, rest=0.0)
    html = page(TURNED, [shown])
    assert not COMMANDS.search(html)
    assert r"&lt;b&gt;a\u202eb" in html


def test_a_csv_header_that_would_set_the_title(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("x.csv").write_text(f"{TITLE},label\nfine,1\n", encoding="utf-8")
    assert execute(["plan", "recipe=smoke", "data.train=x.csv", "data.text=text"]) == 2
    printed = capsys.readouterr().err
    assert not COMMANDS.search(printed)
    assert r"\x1b]0;X\x07" in printed


def launch(*words: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "launcher", *words]
    return subprocess.run(command, env={**os.environ, **environment}, capture_output=True, check=False)


def test_a_terminal_of_few_characters() -> None:
    done = launch("recipes", "show", "smoke", "description=诸葛亮", PYTHONIOENCODING="latin-1")
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"???" in done.stdout


@pytest.mark.parametrize(("level", "code"), [("1", 0), ("2", 2)])
def test_python_without_assertions_works_and_without_docstrings_is_refused(level: str, code: int) -> None:
    done = launch("plan", "recipe=smoke", "executor=local", PYTHONOPTIMIZE=level)
    assert done.returncode == code
    assert (b"unset PYTHONOPTIMIZE" in done.stderr) == (code == 2)
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_closed_pipe_ends_it_without_a_word(stream: str) -> None:
    read, write = os.pipe()
    os.close(read)
    words = ["recipes"] if stream == "stdout" else ["recipes", "shwo"]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, stream: write}
    done = subprocess.run([sys.executable, "-m", "launcher", *words], check=False, **streams)  # type: ignore[call-overload]
    os.close(write)
    assert done.returncode == EXIT_NO_READER == 141
    assert not done.stdout
    assert not done.stderr


def test_a_process_of_ours_is_alone_whatever_surrounds_launch() -> None:
    around = {
        "RANK": "3",
        "WORLD_SIZE": "8",
        "MASTER_ADDR": "n1",
        "SLURM_PROCID": "3",
        "TORCHELASTIC_RUN_ID": "x",
    }
    ours = {"PATH": "/bin", "SLURM_CONF": "/etc/slurm.conf"}
    terminal = {"PYTHONOPTIMIZE": "1", "PYTHONIOENCODING": "latin-1"}
    assert single_process(around | ours | terminal) == ours
    assert split_environment(around | ours | terminal).passed == ours


def test_an_explanation_without_colours_has_figures(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """NO_COLOR on a terminal left the bare words, with nothing of what they do."""
    words = (Word("not", -0.5, 0), Word("bad", 0.25, 0))
    explained = Explanation("good", probability=0.9, logit=1.0, masked_logit=0.5, words=words, rest=0.0)
    monkeypatch.setattr("launcher.cli.output.on_terminal", lambda _stream: True)
    monkeypatch.setenv("NO_COLOR", "1")
    show_explanation(explained)
    assert capsys.readouterr().out.splitlines()[1:] == ["-0.5000  not", "+0.2500  bad"]
