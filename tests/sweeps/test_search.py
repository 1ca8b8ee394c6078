"""A search's trials: planned, asked for, taken up again. Nothing is trained here."""

from __future__ import annotations

from pathlib import Path

import pytest

from launcher.errors import UserError
from launcher.runs.results import Best, Result
from launcher.sweeps.search import Guide, Searched, plan_search
from launcher.sweeps.sweep import Method, Setting, read, write

TINY = (
    *("recipe=smoke", "executor=local", "device=cpu", "model.scratch.hidden=16", "model.scratch.layers=1"),
    *("data.limit=64", "batch.global=8", "train.max_steps=40", "eval.every=10"),
)
RANGE = "train.lr=1e-5..1e-1:log"


def search(cwd: Path, method: Method, trials: int, *words: str, name: str | None = None) -> Searched:
    return plan_search([*TINY, *words], method, trials, Setting({}, cwd, name))


def nothing_refused(words: str, error: UserError) -> None:
    raise AssertionError((words, error))


def test_random_points_are_all_known_before_anything_is_there_and_more_begin_alike(tmp_path: Path) -> None:
    few, more = (search(tmp_path, "random", count, RANGE).planned for count in (3, 5))
    assert few.name == more.name
    assert few.name.startswith("smoke-random-")
    assert [trial.run_id for trial in few.trials] == [trial.run_id for trial in more.trials[:3]]
    assert len({trial.values["train.lr"] for trial in more.trials}) == 5
    assert not list(tmp_path.iterdir())
    assert search(tmp_path, "random", 3, "train.lr=1e-5..1e-2:log").planned.name != few.name


def test_what_is_written_says_how_to_go_on(tmp_path: Path) -> None:
    planned = search(tmp_path, "halving", 2, RANGE).planned
    there = read(write(planned, 3).directory)
    assert there.search == planned.search
    assert there.search is not None
    assert (there.search.method, there.search.words[-1], there.search.cwd) == (
        "halving",
        RANGE,
        str(tmp_path),
    )


def test_a_sweep_of_that_name_over_other_values_is_not_mixed_with_it(tmp_path: Path) -> None:
    write(search(tmp_path, "random", 2, RANGE, name="mine").planned)
    for other in (
        search(tmp_path, "random", 2, "train.lr=1e-5..1e-2:log", name="mine"),
        search(tmp_path, "halving", 2, RANGE, name="mine"),
    ):
        with pytest.raises(UserError, match="is a random search over other values"):
            write(other.planned)


def test_halving_needs_evaluations_before_the_end(tmp_path: Path) -> None:
    for every in ("null", "40", "50"):
        words = [word for word in TINY if not word.startswith("eval.every")]
        with pytest.raises(UserError, match="one at the end alone"):
            plan_search([*words, f"eval.every={every}", RANGE], "halving", 2, Setting({}, tmp_path))


def test_a_search_that_learns_asks_as_long_as_points_are_missing(tmp_path: Path) -> None:
    searched = search(tmp_path, "tpe", 3, RANGE)
    assert searched.planned.trials == ()
    write(searched.planned)
    guide = Guide(searched, 1, nothing_refused)
    first, second = guide.next(), guide.next()
    assert first is not None
    assert second is not None
    assert first.recipe.is_file()
    first.write_result(Result("completed", best=Best("accuracy", 0.5, 10)))

    # Killed here: whoever goes on finds both, and draws one more.
    again = search(tmp_path, "tpe", 3, RANGE)
    assert [trial.run_id for trial in again.planned.trials] == [first.run_id, second.run_id]
    write(again.planned)
    guide = Guide(again, 1, nothing_refused)
    third = guide.next()
    assert third is not None
    assert guide.next() is None
    listed = [trial.run_id for trial in read(searched.planned.directory).trials]
    assert listed == [first.run_id, second.run_id, third.run_id]

    more = search(tmp_path, "tpe", 4, RANGE)
    write(more.planned)
    assert Guide(more, 1, nothing_refused).next() is not None


def test_a_point_that_comes_again_is_not_trained_again(tmp_path: Path) -> None:
    searched = search(tmp_path, "tpe", 12, "train.warmup=0,0.1")
    write(searched.planned)
    guide = Guide(searched, 1, nothing_refused)
    made = []
    while (run := guide.next()) is not None:
        run.write_result(Result("completed", best=Best("accuracy", 0.5, 10)))
        made.append(run.run_id)
    assert len(made) == len(set(made)) == 2


def test_points_that_can_not_be_planned_are_counted_and_said(tmp_path: Path) -> None:
    said: list[str] = []
    searched = search(tmp_path, "tpe", 6, "model.scratch.heads=1,3")
    write(searched.planned)
    guide = Guide(searched, 1, lambda words, _: said.append(words))
    made = []
    while (run := guide.next()) is not None:
        made.append(run.run_id)
    assert set(said) == {"model.scratch.heads=3"}
    assert len(made) == 1
