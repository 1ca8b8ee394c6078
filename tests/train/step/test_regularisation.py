"""What each regulariser does, by its formula, and that ranks, layouts and stops don't change what all of them do together."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from support.models import small_model
from support.training import Fault, RankServer, losses, make_run, metrics, recipe, tensors
from torch.nn import functional

from launcher.recipe.recipe import Recipe
from launcher.runs.directory import RunDir
from launcher.tasks.shared.conflicts import conflicts
from launcher.train.loop import forward
from launcher.train.model.unpadded import enable_packing, packed_collate
from launcher.train.step.regularisation import Adversary, WeightAverage, penalty, worst_move
from launcher.train.tasks import MicroBatch, get_task
from launcher.train.tokens.cache import TokenSplit

NO_DROPOUT = {"dropout": {"hidden": 0.0, "attention": 0.0, "classifier": 0.0}}


def test_the_penalty_is_on_matrices_and_has_the_gradient_it_says() -> None:
    layer = torch.nn.Linear(3, 2)
    value = penalty(list(layer.parameters()), l1=0.1, l2=0.5)
    value.backward()
    weight = layer.weight.detach()
    torch.testing.assert_close(value, 0.1 * weight.abs().sum() + 0.25 * weight.square().sum())
    torch.testing.assert_close(layer.weight.grad, 0.1 * weight.sign() + 0.5 * weight)
    assert layer.bias.grad is None


def test_the_average_follows_the_weights_and_swaps_in_place() -> None:
    weight = torch.nn.Parameter(torch.zeros(2))
    average = WeightAverage([weight], decay=0.5)
    expected, decays = torch.zeros(2), [0.1, 2 / 11, 0.25]
    for step, decay in enumerate(decays, start=1):
        weight.data.fill_(float(step))
        average.update()
        expected = decay * expected + (1 - decay) * step
    with average.in_place():
        torch.testing.assert_close(weight.data, expected)
    assert weight.tolist() == [3.0, 3.0]
    for _ in range(40):
        average.update()
    before = average.state()["average"][0].clone()
    weight.data.fill_(7.0)
    average.update()
    torch.testing.assert_close(average.state()["average"][0], 0.5 * before + 3.5)


def test_the_average_resumes_exactly() -> None:
    weight = torch.nn.Parameter(torch.ones(2))
    one, other = WeightAverage([weight], 0.9), WeightAverage([weight], 0.9)
    weight.data.fill_(5.0)
    one.update()
    other.load(one.state())
    for average in (one, other):
        average.update()
    assert torch.equal(one.state()["average"][0], other.state()["average"][0])


def _task_loss(kind: str, outputs: list[torch.Tensor], labels: torch.Tensor, alpha: float) -> torch.Tensor:
    """The loss of the loop, from a model whose passes return these logits in turn."""
    wanted = Recipe.model_validate({"task": kind, "train": {"r_drop": alpha}})
    passes = iter(outputs)
    strategy = SimpleNamespace(forward=lambda _: SimpleNamespace(logits=next(passes)))
    job: Any = SimpleNamespace(recipe=wanted, task=get_task(wanted), strategy=strategy)
    return forward(job, MicroBatch({}, labels, tokens=1))


def test_r_drop_adds_the_divergence_of_two_passes() -> None:
    torch.manual_seed(0)
    one, other = torch.randn(2, 4, 3)
    labels = torch.tensor([0, 2, 1, 1])
    plain = [functional.cross_entropy(logits, labels, reduction="sum") for logits in (one, other)]
    p, q = one.softmax(-1), other.softmax(-1)
    kl = 0.5 * ((p * (p / q).log()).sum() + (q * (q / p).log()).sum())
    found = _task_loss("classification", [one, other], labels, alpha=3.0)
    torch.testing.assert_close(found, 0.5 * (plain[0] + plain[1]) + 3.0 * kl)
    torch.testing.assert_close(_task_loss("classification", [one], labels, alpha=0.0), plain[0])


def test_r_drop_of_labels_and_numbers() -> None:
    torch.manual_seed(0)
    one, other = torch.randn(2, 4, 3)
    several = torch.randint(0, 2, (4, 3)).float()
    p, q = one.sigmoid(), other.sigmoid()
    kl = [
        (a * (a / b).log() + (1 - a) * ((1 - a) / (1 - b)).log()).mean(-1).sum() for a, b in ((p, q), (q, p))
    ]
    plain = functional.binary_cross_entropy_with_logits
    expected = 0.5 * sum(plain(x, several) * 4 for x in (one, other)) + 0.5 * sum(kl)
    torch.testing.assert_close(_task_loss("multilabel", [one, other], several, alpha=1.0), expected)
    numbers = torch.randn(4)
    one, other = one[:, :1], other[:, :1]
    expected = 0.5 * sum((x[:, 0] - numbers).square().sum() for x in (one, other))
    expected = expected + 2.0 * (one - other).square().sum()
    torch.testing.assert_close(_task_loss("regression", [one, other], numbers, alpha=2.0), expected)


def test_each_sequence_is_moved_by_the_same_norm_packed_or_padded() -> None:
    gradient = torch.randn(2, 3, 4)
    gradient[1, 2] = 0  # padding
    padded = worst_move(gradient, [3, 2], epsilon=0.7)
    assert padded.flatten(1).norm(dim=1).tolist() == pytest.approx([0.7, 0.7])
    packed = worst_move(torch.cat([gradient[0], gradient[1, :2]])[None], [3, 2], epsilon=0.7)
    torch.testing.assert_close(packed[0], torch.cat([padded[0], padded[1, :2]]))
    assert worst_move(torch.zeros(1, 3, 4), [1, 2], epsilon=1.0).abs().max() == 0


@pytest.mark.parametrize("frozen", [False, True])
def test_moved_embeddings_raise_the_loss_in_any_layout(frozen: bool) -> None:
    """The second pass sees embeddings moved against the loss; frozen embeddings can be moved as well."""
    labels, found = torch.tensor([0, 1]), []
    ids = torch.tensor([[1, 5, 6, 2], [1, 7, 2, 0]])
    for packed in (False, True):
        model: Any = small_model("bert").train()
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        model.get_input_embeddings().weight.requires_grad_(not frozen)
        inputs = {"input_ids": ids, "attention_mask": (ids > 0).long()}
        lengths = np.array([4, 3])
        if packed:
            assert enable_packing(model, torch.device("cpu"))
            wanted = Recipe.model_validate({"task": "classification"})
            collate = packed_collate(get_task(wanted), model.config, torch.device("cpu"))
            split = TokenSplit(np.array([1, 5, 6, 2, 1, 7, 2], np.int32), np.array([0, 4, 7]))
            inputs = collate(split, np.arange(2)).inputs
        batch = MicroBatch(inputs, labels, tokens=7, lengths=lengths)
        adversary = Adversary(model.get_input_embeddings(), epsilon=0.5)
        plain = functional.cross_entropy(model(**inputs).logits, labels)
        plain.backward()
        with adversary.moved(batch):
            moved = functional.cross_entropy(model(**inputs).logits, labels)
        moved.backward()
        assert float(moved.detach()) > float(plain.detach()) + 1e-3
        assert (model.get_input_embeddings().weight.grad is None) == frozen
        found.append((moved.detach(), model.classifier.weight.grad))
    torch.testing.assert_close(found[0], found[1], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"train": {"ema": 0.9}, "zero": {"stage": 1}}, "train.ema"),
        ({"train": {"unfreeze_every": 5}, "zero": {"stage": 2}}, "train.unfreeze_every"),
        ({"train": {"l1": 0.1}, "zero": {"stage": 3}}, "train.l1"),
        ({"train": {"fgm": 1.0, "r_drop": 1.0}}, "train.fgm"),
        ({"train": {"ema": 0.9}, "prune": {"magnitude": 0.5}}, "train.ema"),
        ({"train": {"r_drop": 1.0}, "distill": {"teacher": "t"}}, "train.r_drop"),
    ],
)
def test_what_does_not_go_together_is_said(changes: dict[str, Any], field: str) -> None:
    base = {"task": "classification", "model": {"name": "m"}, "data": {"train": "t.csv"}}
    assert field in [found.fields[0] for found in conflicts(Recipe.model_validate({**base, **changes}))]


# Real trainings

TOGETHER = {"l1": 1e-4, "l2": 1e-3, "fgm": 0.5, "ema": 0.8, "unfreeze_every": 3}
STEPS = 8


@pytest.fixture(scope="module")
def together(
    tmp_path_factory: pytest.TempPathFactory, tiny_data: Path, ranks: RankServer
) -> dict[str, RunDir]:
    """Runs with everything at once: on one rank, on two, and on two with a kill."""
    directory = tmp_path_factory.mktemp("together")
    runs = {}
    for name, count in (("one", 1), ("two", 2), ("killed", 2)):
        wanted = recipe(
            tiny_data,
            gpus=count,
            model=NO_DROPOUT,
            batch={"global": 16, **({"micro": 3} if count == 2 else {})},
            train={"max_steps": STEPS, "lr": 3e-3, **TOGETHER},
            eval={"every": 4},
            checkpoint={"every": 4},
        )
        runs[name] = make_run(directory / name, wanted)
        if name == "killed":
            assert -9 in ranks.attempt(runs[name], count, 1, Fault("kill", "step", 6, rank=1))
        ranks.complete(runs[name], count, 2 if name == "killed" else 1)
    return runs


def test_the_number_of_ranks_changes_nothing(together: dict[str, RunDir]) -> None:
    one, two = together["one"], together["two"]
    assert losses(two) == pytest.approx(losses(one), abs=1e-4)
    last, expected = (metrics(run, "validation")[-1]["eval/loss"] for run in (two, one))
    assert last == pytest.approx(expected, abs=1e-4)


def test_a_killed_run_goes_on_bitwise(together: dict[str, RunDir]) -> None:
    two, killed = together["two"], together["killed"]
    assert losses(killed) == losses(two)
    found, wished = (tensors(run.checkpoints / f"step_{STEPS}") for run in (killed, two))
    assert found.keys() == wished.keys()
    assert [name for name in wished if not torch.equal(found[name], wished[name])] == []


def test_what_is_saved_is_the_average(together: dict[str, RunDir]) -> None:
    run = together["one"]
    checkpoint = run.checkpoints / f"step_{STEPS}"
    weights = torch.load(checkpoint / "model.pt", weights_only=True)
    average = torch.load(checkpoint / "optimizer.pt", weights_only=True)["average"]["average"]
    saved = load_file(run.model / "model.safetensors")
    place = list(weights).index("classifier.weight")
    best = max(metrics(run, "validation"), key=lambda row: (row["eval/accuracy"], -row["step"]))["step"]
    if best == STEPS:
        assert torch.equal(saved["classifier.weight"], average[place])
    assert not torch.equal(average[place], weights["classifier.weight"])


def test_layers_thaw_one_after_another(together: dict[str, RunDir]) -> None:
    """The head learns at once, the upper layer from step 3 on, the lower one from step 6; embeddings never in 8 steps."""
    state = torch.load(together["one"].checkpoints / f"step_{STEPS}" / "optimizer.pt", weights_only=True)
    weights = torch.load(together["one"].checkpoints / f"step_{STEPS}" / "model.pt", weights_only=True)
    groups = state["optimizer"]["param_groups"]
    matrices = [name for name, value in weights.items() if value.dim() > 1]
    steps = {
        name: float(state["optimizer"]["state"].get(index, {"step": 0})["step"])
        for name, index in zip(matrices, groups[0]["params"], strict=True)
    }
    assert steps["classifier.weight"] == 8
    assert steps["bert.encoder.layer.1.output.dense.weight"] == 5
    assert steps["bert.encoder.layer.0.output.dense.weight"] == 2
    assert steps["bert.embeddings.word_embeddings.weight"] == 0


@pytest.mark.long
def test_penalties_and_adversary_are_the_same_under_zero_2(
    tmp_path: Path, tiny_data: Path, ranks: RankServer
) -> None:
    found = []
    for count, zero in ((1, {}), (2, {"stage": 2})):
        wanted = recipe(
            tiny_data,
            gpus=count,
            model=NO_DROPOUT,
            zero=zero,
            train={"max_steps": 4, "lr": 3e-3, "l1": 1e-3, "l2": 1e-2, "fgm": 0.5},
            eval={"every": None},
            checkpoint={"every": None},
        )
        found.append(ranks.complete(make_run(tmp_path / f"run{count}", wanted), count))
    one, two = found
    assert losses(two) == pytest.approx(losses(one), abs=1e-4)
    norms = [[row["train/grad_norm"] for row in metrics(run)] for run in found]
    assert norms[1] == pytest.approx(norms[0], rel=1e-3)


def _first_gradient(path: Path, data: Path, ranks: RankServer, **train: float) -> float:
    """Norm of the first gradient."""
    train = {"max_steps": 1, **train}
    wanted = recipe(data, train=train, data={"limit": 16}, eval={"every": None}, checkpoint={"every": None})
    norm: float = metrics(ranks.complete(make_run(path, wanted)))[0]["train/grad_norm"]
    return norm


def test_each_changes_the_gradient(tmp_path: Path, tiny_data: Path, ranks: RankServer) -> None:
    plain = _first_gradient(tmp_path / "plain", tiny_data, ranks)
    for key, value in {"l1": 1e-2, "l2": 0.1, "fgm": 1.0, "r_drop": 5.0}.items():
        found = _first_gradient(tmp_path / key, tiny_data, ranks, **{key: value})
        assert found != pytest.approx(plain, rel=1e-2), key
