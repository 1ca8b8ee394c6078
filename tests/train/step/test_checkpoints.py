"""Only a checkpoint that is whole is ever resumed from; what is wrong with another is said, and the newest whole one is used."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from support.training import (
    Fault,
    RankServer,
    events,
    log,
    losses,
    make_run,
    metrics,
    recipe,
    result,
    tensors,
)

from launcher.errors import RunFailed
from launcher.runs.directory import RunDir
from launcher.train.process.ranks import Ranks
from launcher.train.step.checkpoints import Checkpoints, TrainState, verify

ONE_RANK = Ranks(0, 0, 1, torch.device("cpu"))


class Weights:
    """The part of a strategy that checkpoints use: a few numbers."""

    def __init__(self, directory_entry: Callable[[Path], object] | None = None) -> None:
        self.values = torch.arange(1000.0)
        self._prepare = directory_entry

    def save(self, directory: Path) -> Callable[[], None]:
        def write() -> None:
            if self._prepare is not None:
                self._prepare(directory / "model.pt")
            with (directory / "model.pt").open("wb") as file:
                torch.save(self.values, file)

        return write


def _saved(run: RunDir, *steps: int, keep: int = 3, weights: Any = None) -> Checkpoints:
    run.checkpoints.mkdir(parents=True, exist_ok=True)
    checkpoints = Checkpoints(run, ONE_RANK, keep)
    for step in steps:
        checkpoints.save(weights or Weights(), TrainState(step=step))
        checkpoints.wait()
    return checkpoints


def _newest(run: RunDir) -> tuple[int | None, list[str]]:
    """Step of the checkpoint that a new attempt takes up, and what it says about others."""
    said: list[str] = []
    found = Checkpoints(run, ONE_RANK, 3).newest(said.append)
    if found is None:
        return None, said
    directory, state = found
    assert directory == run.checkpoints / f"step_{state.step}"
    return state.step, said


def _flip(path: Path, position: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 4
    path.write_bytes(content)


def _edit_manifest(directory: Path, **changes: Any) -> None:
    manifest = json.loads((directory / "manifest.json").read_text())
    (directory / "manifest.json").write_text(json.dumps({**manifest, **changes}))


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "flipped bit": (lambda d: _flip(d / "model.pt", 2000), "model.pt is damaged"),
    "flipped bit in the state": (lambda d: _flip(d / "state.json", 5), "state.json is damaged"),
    "cut short": (lambda d: (d / "model.pt").write_bytes(b"short"), "model.pt has 5 bytes instead of"),
    "missing file": (lambda d: (d / "model.pt").unlink(), "model.pt is missing"),
    "additional file": (lambda d: (d / "more.pt").write_text("?"), "more.pt is not in its manifest"),
    "no manifest": (lambda d: (d / "manifest.json").unlink(), "no manifest: it was never finished"),
    "torn manifest": (lambda d: (d / "manifest.json").write_text('{"step": 6, "fi'), "manifest unreadable"),
    "manifest of a list": (lambda d: (d / "manifest.json").write_text("[]"), "manifest unreadable"),
    "manifest naming nothing": (lambda d: _edit_manifest(d, files={}), "model.pt is not in its manifest"),
    "manifest of other shape": (
        lambda d: _edit_manifest(d, files={"model.pt": 1, "state.json": 2}),
        "manifest unreadable",
    ),
    "other step": (lambda d: _edit_manifest(d, step=4), "its manifest is that of step 4"),
    "empty directory": (lambda d: [path.unlink() for path in d.iterdir()], "no manifest"),
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.fault(16)
def test_a_damaged_checkpoint_is_refused_for_the_newest_whole_one(tmp_path: Path, damage: str) -> None:
    run = RunDir(tmp_path)
    _saved(run, 2, 4, 6)
    harm, reason = DAMAGE[damage]
    harm(run.checkpoints / "step_6")
    step, said = _newest(run)
    assert step == 4
    assert len(said) == 1
    assert said[0].startswith("step_6 is not used: ")
    assert reason in said[0]


@pytest.mark.fault(34)
def test_a_checkpoint_of_another_run_is_put_aside(tmp_path: Path) -> None:
    """Of the same recipe but for its learning rate, say: it fits, and would be trained on."""
    run, other = RunDir(tmp_path / "mine"), RunDir(tmp_path / "theirs")
    _saved(run, 2)
    _saved(other, 4)
    shutil.copytree(other.checkpoints / "step_4", run.checkpoints / "step_4")
    assert _newest(run) == (2, ["step_4 is not used: it is of another run, theirs"])


@pytest.mark.fault(16)
def test_no_byte_of_a_manifest_can_change_unnoticed(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    _saved(run, 6)
    directory = run.checkpoints / "step_6"
    manifest = directory / "manifest.json"
    whole = manifest.read_bytes()
    for position in range(len(whole)):
        _flip(manifest, position)
        unharmed = False
        with contextlib.suppress(ValueError):
            unharmed = json.loads(manifest.read_bytes()) == json.loads(whole)
        assert (verify(directory) is None) == unharmed, manifest.read_bytes()
        manifest.write_bytes(whole)


def test_nothing_is_resumed_from_where_nothing_is_whole(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    _saved(run, 2, 4)
    for step in (2, 4):
        _flip(run.checkpoints / f"step_{step}" / "model.pt", 100)
    (run.checkpoints / ".step_6.new").mkdir()
    for name in ("step_best", "step_²", "step_٣", "step_007"):
        (run.checkpoints / name).mkdir()
    (run.checkpoints / "step_8").write_text("a file")
    step, said = _newest(run)
    assert step is None
    assert [text.split()[0] for text in said] == ["step_4", "step_2"]
    assert not (run.checkpoints / ".step_6.new").exists()


def test_a_copy_under_another_name_is_not_a_checkpoint(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    _saved(run, 2)
    shutil.copytree(run.checkpoints / "step_2", run.checkpoints / "step_9")
    assert _newest(run)[0] == 2


def test_the_newest_are_kept(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    _saved(run, 2, 4, 10, 12, keep=2)
    assert sorted(path.name for path in run.checkpoints.iterdir()) == ["step_10", "step_12"]


def test_a_damaged_one_neither_counts_among_those_kept_nor_stands_in_the_way(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    _saved(run, 4, 6)
    _flip(run.checkpoints / "step_6" / "model.pt", 100)
    checkpoints = Checkpoints(run, ONE_RANK, 1)
    assert checkpoints.newest(lambda _: None) is not None
    for step in (5, 6):
        checkpoints.save(Weights(), TrainState(step=step))  # type: ignore[arg-type]
        checkpoints.wait()
    assert sorted(path.name for path in run.checkpoints.iterdir()) == ["step_6", "step_6.damaged"]
    assert _newest(run) == (6, [])


def test_state_comes_back_as_it_was(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    state = TrainState(7, 6, 0.75, 4, 1, 0.5, 2, 12.25)
    checkpoints = _saved(run)
    checkpoints.save(Weights(), state)  # type: ignore[arg-type]
    checkpoints.wait()
    found = Checkpoints(run, ONE_RANK, 1).newest(lambda _: None)
    assert found is not None
    assert found[1] == state
    nan = replace(state, step=8, best_value=float("nan"))
    checkpoints.save(Weights(), nan)  # type: ignore[arg-type]
    checkpoints.wait()
    again = Checkpoints(run, ONE_RANK, 1).newest(lambda _: None)
    assert again is not None
    assert again[1] == replace(nan, best_value=None)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"momentum_of_the_moon": 1}, "newer version"),
        ({"step": "two"}, "step is"),
        ({"step": 1}, "state.json: is that of step 1"),
        ({"step": -2}, "state.json: is that of step -2"),
    ],
)
def test_a_state_that_this_version_does_not_know_is_refused_in_a_sentence(
    tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    run = RunDir(tmp_path)
    _saved(run, 2)
    directory = run.checkpoints / "step_2"
    state = json.loads((directory / "state.json").read_text()) | change
    (directory / "state.json").write_text(json.dumps(state))
    content = (directory / "state.json").read_bytes()
    entry = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    files = json.loads((directory / "manifest.json").read_text())["files"]
    _edit_manifest(directory, files=files | {"state.json": entry})
    with pytest.raises(RunFailed, match=said):
        Checkpoints(run, ONE_RANK, 3).newest(lambda _: None)


@pytest.mark.parametrize("entry", [{}, {"blake3": "x"}])
def test_a_manifest_of_a_newer_version_is_refused_and_not_put_aside(
    tmp_path: Path, entry: dict[str, str]
) -> None:
    """The training would begin anew, or from an older checkpoint, though nothing is damaged."""
    run = RunDir(tmp_path)
    _saved(run, 1, 2)
    directory = run.checkpoints / "step_2"
    manifest = json.loads((directory / "manifest.json").read_text())
    manifest["files"]["state.json"] |= entry
    (directory / "manifest.json").write_text(json.dumps(manifest if entry else manifest | {"format": 2}))
    with pytest.raises(RunFailed, match="newer version"):
        Checkpoints(run, ONE_RANK, 3).newest(lambda _: None)
    assert directory.is_dir()


def test_a_checkpoint_of_an_earlier_version_takes_the_data_as_they_are(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    _saved(run, 2)
    directory = run.checkpoints / "step_2"
    older = json.loads((directory / "state.json").read_text())
    del older["data_fingerprint"], older["train_examples"]
    (directory / "state.json").write_text(json.dumps(older))
    content = (directory / "state.json").read_bytes()
    entry = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    files = json.loads((directory / "manifest.json").read_text())["files"]
    _edit_manifest(directory, files=files | {"state.json": entry})
    found = Checkpoints(run, ONE_RANK, 3).newest(lambda _: None)
    assert found is not None
    assert found[1].on("these", 97) == TrainState(step=2, data_fingerprint="these", train_examples=97)


@pytest.mark.fault(17)
def test_a_full_disk_fails_the_run_and_leaves_the_last_checkpoint(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    checkpoints = _saved(run, 2)
    checkpoints.save(Weights(lambda path: path.symlink_to("/dev/full")), TrainState(step=4))  # type: ignore[arg-type]
    with pytest.raises(RunFailed, match="No space left on device") as caught:
        checkpoints.wait()
    assert caught.value.error_class == "checkpoint"
    assert [path.name for path in run.checkpoints.iterdir()] == ["step_2"]
    assert _newest(run) == (2, [])


@pytest.mark.fault(17)
def test_a_place_that_cannot_be_written_fails_the_run(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    run.checkpoints.write_text("not a directory")
    with pytest.raises(RunFailed) as caught:
        Checkpoints(run, ONE_RANK, 2).save(Weights(), TrainState(step=2))  # type: ignore[arg-type]
    assert caught.value.error_class == "checkpoint"


@pytest.mark.fault(17)
def test_a_run_whose_disk_takes_no_more_says_so(tmp_path: Path, tiny_data: Path) -> None:
    wanted = recipe(tiny_data, train={"max_steps": 6}, eval={"every": None}, checkpoint={"every": 2})
    run = make_run(tmp_path / "run", wanted)
    train = f"ulimit -f 100; exec {sys.executable} -m launcher.train {run.path}"  # no file above 100 KiB
    done = subprocess.run(["bash", "-c", train], check=False, timeout=300, capture_output=True, text=True)
    assert done.returncode == 1, log(run)
    assert result(run)["status"] == "failed"
    assert result(run)["error"]["class"] == "checkpoint"
    assert "free space" in result(run)["error"]["remedy"]
    assert result(run)["steps"] == 2, "it noticed only at the next save"
    assert run.attempt(1).exit_code.read_text() == "1\n"
    assert list(run.checkpoints.iterdir()) == []


def test_training_goes_on_by_a_tenth_of_an_interval_while_a_checkpoint_is_written(tmp_path: Path) -> None:
    run, disk_goes_on, told = RunDir(tmp_path), threading.Event(), threading.Event()
    run.checkpoints.mkdir()
    checkpoints = Checkpoints(run, ONE_RANK, 3)
    checkpoints.save(Weights(lambda _: disk_goes_on.wait(60)), TrainState(step=20))  # type: ignore[arg-type]
    checkpoints.keep_up(20, 20, told.set)
    checkpoints.keep_up(21, 20, told.set)
    assert not told.is_set()
    threading.Thread(target=lambda: (told.wait(60), disk_goes_on.set())).start()
    checkpoints.keep_up(22, 20, told.set)
    assert told.is_set()
    assert verify(run.checkpoints / "step_20") is None


def test_with_short_intervals_training_waits_for_each_checkpoint(tmp_path: Path) -> None:
    run, told = RunDir(tmp_path), threading.Event()
    run.checkpoints.mkdir()
    checkpoints = Checkpoints(run, ONE_RANK, 3)
    checkpoints.save(Weights(lambda _: told.wait(60)), TrainState(step=9))  # type: ignore[arg-type]
    checkpoints.keep_up(9, 9, told.set)
    assert verify(run.checkpoints / "step_9") is None


@pytest.mark.fault(17)
def test_a_refused_checkpoint_is_told_at_the_next_step(tmp_path: Path) -> None:
    checkpoints = _saved(RunDir(tmp_path), 2)
    checkpoints.save(Weights(lambda path: path.symlink_to("/dev/full")), TrainState(step=4))  # type: ignore[arg-type]
    with pytest.raises(RunFailed, match="No space left on device"):  # noqa: PT012  (the writer takes a moment)
        for _ in range(600):
            checkpoints.keep_up(5, 1000, pytest.fail)
            time.sleep(0.1)


@pytest.mark.fault(17)
def test_a_writer_that_dies_of_something_else_does_not_blame_the_disk(tmp_path: Path) -> None:
    def out_of_memory(_: Path) -> None:
        raise MemoryError

    checkpoints = _saved(RunDir(tmp_path), 2)
    checkpoints.save(Weights(out_of_memory), TrainState(step=4))  # type: ignore[arg-type]
    with pytest.raises(RunFailed) as caught:
        checkpoints.wait()
    assert str(caught.value).startswith("the checkpoint could not be written: MemoryError")
    assert caught.value.remedy is not None
    assert "it wasn't the disk" in caught.value.remedy
    assert isinstance(caught.value.__cause__, MemoryError)
    assert verify(tmp_path / "checkpoints" / "step_2") is None


@pytest.mark.fault(17)
def test_a_file_in_the_place_of_the_checkpoints_is_no_full_disk(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").write_text("mine")
    with pytest.raises(RunFailed) as caught:
        Checkpoints(RunDir(tmp_path), ONE_RANK, keep=2).save(Weights(lambda _: None), TrainState(step=2))  # type: ignore[arg-type]
    assert caught.value.remedy == "put right what the message names, then launch resume"


@pytest.mark.long
@pytest.mark.fault(16)
def test_a_run_falls_back_and_ends_as_if_nothing_had_happened(
    tmp_path: Path, tiny_data: Path, ranks: RankServer
) -> None:
    wanted = recipe(tiny_data, train={"max_steps": 12}, eval={"every": 6}, checkpoint={"every": 4})
    expected = ranks.complete(make_run(tmp_path / "expected", wanted))
    run = make_run(tmp_path / "run", wanted)
    assert ranks.attempt(run, fault=Fault("kill", "step", 11)) == [-9]
    _flip(run.checkpoints / "step_8" / "optimizer.pt", 5000)
    ranks.complete(run, number=2)
    said = [event["text"] for event in events(run, "notice")]
    assert said == ["step_8 is not used: optimizer.pt is damaged", "resuming from step_4"]
    assert losses(run) == losses(expected)
    assert [row["eval/loss"] for row in metrics(run, "validation")] == [
        row["eval/loss"] for row in metrics(expected, "validation")
    ]
    found, wished = (tensors(each.checkpoints / "step_12") for each in (run, expected))
    assert found.keys() == wished.keys()
    assert all(torch.equal(found[name], wished[name]) for name in wished)
    assert sorted(path.name for path in run.checkpoints.iterdir()) == ["step_12", "step_8", "step_8.damaged"]
    assert verify(run.checkpoints / "step_8") is None
