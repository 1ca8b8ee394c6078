"""`--loss-file`: the only way to execute a loss of one's own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.commands import Launch

LOSS = "import torch\n\ndef loss(logits, labels):\n    return (logits.sum(-1) - labels).abs()\n"


def test_the_file_is_part_of_the_plan_and_of_what_is_written(launch: Launch, tmp_path: Path) -> None:
    (tmp_path / "my_loss.py").write_text(LOSS)
    words = ("plan", "recipe=smoke", "run_id=x", "--loss-file", "my_loss.py")
    launch(*words, "--out", "planned")
    assert (tmp_path / "planned" / "loss.py").read_text() == LOSS
    plans = []
    for text in (LOSS, LOSS + "# another\n"):
        (tmp_path / "my_loss.py").write_text(text)
        plans.append(json.loads(launch(*words, "--json").stdout))
    assert plans[0]["recipe"]["train"]["loss"]["name"] == "custom"
    assert plans[0]["loss_sha256"] != plans[1]["loss_sha256"]
    assert plans[0]["plan_id"] != plans[1]["plan_id"]


@pytest.mark.parametrize(
    ("text", "words", "message"),
    [
        (None, ("train.loss.name=custom",), "--loss-file"),
        (None, ("--loss-file", "missing.py"), "can't be read"),
        ("def loss(:", ("--loss-file", "my_loss.py"), "is not Python"),
        ("x = 1", ("--loss-file", "my_loss.py"), "has no function named loss"),
        (LOSS, ("train.loss.name=focal", "--loss-file", "my_loss.py"), "given twice"),
        (
            None,
            ("train.loss.class_weights=even",),
            "must be balanced, a mapping of names to numbers above 0, or null",
        ),
    ],
)
def test_mistakes_about_losses(
    launch: Launch, tmp_path: Path, text: str | None, words: tuple[str, ...], message: str
) -> None:
    if text is not None:
        (tmp_path / "my_loss.py").write_text(text)
    before = list(tmp_path.iterdir())
    assert message in launch("run", "recipe=smoke", *words, code=2).stderr
    assert list(tmp_path.iterdir()) == before
