"""The recipes that reach published figures, on stand-ins for models and data sets of the hub: each trains as it is written."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from support.training import RankServer, make_run, result

from launcher.families import known_shape
from launcher.loading.resolve import load
from launcher.recipe.recipe import Recipe
from launcher.runs.directory import RunDir

SENTENCES = ("a fine day", "no rain today", "the house is far", "she sings well")
CHARACTERS = ("今天天气好", "他在北京", "房子很远", "她唱歌")
LABELS: dict[str, Sequence[Any]] = {
    "modernbert-mnli": ("entailment", "neutral", "contradiction"),
    "modernbert-stsb": (0.0, 2.5, 5.0),
    "modernbert-ner": ("O", "B-LOC", "I-LOC"),
    "chinese-bert-ner": ("O", "B-GPE.NAM", "I-GPE.NAM"),
    "chinese-bert-tnews": tuple(range(15)),
}
STARTED_FROM_MNLI = ("modernbert-rte", "modernbert-mrpc", "modernbert-stsb")


def trained(name: str, directory: Path, ranks: RankServer, *words: str) -> RunDir:
    """The run of a recipe on made-up rows with its columns, by a small model of its family, for three steps."""
    published = load([f"recipe={name}"], environ={}, cwd=directory).recipe
    rows = directory / f"{name}.jsonl"
    rows.write_text("".join(json.dumps(row) + "\n" for row in stand_ins(name, published)))
    shape = known_shape(str(published.model.name))
    assert shape is not None
    scratch = [
        "model.name=null", "model.init=scratch", f"model.scratch.family={shape.family.name}", "model.scratch.hidden=16",
        "model.scratch.layers=2", "model.scratch.intermediate=32", "model.scratch.vocab=128",
    ]  # fmt: skip
    files = [f"data.{split}={rows}" for split in ("train", "validation")]
    given = [
        *(words or scratch), *files, "data.source=null", "data.test_split=null", "data.validation_split=null",
        "data.train_split=train", "device=cpu", "precision=fp32", "train.max_steps=3",
        "tracking.wandb.mode=disabled", f"data.cache_dir={directory / 'cache'}",
    ]  # fmt: skip
    loaded = load([f"recipe={name}", *given], environ={}, cwd=directory)
    return ranks.complete(make_run(directory / f"run-{name}", loaded.recipe))


def stand_ins(name: str, recipe: Recipe) -> list[dict[str, Any]]:
    texts = CHARACTERS if name.startswith("chinese") else SENTENCES
    labels = LABELS.get(name, (0, 1))
    columns = [recipe.data.text] if isinstance(recipe.data.text, str) else recipe.data.text
    rows = []
    for number in range(32):
        text, label = texts[number % 4], labels[number % len(labels)]
        words = list(text) if name.startswith("chinese") else text.split()
        tags = {"token-classification": words}.get(recipe.task)
        values: dict[str, Any] = dict.fromkeys(columns, text if tags is None else words)
        values[str(recipe.data.label)] = label if tags is None else ["O"] * (len(words) - 1) + [label]
        rows.append(values)
    return rows


@pytest.mark.parametrize(
    "name", ["ettin-cls", "chinese-bert-cls", "chinese-bert-tnews", "modernbert-ner", "chinese-bert-ner"]
)
def test_it_trains_as_it_is_written(name: str, tmp_path: Path, ranks: RankServer) -> None:
    assert result(trained(name, tmp_path, ranks))["steps"] == 3


def test_rte_mrpc_and_sts_b_start_from_mnli(tmp_path: Path, ranks: RankServer) -> None:
    mnli = trained("modernbert-mnli", tmp_path, ranks)
    for name in STARTED_FROM_MNLI:
        start = [f"init_from={mnli.model}", f"model.name={mnli.model}"]
        assert result(trained(name, tmp_path, ranks, *start))["steps"] == 3
