"""Every task learns by LoRA on an ordinary pretrained model, by R-Drop, and from a teacher."""

from __future__ import annotations

import shutil
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from peft import PeftModel
from safetensors.torch import load_file
from support.cases import quick
from support.every_task import ROWS, TASKS, recipe_of, write_rows
from support.models import small_config
from support.training import RankServer, make_run, metrics, result, train_here

from launcher import tasks
from launcher.recipe.recipe import Recipe
from launcher.runs.directory import RunDir
from launcher.train.model.build import build_model
from launcher.train.tasks import get_task
from launcher.train.tasks.base import named_classes
from launcher.train.use.bootstrap import bootstrap
from launcher.train.use.inference import Predictor
from launcher.train.use.inference_files import labelled_split

NO_TWO_PASSES = ("embedding",)
"""Tasks that are combined neither with R-Drop nor with a teacher; their conflicts say so."""
TWO_PASSES = [task for task in TASKS if task not in NO_TWO_PASSES]

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("rows"))


@pytest.fixture(scope="module")
def encoder(file: Path, tmp_path_factory: pytest.TempPathFactory, ranks: RankServer) -> Path:
    """What a masked-lm run leaves: an encoder whose configuration knows of no other task."""
    run = make_run(tmp_path_factory.mktemp("runs") / "encoder", recipe_of(file, "masked-lm"))
    return ranks.complete(run).model


@pytest.mark.parametrize("task", TASKS)
def test_a_task_trains_and_is_evaluated(
    task: str, file: Path, encoder: Path, tmp_path: Path, ranks: RankServer
) -> None:
    wanted = recipe_of(file, task, tuning="lora", model={"init": "pretrained", "name": str(encoder)})
    run = ranks.complete(make_run(tmp_path / "run", wanted))
    measured = ranks.verb("eval", run.path)["validation"]
    assert measured["loss"] == pytest.approx(metrics(run, "validation")[-1]["eval/loss"], rel=1e-4)
    assert {name.partition("/")[0] for name in measured} == set(tasks.of(wanted).metrics_of(None))
    best = result(run)["best"]
    assert measured[best["metric"]] == pytest.approx(best["value"], rel=1e-4, nan_ok=True)
    _examine(run, task, wanted, file, tmp_path / "looked", measured, ranks)
    # The adapter on the model it was made for is the merged model.
    auto_class = getattr(transformers, get_task(wanted).auto_class)
    merged = auto_class.from_pretrained(run.model)
    base = auto_class.from_pretrained(encoder, num_labels=merged.config.num_labels)
    torch.testing.assert_close(
        _outputs(PeftModel.from_pretrained(base, run.model / "adapter"), task),
        _outputs(merged, task),
        atol=1e-5,
        rtol=1e-4,
    )


def _examine(
    run: RunDir, task: str, wanted: Recipe, file: Path, output: Path, measured: Any, ranks: RankServer
) -> None:
    """Every metric has an interval, drawn by what gives the metric itself where each example is drawn once."""
    found = ranks.verb("eval", run.path, file, "--output", output)
    assert found[file.name] == measured
    assert set(found["intervals"][file.name]) == {*measured, "method"} - {"loss"}
    kept = {each.split: each for each in run.read_examinations()}["validation"]
    assert stat.S_IMODE((run.evaluated / "validation.json").stat().st_mode) == 0o600
    known = {name: value for name, value in measured.items() if value is not None}
    assert {name: kept.metrics[name] for name in known} == pytest.approx(known, rel=1e-4)
    assert (kept.confusion is not None) == (task in ("classification", "ordinal", "token-classification"))
    assert (output / "predictions.csv").exists() == (task not in ("masked-lm", "embedding"))
    if kept.confusion is not None and task != "token-classification":
        right = sum(row[index] for index, row in enumerate(kept.confusion.counts))
        assert right / len(ROWS) == pytest.approx(measured["accuracy"])
        assert kept.wrong == len(ROWS) - right

    predictor = Predictor.load(run, wanted, torch.device("cpu"))
    split = labelled_split(predictor, file, wanted)
    scores, _ = predictor.score(split)
    truth = predictor.task.truth(split)
    resampling = predictor.task.resampling(scores, truth)
    whole = resampling.metrics(np.arange(resampling.units))
    assert dict(whole) == pytest.approx(predictor.task.metrics(scores, truth), nan_ok=True)
    draws = [bootstrap(predictor.task, scores, truth, seed=seed, draws=50) for seed in (1, 1, 2)]
    assert draws[0] == draws[1]
    assert draws[0] != draws[2] or all(
        one is None or one.low == one.high for one in draws[0].intervals.values()
    )


@pytest.mark.parametrize("task", [*TWO_PASSES, "token-classification with a CRF"])
def test_r_drop_counts_where_two_passes_disagree(task: str, file: Path, tmp_path: Path) -> None:
    task, _, crf = task.partition(" ")
    wanted = recipe_of(file, task, model={"dropout": {"hidden": 0.3}}, tagging={"crf": bool(crf)})
    wanted = wanted.model_copy(update={"train": wanted.train.model_copy(update={"r_drop": 2.0})})
    job = train_here(make_run(tmp_path / "run", wanted), "none", max_steps=1)
    assert metrics(job.run)[0]["train/loss"] > 0
    batch = job.collate(job.dataset.train, np.arange(6), 1)
    job.strategy.train_mode(True)
    one, other = (job.strategy.forward(batch.inputs) for _ in range(2))
    plain = [job.task.loss_sum(output, batch) for output in (one, other)]
    found = job.task.agreeing_loss_sum(one, other, batch, 2.0)
    torch.testing.assert_close(found, job.task.agreeing_loss_sum(other, one, batch, 2.0))
    torch.testing.assert_close(plain[0], job.task.agreeing_loss_sum(one, one, batch, 2.0))
    apart = job.task.divergence_sum(one, other, batch)
    assert float(apart.detach()) > 1e-7
    torch.testing.assert_close(found, 0.5 * sum(plain) + 2.0 * apart)
    found.backward()
    gradients = [p.grad for p in job.built.model.parameters() if p.grad is not None]
    assert gradients
    assert all(gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize(
    "task",
    quick([*TWO_PASSES, "token-classification with a CRF"], ["classification", "embedding", "ranking"]),
)
def test_a_student_comes_nearer_to_its_teacher(
    task: str, file: Path, tmp_path: Path, ranks: RankServer
) -> None:
    """In what the loss decides; a student that is its teacher already has nothing to learn from it."""
    task, _, crf = task.partition(" ")
    changes: dict[str, Any] = {"tagging": {"crf": bool(crf)}, "model": {"dropout": {"hidden": 0.0}}}
    teacher = ranks.complete(make_run(tmp_path / "teacher", recipe_of(file, task, **changes)))
    changes["distill"] = {"teacher": str(teacher.model), "weight": 1.0}
    job = train_here(make_run(tmp_path / "student", recipe_of(file, task, **changes, seed=7)), "none", 12)
    before, after = metrics(job.run)[0]["train/loss"], metrics(job.run)[-1]["train/loss"]
    assert -1e-6 < after < max(before, 1e-6)  # choices are close to each other from the start

    batch = job.collate(job.dataset.train, np.arange(6), 1)
    taught = job.task.teach(batch)
    assert float(job.task.taught_sum(taught, taught, batch, 2.0)) == pytest.approx(0, abs=1e-5)
    job.strategy.train_mode(True)
    loss = job.task.loss_sum(job.strategy.forward(batch.inputs), batch)
    loss.backward()
    gradients = [p.grad for p in job.built.model.parameters() if p.grad is not None]
    assert all(gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize("task", ["token-classification", "ordinal"])
def test_a_head_of_ones_own_is_carried_on_and_survives_pruning(
    task: str, file: Path, tmp_path: Path, ranks: RankServer
) -> None:
    """A CRF's transitions and ordinal thresholds go from run to run, where the labels are the same."""
    changes: dict[str, Any] = {"tagging": {"crf": task == "token-classification"}}
    trained = ranks.complete(make_run(tmp_path / "trained", recipe_of(file, task, **changes)))
    kept = load_file(trained.model / "launcher_head.safetensors")
    changes |= {"model": {"init": "pretrained", "name": str(trained.model)}, "init_from": str(trained.model)}
    wanted = recipe_of(file, task, **changes, prune={"heads": 0.5, "ffn": 0.5, "examples": 8})
    names = get_task(wanted).names_in(transformers.AutoConfig.from_pretrained(trained.model))
    tokenizer = transformers.AutoTokenizer.from_pretrained(trained.model)
    built = build_model(wanted, get_task(wanted, tokenizer), names, tokenizer)
    torch.testing.assert_close(dict(built.base.launcher_head.state_dict()), kept)
    scratch = wanted.model_copy(update={"model": wanted.model.model_copy(update={"init": "scratch"})})
    for changed, order in ((wanted, names[::-1]), (scratch, names)):
        other = build_model(changed, get_task(changed, tokenizer), order, tokenizer).base.launcher_head
        assert any(not torch.equal(other.state_dict()[name], kept[name]) for name in kept)

    pruned = ranks.complete(make_run(tmp_path / "pruned", wanted))
    torch.testing.assert_close(load_file(pruned.path / "pruned" / "launcher_head.safetensors"), kept)
    before, after = (result(pruned)["compression"][when]["parameters"] for when in ("before", "after"))
    assert after < 0.8 * before
    assert ranks.verb("eval", pruned.path)["validation"]["loss"] > 0


def test_a_teacher_of_another_task_is_refused(
    file: Path, encoder: Path, tmp_path: Path, ranks: RankServer
) -> None:
    for task in ("token-classification", "ordinal"):
        start = {"init": "pretrained", "name": str(encoder)}
        wanted = recipe_of(file, task, model=start, distill={"teacher": str(encoder)})
        run = make_run(tmp_path / task, wanted)
        assert ranks.attempt(run) == [1]
        error = result(run)["error"]
        assert "distill.teacher was not trained for this task" in error["message"]
        assert f"give a run of task={task}" in error["remedy"]


def test_a_teacher_whose_outputs_mean_something_else_is_refused(
    file: Path, tmp_path: Path, ranks: RankServer
) -> None:
    """Even where it has as many of them."""
    teacher = ranks.complete(make_run(tmp_path / "teacher", recipe_of(file, "regression")))
    plain = tmp_path / "exported"
    shutil.copytree(teacher.model, plain)  # without the recipe that says what it is for
    classes = ranks.complete(make_run(tmp_path / "classes", recipe_of(file, "classification"))).model
    for number, (task, taught) in enumerate(
        [
            ("ranking", teacher.model),
            ("multiple-choice", plain),
            ("classification", plain),
            ("regression", classes),
        ]
    ):
        start = {"init": "pretrained", "name": str(taught)}
        wanted = recipe_of(file, task, model=start, distill={"teacher": str(taught)})
        run = make_run(tmp_path / str(number), wanted)
        assert ranks.attempt(run) == [1]
        assert "was not trained for this task" in result(run)["error"]["message"], task


def test_a_compressed_run_ends_well_whatever_it_started_from(
    file: Path, encoder: Path, tmp_path: Path, ranks: RankServer
) -> None:
    """The encoder that is pruned here has neither the task's head nor its labels, so there is no metric from before."""
    start = {"model": {"init": "pretrained", "name": str(encoder)}, "init_from": str(encoder)}
    for task in ("ordinal", "token-classification"):
        wanted = recipe_of(file, task, **start, tagging={"crf": True}, prune={"ffn": 0.5, "examples": 8})
        run = ranks.complete(make_run(tmp_path / task, wanted))
        found = result(run)["compression"]
        assert found["before"]["metrics"] == {}
        assert found["after"]["metrics"]
        assert found["after"]["parameters"] < found["before"]["parameters"]


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_states_are_compared_where_the_head_reads_them(
    pooling: str, file: Path, encoder: Path, tmp_path: Path
) -> None:
    """A student that is its teacher is at no distance from it, though ModernBERT may read the mean of all tokens."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(encoder)
    config = small_config("modernbert", labels=2)
    config.update(
        {"classifier_pooling": pooling, "vocab_size": len(tokenizer), **named_classes(("no", "yes"))}
    )
    transformers.AutoModelForSequenceClassification.from_config(config).save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    start = {
        "init": "pretrained",
        "name": str(tmp_path / "model"),
        "dropout": {"hidden": 0.0, "attention": 0.0},
    }
    distill = {"teacher": str(tmp_path / "model"), "weight": 1.0, "hidden": 1.0}
    job = train_here(
        make_run(tmp_path / "run", recipe_of(file, "classification", model=start, distill=distill)), "none", 1
    )
    assert metrics(job.run)[0]["train/loss"] == pytest.approx(0, abs=1e-5)


@torch.no_grad()
def _outputs(model: torch.nn.Module, task: str) -> tuple[torch.Tensor, ...]:
    """Its outputs for two pairs, padded."""
    inputs = {
        "input_ids": torch.tensor([[2, 9, 10, 3, 11, 3], [2, 12, 3, 13, 3, 0]]),
        "attention_mask": torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 0]]),
        "token_type_ids": torch.tensor([[0, 0, 0, 0, 1, 1], [0, 0, 0, 1, 1, 0]]),
    }
    shape = {name: value[:, None] for name, value in inputs.items()} if task == "multiple-choice" else inputs
    found: tuple[torch.Tensor, ...] = model.eval()(**shape).to_tuple()
    # Vectors are made of the hidden states; a bare encoder's pooler is no part of what is saved.
    return found[:1] if task == "embedding" else found


@pytest.mark.parametrize("task", TASKS)
def test_adapters_that_have_learnt_nothing_yet_change_nothing(task: str, file: Path, encoder: Path) -> None:
    """Not even for second texts and padding: whatever the model is given reaches it."""
    wanted = recipe_of(file, task, tuning="lora", model={"init": "pretrained", "name": str(encoder)})
    tokenizer = transformers.AutoTokenizer.from_pretrained(encoder)
    built = build_model(wanted, get_task(wanted, tokenizer), ("1", "2"), tokenizer)
    adapted = _outputs(built.model, task)
    torch.testing.assert_close(adapted, _outputs(built.model.unload(), task))  # type: ignore[operator]
