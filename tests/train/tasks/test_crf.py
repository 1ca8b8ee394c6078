"""The CRF against sums and maxima over every sequence of tags, written out."""

from __future__ import annotations

from itertools import pairwise, product

import numpy as np
import pytest
import torch

from launcher.tasks.shared.tagging import BIO, BIOES, Scheme, complete, follows
from launcher.train.tasks import crf
from launcher.train.tasks.crf import Sentences
from launcher.train.tasks.entity_scores import legal_steps

LABELS = 3
LENGTHS = (3, 0, 1, 4)


@pytest.fixture
def rows() -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(sum(LENGTHS), LABELS, generator=generator, requires_grad=True)


@pytest.fixture
def steps() -> torch.Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.randn(LABELS + 2, LABELS, generator=generator, requires_grad=True)


def _sentences(rows: torch.Tensor) -> Sentences:
    return Sentences.of(rows, np.array(LENGTHS))[0]


def _paths(rows: torch.Tensor, steps: torch.Tensor) -> list[tuple[list[tuple[int, ...]], torch.Tensor]]:
    """For each sentence that has words every sequence of tags and their scores, added up by hand."""
    found = []
    for words in rows.split([length for length in LENGTHS if length]):
        paths = list(product(range(LABELS), repeat=len(words)))
        scores = []
        for path in paths:
            score = steps[-2, path[0]] + steps[-1, path[-1]]
            score = score + sum(words[place, tag] for place, tag in enumerate(path))
            for before, after in pairwise(path):
                score = score + steps[before, after]
            scores.append(score)
        found.append((paths, torch.stack(scores)))
    return found


def test_the_partition_and_its_gradients_are_those_of_all_paths(
    rows: torch.Tensor, steps: torch.Tensor
) -> None:
    ours = crf.log_partition(_sentences(rows), steps)
    theirs = torch.stack([scores.logsumexp(0) for _, scores in _paths(rows, steps)])
    torch.testing.assert_close(ours[[0, 2, 3]], theirs)
    assert ours[1] == 0  # no words
    for mine, their in zip(
        torch.autograd.grad(ours.sum(), (rows, steps)),
        torch.autograd.grad(theirs.sum(), (rows, steps)),
        strict=True,
    ):
        torch.testing.assert_close(mine, their)


def test_the_score_of_a_sequence_is_its_steps_and_emissions(rows: torch.Tensor, steps: torch.Tensor) -> None:
    tags = torch.tensor([2, 0, 1, 1, 0, 2, 2, 1])
    sentences, places = Sentences.of(rows, np.array(LENGTHS))
    ours = crf.score(sentences, sentences.lay_out(tags, places), steps)
    wanted = [(2, 0, 1), (1,), (0, 2, 2, 1)]
    theirs = [
        scores[paths.index(path)] for path, (paths, scores) in zip(wanted, _paths(rows, steps), strict=True)
    ]
    torch.testing.assert_close(ours[[0, 2, 3]], torch.stack(theirs))
    assert ours[1] == 0


def test_the_best_sequence_is_the_best_of_all_paths(rows: torch.Tensor, steps: torch.Tensor) -> None:
    found = crf.best_tags(_sentences(rows), steps)
    for sentence, (paths, scores) in zip((0, 2, 3), _paths(rows, steps), strict=True):
        best = paths[int(scores.argmax())]
        assert tuple(found[sentence, : len(best)].tolist()) == best


def test_marginals_are_sums_over_the_paths_through_a_tag(rows: torch.Tensor, steps: torch.Tensor) -> None:
    found = crf.marginals(_sentences(rows), steps)
    for sentence, (paths, scores) in zip((0, 2, 3), _paths(rows, steps), strict=True):
        chances = scores.softmax(0)
        for place, tag in product(range(len(paths[0])), range(LABELS)):
            through = torch.tensor([path[place] == tag for path in paths])
            torch.testing.assert_close(found[sentence, place, tag], chances[through].sum())


def test_without_steps_the_words_are_independent(rows: torch.Tensor) -> None:
    sentences, nothing = _sentences(rows), torch.zeros(LABELS + 2, LABELS)
    softmax = rows.split(LENGTHS)[3].softmax(-1)
    torch.testing.assert_close(crf.marginals(sentences, nothing)[3], softmax)
    assert crf.best_tags(sentences, nothing)[3].tolist() == softmax.argmax(-1).tolist()


@pytest.mark.parametrize("scheme", [BIO, BIOES])
def test_forbidden_steps_are_never_taken_and_gradients_stay_finite(scheme: Scheme) -> None:
    names = complete(("O", "B-X", "B-Y") if scheme == BIO else ("O", "S-X", "S-Y"), scheme)
    generator = torch.Generator().manual_seed(3)
    rows = (20 * torch.randn(60, len(names), generator=generator)).requires_grad_()
    sentences, _ = Sentences.of(rows, np.full(20, 3))
    steps = crf.forbid(torch.zeros(len(names) + 2, len(names)), legal_steps(names, scheme))
    unconstrained = crf.best_tags(sentences, torch.zeros_like(steps))
    found = crf.best_tags(sentences, steps)
    assert not torch.equal(found, unconstrained)
    for tags in found.tolist():
        path = (None, *(names[tag] for tag in tags), None)
        assert all(follows(one, two, scheme) for one, two in pairwise(path))
    crf.log_partition(sentences, steps).sum().backward()
    assert rows.grad is not None
    assert torch.isfinite(rows.grad).all()
    legal = crf.log_partition(sentences, steps)
    assert (legal <= crf.log_partition(sentences, torch.zeros_like(steps)) + 1e-3).all()


def test_transitions_are_float32_whatever_the_logits_are() -> None:
    head = crf.Transitions(LABELS)
    found = head(torch.zeros(1, 2, LABELS, dtype=torch.bfloat16))
    assert found.dtype == torch.float32
    assert found.data_ptr() != head.steps.data_ptr()
    assert np.all(found.detach().numpy() == 0)


def test_no_tensor_has_a_number_for_each_pair_of_tags_of_each_sentence() -> None:
    """Of 200 tags these took a second for 160 sentences, and gigabytes."""
    sentences, words, tags = 8, 3, 50
    rows = torch.zeros(sentences * words, tags, requires_grad=True)
    kept: list[int] = []

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        laid_out, _ = Sentences.of(rows, np.full(sentences, words))
        crf.log_partition(laid_out, torch.zeros(tags + 2, tags)).sum().backward()
    assert max(kept) < sentences * tags * tags


def test_the_only_paths_count_however_far_below_others_their_tags_are() -> None:
    rows = torch.tensor([[0.0, -300.0], [0.0, -300.0]], requires_grad=True)
    sentences, _ = Sentences.of(rows, np.array([2]))
    steps = torch.tensor([[-1e4, 0.0], [0.0, -1e4], [0.0, 0.0], [0.0, 0.0]])
    total = crf.log_partition(sentences, steps)
    torch.testing.assert_close(total, torch.tensor([-300.0 + np.log(2)], dtype=torch.float32))
    (gradient,) = torch.autograd.grad(total.sum(), rows)
    torch.testing.assert_close(gradient, torch.full((2, 2), 0.5))
