"""A best model that isn't whole any more: every verb that uses it says what is wrong with it, and predicts nothing."""

from __future__ import annotations

import json
import os
import resource
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file
from support.training import RankServer

from launcher.errors import UserError
from launcher.runs.directory import RunDir
from launcher.train.use.inference import export_model

WEIGHTS = "model.safetensors"


def _without_a_weight(model: Path) -> None:
    kept = load_file(model / WEIGHTS)
    del kept["classifier.weight"]
    save_file(kept, model / WEIGHTS, {"format": "pt"})


def _of_another_size(model: Path) -> None:
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "hidden_size": 1 << 20}))


def _replaced(make: Callable[[Path], object]) -> Callable[[Path], None]:
    def act(model: Path) -> None:
        (model / WEIGHTS).unlink()
        make(model / WEIGHTS)

    return act


def _sparse(path: Path) -> None:
    path.touch()
    os.truncate(path, 1 << 36)


DAMAGES = {
    "removed": (_replaced(lambda _path: None), "has no weights"),
    "empty": (_replaced(Path.touch), f"has an empty {WEIGHTS}"),
    "a directory": (_replaced(Path.mkdir), "has no weights"),
    "a pipe": (_replaced(os.mkfifo), "has no weights"),
    "endless": (_replaced(lambda path: path.symlink_to("/dev/zero")), "has no weights"),
    "a hole": (_replaced(_sparse), f"has a damaged {WEIGHTS}"),
    "garbage": (_replaced(lambda path: path.write_bytes(b"\xff" * 500)), f"has a damaged {WEIGHTS}"),
    "truncated": (lambda model: os.truncate(model / WEIGHTS, 3000), f"has a damaged {WEIGHTS}"),
    "a weight left out": (_without_a_weight, "the model lacks 1 weights, such as classifier.weight"),
    "another size": (_of_another_size, "the model can't be loaded: "),
    "half a tokenizer": (
        lambda model: os.truncate(model / "tokenizer.json", 300),
        "has a damaged tokenizer.json",
    ),
    "no tokenizer": (lambda model: (model / "tokenizer.json").unlink(), "has no tokenizer"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_wrong_with_a_model_is_said(
    tiny_run: RunDir, tmp_path: Path, ranks: RankServer, damage: str
) -> None:
    run = tmp_path / "run"
    shutil.copytree(tiny_run.path, run, ignore=shutil.ignore_patterns("checkpoints"))
    act, expected = DAMAGES[damage]
    act(run / "model")
    answer: dict[str, Any] = ranks.verb("predict", run, "--text", "a fine day", code=2)
    (problem,) = answer["problems"]
    assert problem["message"].startswith(expected)
    assert "\n" not in problem["message"]
    assert problem["remedy"]


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")])
def test_what_could_be_read_for_ever_is_not_copied(
    tiny_run: RunDir, tmp_path: Path, make: Callable[[Path], object]
) -> None:
    run = RunDir(tmp_path / "run")
    shutil.copytree(tiny_run.path, run.path, ignore=shutil.ignore_patterns("checkpoints"))
    make(run.model / "notes")
    with pytest.raises(UserError, match="notes: is not a regular file"):
        export_model(run, tmp_path / "out")
    assert not list(tmp_path.glob("*out*"))


def test_a_copy_that_does_not_fit_says_why_once(tiny_run: RunDir, tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        with pytest.raises(UserError) as caught:
            export_model(tiny_run, tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert str(caught.value) == f"{tmp_path / 'out'}: can't be written: File too large"
    assert list(tmp_path.iterdir()) == []
