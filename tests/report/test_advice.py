"""Each finding is made of curves that show it, and of no others."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from support.plans import new_run, plan_of

from launcher.errors import UserError
from launcher.report.advice import Advice, diagnose, read_history
from launcher.runs.directory import RunDir
from launcher.runs.files import write_json

Curve = Callable[[float], float]
STEPS = 200


def recorded(
    directory: Path,
    loss: Curve,
    validation: Curve | None = None,
    *,
    norm: Curve = lambda _: 0.5,
    metrics: dict[str, float] | None = None,
    accuracy: Curve = lambda time: 0.5 + 0.4 * time,
    steps: int = STEPS,
    result: dict[str, Any] | None = None,
    **changes: Any,
) -> RunDir:
    """A run whose curves are these functions of time, which goes from 0 to 1; the loss jitters by 2%."""
    changes = {"train": {"max_steps": None, "epochs": 4.0, "lr": 2e-5}, **changes}
    run = new_run(plan_of(changes, run_dir=directory / "run"))
    rows: list[dict[str, Any]] = []
    for step in range(1, steps + 1):
        time = step / STEPS
        jitter = 1 + 0.02 * math.sin(step * 1.7)
        rows.append(
            {
                "step": step,
                "epoch": 4 * time,
                "train/loss": loss(time) * jitter,
                "train/grad_norm": norm(time),
            }
        )
        if step % 20 == 0:
            found = {"loss": (validation or loss)(time), "accuracy": accuracy(time), **(metrics or {})}
            rows.append({"step": step, "split": "validation", **{f"eval/{k}": v for k, v in found.items()}})
    run.metrics.write_text("".join(json.dumps(row) + "\n" for row in rows))
    best = {"metric": "accuracy", "value": accuracy(steps / STEPS), "step": steps}
    write_json(run.result, {"status": "completed", "best": best, "error": None, **(result or {})})
    return run


def found(run: RunDir) -> list[Advice]:
    return diagnose(read_history(run))


def names(run: RunDir) -> list[str]:
    return [finding.name for finding in found(run)]


def settled(time: float) -> float:
    """A loss that falls to 0.1 and stays there."""
    return 0.1 + 0.6 * math.exp(-12 * time)


def tries(finding: Advice) -> dict[str, tuple[Any, Any]]:
    return {item.key: (item.now, item.value) for item in finding.keys}


def test_a_line_that_a_kill_tore_is_left_out(tmp_path: Path) -> None:
    run = recorded(tmp_path, settled)
    with run.metrics.open("a") as metrics:
        metrics.write('{"step": 201, "train/lo')
    assert read_history(run).steps[-1] == STEPS


def test_a_good_training_has_no_findings(tmp_path: Path) -> None:
    assert names(recorded(tmp_path, settled, lambda time: settled(time) + 0.05)) == []


def test_overfitting_names_the_epochs_at_which_it_began(tmp_path: Path) -> None:
    run = recorded(tmp_path, settled, lambda time: 0.4 + (time - 0.4) ** 2, accuracy=lambda _: 0.8)
    (finding,) = found(run)
    assert finding.name == "overfitting"
    assert finding.evidence["at_step"] == 80
    assert finding.evidence["last_validation_loss"] == pytest.approx(0.76)
    assert tries(finding)["train.epochs"] == (4.0, 1.6)


@pytest.mark.parametrize(
    ("loss", "name"),
    [
        (lambda time: 0.7 - 0.005 * time, "rate_too_low"),
        (lambda time: 0.7 * math.exp(-1.5 * time), "undertrained"),
        (lambda time: 0.45 + 0.25 * math.exp(-20 * time), "underfitting"),
        (lambda time: 0.7 - 0.5 * time if time < 0.5 else 0.6 - 0.2 * (time - 0.5), "unstable"),
        (lambda time: 0.7 - time if time < 0.3 else 0.75, "rate_too_high"),
    ],
)
def test_a_shape_of_the_training_loss(tmp_path: Path, loss: Curve, name: str) -> None:
    assert names(recorded(tmp_path, loss)) == [name]


def test_a_metric_that_was_as_good_before_is_not_undertrained(tmp_path: Path) -> None:
    falling = recorded(tmp_path, lambda time: 0.7 * math.exp(-1.5 * time), accuracy=lambda _: 1.0)
    assert names(falling) == []


def test_a_training_that_goes_on_is_not_judged_by_its_end(tmp_path: Path) -> None:
    falling = recorded(tmp_path, lambda time: 0.7 * math.exp(-1.5 * time))
    assert names(falling) == ["undertrained"]
    falling.result.unlink()
    assert names(falling) == []


def test_the_rate_to_try_is_lower_where_it_was_too_high(tmp_path: Path) -> None:
    (finding,) = found(recorded(tmp_path, lambda time: 0.7 - time if time < 0.3 else 0.75))
    assert tries(finding)["train.lr"] == (2e-5, 6.7e-6)
    assert finding.evidence["loss_at_end"] > finding.evidence["loss_at_start"]


def test_divergence_says_where(tmp_path: Path) -> None:
    error = {"class": "diverged", "step": 7, "message": "loss nan", "remedy": None}
    (finding,) = found(recorded(tmp_path, settled, steps=6, result={"status": "failed", "error": error}))
    assert (finding.name, finding.evidence["step"]) == ("diverged", 7)
    assert tries(finding)["train.lr"] == (2e-5, 2e-6)


def test_a_gradient_that_is_always_clipped(tmp_path: Path) -> None:
    (finding,) = found(recorded(tmp_path, settled, norm=lambda _: 8.0))
    assert finding.name == "always_clipped"
    assert finding.evidence["share_of_steps"] == 1
    assert tries(finding)["train.clip"] == (1.0, 16)
    train = {"clip": None, "max_steps": None, "epochs": 4.0}
    assert names(recorded(tmp_path / "unclipped", settled, norm=lambda _: 8.0, train=train)) == []


def test_the_same_number_for_everything_has_no_correlation(tmp_path: Path) -> None:
    best = {"metric": "pearson", "value": None, "step": 200}
    run = recorded(tmp_path, lambda time: 4 * math.exp(-1.5 * time), result={"best": best})
    finding, undertrained = found(run)
    assert finding.name == "no_metric"
    assert finding.message == (
        "pearson is no number: the model predicts the same for everything, or all validation labels are one"
    )
    assert tries(finding) == {"train.epochs": (4.0, 8.0), "train.lr": (2e-5, 6.7e-6)}
    assert (undertrained.name, undertrained.keys) == ("undertrained", ())


def test_one_class_for_everything(tmp_path: Path) -> None:
    metrics = {"mcc": 0.0, "macro_f1": 0.45}
    (finding,) = found(recorded(tmp_path, settled, metrics=metrics, accuracy=lambda _: 0.82))
    assert finding.name == "class_collapse"
    assert tries(finding)["train.loss.class_weights"] == (None, "balanced")
    assert tries(finding)["eval.metric"] == (None, "macro_f1")
    best = {"best": {"metric": "mcc", "value": 0.0, "step": 20}}
    run = recorded(tmp_path / "mcc", settled, metrics=metrics, accuracy=lambda _: 0.82, result=best)
    (finding,) = found(run)  # mcc shows a collapse as macro_f1 does
    assert "eval.metric" not in tries(finding)


def test_early_stopping(tmp_path: Path) -> None:
    train = {"early_stopping": {"patience": 2}, "max_steps": None, "epochs": 4.0}
    (finding,) = found(recorded(tmp_path, settled, steps=120, train=train))
    assert finding.name == "early_stopped"
    assert (finding.evidence["steps"], finding.evidence["planned"]) == (120, 200)


def test_too_few_steps_are_no_curve(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has recorded 5 steps, and 10 are needed") as young:
        found(recorded(tmp_path / "young", settled, steps=5, result={"status": "stopped"}))
    assert "launch status" in str(young.value)
    with pytest.raises(UserError, match="has recorded 1 step, and 10 are needed") as over:
        found(recorded(tmp_path / "over", settled, steps=1))
    assert "train longer" in str(over.value)


def test_every_key_named_is_one_of_the_recipe(tmp_path: Path) -> None:
    from launcher.recipe.fields import leaves
    from launcher.recipe.recipe import Recipe

    shapes: Sequence[Curve] = (
        lambda time: 0.7 - 0.005 * time,
        lambda time: 0.7 * math.exp(-1.5 * time),
        lambda time: 0.45 + 0.25 * math.exp(-20 * time),
        lambda time: 0.7 - time if time < 0.3 else 0.75,
    )
    known = {leaf.name for leaf in leaves(Recipe)}
    for index, shape in enumerate(shapes):
        run = recorded(tmp_path / str(index), shape, lambda time: 0.4 + (time - 0.4) ** 2, norm=lambda _: 9.0)
        for finding in found(run):
            assert {item.key for item in finding.keys} <= known


def test_a_key_is_advised_once_and_never_as_it_is_set(tmp_path: Path) -> None:
    """A loss that hardly moves, one class for everything and a clipped gradient: each would advise another rate."""
    run = recorded(
        tmp_path,
        loss=lambda time: 0.69 - 0.001 * time,
        norm=lambda _: 3.0,
        metrics={"mcc": 0.0, "macro_f1": 0.3, "accuracy": 0.5},
        tuning="full",
    )
    findings = found(run)
    assert {"class_collapse", "rate_too_low", "always_clipped"} <= {finding.name for finding in findings}
    advised = [each for finding in findings for each in finding.keys]
    keys = [each.key for each in advised]
    assert keys.count("train.lr") == 1
    assert len(keys) == len(set(keys))
    assert "tuning" not in keys
    assert all(each.value != each.now for each in advised)


def test_overfitting_advises_no_less_than_what_is_set(tmp_path: Path) -> None:
    settings = {
        "train": {"max_steps": 200, "lr": 2e-5, "weight_decay": 0.3, "early_stopping": {"patience": 2}},
        "model": {"dropout": {"hidden": 0.4}},
    }
    run = recorded(tmp_path, lambda time: 0.7 - 0.65 * time, lambda time: 0.4 + (time - 0.3) ** 2, **settings)
    (finding,) = [each for each in found(run) if each.name == "overfitting"]
    assert [(each.key, each.value) for each in finding.keys] == [("train.max_steps", 60)]


def test_losses_that_were_no_numbers_are_no_curve(tmp_path: Path) -> None:
    run = recorded(tmp_path, lambda time: 1 - time, steps=20)
    rows = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    run.metrics.write_text("".join(json.dumps(row | {"train/loss": None}) + "\n" for row in rows))
    with pytest.raises(UserError, match="has recorded 0 steps"):
        found(run)
