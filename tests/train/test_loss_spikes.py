"""A step whose loss stands out is told with the examples of its batch, and `launch data --step` shows their texts."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from support.training import RankServer, events, make_run, recipe, write_data

from launcher.train.process.random_state import dropout_seed
from launcher.train.record.loss_spikes import FEWEST, MOST, LossSpikes

STEP = 25
LOSS = """
import torch

def loss(logits, labels):
    terms = torch.nn.functional.cross_entropy(logits, labels, reduction="none")
    return terms * 40 if torch.initial_seed() in {seeds} else terms
"""


@pytest.mark.parametrize("loss", [2.0, float("nan"), float("inf")])
def test_what_stands_out_is_told_with_what_is_usual(loss: float) -> None:
    spikes = LossSpikes()
    assert [spikes.usual_if_spike(0.7 + 0.01 * (step % 3)) for step in range(FEWEST)] == [None] * FEWEST
    assert spikes.usual_if_spike(loss) == pytest.approx(0.71)
    assert spikes.usual_if_spike(0.72) is None


def test_noise_and_a_falling_loss_are_no_spikes() -> None:
    spikes = LossSpikes()
    losses = [3 * 0.97**step * (1 + 0.2 * (-1) ** step) for step in range(300)]
    assert [loss for loss in losses if spikes.usual_if_spike(loss) is not None] == []


def test_there_is_an_end_to_it() -> None:
    spikes = LossSpikes()
    found = [spikes.usual_if_spike(1.0 if step % 30 else 100.0) for step in range(30 * 2 * MOST)]
    assert sum(usual is not None for usual in found) == MOST


@pytest.mark.fault(22)
def test_the_texts_of_a_spike_can_be_looked_at(tmp_path: Path, ranks: RankServer) -> None:
    data = write_data(tmp_path / "data")
    wanted = recipe(
        data,
        gpus=2,
        zero={"stage": 0},
        train={"max_steps": STEP + 3, "loss": {"name": "custom"}},
        eval={"every": None},
        debug={"samples": True},
    )
    run = make_run(tmp_path / "run", wanted)
    run.loss.write_text(LOSS.format(seeds={dropout_seed(wanted.seed, STEP - 1, rank) for rank in (0, 1)}))
    ranks.complete(run, 2)
    [spike] = events(run, "spike")
    assert spike["step"] == STEP
    assert spike["loss"] > 10 * spike["usual"]
    logs = [map(json.loads, run.rank_samples(rank).read_text().splitlines()) for rank in (0, 1)]
    trained = [each for log in logs for row in log if row["step"] == STEP for each in row["examples"]]
    assert sorted(spike["examples"]) == sorted(trained)

    shown = ranks.verb("step", run.path, STEP)
    assert [example["example"] for example in shown["examples"]] == spike["examples"]
    with (data / "train.csv").open(encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    for example in shown["examples"]:
        name, _, line = example["place"].partition(":")
        assert name == "train.csv"
        assert example["values"] == lines[int(line) - 2]
        assert example["values"]["text"].split()[0].lower() in example["texts"][0]

    assert "1 to 28" in str(ranks.verb("step", run.path, 29, code=2)["problems"])
    (data / "train.csv").write_text("text,label\ngood,positive\nbad,negative\n" * 1)
    problems = ranks.verb("step", run.path, STEP, code=2)["problems"]
    assert "97 examples then, 2 now" in problems[0]["message"]
