"""Embeddings' gradients by row are the gradients that PyTorch makes, and the optimizer's steps are the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support.training import RankServer, losses, make_run, recipe, train_here
from torch import nn

from launcher.train.step import row_gradients
from launcher.train.step.row_gradients import RowEmbedding, use_row_gradients


@pytest.fixture(autouse=True)
def _every_table_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_gradients, "LARGE", 0)


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Embedding(50, 8, padding_idx=0), nn.Linear(8, 3))


def backward(net: nn.Module, *batches: list[int]) -> None:
    for ids in batches:
        net(torch.tensor([ids])).square().sum().backward()


def test_the_gradient_is_the_same_over_several_micro_batches_and_without_padding() -> None:
    stock, ours = model(), model()
    (rows,) = use_row_gradients(ours)
    for net in (stock, ours):
        backward(net, [3, 7, 3, 0], [7, 11])
    torch.testing.assert_close(ours[0].weight.grad, stock[0].weight.grad, rtol=0, atol=0)
    taken = rows.take()
    assert taken.shape == (3, 8)
    assert taken.grad is not None
    assert taken.grad.norm() == pytest.approx(float(stock[0].weight.grad.norm()), rel=1e-6)
    taken.grad.mul_(0.5)
    rows.give(taken)
    torch.testing.assert_close(ours[0].weight.grad, 0.5 * stock[0].weight.grad)
    rows.clear()
    assert not ours[0].weight.grad.any()


def test_a_table_that_the_output_layer_shares_keeps_its_dense_gradient() -> None:
    net = nn.Sequential(nn.Embedding(50, 8), nn.Linear(8, 50, bias=False))
    net[1].weight = net[0].weight
    assert use_row_gradients(net) == []
    frozen = model()
    frozen[0].weight.requires_grad_(False)
    assert use_row_gradients(frozen) == []


def test_nothing_of_it_is_saved() -> None:
    ours = model()
    use_row_gradients(ours)
    assert isinstance(ours[0], RowEmbedding)
    assert ours.state_dict().keys() == model().state_dict().keys()


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, id="plain"),
        pytest.param({"train": {"fgm": 0.5}}, id="fgm", marks=pytest.mark.long),
        pytest.param(
            {"train": {"clip": None, "optimizer": "sgd", "lr": 1e-2}},
            id="sgd, no clipping",
            marks=pytest.mark.long,
        ),
    ],
)
def test_training_is_the_same(
    tmp_path: Path,
    tiny_data: Path,
    ranks: RankServer,
    changes: dict[str, Any],
) -> None:
    """The small table of a tiny run is left alone by the server's processes; here it is not."""
    train = {"max_steps": 12, **changes.get("train", {})}
    wanted = recipe(tiny_data, **{**changes, "train": train})
    stock = ranks.complete(make_run(tmp_path / "stock", wanted))
    ours = make_run(tmp_path / "ours", wanted)
    train_here(ours, "none")
    assert losses(ours) == pytest.approx(losses(stock), rel=1e-5)
