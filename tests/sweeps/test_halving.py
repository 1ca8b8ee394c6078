"""Which trials go on after an evaluation."""

from __future__ import annotations

import json
from pathlib import Path

from launcher.runs.directory import RunDir
from launcher.sweeps.halving import Decision, Halving, decisions, rungs, stopped_early


def evaluated(directory: Path, name: str, *values: float | None) -> RunDir:
    """A run that was evaluated after steps 10, 20, ..."""
    run = RunDir(directory / name)
    run.path.mkdir(exist_ok=True)
    lines: list[dict[str, object]] = [{"step": 1, "train/loss": 2.0}]
    for number, value in enumerate(values, start=1):
        lines.append({"step": 10 * number, "split": "validation", "eval/accuracy": value})
    run.metrics.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return run


def halving(directory: Path) -> Halving:
    return Halving(directory, "accuracy", higher_is_better=True)


def test_after_the_1st_3rd_and_9th_evaluation() -> None:
    assert [list(rungs(count)) for count in (0, 1, 2, 3, 9, 26, 27)] == [
        [], [1], [1], [1, 3], [1, 3, 9], [1, 3, 9], [1, 3, 9, 27],
    ]  # fmt: skip


def test_a_trial_goes_on_where_it_is_the_best_or_among_the_best_third(tmp_path: Path) -> None:
    found = halving(tmp_path)
    runs = [evaluated(tmp_path, f"r{n}", value) for n, value in enumerate((0.5, 0.4, 0.6, 0.1, 0.2, 0.55))]
    stopped = found.look(runs)
    # 0.55 is the second of six, of which two go on
    assert [each.run_id for each in stopped] == ["r1", "r3", "r4"]
    assert str(stopped[0]) == (
        "stopped early at step 10: accuracy 0.4000 is place 2 of 2 after evaluation 1, of which the best third go on"
    )
    assert found.look(runs) == []


def test_each_rung_has_its_own_places(tmp_path: Path) -> None:
    found = halving(tmp_path)
    good = evaluated(tmp_path, "good", 0.9, 0.9, 0.5)
    assert found.look([good]) == []
    late = evaluated(tmp_path, "late", 0.95, 0.9)
    assert found.look([good, late]) == []
    late = evaluated(tmp_path, "late", 0.95, 0.9, 0.4)
    assert [(each.run_id, each.evaluation, each.step) for each in found.look([late])] == [("late", 3, 30)]


def test_what_is_no_number_never_goes_on_beside_one(tmp_path: Path) -> None:
    found = halving(tmp_path)
    assert found.look([evaluated(tmp_path, "well", 0.1)]) == []
    assert [each.run_id for each in found.look([evaluated(tmp_path, "ill", None)])] == ["ill"]


def test_decisions_are_made_once_whoever_goes_on(tmp_path: Path) -> None:
    first, second = evaluated(tmp_path, "a", 0.5), evaluated(tmp_path, "b", 0.4)
    halving(tmp_path).look([first, second])
    third = evaluated(tmp_path, "c", 0.6)
    assert halving(tmp_path).look([first, second, third]) == []
    assert stopped_early(tmp_path) == {
        "b": Decision("b", 1, 10, "accuracy", 0.4, place=2, of=2, goes_on=False)
    }
    assert [(each.run_id, each.of) for each in decisions(tmp_path)] == [("a", 1), ("b", 2), ("c", 3)]


def test_lines_that_are_no_decisions_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "halving.jsonl").write_text('{"run_id": "x"}\nnothing\n[]\n')
    assert stopped_early(tmp_path) == {}


def test_a_smaller_loss_is_better(tmp_path: Path) -> None:
    found = Halving(tmp_path, "accuracy", higher_is_better=False)
    assert found.look([evaluated(tmp_path, "a", 0.5), evaluated(tmp_path, "b", 0.4)]) == []


def test_evaluations_behind_a_line_of_megabytes_count(tmp_path: Path) -> None:
    runs = [evaluated(tmp_path, "a", 0.5), evaluated(tmp_path, "b", 0.4)]
    long = json.dumps({"step": 2, "train/loss": 2.0, "x": "y" * (3 << 20)}) + "\n"
    runs[1].metrics.write_text(long + runs[1].metrics.read_text())
    assert [each.run_id for each in halving(tmp_path).look(runs)] == ["b"]
