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

from launcher.families import FAMILIES

TESTS = Path(__file__).resolve().parents[1]
PAIRS = [
    *itertools.islice(zip(itertools.cycle(FAMILIES), itertools.cycle(TASKS)), max(len(FAMILIES), len(TASKS)))
]
"""Each family with one task, and each task with one family."""
WAITS: dict[str, set[str]] = {
    "fp16": {"train/step/plain.py:_apply"},  # the host must know whether a step has overflowed
    "deberta-v2": {"train/model/deberta_v2.py:distances"},  # once for each width, then it is there
    "mpnet": {"train/model/mpnet.py:buckets"},
    "embedding": {  # index arrays of a global batch, copied from memory that isn't pinned
        "train/tasks/embedding.py:vectors",
        "train/tasks/embedding.py:joint_terms",
        "train/tasks/similarity_losses.py:_at",
        "train/tasks/similarity_losses.py:info_nce",
        "train/whole_batch.py:<genexpr>",
        "train/whole_batch.py:_gathered",
    },
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

    def train(self, family: str, task: str, precision: str, capability: Any) -> Any:
        """{cpu: losses, gpu: losses, waits: places}."""
        asked = {"family": family, "task": task, "precision": precision, "capability": capability}
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


def trains_as_on_a_cpu(trainer: Trainer, family: str, task: str, precision: str, capability: Any) -> None:
    """The losses are the CPU's, and the host waits nowhere but where it is known to."""
    found = trainer.train(family, task, precision, capability)
    assert found["gpu"] == pytest.approx(found["cpu"], rel=0.02, abs=1e-3), (family, task)
    known = set().union(*(WAITS.get(name, set()) for name in (family, task, precision)))
    assert set(found["waits"]) <= known, (family, task)


def test_every_family_and_task_trains_on_a_gpu_as_on_a_cpu(trainer: Trainer) -> None:
    """Deterministically, which a GPU has no kernel for here and there."""
    for family, task in PAIRS:
        trains_as_on_a_cpu(trainer, family, task, "bf16", (8, 0))


@pytest.mark.long  # thirty trainings, of which each takes a way that the ten above take in part
@pytest.mark.parametrize(("precision", "capability"), [("fp32", (8, 0)), ("fp16", (8, 0)), ("fp16", (7, 5))])
def test_every_family_trains_in_other_precisions_and_on_an_older_gpu(
    trainer: Trainer, precision: str, capability: tuple[int, int]
) -> None:
    for family in FAMILIES:
        trains_as_on_a_cpu(trainer, family, "classification", precision, capability)
