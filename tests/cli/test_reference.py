"""docs/cli.md is what the commands themselves say."""

from __future__ import annotations

from pathlib import Path

from launcher.cli.app import VERBS
from launcher.cli.reference import reference


def test_the_page_is_current(repo_root: Path) -> None:
    page = (repo_root / "docs" / "cli.md").read_text(encoding="utf-8")
    assert page == reference(), "write it anew with: make docs"


def test_every_verb_is_on_the_page() -> None:
    page = reference()
    assert all(f"### launch {name}\n" in page for name in VERBS)
