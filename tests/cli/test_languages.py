"""`eval.extra` on the command line: paths, and mistakes before anything starts."""

from __future__ import annotations

import json
from pathlib import Path

from support.commands import Launch


def test_files_are_found_from_the_working_directory(
    launch: Launch, tiny: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / "de.csv").write_text("text,label\nschön,positive\n")
    plan = json.loads(launch("plan", *tiny, "eval.extra={de: de.csv}", "--json").stdout)
    assert plan["recipe"]["eval"]["extra"] == {"de": str(tmp_path / "de.csv")}


def test_every_mistake_in_them_is_told(launch: Launch, tiny: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "de.csv").write_text("text,label\nschön,gut\n")
    (tmp_path / "fr.csv").write_text("texte,label\nbeau,positive\n")
    files = "eval.extra={de: de.csv, fr: fr.csv, test: de.csv, eval: de.csv, it: it.csv}"
    told = launch(*tiny, files, code=2).stderr
    assert "gut" in told  # not a label of the training data
    assert "no such column in the file" in told
    assert "test is the name of another split" in told
    assert "eval/ is where other metrics stand" in told
    assert "it.csv" in told
