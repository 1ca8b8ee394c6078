"""Every loss against its formula or its library, class weights in any layout, thresholds by label, and a user's own loss."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from support.training import EXAMPLES, RankServer, losses, make_run, metrics, recipe, result
from torch.nn import functional
from transformers import AutoModelForSequenceClassification

from launcher.errors import RunFailed
from launcher.recipe.recipe import Recipe
from launcher.runs.directory import RunDir
from launcher.tasks.shared.conflicts import conflicts
from launcher.train.tasks import MicroBatch, get_task
from launcher.train.tasks.labelled import LabelledTask
from launcher.train.tasks.losses import load_loss
from launcher.train.tasks.multilabel import best_thresholds
from launcher.train.tokens.cache import TokenSplit

LOGITS = torch.tensor([[2.0, -1.0, 0.5], [0.0, 0.3, -0.2], [-1.0, 1.5, 3.0], [0.1, 0.2, 0.3]])
CLASSES = torch.tensor([0, 2, 2, 1])
SEVERAL = torch.tensor([[1.0, 0, 1], [0, 0, 0], [0, 1, 1], [0, 0, 1]])
NUMBERS = torch.tensor([1.5, 0.0, -2.0, 0.2])
NAMES = ("bad", "fair", "good")


def _task(kind: str, **loss: Any) -> LabelledTask:
    task = get_task(Recipe.model_validate({"task": kind, "train": {"loss": loss}}))
    assert isinstance(task, LabelledTask)
    return task


def _split(labels: torch.Tensor) -> TokenSplit:
    ends = np.arange(len(labels) + 1, dtype=np.int64)
    return TokenSplit(np.zeros(len(labels), np.int32), ends, labels=labels.numpy())


def _mean_loss(task: LabelledTask, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    batch = MicroBatch({}, labels, tokens=1)
    units = task.units(_split(labels), np.arange(len(labels)))
    return task.loss_sum(SimpleNamespace(logits=logits), batch) / units


def test_smoothed_and_weighted_cross_entropy_is_that_of_torch() -> None:
    task = _task("classification", label_smoothing=0.1, class_weights={"good": 3.0})
    task.fit(_split(CLASSES), NAMES)
    expected = functional.cross_entropy(LOGITS, CLASSES, torch.tensor([1.0, 1.0, 3.0]), label_smoothing=0.1)
    torch.testing.assert_close(_mean_loss(task, LOGITS, CLASSES), expected)


def test_balanced_weights_make_classes_count_the_same() -> None:
    task = _task("classification", class_weights="balanced")
    task.fit(_split(CLASSES), NAMES)
    assert task.weights == pytest.approx([4 / 3, 4 / 3, 2 / 3])
    terms = functional.cross_entropy(LOGITS, CLASSES, reduction="none")
    expected = (terms[0] + (terms[1] + terms[2]) / 2 + terms[3]) / 3
    torch.testing.assert_close(_mean_loss(task, LOGITS, CLASSES), expected)


def test_a_label_that_every_example_has_is_learnt_under_balanced_weights() -> None:
    """Its share of negatives is 0: as a weight that would leave it without a gradient, and at random in predictions."""
    everyone = torch.tensor([[1.0, 1, 0], [1, 0, 0], [1, 0, 0], [1, 0, 0]])
    task = _task("multilabel", class_weights="balanced")
    task.fit(_split(everyone), NAMES)
    assert task.weights == pytest.approx([1.0, 3.0, 1.0])
    logits = LOGITS.clone().requires_grad_()
    _mean_loss(task, logits, everyone).backward()
    assert logits.grad is not None
    torch.testing.assert_close(logits.grad[:, 0], (LOGITS[:, 0].sigmoid() - 1) / everyone.numel())


def test_focal_loss_neglects_what_is_right() -> None:
    right = LOGITS.softmax(-1)[torch.arange(4), CLASSES]
    expected = -((1 - right) ** 3 * right.log()).mean()
    torch.testing.assert_close(
        _mean_loss(_task("classification", name="focal", focal_gamma=3.0), LOGITS, CLASSES), expected
    )
    plain = _mean_loss(_task("classification"), LOGITS, CLASSES)
    torch.testing.assert_close(
        _mean_loss(_task("classification", name="focal", focal_gamma=0.0), LOGITS, CLASSES), plain
    )


def test_multilabel_weights_and_focal_loss_by_hand() -> None:
    task = _task("multilabel", class_weights="balanced")
    task.fit(_split(SEVERAL), NAMES)
    assert task.weights == pytest.approx([3.0, 3.0, 1 / 3])
    expected = functional.binary_cross_entropy_with_logits(
        LOGITS, SEVERAL, pos_weight=torch.tensor([3.0, 3.0, 1 / 3])
    )
    torch.testing.assert_close(_mean_loss(task, LOGITS, SEVERAL), expected)

    p = torch.where(SEVERAL > 0, LOGITS.sigmoid(), 1 - LOGITS.sigmoid())
    focal = _mean_loss(_task("multilabel", name="focal"), LOGITS, SEVERAL)
    torch.testing.assert_close(focal, -((1 - p) ** 2 * p.log()).mean())

    smooth = _mean_loss(_task("multilabel", label_smoothing=0.2), LOGITS, SEVERAL)
    torch.testing.assert_close(
        smooth, functional.binary_cross_entropy_with_logits(LOGITS, SEVERAL * 0.8 + 0.1)
    )


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        ({"name": "mse"}, functional.mse_loss),
        ({}, functional.mse_loss),
        ({"name": "mae"}, functional.l1_loss),
        ({"name": "huber", "huber_delta": 0.5}, lambda a, b: functional.huber_loss(a, b, delta=0.5)),
    ],
)
def test_losses_of_numbers_are_those_of_torch(loss: dict[str, Any], expected: Any) -> None:
    logits = LOGITS[:, :1]
    found = _mean_loss(_task("regression", **loss), logits, NUMBERS)
    torch.testing.assert_close(found, expected(logits[:, 0], NUMBERS))


def test_a_weight_for_a_label_that_does_not_exist_names_those_that_do() -> None:
    with pytest.raises(RunFailed, match="no label 'god'") as caught:
        _task("classification", class_weights={"god": 2.0}).fit(_split(CLASSES), NAMES)
    assert "did you mean good? allowed: bad, fair, good" in str(caught.value.remedy)


@pytest.mark.parametrize(
    ("task", "loss", "field"),
    [
        ("regression", {"name": "focal"}, "train.loss.name"),
        ("classification", {"name": "mse"}, "train.loss.name"),
        ("masked-lm", {"name": "cross_entropy"}, "train.loss.name"),
        ("classification", {"name": "focal", "label_smoothing": 0.1}, "train.loss.label_smoothing"),
        ("regression", {"class_weights": "balanced"}, "train.loss.class_weights"),
        ("token-classification", {"name": "custom"}, "train.loss.name"),
    ],
)
def test_a_loss_of_another_task_is_refused(task: str, loss: dict[str, Any], field: str) -> None:
    wanted = {"task": task, "model": {"name": "m"}, "data": {"train": "t.csv"}, "train": {"loss": loss}}
    assert field in [conflict.fields[0] for conflict in conflicts(Recipe.model_validate(wanted))]


def test_thresholds_are_the_best_for_f1_label_by_label() -> None:
    probabilities = np.array([[0.9, 0.2, 0.6], [0.8, 0.1, 0.7], [0.3, 0.05, 0.2], [0.4, 0.02, 0.1]])
    truth = np.array([[1, 1, 0], [1, 1, 0], [0, 0, 0], [1, 0, 0]], bool)
    assert best_thresholds(probabilities, truth) == pytest.approx([0.35, 0.075, 0.5])
    equal = np.array([[0.4], [0.4], [0.4]])
    assert best_thresholds(equal, np.array([[True], [False], [True]])) == pytest.approx([0.2])


# Real trainings


def _multilabel_data(directory: Path, source: Path) -> Path:
    """Two labels that stand for the text's label and for its length; the second is rare."""
    directory.mkdir()
    for split in EXAMPLES:
        lines = (source / f"{split}.csv").read_text().splitlines()[1:]
        rows = [line.rpartition(",") for line in lines]
        labels = [
            label + ("|long" if len(text) > np.quantile([len(r[0]) for r in rows], 0.8) else "")
            for text, _, label in rows
        ]
        texts = [text for text, _, _ in rows]
        body = [f"{text},{label}" for text, label in zip(texts, labels, strict=True)]
        (directory / f"{split}.csv").write_text("\n".join(["text,label", *body]) + "\n")
    return directory


def test_thresholds_are_saved_with_the_model_and_used(
    tmp_path: Path, tiny_data: Path, ranks: RankServer
) -> None:
    data = _multilabel_data(tmp_path / "data", tiny_data)
    train = {"max_steps": 8, "lr": 3e-3}
    wanted = recipe(data, task="multilabel", train=train, eval={"every": None}, checkpoint={"every": None})
    run = ranks.complete(make_run(tmp_path / "run", wanted))
    thresholds = json.loads((run.model / "config.json").read_text())["thresholds"]
    assert len(thresholds) == 3
    assert thresholds != [0.5] * 3
    model, report = AutoModelForSequenceClassification.from_pretrained(run.model, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    assert model.config.thresholds == thresholds
    text = tmp_path / "in.csv"
    text.write_text("text\nvery good indeed\nbad\n")
    ranks.verb("predict", run.path, text, "--output", tmp_path / "out.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    for row in rows:
        names = list(row["probabilities"])
        chosen = [n for n, t in zip(names, thresholds, strict=True) if row["probabilities"][n] >= t]
        assert row["prediction"] == chosen


def test_weighted_losses_do_not_depend_on_the_layout_nor_on_who_evaluates(
    tmp_path: Path, tiny_data: Path, ranks: RankServer
) -> None:
    found = []
    for count, batch in ((1, {}), (2, {"micro": 3})):
        wanted = recipe(
            tiny_data,
            gpus=count,
            model={"dropout": {"hidden": 0.0, "attention": 0.0, "classifier": 0.0}},
            batch={"global": 16, **batch},
            train={"max_steps": 8, "lr": 3e-3, "loss": {"class_weights": {"positive": 5.0}}},
            eval={"every": None},
            checkpoint={"every": None},
        )
        run = ranks.complete(make_run(tmp_path / f"run{count}", wanted), count)
        found.append(run)
    one, two = found
    assert losses(two) == pytest.approx(losses(one), abs=1e-4)
    assert metrics(two, "validation")[-1]["eval/loss"] == pytest.approx(
        metrics(one, "validation")[-1]["eval/loss"], abs=1e-4
    )
    again = ranks.verb("eval", one.path)
    assert again["test"]["loss"] == pytest.approx(result(one)["test"]["loss"], abs=1e-5)


OWN_LOSS = "import torch\n\ndef loss(logits, labels):\n    return {body}\n"
GOOD = "2 * torch.nn.functional.cross_entropy(logits, labels, reduction='none')"


def _with_own_loss(directory: Path, data: Path, body: str, **changes: Any) -> RunDir:
    wanted = recipe(data, eval={"every": None}, checkpoint={"every": None}, **changes)
    run = make_run(directory, wanted)
    if body:
        run.loss.write_text(OWN_LOSS.format(body=body))
    return run


def test_a_loss_of_ones_own_is_minimised(tmp_path: Path, tiny_data: Path, ranks: RankServer) -> None:
    train = {"max_steps": 3}
    plain = ranks.complete(_with_own_loss(tmp_path / "plain", tiny_data, "", train=train))
    own = _with_own_loss(tmp_path / "own", tiny_data, GOOD, train={**train, "loss": {"name": "custom"}})
    ranks.complete(own)
    assert losses(own)[0] == pytest.approx(2 * losses(plain)[0], rel=1e-5)
    assert result(own)["test"]["loss"] > 0


def test_a_loss_of_the_wrong_shape_says_what_is_wanted(
    tmp_path: Path, tiny_data: Path, ranks: RankServer
) -> None:
    body = "torch.nn.functional.cross_entropy(logits, labels)"
    changes = {"train": {"max_steps": 3, "loss": {"name": "custom"}}}
    run = _with_own_loss(tmp_path / "run", tiny_data, body, **changes)
    assert ranks.attempt(run) == [1]
    error = result(run)["error"]
    assert error["class"] == "recipe"
    assert "returned () for 16 examples" in error["message"]


def test_a_file_without_the_function_or_that_breaks_is_named(tmp_path: Path) -> None:
    path = tmp_path / "my_loss.py"
    for text, message in (("x = 1", "no function named loss"), ("1 / 0", "ZeroDivisionError")):
        path.write_text(text)
        with pytest.raises(RunFailed, match=message):
            load_loss(path)
