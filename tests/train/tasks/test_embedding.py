"""Vectors of texts: the loss of the whole global batch on any layout, and a directory that sentence-transformers loads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.losses import (
    CoSENTLoss,
    CosineSimilarityLoss,
    MatryoshkaLoss,
    MultipleNegativesRankingLoss,
    TripletLoss,
)
from support.cases import quick
from support.training import Fault, RankServer, losses, make_run, metrics, recipe, result, tensors, train_here

from launcher.recipe.recipe import Recipe
from launcher.runs.directory import RunDir
from launcher.train.batches import global_batches
from launcher.train.process.random_state import dropout_seed, seed_dropout
from launcher.train.tasks.outcomes import correlations
from launcher.train.tasks.retrieval import Search, mean_figures
from launcher.train.tasks.similarity_losses import Layout, cosent, cosine_error, info_nce, triplet
from launcher.train.whole_batch import parts_of, share_of_loss

COLOURS = ("red", "blue", "green", "white", "black", "brown", "pink", "grey")
THINGS = ("hat", "coat", "boat", "door", "lamp", "cup", "shoe", "chair", "wall")
NO_DROPOUT = {"dropout": {"hidden": 0.0, "attention": 0.0}}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Which of many things is asked for: 70 triplets, and 40 pairs with scores; no text comes twice."""
    directory = tmp_path_factory.mktemp("pairs")
    random = np.random.default_rng(0)
    rows = []
    for colour in COLOURS:
        for thing in THINGS:
            other = COLOURS[(COLOURS.index(colour) + 1) % len(COLOURS)]
            long = " and so on" * int(random.integers(4))
            anchor, positive = (
                f"where is the {colour} {thing}",
                f"here you see a {thing} that is {colour}{long}",
            )
            wrong = f"not the one you want but another {thing} and it is {other}"
            rows.append({"anchor": anchor, "positive": positive, "negative": wrong, "more": [f"no {thing}"]})
    random.shuffle(rows)
    for name, part in (("train", rows[:67]), ("validation", rows)):
        (directory / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part))
    scored = [
        {
            "one": f"a {a} {THINGS[n % 9]}",
            "two": f"the {b} {THINGS[n % 9]} number {n}",
            "score": 5.0 * (a == b),
        }
        for n in range(5)
        for a, b in zip(COLOURS, COLOURS[::-1] if n % 2 else COLOURS, strict=True)
    ]
    (directory / "scored.jsonl").write_text("".join(json.dumps(row) + "\n" for row in scored))
    return directory


def wanted(data: Path, /, **changes: Any) -> Recipe:
    """A recipe for the triplets' pairs; `changes` are laid over it."""
    columns = {
        "train": str(data / "train.jsonl"),
        "validation": str(data / "validation.jsonl"),
        "test": None,
        "text": ["anchor", "positive"],
        **changes.pop("data", {}),
    }
    train = {"lr": 3e-3, "max_steps": 6, **changes.pop("train", {})}
    model = {**NO_DROPOUT, **changes.pop("model", {})}
    return recipe(data, task="embedding", data=columns, train=train, model=model, **changes)


def of_scores(data: Path, loss: str) -> dict[str, Any]:
    """Sections that learn pairs with scores from 0 to 5."""
    file = str(data / "scored.jsonl")
    columns = {"train": file, "validation": file, "text": ["one", "two"], "label": "score"}
    return {"data": columns, "embedding": {"max_score": 5.0}, "train": {"loss": {"name": loss}}}


# The whole global batch

LAYOUTS: dict[str, tuple[int, dict[str, Any]]] = {
    "micro-batches of 3": (1, {"batch": {"global": 16, "micro": 3}}),
    "2 ranks, micro-batches of 3": (2, {"batch": {"global": 16, "micro": 3}}),
    "4 ranks": (4, {}),
    "2 ranks, ZeRO-2, micro-batches of 3": (2, {"zero": {"stage": 2}, "batch": {"global": 16, "micro": 3}}),
    "2 ranks, ZeRO-3, micro-batches of 3": (2, {"zero": {"stage": 3}, "batch": {"global": 16, "micro": 3}}),
}


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory, data: Path, ranks: RankServer) -> RunDir:
    """The run of one rank whose batches are computed in one piece; 67 = 4 x 16 + 3."""
    return ranks.complete(make_run(tmp_path_factory.mktemp("one") / "run", wanted(data)))


@pytest.mark.parametrize("layout", quick(LAYOUTS, ["4 ranks", "2 ranks, ZeRO-2, micro-batches of 3"]))
def test_losses_and_gradients_are_those_of_one_rank(
    layout: str, reference: RunDir, data: Path, tmp_path: Path, ranks: RankServer
) -> None:
    count, changes = LAYOUTS[layout]
    run = ranks.complete(make_run(tmp_path / "run", wanted(data, gpus=count, **changes)), count)
    assert losses(run)[:3] == pytest.approx(losses(reference)[:3], abs=1e-5)
    assert losses(run) == pytest.approx(losses(reference), abs=1e-4)
    first, expected = metrics(run)[0], metrics(reference)[0]
    assert first["train/grad_norm"] == pytest.approx(expected["train/grad_norm"], rel=1e-4)
    last, expected = metrics(run, "validation")[-1], metrics(reference, "validation")[-1]
    assert last["eval/loss"] == pytest.approx(expected["eval/loss"], abs=1e-4)


@pytest.mark.parametrize("loss", ["infonce", "cosent"])
def test_the_gradient_in_parts_is_that_of_one_graph_with_the_same_dropout(
    loss: str, data: Path, tmp_path: Path
) -> None:
    changes = of_scores(data, loss) if loss == "cosent" else {}
    model = {"dropout": {"hidden": 0.2, "attention": 0.2}}
    changed = wanted(data, **changes, model=model, batch={"micro": 3})
    job = train_here(make_run(tmp_path / "run", changed), "none", max_steps=1)
    job.strategy.train_mode(True)
    batch = next(global_batches(job, 1))
    assert len(batch.parts) > 3
    parameters = [p for p in job.built.model.parameters() if p.requires_grad]

    job.strategy.discard()
    total = 0.0
    for part in parts_of(job, batch):
        loss_sum = share_of_loss(job, part.batch, part.share)
        loss_sum.backward()
        total += float(loss_sum.detach())
    in_parts = [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in parameters]

    vectors = {}
    for number, examples in enumerate(batch.parts):
        seed_dropout(job.ranks.device, dropout_seed(job.recipe.seed, batch.step, 0, number))
        made = job.collate(job.dataset.train, examples, batch.epoch)
        found = job.task.vectors(job.strategy.forward(made.inputs), made).split(made.sequences.tolist())
        vectors.update(zip(examples.tolist(), found, strict=True))
    whole = torch.cat([vectors[example] for example in batch.everyone.tolist()])
    direct = job.task.joint_terms(whole, job.dataset.train, batch.everyone).sum()
    job.strategy.discard()
    direct.backward()
    assert total == pytest.approx(float(direct.detach()), rel=1e-5)
    for parameter, found in zip(parameters, in_parts, strict=True):
        expected = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-3)


@pytest.mark.long  # train/test_resume.py
def test_a_resumed_run_is_bitwise_the_uninterrupted_one(
    reference: RunDir, data: Path, tmp_path: Path, ranks: RankServer
) -> None:
    """With dropout, by LoRA, on two ranks in several micro-batches."""
    model = {"dropout": {"hidden": 0.1, "attention": 0.1}, "init": "pretrained", "name": str(reference.model)}
    saved = wanted(data, gpus=2, batch={"micro": 3}, model=model, checkpoint={"every": 2}, tuning="lora")
    expected = ranks.complete(make_run(tmp_path / "expected", saved), 2)
    run = make_run(tmp_path / "run", saved)
    assert ranks.attempt(run, 2, 1, Fault("stop", "step", 3)) == [0, 0]
    assert result(run)["status"] == "stopped"
    ranks.complete(run, 2, 2)
    assert losses(run) == losses(expected)
    found, wanted_state = (tensors(each.checkpoints / "step_6") for each in (run, expected))
    assert found.keys() == wanted_state.keys()
    assert all(torch.equal(found[name], wanted_state[name]) for name in found)


# Losses, against sentence-transformers' own


@pytest.fixture(scope="module")
def peer(reference: RunDir) -> SentenceTransformer:
    return SentenceTransformer(str(reference.model), device="cpu")


def vectors_of(examples: int, texts: int, seed: int = 0) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """(examples * texts, 8) example by example, and the same column by column."""
    vectors = torch.randn(examples, texts, 8, generator=torch.Generator().manual_seed(seed))
    return vectors.reshape(-1, 8), list(vectors.unbind(1))


def layout(examples: int, texts: int) -> Layout:
    return Layout(np.full(examples, texts, np.int64), np.arange(examples * texts))


@pytest.mark.parametrize("texts", [2, 3, 4])
def test_info_nce_is_multiple_negatives_ranking(texts: int, peer: SentenceTransformer) -> None:
    ours, theirs = vectors_of(6, texts)
    expected = MultipleNegativesRankingLoss(peer, scale=20.0).compute_loss_from_embeddings(theirs, None)
    torch.testing.assert_close(info_nce(ours, layout(6, texts), 0.05).mean(), expected)


def test_the_losses_of_pairs_with_scores_and_of_triplets_are_theirs(peer: SentenceTransformer) -> None:
    ours, theirs = vectors_of(6, 2)
    scores = torch.tensor([0.0, 0.5, 0.5, 1.0, 0.2, 0.9])
    expected = CoSENTLoss(peer).compute_loss_from_embeddings(theirs, scores)
    torch.testing.assert_close(cosent(ours, layout(6, 2), scores, 0.05).mean(), expected)
    expected = CosineSimilarityLoss(peer).compute_loss_from_embeddings(theirs, scores)
    torch.testing.assert_close(cosine_error(ours, layout(6, 2), scores).mean(), expected)
    ours, theirs = vectors_of(6, 3)
    expected = TripletLoss(peer, triplet_margin=1.0).compute_loss_from_embeddings(theirs, None)
    torch.testing.assert_close(triplet(ours, layout(6, 3), 1.0).mean(), expected)


def test_triplets_with_several_negatives_or_none_are_means_over_them() -> None:
    near, far = torch.tensor([[0.0], [1.0]]), torch.tensor([[3.0], [1.5]])
    found = triplet(torch.cat([near, far, near]), Layout(np.array([4, 2])), margin=1.0)
    torch.testing.assert_close(found, torch.tensor([(0.0 + 0.5) / 2, 0.0]))


def test_shorter_vectors_are_learnt_as_matryoshka_loss_does_it(
    peer: SentenceTransformer, data: Path, tmp_path: Path
) -> None:
    changed = wanted(data, embedding={"dimensions": [8, 4]})
    run = make_run(tmp_path / "run", changed)
    job = train_here(run, "none", max_steps=1)
    ours, theirs = vectors_of(6, 2)
    found = job.task.terms(ours, layout(6, 2), torch.zeros(6)).mean()
    matryoshka = MatryoshkaLoss(peer, MultipleNegativesRankingLoss(peer), [8, 4])
    sizes = [torch.cat([t[..., :size] for t in theirs]).chunk(2) for size in (8, 4)]
    expected = sum(matryoshka.loss.compute_loss_from_embeddings(list(each), None) for each in sizes)
    torch.testing.assert_close(found, expected)
    assert {"ndcg/8", "ndcg/4", "spearman/4"} <= {name[5:] for name in metrics(run, "validation")[-1]}


def test_vectors_longer_than_the_models_are_refused(data: Path, tmp_path: Path, ranks: RankServer) -> None:
    run = make_run(tmp_path / "run", wanted(data, embedding={"dimensions": [64, 16]}))
    assert ranks.attempt(run) == [1]
    assert "the model's vectors have 32 entries" in result(run)["error"]["message"]


def test_the_same_text_is_never_a_negative_of_itself() -> None:
    #            anchor, positive | the same anchor with another positive | the first positive again, and a negative
    texts = np.array([0, 1, 0, 2, 3, 1, 4])
    same = Layout(np.array([2, 2, 3]), texts)
    assert sorted(zip(*same.false_negatives(), strict=True)) == [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0)]
    vectors, _ = vectors_of(7, 1)
    found = info_nce(vectors, same, 0.05)
    unit = torch.nn.functional.normalize(vectors, dim=-1)
    logits = unit[[0, 2, 4]] @ unit[[1, 3, 5, 6]].T / 0.05
    for row, (target, seen) in enumerate([(0, [0, 3]), (1, [1, 3]), (2, [1, 2, 3])]):
        expected = torch.logsumexp(logits[row, seen], 0) - logits[row, target]
        torch.testing.assert_close(found[row], expected)
    assert Layout(same.counts).false_negatives() == ([], [])


# Metrics


def test_what_belongs_to_a_query_is_found_among_all_documents() -> None:
    """Two positives of the query 0, one of the query 3; the corpus is the texts 1, 2, 4 and the negative 5."""
    texts = np.array([0, 1, 0, 2, 3, 4, 5])
    search = Search.of(texts, np.array([0, 2, 4]), others=[6])
    assert search.corpus.tolist() == [1, 3, 5, 6]
    assert [sorted(found) for found in search.relevant] == [[0, 1], [2]]
    angles = np.radians(
        [0, 1, 0, 40, 90, 45, 80]
    )  # query 0 finds 1, 2 before all others; query 3 finds 5 first
    figures = search.figures(np.stack([np.cos(angles), np.sin(angles)], -1).astype(np.float32))
    np.testing.assert_allclose(figures, [[0.5, 1, 1, 1], [0, 1, 0.5, 1 / np.log2(3)]])
    assert mean_figures(figures)["mrr"] == 0.75
    assert np.isnan(list(mean_figures(figures[:0]).values())).all()


def test_a_query_that_is_a_document_too_does_not_find_itself() -> None:
    """Of questions that were asked twice, 0 and 1, and 1 and 2, the middle one looks for 2 among 1 and 2."""
    search = Search.of(np.array([0, 1, 1, 2]), np.array([0, 2]), others=[])
    angles = np.radians([0, 10, 10, 30])
    figures = search.figures(np.stack([np.cos(angles), np.sin(angles)], -1).astype(np.float32))
    np.testing.assert_allclose(figures, np.ones((2, 4)))
    alone = Search.of(np.array([0, 0]), np.array([0]), others=[])  # SimCSE's own positive
    np.testing.assert_allclose(alone.figures(np.ones((2, 1), np.float32)), np.ones((1, 4)))


def test_correlations_need_two_pairs() -> None:
    assert np.isnan(correlations(np.ones(1), np.ones(1))["spearman"])
    found = correlations(np.array([0.1, 0.2, 0.9]), np.array([1.0, 2.0, 3.0]))
    assert found["spearman"] == pytest.approx(1.0)
    assert found["pearson"] == pytest.approx(np.corrcoef([0.1, 0.2, 0.9], [1, 2, 3])[0, 1])


# Data


@pytest.mark.parametrize("loss", quick(("infonce", "triplet", "cosent", "cosine"), ["infonce"]))
def test_every_loss_goes_down(loss: str, data: Path, tmp_path: Path, ranks: RankServer) -> None:
    changes: dict[str, Any] = {
        "data": {"negatives": ["negative", "more"]},
        "train": {"loss": {"name": loss}},
    }
    if loss in ("cosent", "cosine"):
        changes = of_scores(data, loss)
    changes["train"] |= {"max_steps": 30}
    run = ranks.complete(make_run(tmp_path / "run", wanted(data, gpus=2, **changes)), 2)
    assert np.mean(losses(run)[-5:]) < 0.9 * np.mean(losses(run)[:5])
    best = result(run)["best"]
    assert best["metric"] == ("spearman" if loss in ("cosent", "cosine") else "ndcg")
    assert best["value"] > 0.3


def test_pairs_without_scores_are_learnt_and_pairs_with_scores_measured(
    data: Path, tmp_path: Path, ranks: RankServer
) -> None:
    scored = [json.loads(line) for line in (data / "scored.jsonl").read_text().splitlines()]
    rows = [{"anchor": row["one"], "positive": row["two"], "label": row["score"]} for row in scored]
    (tmp_path / "scored.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    changed = wanted(data, data={"validation": str(tmp_path / "scored.jsonl")}, eval={"metric": "spearman"})
    run = ranks.complete(make_run(tmp_path / "run", changed))
    last = metrics(run, "validation")[-1]
    assert last["eval/spearman"] is not None
    assert last["eval/ndcg"] is None


@pytest.mark.long
def test_a_corpus_is_searched_beside_the_positives(
    reference: RunDir, data: Path, tmp_path: Path, ranks: RankServer
) -> None:
    """One that repeats the positives changes nothing; one that repeats the queries in other words makes it harder."""
    rows = [json.loads(line) for line in (data / "validation.jsonl").read_text().splitlines()]
    found = {}
    for name, texts in {
        "same": [row["positive"] for row in rows],
        "harder": [text for row in rows for text in (f"{row['anchor']} ?", row["anchor"])],
    }.items():
        path = tmp_path / f"{name}.csv"
        path.write_text("positive\n" + "".join(f"{text}\n" for text in texts))
        changed = wanted(data, embedding={"corpus": str(path)}, gpus=2)
        run = ranks.complete(make_run(tmp_path / name, changed), 2)
        found[name] = metrics(run, "validation")[-1]["eval/ndcg"]
        assert ranks.verb("eval", run.path)["validation"]["ndcg"] == pytest.approx(found[name], rel=1e-5)
    assert found["same"] == pytest.approx(metrics(reference, "validation")[-1]["eval/ndcg"], abs=1e-3)
    assert found["harder"] < found["same"] / 2


def test_one_column_is_learnt_against_itself_under_other_dropout(data: Path, tmp_path: Path) -> None:
    model = {"dropout": {"hidden": 0.1, "attention": 0.1}}
    job = train_here(
        make_run(tmp_path / "run", wanted(data, data={"text": "positive"}, model=model)), "none", 2
    )
    train = job.dataset.train
    assert np.array_equal(train.ids[: train.offsets[1]], train.ids[train.offsets[1] : train.offsets[2]])
    assert losses(job.run)[0] > 0


# Use


@pytest.mark.parametrize(
    ("family", "settings"),
    [
        ("bert", {"prompts": {"query": "query: ", "document": "passage: "}}),
        ("bert", {"pooling": "cls", "normalize": False}),
        ("roberta", {}),
        ("distilbert", {}),
        ("modernbert", {"pooling": "cls"}),
        ("deberta-v2", {}),
    ],
)
def test_sentence_transformers_gives_the_same_vectors(
    family: str, settings: dict[str, Any], data: Path, tmp_path: Path, ranks: RankServer
) -> None:
    changed = wanted(
        data,
        model={"scratch": {"family": family}},
        embedding=settings,
        data={"max_length": 12},
        train={"max_steps": 2},
    )
    run = ranks.complete(make_run(tmp_path / "run", changed))
    file = tmp_path / "both.jsonl"
    queries = ["where is the red hat", "a", "a text that is much too long for twelve tokens " * 3]
    documents = ["here is the hat", "an example", "nothing"]
    rows = [{"anchor": q, "positive": d} for q, d in zip(queries, documents, strict=True)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    output = tmp_path / "found.jsonl"
    ranks.verb("predict", run.path, file, "--output", output)
    found = [json.loads(line) for line in output.read_text().splitlines()]
    theirs = SentenceTransformer(str(run.model), device="cpu")
    assert theirs.max_seq_length == 12
    expected = np.stack([theirs.encode_query(queries), theirs.encode_document(documents)], 1)
    np.testing.assert_allclose([row["embedding"] for row in found], expected, atol=1e-6)
    similarity = theirs.similarity_pairwise(expected[:, 0], expected[:, 1])
    np.testing.assert_allclose([row["similarity"] for row in found], similarity, atol=1e-5)
    if settings.get("normalize", True):
        np.testing.assert_allclose(np.linalg.norm(expected, axis=-1), 1, atol=1e-5)


def test_files_of_either_side_are_embedded_alone(
    reference: RunDir, tmp_path: Path, ranks: RankServer
) -> None:
    (tmp_path / "corpus.csv").write_text("positive,id\nhere is a hat,1\nhere is a boat,2\n")
    ranks.verb("predict", reference.path, tmp_path / "corpus.csv", "--output", tmp_path / "corpus.npy")
    vectors = np.load(tmp_path / "corpus.npy")
    assert (vectors.shape, vectors.dtype) == ((2, 32), np.float32)
    told = ranks.verb("predict", reference.path, "--text", "here is a hat", "--text", "here is a boat")
    np.testing.assert_allclose([row["embedding"] for row in told["predictions"]], vectors, atol=1e-6)
    assert [row["similarity"] for row in told["predictions"]] == [None, None]
