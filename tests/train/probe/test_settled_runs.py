"""Which way a training takes: probed once, kept in the cache, taken again on resuming, the same on all ranks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from support.training import Fault, RankServer, events, losses, make_run, metrics, recipe, train_here

from launcher.engine import choice
from launcher.engine.cache import directory
from launcher.runs.directory import RunDir
from launcher.train.model.build import cpu_state, save_model
from launcher.train.packed import attention, in_place
from launcher.train.packed.collate import PaddedCollate
from launcher.train.packed.packing import PackedCollate
from launcher.train.use.inference import Predictor


@pytest.fixture
def probed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every training is long enough for a probe, which leaves no right way for one that is faster just now."""
    monkeypatch.setattr(choice, "LEAST_PASSES", 1)
    monkeypatch.setattr(choice, "WORTH", 0.0)


def taken(run: RunDir, attempt: int = 1) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run.attempt(attempt).engine.read_text())
    return found


def said(run: RunDir) -> list[str]:
    return [row["text"] for row in events(run, "notice") if row["text"].startswith("engine:")]


def findings() -> list[Path]:
    place = directory()
    assert place is not None
    return sorted(place.glob("finding-*.json"))


def test_a_short_training_is_not_held_up(tmp_path: Path, tiny_data: Path) -> None:
    run = make_run(tmp_path / "run", recipe(tiny_data))
    train_here(run, "none")
    assert taken(run)["why"] == "as planned: not tried, since 18 micro-batches are fewer than 1,000"
    assert said(run) == []
    assert findings() == []


@pytest.mark.usefixtures("probed")
def test_a_probe_changes_no_loss_and_is_made_once(tmp_path: Path, tiny_data: Path) -> None:
    """With dropout, so that a draw too many would show."""
    wanted = recipe(tiny_data, deterministic=True)
    plain, first, second = (make_run(tmp_path / name, wanted) for name in ("plain", "first", "second"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(choice, "LEAST_PASSES", 10**9)
        train_here(plain, "none")
    train_here(first, "none")
    (kept,) = findings()
    before = kept.stat().st_mtime_ns
    train_here(second, "none")
    assert losses(first) == losses(plain)
    assert losses(second) == losses(plain)
    (line,) = said(first)
    assert "checks passed" in line
    assert (len(said(second)), kept.stat().st_mtime_ns) == (0, before)


@pytest.mark.usefixtures("probed")
def test_a_way_other_than_planned_is_told_in_each_run_that_takes_it(
    tmp_path: Path, tiny_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where an earlier run has found out that it is faster: the plan doesn't say it."""
    first, second = (make_run(tmp_path / name, recipe(tiny_data)) for name in ("first", "second"))
    train_here(first, "none")
    (kept,) = findings()
    finding = json.loads(kept.read_text())
    for timing in finding["timings"]:
        timing["pass_s"] = 0.02 if timing["layout"] == "padded" else 0.1
    kept.write_text(json.dumps(finding))
    monkeypatch.setattr(choice, "WORTH", 0.9)
    train_here(second, "none")
    (line,) = said(second)
    assert line.startswith("engine: padded takes 20 ms, packed 100 ms, ")
    assert taken(second)["layout"] == "padded"


@pytest.mark.usefixtures("probed")
def test_what_is_wrong_is_left_loudly_and_stays_left_on_resuming(
    tmp_path: Path, tiny_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = recipe(tiny_data, checkpoint={"every": 6})
    run, sound = make_run(tmp_path / "run", wanted), make_run(tmp_path / "sound", wanted)
    with monkeypatch.context() as patch:
        patch.setattr(attention, "softmax_derivative", lambda gradient, weights: gradient * weights)
        job = train_here(run, "none", max_steps=6)
    assert isinstance(job.collate, PaddedCollate)
    assert isinstance(
        Predictor.load(run, wanted, torch.device("cpu"), saved(job, tmp_path)).collate, PaddedCollate
    )
    (line,) = said(run)
    assert line.startswith("engine: falls back, since something is wrong here: gradients:")
    assert [row["level"] for row in events(run, "notice") if row["text"] == line] == ["warning"]
    for path in findings():
        path.unlink()
    # Nothing is planted any more, but the run goes on as it was.
    assert isinstance(train_here(run, "none", number=2).collate, PaddedCollate)
    assert taken(run, 2) == taken(run)
    assert isinstance(train_here(sound, "none").collate, PackedCollate)
    padding = [row["perf/padding"] for row in metrics(run)]
    assert 0 < max(padding) < 1, padding
    assert min(padding) >= 0
    assert {row["perf/padding"] for row in metrics(sound)} == {0.0}


def saved(job: Any, directory: Path) -> Path:
    """The model of a job, as it would be kept."""
    save_model(job.built, cpu_state(job.built.model), job.tokenizer, directory / "kept")
    return directory / "kept"


@pytest.mark.long
@pytest.mark.usefixtures("probed")
def test_a_damaged_or_foreign_cache_is_no_obstacle(tmp_path: Path, tiny_data: Path) -> None:
    run, again = (make_run(tmp_path / name, recipe(tiny_data)) for name in ("run", "again"))
    train_here(run, "none")
    (kept,) = findings()
    kept.write_text('{"key": ')
    place = directory()
    assert place is not None
    train_here(again, "none")
    assert len(said(again)) == 1
    place.chmod(0o777)
    assert directory() is None


@pytest.mark.usefixtures("probed")
def test_the_planted_error_is_told_by_name(
    tmp_path: Path, tiny_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that raises: the training goes on, padded."""

    def broken(*_: Any, **__: Any) -> None:
        raise NotImplementedError("no kernel")

    monkeypatch.setattr(in_place, "attend", broken)
    run = make_run(tmp_path / "run", recipe(tiny_data))
    train_here(run, "none")
    assert "raises NotImplementedError: no kernel" in said(run)[0]


@pytest.mark.long
def test_ranks_try_together_and_take_the_same_way(tmp_path: Path, tiny_data: Path, ranks: RankServer) -> None:
    """A long training on two ranks, stopped after some steps, and resumed."""
    wanted = recipe(tiny_data, gpus=2, train={"max_steps": 2000}, checkpoint={"every": None})
    run = make_run(tmp_path / "run", wanted)
    stop = Fault("term", "step", 3)
    assert ranks.attempt(run, ranks=2, fault=stop) == [0, 0]
    assert "checks passed" in taken(run)["why"]
    assert len(said(run)) == 1
    assert len(findings()) == 1
    assert ranks.attempt(run, ranks=2, number=2, fault=Fault("term", "step", 6)) == [0, 0]
    assert taken(run, 2) == taken(run)
    assert len(said(run)) == 1


@pytest.mark.long
def test_a_run_under_zero_says_what_was_tried_before_deepspeed(
    tmp_path: Path, tiny_data: Path, ranks: RankServer
) -> None:
    wanted = recipe(
        tiny_data, gpus=2, zero={"stage": 2}, train={"max_steps": 2000}, checkpoint={"every": None}
    )
    run = make_run(tmp_path / "run", wanted)
    assert ranks.attempt(run, ranks=2, fault=Fault("term", "step", 3)) == [0, 0]
    (line,) = said(run)
    # Which way was faster just now is another question.
    assert "checks passed on the model before ZeRO-2 takes it, whose own step is not tried (tried in" in line
    assert taken(run)["why"] == line.removeprefix("engine: ")
