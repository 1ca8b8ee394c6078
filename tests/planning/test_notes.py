"""What is worth saying although it is no mistake stands in the notes of the plan."""

from __future__ import annotations

from pathlib import Path

from launcher.planning.prepare import prepare


def test_variables_of_other_programs_and_rows_without_text_are_noted(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,label\n" + "good,1\n,0\nbad,0\n" * 10)
    words = ["recipe=smoke", "data.train=a.csv", "data.validation=a.csv", "data.test=null"]
    plan = prepare(words, {"LAUNCH_FOO": "1"}, tmp_path).plan
    assert "no keys, and not looked at: LAUNCH_FOO in the environment" in plan.notes
    assert "data.train: 10 of 30 rows read have no text" in plan.notes


def test_evaluations_that_read_more_than_the_training_does_are_noted(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,label\n" + "good,1\nbad,0\n" * 200)
    words = ["recipe=smoke", "data.train=a.csv", "data.validation=a.csv", "data.test=null", "batch.global=8"]
    (note,) = (
        note
        for note in prepare([*words, "train.max_steps=3", "data.limit=30"], {}, tmp_path).plan.notes
        if "each evaluation" in note
    )
    assert note.startswith("each evaluation reads 400 rows, in about")
    assert "and the whole training 24: data.limit and train.max_steps leave data.validation" in note
    assert not [note for note in prepare(words, {}, tmp_path).plan.notes if "each evaluation" in note]
