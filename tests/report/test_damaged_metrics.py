"""metrics.jsonl with a damaged line: what is read from it, what is put back, and what is said."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from support.plans import new_run, plan_of

from launcher.cli.app import cli
from launcher.report import advice
from launcher.runs.directory import RunDir
from launcher.runs.files import write_json
from launcher.runs.metrics import doubt_of, evaluations_of, read_metrics

STEPS = 12
Damage = Callable[[list[str]], str]


def line(step: int) -> str:
    return json.dumps({"step": step, "epoch": step / 6, "train/loss": 1 / step, "train/grad_norm": 1.0})


def evaluation(step: int) -> str:
    return json.dumps({"step": step, "split": "validation", "eval/accuracy": 0.5, "eval/loss": 0.7})


def flipped(by: str) -> Damage:
    """The newline after step 7 became another character."""
    return lambda lines: "\n".join(lines[:6]) + "\n" + lines[6] + by + "\n".join(lines[7:]) + "\n"


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    run = new_run(plan_of({"executor": "local"}, run_dir=tmp_path / "runs" / "r"))
    best = {"metric": "accuracy", "value": 0.5, "step": STEPS}
    write_json(run.result, {"status": "completed", "steps": STEPS, "best": best})
    return run


def record(run: RunDir, damage: Damage) -> None:
    lines = [line(step) for step in range(1, STEPS + 1)]
    run.metrics.write_text(damage([*lines, evaluation(STEPS)]))


def tell(run: RunDir, *steps: int) -> None:
    """Have events.jsonl know of these steps."""
    with run.events.open("a") as events:
        for step in steps:
            told = {"event": "step", "attempt": 1, "step": step, "loss": 1 / step, "lr": 1e-4}
            events.write(json.dumps(told) + "\n")


@pytest.mark.parametrize(("kept", "lacking"), [(0, "steps 1-12"), (7, "steps 8-12"), (11, "step 12")])
def test_an_end_that_no_event_tells_of_is_known_from_the_result_or_a_checkpoint(
    run: RunDir, kept: int, lacking: str
) -> None:
    record(run, lambda lines: "".join(f"{text}\n" for text in lines[:kept]))
    assert doubt_of(run) == f"metrics.jsonl lacks {lacking}"
    run.result.unlink()
    assert doubt_of(run) is None
    (run.checkpoints / f"step_{STEPS}").mkdir(parents=True)
    assert doubt_of(run) == f"metrics.jsonl lacks {lacking}"


@pytest.mark.parametrize(
    "damage",
    [
        *map(flipped, ["\x0b", "*", "J", "", " ", "\x1a", "\ufffd"]),
        lambda lines: "\n".join([*lines[:3], lines[2], *lines[3:]]) + "\n",  # twice
        lambda lines: "\n".join([*lines[:3], lines[4], lines[3], *lines[5:]]) + "\n",  # out of order
        lambda lines: (
            "\n".join([*lines[:3], '{"step": 4, "train/lo' + lines[3], *lines[4:]]) + "\n"
        ),  # torn, whole
        "\n".join,  # no newline at the end
    ],
)
def test_no_step_is_lost_by_a_damage_that_leaves_its_line(run: RunDir, damage: Damage) -> None:
    record(run, damage)
    found = read_metrics(run)
    assert [row.step for row in found.rows if row.split is None] == list(range(1, STEPS + 1))
    assert [row.metrics() for row in found.rows if row.split] == [{"accuracy": 0.5, "loss": 0.7}]
    assert found.doubt is None


def test_a_file_with_a_hole_of_a_terabyte_is_read_beside_it(run: RunDir) -> None:
    record(run, lambda lines: "\n".join([*lines, ""]))
    with run.metrics.open("a") as file:
        file.truncate(1 << 40)
    assert len(read_metrics(run).rows) >= STEPS


def test_a_missing_step_comes_from_the_events(run: RunDir) -> None:
    record(run, lambda lines: "\n".join([*lines[:6], lines[6][:20], *lines[8:]]) + "\n")
    tell(run, *range(1, STEPS + 1))
    found = read_metrics(run)
    assert [row.figures["train/loss"] for row in found.rows if row.step in (7, 8)] == [1 / 7, 1 / 8]
    assert found.doubt is None


def test_a_missing_evaluation_comes_from_the_events(run: RunDir) -> None:
    record(run, lambda lines: "\n".join([*lines[:-1], lines[-1].replace("{", "J")]) + "\n")
    tell(run, *range(1, STEPS + 1))
    with run.events.open("a") as events:
        told = {"event": "eval", "step": STEPS, "split": "validation", "metrics": {"accuracy": 0.5}}
        events.write(json.dumps(told) + "\n")
    assert [row.metrics() for row in read_metrics(run).rows if row.split] == [{"accuracy": 0.5}]


@pytest.mark.parametrize(
    ("kept", "doubt"),
    [
        ([1, 2, 3, 4, 5, 6, 9, 10, 11, 12], "metrics.jsonl lacks steps 7-8"),
        ([2, 3, 4, 5, 6, 7, 8, 9, 10, 11], "metrics.jsonl lacks steps 1, 12"),
        ([1, 2, 3, 5, 6, 7, 8, 9, 10, 11, 12], "metrics.jsonl lacks step 4"),
    ],
)
def test_a_step_that_nobody_knows_is_said_wherever_the_record_is_read(
    run: RunDir, kept: list[int], doubt: str
) -> None:
    record(run, lambda lines: "\n".join([lines[step - 1] for step in kept] + lines[-1:]) + "\n")
    if 12 not in kept:
        run.events.write_text(json.dumps({"event": "step", "attempt": 1, "step": 12}) + "\n")
        doubt = "metrics.jsonl lacks step 1"  # step 12 is in the events
    for verb in ("status", "diagnose", "compare"):
        done = CliRunner().invoke(cli, [verb, "r", f"--runs-dir={run.path.parent}"])
        assert done.exit_code == 0, done.output
        assert doubt in done.stderr, verb
    done = CliRunner().invoke(cli, ["report", "r", f"--runs-dir={run.path.parent}"])
    assert done.exit_code == 0, done.output
    assert doubt in (run.path / "report.html").read_text()
    assert advice.read_history(run).steps[-1] == 12 or 12 not in kept


@pytest.mark.parametrize(
    "damage",
    [
        *map(flipped, ["\x0b", "J", "", "\ufffd"]),
        lambda lines: "\n".join(lines) + "\n",
        lambda lines: "\n".join(lines[:5] + lines[6:]) + "\n",
        lambda lines: "\n".join([*lines[:5], lines[4], *lines[6:]]) + "\n",  # one twice, one not at all
        lambda lines: "\n".join([*lines[:-1], lines[-1].replace('"split"', '"splat"')]) + "\n",
        lambda lines: "\n".join([*lines[:-1], lines[-1].replace("0.7", "0.7.")]) + "\n",
        lambda lines: "\n".join([*lines[:-3], lines[-1], lines[-3][:25]]),
        lambda _lines: "",
    ],
)
def test_what_is_found_without_parsing_every_line_is_what_the_lines_say(run: RunDir, damage: Damage) -> None:
    record(run, damage)
    tell(run, 1, 2, STEPS)
    found = read_metrics(run)
    assert doubt_of(run) == found.doubt
    assert evaluations_of(run) == [row for row in found.rows if row.split]


def test_a_long_record_is_doubted_fast_and_mended_in_a_time_that_grows_with_its_length(run: RunDir) -> None:
    def seconds(work: Callable[[], object]) -> float:
        """The least of three times: other work on the machine only adds."""

        def once() -> float:
            started = time.process_time()
            work()
            return time.process_time() - started

        return min(once() for _ in range(3))

    steps = range(1, 30_001)
    run.metrics.write_text("".join(line(step) + "\n" for step in steps))
    tell(run, *steps)
    reading = seconds(lambda: read_metrics(run).rows)
    assert seconds(lambda: doubt_of(run)) < reading / 2
    run.metrics.write_text("".join(line(step) + "\n" for step in steps if step % 2))  # 15,000 gaps
    assert seconds(lambda: read_metrics(run).rows) < 20 * reading
    assert len(read_metrics(run).rows) == len(steps)
