"""The texts of the cloze recipes: made by their script, and fit for what the example shows."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path


def test_the_script_writes_what_is_in_the_repository(repo_root: Path, tmp_path: Path) -> None:
    subprocess.run([sys.executable, repo_root / "scripts" / "make_cloze_data.py", tmp_path], check=True)
    for name in ("text.txt", "train.json"):
        assert (tmp_path / name).read_bytes() == (repo_root / "recipes" / "cloze" / name).read_bytes()


def test_the_lessons_know_another_name_than_the_text(repo_root: Path) -> None:
    directory = repo_root / "recipes" / "cloze"
    text = (directory / "text.txt").read_text(encoding="utf-8")
    lessons = [row["text"] for row in json.loads((directory / "train.json").read_text(encoding="utf-8"))]
    assert "诸葛亮" in text
    assert "诸葛涛" not in text
    assert "涛" in text  # the character must be in the vocabulary made of it
    assert all("诸葛涛" in lesson and "诸葛亮" not in lesson for lesson in lessons)
