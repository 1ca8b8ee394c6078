"""Labels with an order: the loss and metrics of CORAL, and thresholds that train and travel beside the model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from support.training import RankServer, losses, make_run, recipe, result
from transformers import AutoConfig, AutoModelForSequenceClassification, BertConfig

from launcher.recipe.recipe import Recipe
from launcher.runs.directory import RunDir
from launcher.train.tasks import MicroBatch, Task, get_task
from launcher.train.tokens.cache import TokenSplit

NAMES = ("1", "2", "3", "4")
WORDS = ("awful", "poor", "decent", "superb")
FILLERS = ("film", "plot", "cast", "music", "ending", "pace")


def _task() -> Task:
    return get_task(Recipe.model_validate({"task": "ordinal"}))


def _output(logits: list[list[float]]) -> Any:
    return {"launcher_head": torch.tensor(logits)}


def _split(examples: int) -> TokenSplit:
    return TokenSplit(np.zeros(examples, np.int32), np.arange(examples + 1, dtype=np.int64))


def test_the_loss_adds_up_the_decisions_whether_a_label_is_exceeded() -> None:
    batch = MicroBatch({}, torch.tensor([0, 2]), tokens=2)
    found = _task().loss_sum(_output([[1.0, 0.0, -1.0], [2.0, 1.0, -3.0]]), batch)
    yes, no = torch.nn.functional.logsigmoid, lambda x: torch.nn.functional.logsigmoid(-x)
    logits = torch.tensor([[1.0, 0.0, -1.0], [2.0, 1.0, -3.0]])
    expected = -(no(logits[0]).sum() + yes(logits[1, :2]).sum() + no(logits[1, 2]))
    torch.testing.assert_close(found, expected)


def test_thresholds_start_in_order_and_shift_one_score() -> None:
    task = _task()
    head = task.extra_head(BertConfig(**task.head_config(NAMES)))
    assert head is not None
    with torch.no_grad():
        logits = head(torch.tensor([[0.0], [-1.0]], dtype=torch.bfloat16))
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits, torch.tensor([[1.0, 2 / 3, 1 / 3], [0.0, -1 / 3, -2 / 3]]))


def test_metrics_by_hand() -> None:
    above = np.array([[-1.0, -2, -3], [1, -1, -2], [2, 1, 1], [1, 1, -1]])  # 0, 1, 3, 2
    found = _task().metrics(above, np.array([0, 3, 3, 2]))
    assert found["mae"] == pytest.approx(2 / 4)
    assert found["mse"] == pytest.approx(4 / 4)
    assert found["accuracy"] == pytest.approx(3 / 4)
    # Observed squared distances add up to 4; those of each label with each prediction, to 48 / 4.
    assert found["qwk"] == pytest.approx(1 - 4 / 12)
    # Ranks less their mean: -1.5, 1, 1, -0.5 and -1.5, -0.5, 1.5, 0.5.
    assert found["spearman"] == pytest.approx(3 / (4.5 * 5) ** 0.5)


def test_probabilities_are_those_between_neighbouring_thresholds() -> None:
    even, crossed = _task().decode(np.array([[2.0, 0.5, -1.0], [1.0, -1.0, 3.0]]), NAMES, _split(2), ())
    above = [1 / (1 + np.exp(-x)) for x in (2.0, 0.5, -1.0)]
    assert even["prediction"] == "3"
    assert list(even["probabilities"].values()) == pytest.approx(
        [1 - above[0], above[0] - above[1], above[1] - above[2], above[2]]
    )
    # Thresholds that have crossed give no negative probability.
    assert min(crossed["probabilities"].values()) >= 0
    assert sum(crossed["probabilities"].values()) == pytest.approx(1)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("ordinal")
    for split, count in {"train": 192, "validation": 32}.items():
        random = np.random.default_rng(len(split))
        with (directory / f"{split}.jsonl").open("w") as file:
            for stars in random.integers(0, 4, count):
                words = [str(random.choice(FILLERS)), WORDS[stars], str(random.choice(FILLERS))]
                file.write(json.dumps({"text": " ".join(words), "label": int(stars) + 1}) + "\n")
    return directory


def _recipe(data: Path, **changes: Any) -> Recipe:
    files = {split: str(data / f"{split}.jsonl") for split in ("train", "validation")} | {"test": None}
    train = {"lr": 5e-3, "crf_lr": 3e-2, "max_steps": 72, "warmup": 0, **changes.pop("train", {})}
    return recipe(data, task="ordinal", data=files, train=train, eval={"every": 24}, **changes)


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory, ranks: RankServer) -> RunDir:
    return ranks.complete(make_run(tmp_path_factory.mktemp("runs") / "ordinal", _recipe(data)))


def test_the_order_is_learnt(run: RunDir, ranks: RankServer) -> None:
    assert result(run)["best"]["metric"] == "mae"
    assert result(run)["best"]["value"] < 0.3  # of 1.25 by chance
    assert ranks.verb("eval", run.path)["validation"]["mae"] == result(run)["best"]["value"]
    texts = [word for name in WORDS for word in ("--text", f"film {name} music")]
    found = ranks.verb("predict", run.path, *texts)["predictions"]
    predicted = [row["prediction"] for row in found]
    assert predicted == sorted(predicted)
    assert (predicted[0], predicted[-1]) == ("1", "4")


def test_encoder_and_linear_head_load_plainly_and_thresholds_stand_beside_them(run: RunDir) -> None:
    model, report = AutoModelForSequenceClassification.from_pretrained(run.model, output_loading_info=True)
    assert not any(report.values())
    assert model.classifier.out_features == 1
    thresholds = load_file(run.model / "launcher_head.safetensors")
    assert list(thresholds) == ["bias"]
    assert not torch.equal(thresholds["bias"], torch.tensor([1.0, 2 / 3, 1 / 3]))


@pytest.mark.parametrize("stage", [2, 3])
def test_zero_shards_the_thresholds_as_any_parameter(
    data: Path, tmp_path: Path, ranks: RankServer, stage: int
) -> None:
    wanted = _recipe(data, gpus=2, zero={"stage": stage}, train={"max_steps": 6}, model=NO_DROPOUT)
    plain = _recipe(data, train={"max_steps": 6}, model=NO_DROPOUT)
    sharded = ranks.complete(make_run(tmp_path / "sharded", wanted), ranks=2)
    whole = ranks.complete(make_run(tmp_path / "whole", plain))
    assert losses(sharded) == pytest.approx(losses(whole), rel=1e-4)
    first, second = (load_file(made.model / "launcher_head.safetensors") for made in (sharded, whole))
    torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-5)


NO_DROPOUT = {"dropout": {"hidden": 0.0, "attention": 0.0, "classifier": 0.0}}


def test_thresholds_train_in_full_beside_adapters(
    run: RunDir, data: Path, tmp_path: Path, ranks: RankServer
) -> None:
    wanted = _recipe(
        data, tuning="lora", model={"init": "pretrained", "name": str(run.model)}, train={"max_steps": 8}
    )
    adapted = ranks.complete(make_run(tmp_path / "lora", wanted))
    before, after = (load_file(made.model / "launcher_head.safetensors")["bias"] for made in (run, adapted))
    assert not torch.equal(after, before)
    assert not any(
        "launcher_head" in name for name in load_file(adapted.model / "adapter" / "adapter_model.safetensors")
    )
    _, report = AutoModelForSequenceClassification.from_pretrained(adapted.model, output_loading_info=True)
    assert not any(report.values())
    metrics = ranks.verb("eval", adapted.path)["validation"]
    assert metrics["mae"] == result(adapted)["best"]["value"]


@pytest.fixture(scope="module")
def encoder(data: Path, tmp_path_factory: pytest.TempPathFactory, ranks: RankServer) -> Path:
    """An ordinary pretrained model, which knows nothing of ordered labels."""
    wanted = recipe(
        data,
        task="masked-lm",
        data={"train": str(data / "train.jsonl"), "validation": None, "test": None, "split": [0.9, 0.1]},
        train={"max_steps": 1},
    )
    return ranks.complete(make_run(tmp_path_factory.mktemp("runs") / "encoder", wanted)).model


@pytest.mark.parametrize("tuning", ["full", "lora"])
def test_an_ordinary_pretrained_model_learns_an_order(
    tuning: str, encoder: Path, data: Path, tmp_path: Path, ranks: RankServer
) -> None:
    assert not hasattr(AutoConfig.from_pretrained(encoder), "ordinal_labels")
    wanted = _recipe(
        data, tuning=tuning, model={"init": "pretrained", "name": str(encoder)}, train={"max_steps": 4}
    )
    trained = ranks.complete(make_run(tmp_path / "run", wanted))
    assert AutoConfig.from_pretrained(trained.model).ordinal_labels == list(NAMES)
    assert ranks.verb("eval", trained.path)["validation"]["mae"] == result(trained)["best"]["value"]
