"""A task is added by its two files and a recipe, in a copy of the package: planned, trained for ten steps, predicted."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import launcher

REPOSITORY = Path(launcher.__file__).parents[1]
SPECIFICATION = '''
"""A whole number of at least 0, such as how many people a sentence names."""

from __future__ import annotations

from launcher.tasks.shared import labels
from launcher.tasks.shared.base import Label, TaskSpec
from launcher.tasks.shared.rows import Row, Value, shown


class Counting(TaskSpec):
    metric = "mae"
    metrics = ("mae",)
    lower_is_better = frozenset({"mae"})
    classes = False
    outputs = ("prediction",)

    def label_mistake(self, row: Row, value: Value) -> str | None:
        number = labels.score(value)
        is_count = number is not None and number >= 0 and number.is_integer()
        return None if is_count else f"{shown(value)} is no count"

    def label(self, row: Row) -> Label:
        (column,) = self.label_columns
        return labels.score(row.values.get(column))


SPEC = Counting
'''
TORCH_HALF = '''
"""A whole number of at least 0: Poisson regression."""

from __future__ import annotations

import numpy as np
from torch.nn import functional

from launcher.train.tasks.base import Task


class Counting(Task):
    def head_config(self, label_names):
        return {"num_labels": 1, "problem_type": "regression"}

    def loss_sum(self, output, batch):
        return functional.poisson_nll_loss(self.logits(output, batch).squeeze(-1), batch.labels, reduction="sum")

    def scores(self, output, batch):
        return self.logits(output, batch).squeeze(-1).exp().cpu().numpy()

    def metrics(self, scores, truth):
        return {"mae": float(np.abs(scores - truth).mean())}

    def decode(self, scores, label_names, split, rows):
        return [{"prediction": float(value)} for value in scores]


TASK = Counting
'''
RECIPE = """
task: counting
description: How many people a sentence names
device: cpu
precision: fp32
model: {init: scratch, scratch: {hidden: 16, layers: 1, heads: 2, intermediate: 16, vocab: 64}}
data: {train: people.csv, validation: people.csv, cache_dir: cache}
batch: {global: 8}
train: {max_steps: 10}
tracking: {wandb: {mode: disabled}}
"""


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    copy = tmp_path_factory.mktemp("copy")
    for name in ("launcher", "recipes", "slurm", "ds_configs"):
        shutil.copytree(REPOSITORY / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
    (copy / "launcher" / "tasks" / "counting.py").write_text(SPECIFICATION.lstrip())
    (copy / "launcher" / "train" / "tasks" / "counting.py").write_text(TORCH_HALF.lstrip())
    (copy / "recipes" / "counting.yaml").write_text(RECIPE.lstrip())
    names = ("anna", "bob", "carl")
    rows = "".join(f"{' and '.join(names[: n % 4]) or 'nobody'} came,{n % 4}\n" for n in range(40))
    (copy / "recipes" / "people.csv").write_text("text,label\n" + rows)
    return copy


def launch(copy: Path, *words: str, code: int = 0) -> Any:
    """What `launch ... --json` of the copy prints, or, where it fails, its messages."""
    done = subprocess.run(  # noqa: PLW1510  (the code is looked at below)
        [sys.executable, "-m", "launcher", *words, "--json"],
        cwd=copy,
        env={**os.environ, "PYTHONPATH": str(copy)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout) if code == 0 else done.stdout + done.stderr


def test_a_task_is_planned_trained_and_predicted_by_its_own_files_alone(copy: Path) -> None:
    planned = launch(copy, "plan", "recipe=counting", "executor=local")
    assert planned["recipe"]["task"] == "counting"
    launch(copy, "recipe=counting", "executor=local", "run_id=tenth")
    result = json.loads((copy / "runs" / "tenth" / "result.json").read_text())
    assert (result["status"], result["steps"], result["best"]["metric"]) == ("completed", 10, "mae")
    (predicted,) = launch(copy, "predict", "tenth", "--text", "anna came")["predictions"]
    assert predicted["prediction"] > 0


def test_its_rows_and_its_name_are_checked_before_a_launch(copy: Path) -> None:
    (copy / "wrong.csv").write_text("text,label\nanna came,1\nnobody came,-1\n")
    text = launch(copy, "plan", "recipe=counting", "executor=local", "data.train=wrong.csv", code=2)
    assert "'-1' is no count" in text
    assert "did you mean counting?" in launch(copy, "plan", "recipe=counting", "task=countin", code=2)
