"""A writer that is killed as it enters any system call of a commit leaves what a resume can use: strace says where."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from support.fault_rows import Seen
from support.models import NoTokenizer, small_model
from support.system_calls import CHANGES, MOVES, calls_of, killed_at, require_strace

from launcher.runs.best_model import step_of
from launcher.runs.directory import RunDir
from launcher.train.model.build import BuiltModel, cpu_state, save_model
from launcher.train.process.ranks import Ranks
from launcher.train.step.checkpoints import Checkpoints, TrainState, verify

ONE_RANK = Ranks(0, 0, 1, torch.device("cpu"))


class Weights:
    """The part of a strategy that checkpoints use: numbers that tell of which step they are."""

    def __init__(self, step: int) -> None:
        self.values = torch.full((1000,), float(step))

    def save(self, directory: Path) -> Callable[[], None]:
        def write() -> None:
            for name in ("model.pt", "optimizer.pt"):
                with (directory / name).open("wb") as file:
                    torch.save(self.values, file)

        return write


def save(run: RunDir, step: int, keep: int = 1) -> None:
    run.checkpoints.mkdir(parents=True, exist_ok=True)
    checkpoints = Checkpoints(run, ONE_RANK, keep)
    checkpoints.save(cast(Any, Weights(step)), TrainState(step=step))
    checkpoints.wait()


@pytest.mark.fault(2, 3)
def test_a_commit_is_killed_at_each_system_call(tmp_path: Path, happened: Seen) -> None:
    """The commit replaces step 2 by step 4, since one checkpoint is kept: its removal is killed as well."""
    require_strace()
    template = RunDir(tmp_path / "template")
    save(template, 2)
    found = []
    for run in killed_runs(template, lambda run: save(run, 4), CHANGES):
        found.append(resumed(run))
        save(run, 6)
        assert resumed(run) == 6
        assert [path.name for path in run.checkpoints.iterdir()] == ["step_6"]
    assert len(found) > 20
    assert set(found) == {2, 4}
    happened(
        f"a commit was killed at each of its {len(found)} system calls; none left anything but step 2 or 4 whole"
    )


def killed_runs(template: RunDir, work: Callable[[RunDir], None], calls: Iterable[str]) -> Iterator[RunDir]:
    """Copies of a run, in each of which the work was killed at another system call."""
    for call in calls:
        for number in itertools.count(1):
            run = RunDir(
                template.path.with_name("killed") / template.run_id
            )  # checkpoints know whose they are
            shutil.rmtree(run.path, ignore_errors=True)
            shutil.copytree(template.path, run.path)
            if not killed_at(partial(work, run), call, number):
                break
            yield run


def resumed(run: RunDir) -> int:
    """The step that an attempt would go on from, whose weights must be those of it."""
    newest = Checkpoints(run, ONE_RANK, 1).newest(pytest.fail)
    assert newest is not None
    directory, state = newest
    assert verify(directory) is None
    weights = torch.load(directory / "model.pt", weights_only=True)
    assert torch.equal(weights, Weights(state.step).values)
    return state.step


@pytest.mark.fault(2)
def test_the_best_model_is_on_the_disk_before_it_has_its_name(tmp_path: Path) -> None:
    """Else a node that loses its power leaves a model/ of empty files."""
    require_strace()
    model = small_model("bert", layers=1)
    built = BuiltModel(model, model, lora=False)  # type: ignore[arg-type]
    run = RunDir(tmp_path / "run")
    run.path.mkdir()
    calls = calls_of(
        lambda: save_model(built, cpu_state(model), NoTokenizer(), run.model, 2),
        ("fsync", "rename", "renameat"),
        tmp_path / "calls",
    )
    [moved] = [number for number, line in enumerate(calls) if "rename" in line and f'"{run.model}"' in line]
    before, after = "\n".join(calls[:moved]), "\n".join(calls[moved:])
    staging = run.path / ".model.new"
    for path in (staging, *(staging / file.name for file in run.model.iterdir())):
        assert f"<{path}>" in before, f"{path.name} is not synced before\n{before}"
    assert f"<{run.path}>" in after


@pytest.mark.fault(3)
def test_the_replacement_of_the_best_model_is_killed_at_each_rename_and_removal(
    tmp_path: Path, happened: Seen
) -> None:
    require_strace()
    model = small_model("bert", layers=1)
    built = BuiltModel(model, model, lora=False)  # type: ignore[arg-type]

    def keep(run: RunDir, step: int) -> None:
        save_model(built, cpu_state(model), NoTokenizer(), run.model, step)

    template = RunDir(tmp_path / "template")
    template.path.mkdir()
    keep(template, 2)
    whole = sorted(path.name for path in template.model.iterdir())
    found = []
    for run in killed_runs(template, lambda run: keep(run, 4), MOVES):
        run.put_model_back()
        found.append(step_of(run.model))
        assert sorted(path.name for path in run.model.iterdir()) == whole
        keep(run, 6)
        assert step_of(run.model) == 6
        assert not run.former_model.exists()
    assert len(found) > 4
    assert set(found) == {2, 4}
    happened(
        f"model/ was whole and of a named step after a kill at each of {len(found)} renames and removals"
    )
