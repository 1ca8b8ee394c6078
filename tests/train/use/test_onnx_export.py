"""ONNX of every task and family: the same outputs as PyTorch on the validation data, read by ONNX Runtime alone."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from safetensors.numpy import load_file
from support.cases import quick
from support.every_task import TASKS, recipe_of, write_rows
from support.training import RankServer, make_run

from launcher.errors import RunFailed
from launcher.recipe.recipe import Recipe
from launcher.runs.directory import RunDir
from launcher.train.use.evaluation import no_progress
from launcher.train.use.inference import export_model
from launcher.train.use.onnx_export import export_onnx

FAMILIES = ("roberta", "xlm-roberta", "distilbert", "electra", "deberta-v2", "modernbert")
NO_CHOICE = ("regression", "ordinal", "multiple-choice", "ranking", "embedding")
"""Their models give one number for a text, or a vector."""
VARIANTS: Mapping[str, tuple[str, dict[str, Any]]] = {
    **{task: (task, {}) for task in TASKS},
    "CRF": ("token-classification", {"tagging": {"crf": True}}),
    "deeper head": ("classification", {"model": {"head": {"layers": 1}}}),
    **{family: ("classification", {"model": {"scratch": {"family": family}}}) for family in FAMILIES},
}
QUICK = ("classification", "embedding", "CRF", "deberta-v2", "modernbert")


def rows_of_two_lengths(directory: Path) -> Path:
    """The first two rows are alike, so that what is traced has no padding; what is compared has."""
    path = write_rows(directory)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for row in rows[2::3]:
        row["text"] += " and a house"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def trained(directory: Path, name: str, ranks: RankServer) -> tuple[RunDir, Recipe]:
    task, changes = VARIANTS[name]
    wanted = recipe_of(rows_of_two_lengths(directory), task, **changes)
    return ranks.complete(make_run(directory / "run", wanted)), wanted


@pytest.mark.parametrize("name", quick(VARIANTS, QUICK))
def test_outputs_are_those_of_pytorch(name: str, tmp_path: Path, ranks: RankServer) -> None:
    run, wanted = trained(tmp_path, name, ranks)
    target = export_model(run, tmp_path / "given")
    found = export_onnx(run, wanted, target, int8=name == "classification", progress=no_progress)
    plain, *smaller = found.models
    assert found.examples == 40
    assert plain.largest_difference < 1e-4
    assert (plain.same_choice is None) == (name in NO_CHOICE)
    assert plain.same_choice is None or plain.same_choice > 0.99
    assert plain.latency_ms > 0
    assert plain.latency_many_ms > 0
    for it in smaller:
        assert 1e-7 < it.largest_difference < 0.1, "8 bits are not the same"
        assert it.bytes < plain.bytes
    session = onnxruntime.InferenceSession(target / "model.onnx", providers=["CPUExecutionProvider"])
    assert [entry.name for entry in session.get_outputs()] == list(found.outputs)
    assert {entry.name for entry in session.get_inputs()} <= set(found.inputs)
    if name == "CRF":  # what its decoding adds to the emissions is an output, too
        texts = {entry.name: np.ones((1, 5), np.int64) for entry in session.get_inputs()}
        steps = dict(zip(found.outputs, session.run(None, texts), strict=True))["launcher_head"]
        np.testing.assert_array_equal(steps, load_file(run.model / "launcher_head.safetensors")["steps"])


def test_a_file_that_is_another_model_is_refused(
    tmp_path: Path, ranks: RankServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, wanted = trained(tmp_path, "classification", ranks)
    target = export_model(run, tmp_path / "given")
    export = torch.onnx.export

    def spoilt(model: torch.nn.Module, *args: Any, **kwargs: Any) -> Any:
        other = copy.deepcopy(model)
        list(other.parameters())[-1].data += 1
        return export(other, *args, **kwargs)

    monkeypatch.setattr(torch.onnx, "export", spoilt)
    with pytest.raises(RunFailed, match=r"model\.onnx gives other outputs than PyTorch, by up to 1"):
        export_onnx(run, wanted, target, int8=False, progress=no_progress)


@pytest.mark.long
def test_what_is_installed_is_asked_before_anything_is_made(
    tmp_path: Path, ranks: RankServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, _ = trained(tmp_path, "classification", ranks)
    (tmp_path / "hidden" / "onnxruntime").mkdir(parents=True)
    (tmp_path / "hidden" / "onnxruntime" / "__init__.py").write_text("raise ImportError(name='onnxruntime')")
    import subprocess
    import sys

    target = tmp_path / "given"
    command = [sys.executable, "-m", "launcher.train", "export", run.path, "--output", target, "--onnx"]
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'hidden'}:{Path(__file__).parents[3]}")
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    problem = json.loads(done.stdout.splitlines()[-1])["problems"][0]
    assert problem["message"] == "--onnx needs onnxruntime, which is not installed"
    assert problem["remedy"] == "pip install 'launch-encoders[onnx]'"
    assert not target.exists()
