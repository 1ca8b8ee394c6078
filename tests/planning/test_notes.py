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
