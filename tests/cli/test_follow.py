"""Following growing files and showing progress."""

from __future__ import annotations

from pathlib import Path

import pytest

from launcher.cli.follow import Tail, every, exit_code, follow
from launcher.cli.output import is_secret_name, table
from launcher.cli.progress import PlainBar, show_event
from launcher.executors.slurm import GPU_RESOURCE
from launcher.figures import human_bytes, human_number, human_seconds
from launcher.planning.machine import local_gpus
from launcher.runs.events import Evaluated, Step
from launcher.runs.records import MOST_LINE_BYTES
from launcher.runs.results import Outcome, Result


def test_a_tail_gives_each_complete_line_once(tmp_path: Path) -> None:
    path = tmp_path / "log"
    tail = Tail(path)
    assert list(tail.lines()) == []
    with path.open("w", buffering=1) as file:
        file.write("one\ntw")
        file.flush()
        assert list(tail.lines()) == ["one"]
        assert tail.rest() == "tw"
        file.write("o\nthree\n")
        assert list(tail.lines()) == ["two", "three"]
    assert list(tail.lines()) == []


def test_a_tail_may_begin_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("old\n")
    tail = Tail.at_end(path)
    path.write_text("old\nnew\n")
    assert list(tail.lines()) == ["new"]


def test_a_log_of_any_length_is_read_in_pieces(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with path.open("wb") as file:
        file.write(b"x" * (3 * MOST_LINE_BYTES) + b"\nlast\n")
        file.truncate(1 << 36)  # a hole of many gigabytes
    tail = Tail(path)
    lines = list(tail.lines())
    assert lines[:5] == ["x" * MOST_LINE_BYTES] * 3 + ["", "last"]
    assert len(lines) < 40
    assert len(tail.rest()) < MOST_LINE_BYTES


def test_a_line_that_grows_without_an_end_is_given_in_pieces(tmp_path: Path) -> None:
    path = tmp_path / "log"
    tail, given = Tail(path), []
    for _ in range(5):
        with path.open("ab") as file:
            file.write(b"10%\r" * (MOST_LINE_BYTES // 8))
        given += list(tail.lines())
    assert [len(line) for line in given] == [MOST_LINE_BYTES, MOST_LINE_BYTES]


def test_events_written_just_before_the_end_are_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "events"
    looks = iter([False, False, True])

    def is_over() -> bool:
        over = next(looks)
        if over:
            path.write_text('{"event": "notice", "level": "warning", "text": "the last words"}\n')
        return over

    with PlainBar() as bar:
        follow(Tail(path), is_over, bar)
    assert capsys.readouterr().err == "warning: the last words\n"


def test_a_scheduler_is_not_asked_all_the_time() -> None:
    asked = []
    question = every(3600, lambda: bool(asked.append(1)))
    assert [question() for _ in range(5)] == [False] * 5
    assert len(asked) == 1


def test_a_scheduler_is_asked_more_rarely_the_longer_it_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every 2 s in the first two minutes, every 15 s after a quarter of an hour; it was every 2 s for days."""
    now = 0.0
    monkeypatch.setattr("launcher.cli.follow.time.monotonic", lambda: now)
    asked: list[float] = []
    question = every(2.0, lambda: bool(asked.append(now)), widest_s=15.0)
    while now < 3600:
        question()
        now += 0.5
    counts = [sum(1 for each in asked if start <= each < start + 60) for start in (0, 60, 600, 3000)]
    assert counts == [30, 30, 5, 4]


def test_plain_lines_are_few(capsys: pytest.CaptureFixture[str]) -> None:
    with PlainBar(interval_s=3600) as bar:
        for step in range(1, 101):
            event = Step(step=step, total=100, loss=0.25, examples_per_s=10.4, eta_s=61.0)
            show_event(bar, event)
    assert capsys.readouterr().err.splitlines() == [
        "step 1/100  loss 0.2500  10 examples/s  1 min 01 s left",
        "step 100/100  loss 0.2500  10 examples/s  1 min 01 s left",
    ]


def test_an_evaluation_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    metrics = {"loss": 0.5, "accuracy": 0.75, "mcc": None}
    with PlainBar() as bar:
        show_event(bar, Evaluated(step=7, split="validation", metrics=metrics, best=True))
    assert capsys.readouterr().err == (
        "validation at step 7: accuracy 0.7500  mcc -  loss 0.5000  (best so far)\n"
    )


@pytest.mark.parametrize(
    ("status", "code"), [("completed", 0), ("stopped", 75), ("failed", 1), ("cancelled", 1)]
)
def test_exit_codes(status: Outcome, code: int) -> None:
    assert exit_code(Result(status)) == code


def test_figures_for_people() -> None:
    assert [human_seconds(value) for value in (0.4, 59, 61, 3700, 90000)] == [
        "0 s",
        "59 s",
        "1 min 01 s",
        "1 h 01 min",
        "1 d 1 h",
    ]
    assert [human_bytes(value) for value in (12, 2048, 3 * 2**30)] == ["12 B", "2.0 KiB", "3.0 GiB"]
    assert [human_number(value) for value in (0.5, 1e-5, None, True, 3)] == [
        "0.5000",
        "1e-05",
        "-",
        "yes",
        "3",
    ]
    assert table([["a", "bb"], ["ccc", ""]]) == "a    bb\nccc"


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("api_key", True),
        ("WANDB_API_KEY", True),
        ("token", True),
        ("password", True),
        ("tokens", False),
        ("keep", False),
    ],
)
def test_names_of_secrets(name: str, secret: bool) -> None:
    assert is_secret_name(name) == secret


def test_gpus_are_counted_without_torch(tmp_path: Path) -> None:
    for number in range(4):
        (tmp_path / f"0000:0{number}:00.0").mkdir()
    assert local_gpus({}, tmp_path) == 4
    assert local_gpus({"CUDA_VISIBLE_DEVICES": "0,2"}, tmp_path) == 2
    assert local_gpus({"CUDA_VISIBLE_DEVICES": ""}, tmp_path) == 0
    assert local_gpus({"CUDA_VISIBLE_DEVICES": "-1"}, tmp_path) == 0
    assert local_gpus({"CUDA_VISIBLE_DEVICES": "0, 1,-1,2"}, tmp_path) == 2
    assert local_gpus({"CUDA_VISIBLE_DEVICES": "NoDevFiles"}, tmp_path) == 0
    assert local_gpus({"CUDA_VISIBLE_DEVICES": "GPU-1a2b,MIG-3c4d"}, tmp_path) == 2


@pytest.mark.parametrize(
    ("resources", "count"),
    [
        ("gpu:8", 8),
        ("gpu:h100:4(S:0-1)", 4),
        ("(null)", 0),
        ("gpu:a100:2,gpu:t4:1", 3),
        ("shard:16", 0),
        ("craynetwork:1,gpu:tesla:2", 2),
    ],
)
def test_gpus_as_slurm_declares_them(resources: str, count: int) -> None:
    assert sum(map(int, GPU_RESOURCE.findall(resources))) == count
