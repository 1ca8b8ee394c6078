"""Every key says what it decides, and what depends on that is worked out from there."""

from __future__ import annotations

from typing import Annotated

import pytest

from launcher.recipe.cluster import Cluster
from launcher.recipe.decides import MEANINGS, Decides
from launcher.recipe.fields import Section, leaves
from launcher.recipe.recipe import Recipe


def test_a_key_that_does_not_say_what_it_decides_can_not_be_written() -> None:
    with pytest.raises(TypeError, match=r"Coffee\.cups must say what it decides"):

        class Coffee(Section):
            sugar: Annotated[bool, Decides("nothing")] = False
            cups: int = 1


def test_a_section_speaks_for_the_keys_that_say_nothing_themselves() -> None:
    class Coffee(Section):
        decides = Decides("training")

        cups: int = 1
        sugar: Annotated[bool, Decides("tokens", "evaluation")] = False

    assert [(leaf.name, leaf.subjects) for leaf in leaves(Coffee)] == [
        ("cups", ("training",)),
        ("sugar", ("tokens", "evaluation")),
    ]


def test_what_is_decided_is_one_of_the_known_subjects() -> None:
    with pytest.raises(TypeError, match="contents, tokens, training"):
        Decides("coffee")  # type: ignore[arg-type]
    used = {subject for root in (Recipe, Cluster) for leaf in leaves(root) for subject in leaf.subjects}
    assert used == set(MEANINGS)


def test_a_recipe_gives_the_values_that_decide_a_subject() -> None:
    recipe = Recipe.model_validate({"task": "ranking", "run_id": "one", "ranking": {"max_relevance": 4.0}})
    assert recipe.deciding("identity") == {"run_id": "one", "runs_dir": "runs"}
    tokens = recipe.deciding("tokens")
    assert tokens["ranking.max_relevance"] == 4.0
    assert tokens["data.text"] == "text"
    assert "train.lr" not in tokens
    assert "batch.global" in recipe.deciding("training")


def test_a_tree_without_what_names_the_run() -> None:
    recipe = Recipe.model_validate({"task": "ranking"})
    left_out = recipe.tree().keys() - recipe.tree(without="identity").keys()
    assert left_out == {"run_id", "runs_dir"}
