"""What Weights & Biases would refuse on the node is refused before the launch."""

from __future__ import annotations

from pathlib import Path

import pytest

from launcher.errors import UserError
from launcher.loading.resolve import load


def mistake(word: str, directory: Path) -> str:
    with pytest.raises(UserError) as caught:
        load(["recipe=smoke", word], environ={}, cwd=directory)
    (problem,) = caught.value.problems
    assert problem.field == word.partition("=")[0]
    return problem.message


@pytest.mark.parametrize("character", list("/\\#?%:"))
def test_a_project_without_the_characters_that_wandb_refuses(character: str, tmp_path: Path) -> None:
    assert mistake(f'tracking.wandb.project="a{character * 2}b"'.replace("\\", "\\\\"), tmp_path) == (
        f"must not hold {character}, which W&B takes in no project's name"
    )


@pytest.mark.parametrize("key", ["project", "name", "group"])
def test_names_have_1_to_128_characters(key: str, tmp_path: Path) -> None:
    for text in ("n" * 129, '" "', '""'):
        assert "1 to 128 characters" in mistake(f"tracking.wandb.{key}={text}", tmp_path)
    word = f"tracking.wandb.{key}={'n' * 128}"
    recipe = load(["recipe=smoke", word], environ={}, cwd=tmp_path).recipe
    assert getattr(recipe.tracking.wandb, key) == "n" * 128


def test_a_job_type_has_1_to_64_characters(tmp_path: Path) -> None:
    assert "1 to 64 characters" in mistake(f"tracking.wandb.job_type={'j' * 65}", tmp_path)


def test_tags_have_1_to_64_characters(tmp_path: Path) -> None:
    assert "1 to 64 characters for W&B: one has 70" in mistake(
        f"tracking.wandb.tags=[a,{'t' * 70}]", tmp_path
    )
    assert "one has 0" in mistake('tracking.wandb.tags=[a,""]', tmp_path)
    word = f"tracking.wandb.tags=[{'t' * 64}]"
    assert load(["recipe=smoke", word], environ={}, cwd=tmp_path).recipe.tracking.wandb.tags == ("t" * 64,)


def test_an_entity_is_a_user_or_a_team(tmp_path: Path) -> None:
    for text in ("team/project", "my team", '""', "a" * 129):
        assert mistake(f"tracking.wandb.entity={text}", tmp_path)
