"""Smaller models: what is taken out, that the rest computes the same, and that plain transformers loads it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.models import small_model
from support.training import Fault, RankServer, events, losses, make_run, metrics, recipe, result
from transformers import AutoModelForSequenceClassification, pipeline

from launcher import families
from launcher.recipe.prune import Prune
from launcher.recipe.recipe import Recipe
from launcher.runs.directory import RunDir
from launcher.train.compress.importance import Importance, measure
from launcher.train.compress.magnitude_pruning import Sparsity
from launcher.train.compress.structural_pruning import choose, shrink
from launcher.train.model.parts import Kept, head_count, layers_of

FAMILIES = tuple(name for name in families.FAMILIES if families.find(name).can_shrink)


def of_run(data: Path, run: RunDir, /, **changes: Any) -> Recipe:
    """A recipe that starts from the model of `run`, as planning settles it."""
    model = {"name": str(run.model), "init": "pretrained"}
    return recipe(data, init_from=str(run.model), model=model, **changes)


def logits(model: torch.nn.Module) -> torch.Tensor:
    ids = torch.randint(3, 60, (4, 12), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        found: torch.Tensor = model.eval()(input_ids=ids).logits
    return found


def everything(model: Any, **changes: Any) -> Kept:
    layers, heads = model.config.num_hidden_layers, head_count(model.config)
    neurons = layers_of(model)[0].down.in_features
    whole = {
        "layers": list(range(layers)),
        "heads": [torch.arange(heads)] * layers,
        "neurons": [torch.arange(neurons)] * layers,
        "hidden": torch.arange(model.config.hidden_size),
    }
    return Kept(**{**whole, **changes})


@pytest.mark.parametrize("family", FAMILIES)
def test_neurons_and_layers_that_do_nothing_can_go(family: str, tmp_path: Path) -> None:
    """Silent neurons are taken out without a trace in the logits, and what is left loads like any model."""
    model: Any = small_model(family, layers=3)
    kept = torch.tensor([0, 1, 5, 8, 9, 20, 30, 47])
    for layer in layers_of(model):
        silent = torch.ones(48, dtype=torch.bool)
        silent[kept] = False
        layer.down.weight.data[:, silent] = 0
    smaller = shrink(model, everything(model, neurons=[kept] * 3))
    torch.testing.assert_close(logits(smaller), logits(model))
    smaller.save_pretrained(tmp_path)
    loaded: Any = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    torch.testing.assert_close(logits(loaded), logits(model))
    two = shrink(model, everything(model, layers=[0, 2]))
    assert two.config.num_hidden_layers == 2


@pytest.mark.parametrize("family", FAMILIES)
def test_heads_go_with_their_share_of_the_hidden_width(family: str, tmp_path: Path) -> None:
    model: Any = small_model(family)
    kept = everything(model, heads=[torch.tensor([1]), torch.tensor([0])], hidden=torch.arange(0, 32, 2))
    smaller = shrink(model, kept)
    assert (smaller.config.hidden_size, smaller.config.num_attention_heads) == (16, 1)
    new, old = layers_of(smaller)[0].out.weight, layers_of(model)[0].out.weight
    torch.testing.assert_close(new, old[::2, 16:32])  # the second head's columns, every other row
    smaller.save_pretrained(tmp_path)
    loaded: Any = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    torch.testing.assert_close(logits(loaded), logits(smaller))


def test_what_matters_least_goes() -> None:
    importance = Importance(
        heads=torch.tensor([[1.0, 4, 3, 2], [5.0, 1, 1, 9], [0.0, 1, 0, 1]]),
        neurons=torch.tensor([[1.0, 2, 3, 4], [9.0, 8, 7, 6], [0.0, 1, 0.5, 2]]),
        hidden=torch.tensor([3.0, 1, 4, 1, 5, 9, 2, 6]),
    )
    data: dict[str, Any] = {"task": "classification", "prune": {"heads": 0.5, "ffn": 0.25, "layers": 1}}
    kept = choose(importance, Recipe.model_validate_json(json.dumps(data)))
    assert kept.layers == [0, 1]
    assert [heads.tolist() for heads in kept.heads] == [[1, 2], [0, 3], [1, 3]]
    assert [neurons.tolist() for neurons in kept.neurons] == [[1, 2, 3], [0, 1, 2], [1, 2, 3]]
    assert kept.hidden.tolist() == [2, 4, 5, 7]


def test_importance_is_the_derivative_by_a_gate(tiny_data: Path, tiny_run: RunDir) -> None:
    """Against gates that are really put in: an output of the second layer's head and neuron is multiplied by 1 + e."""
    from launcher.train.dataset.prepare import prepare
    from launcher.train.model.build import build_model
    from launcher.train.model.unpadded import make_collate
    from launcher.train.tasks import get_task
    from launcher.train.tokens.tokenizer import load_tokenizer

    wanted = of_run(tiny_data, tiny_run)
    tokenizer = load_tokenizer(str(tiny_run.model), None)
    task = get_task(wanted, tokenizer)
    data = prepare(wanted, tokenizer)
    model: Any = build_model(wanted, task, data.label_names, tokenizer).base
    collate, _ = make_collate(task, tokenizer, model, torch.device("cpu"))
    examples = np.array([3])
    found = measure(model, task, collate, data.train, examples)

    def gated(module: torch.nn.Linear, columns: slice) -> float:
        whole = module.weight.detach().clone()
        values = []
        for change in (1e-2, -1e-2):
            module.weight.data[:, columns] = whole[:, columns] * (1 + change)
            batch = collate(data.train, examples)
            with torch.no_grad():
                values.append(float(task.loss_sum(model(**batch.inputs), batch)))
            module.weight.data.copy_(whole)
        return abs(values[0] - values[1]) / 2e-2

    layer = layers_of(model)[1]
    assert float(found.heads[1, 1]) == pytest.approx(gated(layer.out, slice(16, 32)), rel=0.02, abs=1e-6)
    assert float(found.neurons[1, 7]) == pytest.approx(gated(layer.down, slice(7, 8)), rel=0.02, abs=1e-6)
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.fixture(scope="module")
def pruned(
    tmp_path_factory: pytest.TempPathFactory, tiny_data: Path, tiny_run: RunDir, ranks: RankServer
) -> RunDir:
    """Half of the heads and neurons of the tiny run's model taken out, then trained on."""
    prune = {"heads": 0.5, "ffn": 0.5, "examples": 32}
    wanted = of_run(tiny_data, tiny_run, prune=prune, train={"max_steps": 12})
    return ranks.complete(make_run(tmp_path_factory.mktemp("pruned") / "run", wanted))


def test_the_run_tells_what_it_gained_and_lost(pruned: RunDir, tiny_run: RunDir) -> None:
    account = result(pruned)["compression"]
    before, after = account["before"], account["after"]
    assert before["parameters"] == result(tiny_run)["measured"]["parameters"]
    assert after["parameters"] == result(pruned)["measured"]["parameters"] < 0.6 * before["parameters"]
    assert after["bytes"] < 0.7 * before["bytes"]
    best = result(tiny_run)["best"]
    assert before["metrics"][best["metric"]] == best["value"]
    assert after["metrics"]["accuracy"] == result(pruned)["best"]["value"]
    assert 0 <= account["before_recovery"]["accuracy"] <= 1
    assert before["latency_ms"] > 0 < after["latency_ms"]


def test_transformers_alone_loads_it(pruned: RunDir) -> None:
    model: Any = AutoModelForSequenceClassification.from_pretrained(pruned.model)
    shape = (model.config.hidden_size, model.config.num_attention_heads, model.config.intermediate_size)
    assert shape == (16, 1, 32)


def test_packed_and_plain_agree_on_a_smaller_model(pruned: RunDir, ranks: RankServer) -> None:
    """Ours computes without padding, transformers as it always does."""
    text = "The coffee was far from dreadful!"
    (ours,) = ranks.verb("predict", pruned.path, "--text", text)["predictions"]
    (theirs,) = pipeline("text-classification", model=str(pruned.model))([text])
    assert ours["prediction"] == theirs["label"]
    assert max(ours["probabilities"].values()) == pytest.approx(theirs["score"], abs=1e-6)


def test_several_ranks_and_adapters_start_from_one_pruned_model(
    tmp_path: Path, tiny_data: Path, tiny_run: RunDir, ranks: RankServer
) -> None:
    prune = {"heads": 0.5, "examples": 8}
    wanted = of_run(tiny_data, tiny_run, prune=prune, tuning="lora", gpus=2, train={"max_steps": 3})
    run = ranks.complete(make_run(tmp_path / "run", wanted), ranks=2)
    model: Any = AutoModelForSequenceClassification.from_pretrained(run.model)
    assert model.config.hidden_size == 16


@pytest.mark.long
def test_a_resumed_run_goes_on_with_what_was_pruned(
    pruned: RunDir, tmp_path: Path, tiny_data: Path, tiny_run: RunDir, ranks: RankServer
) -> None:
    """The second attempt doesn't prune again: its start is in the run directory, and the curve is the same."""
    prune = {"heads": 0.5, "ffn": 0.5, "examples": 32}
    changes = {"prune": prune, "train": {"max_steps": 12}, "checkpoint": {"every": 4}}
    run = make_run(tmp_path / "run", of_run(tiny_data, tiny_run, **changes))
    assert ranks.attempt(run, fault=Fault("stop", "step", 6)) == [0]
    before = (run.pruned / "model.safetensors").stat().st_mtime_ns
    ranks.complete(run, number=2)
    assert (run.pruned / "model.safetensors").stat().st_mtime_ns == before
    assert losses(run) == losses(pruned)
    assert [event["name"] for event in events(run, "phase")].count("pruning") == 1


def test_the_cubic_schedule() -> None:
    """Zhu and Gupta, 2017, equation 1, with a ramp over 70 of 100 steps."""
    encoder = small_model("bert").base_model
    assert isinstance(encoder, torch.nn.Module)
    prune = Prune(magnitude=0.5)
    sparsity = Sparsity(encoder, prune, total=100, step=0)
    assert [sparsity.share(step) for step in (0, 35, 70, 100)] == pytest.approx([0, 0.4375, 0.5, 0.5])
    assert [sparsity.reached(step) for step in (0, 69, 70)] == [False, False, True]
    largest = encoder.encoder.layer[0].intermediate.dense.weight.abs().max()
    sparsity.hold(70)
    weight = encoder.encoder.layer[0].intermediate.dense.weight
    assert float((weight == 0).float().mean()) == pytest.approx(0.5, abs=1e-3)
    assert weight.abs().max() == largest
    assert not (encoder.embeddings.word_embeddings.weight[1:] == 0).any()


@pytest.mark.parametrize("schedule", ["gradual", "one_shot"])
def test_pruned_weights_stay_at_zero(
    tmp_path: Path, tiny_data: Path, tiny_run: RunDir, ranks: RankServer, schedule: str
) -> None:
    changes = {"prune": {"magnitude": 0.6, "schedule": schedule}, "train": {"max_steps": 10, "lr": 1e-2}}
    wanted = of_run(tiny_data, tiny_run, eval={"every": 2}, **changes)
    run = ranks.complete(make_run(tmp_path / "run", wanted))
    model: Any = AutoModelForSequenceClassification.from_pretrained(run.model)
    for layer in layers_of(model):
        assert float((layer.down.weight == 0).float().mean()) == pytest.approx(0.6, abs=0.01)
    after = result(run)["compression"]["after"]
    assert after["nonzero"] < after["parameters"]
    if (
        schedule == "gradual"
    ):  # the best of the models that are as sparse as asked, not of the denser ones before
        assert result(run)["best"]["step"] >= 7
        assert len(metrics(run, "validation")) == 5


@pytest.mark.long
def test_a_student_comes_nearer_to_its_teacher(
    tmp_path: Path, tiny_data: Path, tiny_run: RunDir, ranks: RankServer
) -> None:
    """Learning from nothing but the teacher's probabilities brings the student's there, and labels alone do not."""
    teacher = {"teacher": str(tiny_run.model), "temperature": 3.0, "weight": 1.0}
    distances = []
    for name, distill in (("taught", teacher), ("alone", {})):
        prune = {"layers": 1, "examples": 16}
        train = {"max_steps": 25, "lr": 3e-3}
        wanted = of_run(tiny_data, tiny_run, prune=prune, distill=distill, train=train)
        run = ranks.complete(make_run(tmp_path / name, wanted))
        distances.append(_distance(run, tiny_run, tiny_data, ranks))
    taught, alone = distances
    assert taught < alone


def _distance(run: RunDir, other: RunDir, data: Path, ranks: RankServer) -> float:
    """Mean absolute difference of the two models' probabilities on the training data."""
    found = []
    for name, directory in (("one", run), ("two", other)):
        output = run.path / f"{name}.jsonl"
        ranks.verb("predict", directory.path, data / "train.csv", "--output", output)
        rows = [json.loads(line) for line in output.read_text().splitlines()]
        found.append(torch.tensor([next(iter(row["probabilities"].values())) for row in rows]))
    return float((found[0] - found[1]).abs().mean())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"distill": {"hidden": 1.0}, "prune": {"heads": 0.5, "examples": 8}}, "states of one width"),
        ({"data": {"labels": ["positive", "negative"]}}, "trained on the same labels"),
    ],
)
def test_a_teacher_that_does_not_fit_is_refused(
    tmp_path: Path,
    tiny_data: Path,
    tiny_run: RunDir,
    ranks: RankServer,
    changes: dict[str, Any],
    said: str,
) -> None:
    distill = {"teacher": str(tiny_run.model), **changes.get("distill", {})}
    run = make_run(tmp_path / "run", of_run(tiny_data, tiny_run, **{**changes, "distill": distill}))
    assert ranks.attempt(run) == [1]
    assert said in result(run)["error"]["message"] + result(run)["error"]["remedy"]


def test_a_recipe_beside_a_teacher_that_is_no_run_says_nothing_of_it(
    tmp_path: Path, tiny_data: Path, tiny_run: RunDir, ranks: RankServer
) -> None:
    teacher = shutil.copytree(tiny_run.model, tmp_path / "teacher")
    (tmp_path / "recipe.yaml").write_text("task: regression\n")
    wanted = of_run(tiny_data, tiny_run, distill={"teacher": str(teacher)}, train={"max_steps": 1})
    ranks.complete(make_run(tmp_path / "run", wanted))
