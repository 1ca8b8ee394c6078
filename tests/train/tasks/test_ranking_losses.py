"""Losses of the order of a query's documents: against their formulas, on any layout, and whole trainings."""

from __future__ import annotations

import json
import math
from functools import partial
from itertools import chain, permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers.cross_encoder import losses as cross_encoder_losses
from sklearn.metrics import ndcg_score
from support.training import RankServer, losses, make_run, metrics, recipe, result

from launcher.errors import RunFailed
from launcher.recipe.recipe import Recipe
from launcher.train.tasks import MicroBatch, Task, get_task
from launcher.train.tasks.ranking import average_precision, ndcg, reciprocal_rank
from launcher.train.tasks.ranking_losses import MU, ORDER_LOSSES, lambda_loss, listwise, pairwise
from launcher.train.tokens.cache import TokenSplit

SCORES = [0.3, -1.2, 2.0, 0.7, 0.1, 0.1]
RELEVANCE = [2.0, 0.0, 1.0, 0.0, 3.0, 0.0]


def one_query(loss: Any, scores: list[float], relevance: list[float]) -> float:
    together = torch.ones(len(scores), len(scores), dtype=torch.bool)
    return float(loss(torch.tensor(scores), torch.tensor(relevance), together).sum())


def logistic(difference: float) -> float:
    """-log P(the better document is above), by which much its score is higher."""
    return math.log1p(math.exp(-difference))


def test_listwise_is_the_cross_entropy_of_shares() -> None:
    share = [value / 6 for value in RELEVANCE]
    whole = math.log(sum(map(math.exp, SCORES)))
    expected = sum(part * (whole - score) for part, score in zip(share, SCORES, strict=True))
    assert one_query(listwise, SCORES, RELEVANCE) == pytest.approx(expected, rel=1e-5)


def test_pairwise_is_the_mean_over_pairs() -> None:
    terms = [
        logistic(SCORES[better] - SCORES[worse])
        for better, high in enumerate(RELEVANCE)
        for worse, low in enumerate(RELEVANCE)
        if high > low
    ]
    assert one_query(pairwise, SCORES, RELEVANCE) == pytest.approx(np.mean(terms), rel=1e-5)


def test_lambda_weighs_pairs_by_what_they_do_to_ndcg() -> None:
    order = sorted(range(6), key=lambda place: -SCORES[place])
    place = {document: number for number, document in enumerate(order, 1)}
    gain = [2**value - 1 for value in RELEVANCE]
    best = sum(value / math.log2(number + 1) for number, value in enumerate(sorted(gain, reverse=True), 1))
    expected = 0.0
    for i in range(6):
        for j in range(6):
            if RELEVANCE[i] > RELEVANCE[j]:
                apart = abs(place[i] - place[j])
                swap = abs(1 / math.log2(1 + place[i]) - 1 / math.log2(1 + place[j]))
                far = 1 / math.log2(1 + apart) - 1 / math.log2(2 + apart)
                weight = (swap + MU * far) * (gain[i] - gain[j]) / best
                expected += weight * logistic(SCORES[i] - SCORES[j]) / math.log(2)
    assert one_query(lambda_loss, SCORES, RELEVANCE) == pytest.approx(expected, rel=1e-5)


class Scorer:
    """Stands for a cross-encoder: the scores of all documents are given."""

    num_labels, device = 1, torch.device("cpu")

    def __init__(self, scores: torch.Tensor) -> None:
        self.scores = scores

    def preprocess(self, *_: Any, **__: Any) -> dict[str, torch.Tensor]:
        return {}

    def __call__(self, _: Any) -> dict[str, torch.Tensor]:
        return {"scores": self.scores}


@pytest.mark.parametrize(("loss", "theirs"), [(pairwise, "RankNetLoss"), (lambda_loss, "LambdaLoss")])
def test_a_query_pulls_as_in_sentence_transformers(loss: Any, theirs: str) -> None:
    """The gradient has the same direction; theirs are means over other things than queries."""
    scores = [torch.tensor(SCORES[:5], requires_grad=True) for _ in range(2)]
    relevance = torch.tensor(RELEVANCE[:5])
    loss(scores[0], relevance, torch.ones(5, 5, dtype=torch.bool)).sum().backward()
    peer = getattr(cross_encoder_losses, theirs)(Scorer(scores[1]), mini_batch_size=-1)
    peer([["a question"], [["a document"] * 5]], [relevance]).backward()
    ours, expected = (each.grad for each in scores)
    assert ours is not None
    assert expected is not None
    torch.testing.assert_close(ours / ours.norm(), expected / expected.norm(), atol=1e-5, rtol=1e-4)


def test_lambda_is_a_bound_on_what_ndcg_lacks_and_no_relevance_is_too_high_for_it() -> None:
    random = np.random.default_rng(4)
    for _ in range(50):
        scores, relevance = random.normal(size=12), random.integers(0, 4, 12).astype(float)
        relevance[0] = 3
        lacking = 1 - ndcg(relevance[np.argsort(-scores, kind="stable")], cut=12)
        assert one_query(lambda_loss, scores.tolist(), relevance.tolist()) >= lacking
    assert 0 < one_query(lambda_loss, [0.0, 1.0], [500.0, 2.0]) < 100


@pytest.mark.parametrize("loss", ORDER_LOSSES.values(), ids=list(ORDER_LOSSES))
def test_the_better_document_is_pushed_up_and_sameness_says_nothing(loss: Any) -> None:
    scores = torch.tensor(SCORES, requires_grad=True)
    loss(scores, torch.tensor(RELEVANCE), torch.ones(6, 6, dtype=torch.bool)).sum().backward()
    assert scores.grad is not None
    assert scores.grad[4] < 0  # the most relevant one
    assert scores.grad[3] > 0
    assert float(scores.grad.sum()) == pytest.approx(0, abs=1e-6)
    for same in ([0.0, 0.0, 0.0], [2.0, 2.0, 2.0], [1.0]):
        assert one_query(loss, [0.4, 1.0, -3.0][: len(same)], same) == 0


@pytest.mark.parametrize("loss", ORDER_LOSSES.values(), ids=list(ORDER_LOSSES))
def test_a_query_among_others_has_the_loss_that_it_has_alone(loss: Any) -> None:
    query = torch.tensor([5, 7, 5, 7, 5, 9])
    scores, relevance = torch.tensor(SCORES), torch.tensor(RELEVANCE)
    found = loss(scores, relevance, query[:, None] == query)
    for number in (5, 7, 9):
        own = query == number
        alone = one_query(loss, scores[own].tolist(), relevance[own].tolist())
        assert float(found[own].sum()) == pytest.approx(alone, abs=1e-6)


# The task


def ranking(loss: str) -> Task:
    wanted = {"task": "ranking", "data": {"text": ("query", "document")}, "train": {"loss": {"name": loss}}}
    return get_task(Recipe.model_validate(wanted))


def split_of(labels: list[tuple[float, float]]) -> TokenSplit:
    ends = np.arange(len(labels) + 1, dtype=np.int64)
    return TokenSplit(np.zeros(len(labels), np.int32), ends, labels=np.array(labels, np.float64))


def test_units_are_queries_whose_documents_differ() -> None:
    split = split_of([(1, 0), (0, 0), (0, 1), (0, 1), (1, 2), (1, 0)])
    assert ranking("listwise").units(split, np.arange(6)) == 1
    assert ranking("pointwise").units(split, np.arange(6)) == 6
    assert ranking("pointwise").groups(split) is None
    found = ranking("lambda").groups(split)
    assert found is not None
    assert found.tolist() == [0, 0, 1, 1, 2, 0]


def test_data_that_say_nothing_of_an_order_are_refused() -> None:
    same = split_of([(1, 0), (1, 0), (0, 1)])
    with pytest.raises(RunFailed, match="no training query has documents of different relevance"):
        ranking("pairwise").fit(same, ())
    ranking("pointwise").fit(same, ())


@pytest.mark.parametrize("loss", ORDER_LOSSES)
def test_two_passes_differ_by_what_each_query_thinks_best(loss: str) -> None:
    task = ranking(loss)
    labels = torch.tensor([[2.0, 5], [0, 5], [1, 7], [0, 7], [0, 5]], dtype=torch.float64)
    batch = MicroBatch({}, labels, tokens=5)
    one, other = (type("Output", (), {"logits": torch.randn(5, 1)}) for _ in range(2))
    found = task.divergence_sum(one, other, batch)
    expected = torch.zeros(())
    for number in (5, 7):
        own = labels[:, 1] == number
        p, q = (each.logits[own, 0].log_softmax(0) for each in (one, other))  # type: ignore[attr-defined]
        expected = expected + 0.5 * ((p.exp() - q.exp()) * (p - q)).sum()
    torch.testing.assert_close(found, expected)
    assert float(task.divergence_sum(one, one, batch)) == 0


def test_average_precision_by_hand() -> None:
    assert average_precision(np.array([0.0, 1, 0, 2])) == pytest.approx((1 / 2 + 2 / 4) / 2)
    assert average_precision(np.array([1.0, 1, 0])) == 1


@pytest.mark.parametrize("figure", [reciprocal_rank, average_precision, ndcg, partial(ndcg, cut=2)])
def test_documents_with_the_same_score_count_as_the_mean_of_all_their_orders(figure: Any) -> None:
    """bf16 tells few scores apart, and files often name what is relevant first."""
    relevance, ties = np.array([0.0, 2, 0, 1, 0, 0, 1]), np.array([1, 4, 2])
    first, rest, last = relevance[:1], permutations(relevance[1:5]), list(permutations(relevance[5:]))
    orders = [np.concatenate([first, some, other]) for some in rest for other in last]
    assert len(orders) == 48
    assert figure(relevance, ties) == pytest.approx(np.mean([figure(order) for order in orders]), rel=1e-12)
    assert figure(relevance, np.ones(7, np.int64)) == figure(relevance)


def test_a_model_that_tells_nothing_apart_gains_nothing_by_what_a_file_names_first() -> None:
    relevance, scores = np.array([2.0, 0, 1, 1, 0]), np.array([0.5, 0.5, 0.25, 0.5, 0.5])
    for order in (np.arange(5), np.arange(5)[::-1]):
        truth = np.stack([relevance[order], np.zeros(5)], axis=-1)
        found = ranking("listwise").metrics(scores[order].astype(np.float32), truth)
        gains = [2.0 ** relevance[order] - 1]
        assert found["ndcg"] == pytest.approx(ndcg_score(gains, [scores[order]], k=10))
        assert found["ndcg@1"] == pytest.approx(ndcg_score(gains, [scores[order]], k=1))
        assert found["mrr"] == pytest.approx(3 / 6 + 2 / 6 / 2 + 1 / 6 / 3)


def test_only_the_first_ten_count_for_the_reciprocal_rank() -> None:
    relevance = np.zeros(12)
    relevance[0] = 1
    assert reciprocal_rank(relevance, np.array([12])) == pytest.approx(
        sum(1 / place for place in range(1, 11)) / 12
    )
    assert reciprocal_rank(np.roll(relevance, 11)) == 0


# Whole trainings

COLOURS, WORDS = ("red", "blue", "green", "white", "black"), ("bad", "fair", "good")


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two to five documents for each query, in no order."""
    directory = tmp_path_factory.mktemp("documents")
    random = np.random.default_rng(0)
    for name, queries in (("train", 50), ("validation", 20)):
        rows = []
        for number in range(queries):
            grades = [2, 0, *random.integers(0, 3, random.integers(0, 4)).tolist()]
            for relevance in grades:
                document = f"a {WORDS[relevance]} {random.choice(COLOURS)} house"
                rows.append({"query": f"house {number}", "document": document, "relevance": relevance})
        random.shuffle(rows)
        (directory / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return directory


def recipe_of(directory: Path, loss: str, /, **changes: Any) -> Recipe:
    data = {split: str(directory / f"{split}.jsonl") for split in ("train", "validation")}
    changes["train"] = {"lr": 5e-3, "loss": {"name": loss}, **changes.get("train", {})}
    return recipe(
        directory,
        task="ranking",
        data={**data, "test": None, "text": ["query", "document"], "label": "relevance"},
        ranking={"max_relevance": 2.0},
        model={"dropout": {"hidden": 0.0, "attention": 0.0, "classifier": 0.0}},
        **{"eval": {"every": None}, "checkpoint": {"every": None}, **changes},
    )


@pytest.mark.parametrize("loss", ORDER_LOSSES)
def test_the_loss_is_the_same_on_any_layout(
    loss: str, documents: Path, tmp_path: Path, ranks: RankServer
) -> None:
    found = []
    for count, micro in ((1, None), (2, 3)):
        wanted = recipe_of(
            documents,
            loss,
            gpus=count,
            batch={"global": 16, **({} if micro is None else {"micro": micro})},
            train={"max_steps": 4},
            debug={"samples": True},
        )
        run = ranks.complete(make_run(tmp_path / f"{count}-{micro}", wanted), count)
        lines = [line for path in run.samples.iterdir() for line in path.read_text().splitlines()]
        seen = list(map(json.loads, lines))
        steps = [[row for row in seen if row["step"] == step] for step in range(1, 5)]
        by_step = [sorted(chain.from_iterable(row["examples"] for row in rows)) for rows in steps]
        found.append((losses(run), metrics(run, "validation")[-1]["eval/loss"], by_step))
    for other in found[1:]:
        assert other[0] == pytest.approx(found[0][0], abs=1e-5)
        assert other[1] == pytest.approx(found[0][1], abs=1e-5)
        assert other[2] == found[0][2]


def test_orders_are_learnt_and_measured(documents: Path, tmp_path: Path, ranks: RankServer) -> None:
    wanted = recipe_of(documents, "listwise", train={"max_steps": 30}, debug={"samples": True})
    run = ranks.complete(make_run(tmp_path / "run", wanted))
    trained = json.loads(run.rank_samples(0).read_text().splitlines()[11])
    shown = ranks.verb("step", run.path, 12)["examples"]  # launch data --step 12
    assert sorted(example["example"] for example in shown) == sorted(trained["examples"])
    measured = ranks.verb("eval", run.path)["validation"]
    assert measured["ndcg"] == result(run)["best"]["value"] > 0.9
    assert measured.keys() == {"loss", "accuracy", "mrr", "map", "ndcg", "ndcg@1", "ndcg@5"}
    assert measured["loss"] == pytest.approx(metrics(run, "validation")[-1]["eval/loss"], rel=1e-4)


def test_a_batch_smaller_than_a_query_is_refused(documents: Path, tmp_path: Path, ranks: RankServer) -> None:
    run = make_run(tmp_path / "run", recipe_of(documents, "listwise", batch={"global": 2}))
    assert ranks.attempt(run) == [1]
    error = result(run)["error"]
    assert error["class"] == "recipe"
    assert "batch.global=2 is less than what the loss compares" in error["message"]
    assert error["remedy"].startswith("use batch.global=")
