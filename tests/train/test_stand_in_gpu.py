"""The ways that a training takes on a GPU, on a machine that has none: see support/stand_in_gpu.py for what is to be seen."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from support.every_task import TASKS

from launcher.families import FAMILIES, find

TESTS = Path(__file__).resolve().parents[1]
PAIRS = [
    *itertools.islice(zip(itertools.cycle(FAMILIES), itertools.cycle(TASKS)), max(len(FAMILIES), len(TASKS)))
]
"""Each family with one task, and each task with one family."""
WAITS: dict[str, set[str]] = {
    "fp16": {"train/step/plain.py:_apply"},  # the host must know whether a step has overflowed
}
"""Where within a step the host waits for the device, by precision, family or task; everywhere else it runs ahead."""

# Excused in CI as what needs a GPU is: a build of PyTorch with CUDA can't be told that there is one.
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(torch.version.cuda is not None, reason="this build of PyTorch has CUDA of its own"),
]


class Trainer:
    """support/on_stand_in.py in a process of its own."""

    def __init__(self) -> None:
        paths = os.pathsep.join([str(TESTS), str(TESTS.parent)])
        self._process = subprocess.Popen(
            [sys.executable, "-m", "support.on_stand_in"],
            env={
                **os.environ,
                "PYTHONPATH": paths,
                "DS_ACCELERATOR": "cpu",
            },  # transformers imports DeepSpeed to save
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def train(
        self, family: str, task: str, precision: str, capability: Any, changes: Any, compiled: str = "none"
    ) -> Any:
        """{cpu: losses, gpu: losses, waits: places, graphs: captured}; `changes` are laid over the recipe."""
        asked = {
            "family": family,
            "task": task,
            "precision": precision,
            "capability": capability,
            "compiled": compiled,
            "changes": changes,
        }
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, f"it ended over {asked}, see its stderr"
        return json.loads(answer)

    def close(self) -> None:
        self._process.communicate()


@pytest.fixture
def trainer() -> Iterator[Trainer]:
    found = Trainer()
    yield found
    found.close()


def trains_as_on_a_cpu(
    trainer: Trainer, family: str, task: str, precision: str, capability: Any, **changes: Any
) -> None:
    """The losses are the CPU's, and the host waits nowhere but where it is known to."""
    found = trainer.train(family, task, precision, capability, changes)
    assert found["gpu"] == pytest.approx(found["cpu"], rel=0.02, abs=1e-3), (family, task)
    known = set().union(*(WAITS.get(name, set()) for name in (family, task, precision)))
    assert set(found["waits"]) <= known, (family, task)


def test_every_family_and_task_trains_on_a_gpu_as_on_a_cpu(trainer: Trainer) -> None:
    """Deterministically, which a GPU has no kernel for here and there."""
    for family, task in PAIRS:
        trains_as_on_a_cpu(trainer, family, task, "bf16", (8, 0))


LOSSES: list[tuple[str, dict[str, Any]]] = [
    ("token-classification", {"tagging": {"crf": True, "penalty": 0.5}}),
    ("token-classification", {"train": {"loss": {"name": "focal", "class_weights": "balanced"}}}),
    ("token-classification", {"train": {"loss": {"class_weights": "balanced"}, "r_drop": 0.5}}),
    ("embedding", {"data": {"label": "number"}, "train": {"loss": {"name": "cosent"}}}),
    ("embedding", {"data": {"label": "number"}, "train": {"loss": {"name": "cosine"}}}),
    ("embedding", {"data": {"negatives": "words"}, "train": {"loss": {"name": "triplet"}}}),
    ("embedding", {"batch": {"global": 12, "micro": 4}, "embedding": {"pooling": "cls", "dimensions": [8]}}),
    *(
        (
            "ranking",
            {
                "data": {"text": ["class", "other"]},
                "batch": {"global": 40},
                "train": {"loss": {"name": name}},
            },
        )
        for name in ("pairwise", "listwise", "lambda")
    ),
    ("classification", {"data": {"max_length": 5, "windows": "mean"}}),
]
"""Tasks with a loss other than their usual one."""


@pytest.mark.long  # eleven trainings of losses whose gradients other tests hold against formulas
def test_every_loss_of_words_pairs_and_orders_trains_on_a_gpu_as_on_a_cpu(trainer: Trainer) -> None:
    for task, changes in LOSSES:
        # In bf16 documents change places, and LambdaLoss weighs pairs by places.
        trains_as_on_a_cpu(trainer, "bert", task, "fp32", (8, 0), **changes)


@pytest.mark.long  # thirty trainings, of which each takes a way that the ten above take in part
@pytest.mark.parametrize(("precision", "capability"), [("fp32", (8, 0)), ("fp16", (8, 0)), ("fp16", (7, 5))])
def test_every_family_trains_in_other_precisions_and_on_an_older_gpu(
    trainer: Trainer, precision: str, capability: tuple[int, int]
) -> None:
    for family in FAMILIES:
        trains_as_on_a_cpu(trainer, family, "classification", precision, capability)


GRAPHED = [
    ("bert", "classification", {}),
    ("roberta", "multilabel", {}),
    ("xlm-roberta", "regression", {"tuning": "lora"}),
    ("electra", "ordinal", {}),
    ("camembert", "classification", {"train": {"loss": {"name": "focal"}}}),
    ("distilbert", "classification", {"train": {"loss": {"class_weights": "balanced"}, "optimizer": "adam"}}),
]


def test_a_captured_step_takes_what_changes_from_the_device_and_waits_for_nothing(trainer: Trainer) -> None:
    captures_and_trains_as_on_a_cpu(trainer, *GRAPHED[0])


@pytest.mark.long  # five trainings of families whose captured steps differ in little
def test_steps_of_every_family_that_has_them_can_be_captured(trainer: Trainer) -> None:
    assert {family for family, _, _ in GRAPHED} == {name for name in FAMILIES if find(name).can_capture}
    for family, task, changes in GRAPHED[1:]:
        captures_and_trains_as_on_a_cpu(trainer, family, task, changes)


def captures_and_trains_as_on_a_cpu(trainer: Trainer, family: str, task: str, changes: Any) -> None:
    """Steps of two sizes, each taken twice before it is captured; the learning rate falls all the while."""
    many = {**changes, "train": {**changes.get("train", {}), "max_steps": 12, "schedule": "linear"}}
    found = trainer.train(family, task, "bf16", (8, 0), many, compiled="graph")
    assert found["graphs"] >= 1, (family, task)
    assert found["gpu"] == pytest.approx(found["cpu"], rel=0.05, abs=3e-3), (family, task)
    assert found["waits"] == [], (family, task)
