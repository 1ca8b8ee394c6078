"""A sweep's trials: what they are called, what is added, what is refused. Nothing is trained here."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from launcher.errors import DamagedFile, UserError
from launcher.reading import check
from launcher.reading.check import DataFacts
from launcher.recipe.recipe import Recipe
from launcher.sweeps.sweep import (
    Planned,
    Setting,
    find,
    forget,
    nothing_left_if_refused,
    plan_sweep,
    read,
    trial_id,
    write,
)

TINY = (
    *("recipe=smoke", "executor=local", "device=cpu", "model.scratch.hidden=16", "model.scratch.layers=1"),
    *("data.limit=64", "batch.global=8", "train.max_steps=4"),
)


def planned(cwd: Path, *words: str, name: str | None = None) -> Planned:
    return plan_sweep([*TINY, *words], Setting({}, cwd, name))


def names(found: Planned) -> list[str]:
    return [trial.run_id.partition(".")[2] for trial in found.trials]


def test_a_trial_for_each_combination_planned_before_anything_is_there(tmp_path: Path) -> None:
    found = planned(tmp_path, "train.lr=1e-3,0.01", "seed=1..2")
    assert names(found) == ["lr0.001-seed1", "lr0.001-seed2", "lr0.01-seed1", "lr0.01-seed2"]
    assert [trial.prepared.plan.recipe.seed for trial in found.trials] == [1, 2, 1, 2]
    assert len({trial.prepared.plan.plan_id for trial in found.trials}) == 4
    assert not list(tmp_path.iterdir())


def test_the_same_command_names_the_same_sweep_and_a_value_more_adds_its_trials(tmp_path: Path) -> None:
    first = write(planned(tmp_path, "seed=1,2"))
    stamps = {run.path: run.plan.stat().st_mtime_ns for run in first.runs()}
    again = write(planned(tmp_path, "seed=1..3"))
    assert again.name == first.name
    assert [trial.values for trial in again.trials] == [{"seed": 1}, {"seed": 2}, {"seed": 3}]
    assert {path: (path / "plan.json").stat().st_mtime_ns for path in stamps} == stamps
    assert all(run.recipe.is_file() for run in again.runs())
    assert (
        write(planned(tmp_path, "seed=2")).name != first.name
    )  # one value alone is fixed, and no sweep over it

    packed = write(planned(tmp_path, "seed=1..3"), at_once=6, each=2)
    assert (read(packed.directory).at_once, read(packed.directory).each) == (6, 2)
    left = forget(packed, [trial.run_id for trial in planned(tmp_path, "seed=2,3").trials])
    assert [run.run_id for run in left] == [first.trials[0].run_id]
    assert [trial.values for trial in read(again.directory).trials] == [{"seed": 2}, {"seed": 3}]


def test_a_grid_of_which_one_value_is_left_names_the_trial_that_is_there(tmp_path: Path) -> None:
    every = planned(tmp_path, "train.clip=1.0,2.0", "seed=1,2", name="mine")
    write(every)
    assert names(planned(tmp_path, "train.clip=2.0", "seed=1,2", name="mine")) == names(every)[2:]
    one = planned(tmp_path, "seed=2", "train.clip=2.0", name="mine")
    assert names(one) == ["clip2.0-seed2"]
    left = forget(write(one), [one.trials[0].run_id])
    assert [run.run_id for run in left] == [trial.run_id for trial in every.trials[:3]]


def test_commands_at_the_same_time_add_up(tmp_path: Path) -> None:
    grids = [planned(tmp_path, f"seed=1..2,{seed}", name="both") for seed in (3, 3, 4, 5)]
    with ThreadPoolExecutor(len(grids)) as threads:
        list(threads.map(write, grids))
    there = read(tmp_path / "runs" / "both")
    assert sorted(trial.values["seed"] for trial in there.trials) == [1, 2, 3, 4, 5]
    assert all(run.recipe.is_file() for run in there.runs())


def test_a_command_that_was_killed_before_there_was_a_list_is_no_hindrance(tmp_path: Path) -> None:
    found = planned(tmp_path, "seed=1,2")
    found.directory.mkdir(parents=True)
    for name in ("lock", ".sweep.json.1a2b3c4d"):
        (found.directory / name).touch()
    assert len(write(found).trials) == 2


def test_another_fixed_value_is_another_sweep_and_never_mixes_with_one_of_the_same_name(
    tmp_path: Path,
) -> None:
    assert planned(tmp_path, "seed=1,2").name != planned(tmp_path, "seed=1,2", "train.clip=2.0").name
    assert planned(tmp_path, "seed=1,2").name == planned(tmp_path, "seed=1,2", "tracking.wandb.tags=[a]").name
    write(planned(tmp_path, "seed=1,2", name="mine"))
    with pytest.raises(UserError, match="with another plan") as caught:
        write(planned(tmp_path, "seed=1..3", "train.clip=2.0", name="mine"))
    said = "is there with another plan: train.clip was 1.0, is 2.0"
    found = [(problem.where, problem.message) for problem in caught.value.problems]
    assert found == [("mine.seed1", said), ("mine.seed2", said)]
    assert not (tmp_path / "runs" / "mine.seed3").exists()


def test_a_mapping_is_one_value_of_its_key(tmp_path: Path) -> None:
    weights = "train.loss.class_weights={0: 1, 1: 2},balanced"
    found = planned(tmp_path, weights)
    assert [trial.values for trial in found.trials] == [
        {"train.loss.class_weights": {"0": 1.0, "1": 2.0}},
        {"train.loss.class_weights": "balanced"},
    ]
    assert planned(tmp_path, "train.loss.class_weights=balanced,null").name == found.name
    assert len(set(names(found))) == 2


def test_mistakes_of_all_trials_are_told_once_and_nothing_is_made(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        planned(tmp_path, "train.lr=1e-3,fast,-1", "seed=1..3", "nodez=2")
    said = [str(problem).splitlines()[0] for problem in caught.value.problems]
    assert len(said) == 3
    assert not list(tmp_path.iterdir())
    with pytest.raises(UserError, match="what a sweep gives to each trial"):
        planned(tmp_path, "seed=1,2", "run_id=x")
    with pytest.raises(UserError, match="runs_dir: is one for all trials"):
        planned(tmp_path, "runs_dir=a,b")


def test_data_are_read_and_the_scheduler_is_asked_once_for_all_trials_mistakes_or_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A typo beside a thousand trials read a large data set a thousand times before it was told."""
    asked = tmp_path / "asked"
    for name, text in {"sbatch": "exit 0", "sinfo": f"echo >>{asked}"}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    read_as: list[Recipe] = []
    monkeypatch.setattr(check, "check_data", lambda recipe: read_as.append(recipe) or DataFacts())
    with pytest.raises(UserError, match=r"train\.rate=1: unknown key"):
        planned(tmp_path, "executor=auto", "seed=1..9", "train.rate=1")
    assert (asked.read_text(encoding="utf-8"), len(read_as)) == ("\n", 1)


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "a b", "x" * 81, "a+b", "-x"])
def test_a_name_that_no_run_could_have_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="can't be the name of a sweep"):
        planned(tmp_path, "seed=1,2", name=name)
    assert not list(tmp_path.iterdir())


def test_a_run_of_that_name_is_no_sweep(tmp_path: Path) -> None:
    (tmp_path / "runs" / "mine").mkdir(parents=True)
    (tmp_path / "runs" / "mine" / "plan.json").write_text("{}")
    with pytest.raises(UserError, match="is there, and no sweep"):
        write(planned(tmp_path, "seed=1,2", name="mine"))
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["mine"]


def test_what_was_new_is_gone_where_all_trials_are_refused(tmp_path: Path) -> None:
    found = planned(tmp_path, "seed=1,2")
    with pytest.raises(UserError, match="no room"), nothing_left_if_refused(found):  # noqa: PT012
        for run in write(found).runs():
            run.discard()
        raise UserError("no room")
    assert not list(tmp_path.iterdir())


def test_ids_fit_a_file_name_and_tell_trials_apart() -> None:
    assert trial_id("s", {"train.lr": 1e-05, "eval.metric": None}) == "s.lr1e-05-metricnull"
    assert trial_id("s", {"train.lr": 1e18}) == "s.lr1e18"
    assert trial_id("s", {"a.x": 1, "b.x": 2}) == "s.a.x1-b.x2"
    long = [trial_id("s", {"data.train": "a/" * 80 + name}) for name in ("b", "c")]
    assert len(set(long)) == 2
    assert all(len(name) <= 100 and "/" not in name for name in long)


@pytest.mark.parametrize(
    "text", ["[]", "{}", '{"trials": [{"run_id": "../../etc", "values": {}}]}', '{"trials": [1]}']
)
def test_a_list_that_is_not_ours_is_refused(tmp_path: Path, text: str) -> None:
    sweep = write(planned(tmp_path, "seed=1,2"))
    assert find(sweep.name, tmp_path / "runs") == sweep
    assert find("other", tmp_path / "runs") is None
    (sweep.directory / "sweep.json").write_text(text)
    with pytest.raises(DamagedFile):
        find(sweep.name, tmp_path / "runs")


@pytest.mark.parametrize("name", ["", "sweep.json", "request"])
def test_what_others_may_change_is_not_believed(tmp_path: Path, name: str) -> None:
    sweep = write(planned(tmp_path, "seed=1,2"))
    (sweep.directory / "array_7.log").touch(mode=0o666)
    (sweep.directory / "request").touch()
    (sweep.directory / "optuna.journal.lock").symlink_to("optuna.journal")
    assert find(sweep.name, tmp_path / "runs") == sweep
    path = sweep.directory / name
    path.chmod(path.stat().st_mode | 0o020)
    for ask in (lambda: find(sweep.name, tmp_path / "runs"), lambda: write(planned(tmp_path, "seed=1..3"))):
        with pytest.raises(UserError, match="can be changed by others") as error:
            ask()
        assert f"chmod -R go-w {sweep.directory}" in str(error.value)


def test_a_link_in_the_place_of_the_list_is_not_followed(tmp_path: Path) -> None:
    sweep = write(planned(tmp_path, "seed=1,2"))
    (sweep.directory / "sweep.json").rename(tmp_path / "elsewhere.json")
    (sweep.directory / "sweep.json").symlink_to(tmp_path / "elsewhere.json")
    with pytest.raises(UserError, match="is a link"):
        find(sweep.name, tmp_path / "runs")


def test_a_pipe_in_the_place_of_the_list_is_named_and_never_read(tmp_path: Path) -> None:
    sweep = write(planned(tmp_path, "seed=1,2"))
    (sweep.directory / "sweep.json").unlink()
    os.mkfifo(sweep.directory / "sweep.json", 0o600)
    with pytest.raises(UserError, match=r"sweep\.json.*a pipe or a device is never read"):
        find(sweep.name, tmp_path / "runs")
