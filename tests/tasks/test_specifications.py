"""What tasks say of themselves: how a model is tried, what is measured, and how a prediction is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from launcher import tasks
from launcher.errors import UserError
from launcher.reading.check import check_data
from launcher.recipe.recipe import Recipe
from launcher.tasks.shared.conflicts import conflicts


def task(name: str, **data: Any) -> Any:
    return tasks.of(Recipe.model_validate({"task": name, "data": data}))


@pytest.mark.parametrize(
    ("name", "data", "texts"),
    [
        ("classification", {}, ("a sentence of yours",)),
        ("classification", {"text": ("premise", "claim")}, ("the first text", "the second")),
        ("masked-lm", {}, ("The capital of France is [MASK].",)),
        ("question-answering", {"text": ("q", "c")}, ("a question", "the text that answers it")),
        ("ranking", {"text": ("q", "d")}, ("a query", "a document")),
        ("multiple-choice", {"choices": ("a", "b", "c")}, ("a question", "choice A", "choice B", "choice C")),
        ("multiple-choice", {"choices": "list"}, ("a question", "choice A", "choice B")),
    ],
)
def test_a_model_is_tried_with_texts_of_its_kind(
    name: str, data: dict[str, Any], texts: tuple[str, ...]
) -> None:
    spec = task(name, **data)
    assert spec.sample_texts() == texts
    assert len(spec.rows_of(texts)) == 1


def test_predicted_tags_are_told_with_their_words() -> None:
    found = {
        "text": "Anna saw Rome",
        "prediction": ["B-PER", "O", "B-LOC"],
        "entities": [{"type": "PER", "text": "Anna"}, {"type": "LOC", "text": "Rome"}],
    }
    assert task("token-classification").told(found) == "Anna/B-PER saw/O Rome/B-LOC   PER: Anna  LOC: Rome"
    cut = {**found, "entities": [{"type": "", "text": "Anna saw"}]}  # words found by their tags B, M, E and S
    assert task("token-classification").told(cut).endswith("B-LOC   Anna saw")
    masked = task("masked-lm")
    assert (
        masked.told({"prediction": "a <mask>", "candidates": []})
        == "a <mask>   (no [MASK] in it: nothing to guess)"
    )
    assert masked.told({"prediction": "a cat", "candidates": [{"cat": 0.9}]}) == "a cat"


def test_a_prediction_is_told_with_its_likeliest_alternatives() -> None:
    chances = {"neg": 0.25, "pos": 0.75}
    said = task("classification").told({"prediction": "pos", "probabilities": chances})
    assert said == "pos   pos 0.750  neg 0.250"
    several = task("multilabel")
    assert (
        several.told({"prediction": ["joy", "fear"], "probabilities": {"joy": 0.5}})
        == "joy, fear   joy 0.500"
    )
    assert several.told({"prediction": [], "probabilities": {"joy": 0.5}}) == "none   joy 0.500"
    answer = {"prediction": "", "probabilities": {"": 0.75, "Rome": 0.25}}
    assert task("question-answering").told(answer) == "none   none 0.750  Rome 0.250"
    assert task("regression").told({"prediction": 2.5}) == "2.5000"


# What doesn't go together


@pytest.mark.parametrize(("columns", "refused"), [("text", True), (("one", "two"), False)])
def test_altered_copies_of_one_column_would_be_negatives_of_what_they_come_from(
    columns: Any, refused: bool
) -> None:
    """Of two columns the second is altered, by which the first has one more positive."""
    data = {"train": "a.csv", "text": columns, "augment": {"delete": 0.1}}
    found = conflicts(Recipe.model_validate({"task": "embedding", "data": data}))
    assert any("negatives of the text itself" in each.message for each in found) == refused


# Metrics


@pytest.mark.parametrize(
    ("name", "metric", "remedy"),
    [
        ("classification", "bleu", "allowed: loss, accuracy, macro_f1, micro_f1, mcc, f1"),
        ("classification", "macrof1", "did you mean macro_f1?"),
        ("regression", "accuracy", "allowed: loss, pearson, spearman, mse, mae"),
        ("token-classification", "macro_f1", "and f1/LABEL or lenient_f1/LABEL"),
        ("token-classification", "recall/PER", "and f1/LABEL or lenient_f1/LABEL"),
        ("question-answering", "answerable_accuracy", "allowed: loss, exact_match, f1"),
        ("classification", "acc", "did you mean accuracy?"),
        ("classification", "eval_f1_macro", "did you mean macro_f1?"),
        ("regression", "eval_pearsonr", "did you mean pearson?"),
    ],
)
@pytest.mark.parametrize("key", ["eval.metric", "train.early_stopping.metric"])
def test_a_metric_that_no_evaluation_computes_is_refused(
    key: str, name: str, metric: str, remedy: str
) -> None:
    values: dict[str, Any] = {"eval": {"metric": metric}}
    if key != "eval.metric":
        values = {"train": {"early_stopping": {"metric": metric, "patience": 1}}}
    asked = Recipe.model_validate({"task": name, "data": {"train": "a.csv", "text": ("a", "b")}, **values})
    (found,) = [conflict for conflict in conflicts(asked) if conflict.fields[0] == key]
    assert found.message == f"is not computed by task={name}"
    assert remedy in found.remedy


def test_metrics_by_label_are_those_of_the_labels_there() -> None:
    tagger, names = task("token-classification"), ("B-PER", "I-PER", "O")
    assert tagger.metric_problem("f1/PER", names) is None
    assert tagger.metric_problem("f1/ORG", names) is not None
    assert tagger.metric_problem("f1/ORG") is None
    assert task("classification").metric_problem("f1", ("a", "b")) is None
    assert task("classification").metric_problem("f1", ("a", "b", "c")) is not None


def test_a_metric_of_a_label_that_is_not_in_the_data_is_told_before_a_launch(tmp_path: Path) -> None:
    file = tmp_path / "train.conll"
    file.write_text("Anna B-PER\nwent O\n\nBob B-PER\n")
    values = {"task": "token-classification", "data": {"train": str(file), "validation": str(file)}}
    check_data(Recipe.model_validate({**values, "eval": {"metric": "f1/PER"}}))
    with pytest.raises(UserError, match=r"eval.metric=f1/PRE: is not computed .* on these data") as caught:
        check_data(Recipe.model_validate({**values, "eval": {"metric": "f1/PRE"}}))
    assert "did you mean f1/PER?" in str(caught.value)


def test_a_metric_of_a_label_that_no_validation_row_has_is_told_before_a_launch(tmp_path: Path) -> None:
    (tmp_path / "train.conll").write_text("Anna B-PER\nwent O\n\nRome B-LOC\n")
    (tmp_path / "validation.conll").write_text("Bob B-PER\nwent O\n")
    data = {name: str(tmp_path / f"{name}.conll") for name in ("train", "validation")}
    for metric, wrong in (("f1/PER", False), ("f1", False), ("f1/LOC", True), ("lenient_f1/LOC", True)):
        values = {"task": "token-classification", "data": data, "eval": {"metric": metric}}
        if not wrong:
            check_data(Recipe.model_validate(values))
            continue
        with pytest.raises(
            UserError, match=f"eval.metric={metric}: no row of data.validation has LOC"
        ) as caught:
            check_data(Recipe.model_validate(values))
        assert metric.replace("LOC", "PER") in str(caught.value)


@pytest.mark.parametrize("name", tasks.names())
def test_the_metric_that_chooses_is_one_that_is_computed(name: str) -> None:
    assert tasks.named(name).metric in tasks.named(name).metrics
    assert tasks.named(name).lower_is_better <= set(tasks.named(name).metrics)
