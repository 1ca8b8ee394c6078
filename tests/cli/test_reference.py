"""docs/cli.md is what the commands themselves say, docs/keys.md what the schema says."""

from __future__ import annotations

from pathlib import Path

from launcher.cli.app import VERBS
from launcher.cli.keys_reference import keys_page
from launcher.cli.reference import pages, reference
from launcher.recipe.cluster import Cluster
from launcher.recipe.fields import leaves
from launcher.recipe.recipe import Recipe


def test_the_pages_are_current(repo_root: Path) -> None:
    for name, wanted in pages(repo_root).items():
        page = (repo_root / name).read_text(encoding="utf-8")
        assert page == wanted, f"write {name} anew with: make docs"


def test_shipped_recipes_and_profiles_name_the_schema_beside_them(repo_root: Path) -> None:
    for directory, kind in (("recipes", "recipe"), ("slurm", "profile")):
        for path in (repo_root / directory).glob("*.yaml"):
            assert path.read_text(encoding="utf-8").startswith(
                f"# yaml-language-server: $schema={kind}.schema.json\n"
            ), path


def test_every_verb_is_on_the_page() -> None:
    page = reference()
    assert all(f"### launch {name}\n" in page for name in VERBS)


def test_every_key_is_on_the_page() -> None:
    page = keys_page()
    names = [leaf.name for root in (Recipe, Cluster) for leaf in leaves(root)]
    assert [name for name in names if f"| `{name}` |" not in page] == []
    assert "| `train.lr` | a number above 0 | `2e-05` | training | Peak learning rate. |" in page
