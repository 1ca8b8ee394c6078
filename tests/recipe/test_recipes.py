"""The recipes and cluster profiles that are shipped: complete, sourced, and usable on one's own files."""

from __future__ import annotations

from pathlib import Path

import pytest

from launcher.loading.named_files import list_recipes
from launcher.loading.resolve import Loaded, dump_recipe, load, load_cluster, read_recipe_file
from launcher.recipe.recipe import TASKS, Recipe
from launcher.resources import resource, resource_dir

NAMES = tuple(sorted(path.stem for path in resource_dir("recipes").glob("*.yaml")))
MADE_HERE = ("smoke", "cloze", "cloze-rename")
"""Recipes on data of this project, whose hyper-parameters were chosen on them."""


def shipped(name: str, cwd: Path, *words: str) -> Loaded:
    return load([f"recipe={name}", *words], environ={}, cwd=cwd)


def test_all_recipes_are_listed_with_one_sentence_each(tmp_path: Path) -> None:
    entries = list_recipes(tmp_path)
    assert tuple(entry.name for entry in entries) == NAMES
    assert {entry.task for entry in entries} == set(TASKS)  # one for each task at least
    for entry in entries:
        assert entry.path == resource("recipes", f"{entry.name}.yaml")
        assert entry.description
        assert entry.task in TASKS


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_is_complete_and_survives_being_written_out(name: str, tmp_path: Path) -> None:
    recipe = shipped(name, tmp_path).recipe
    path = tmp_path / "recipe.yaml"
    path.write_text(dump_recipe(recipe))
    assert read_recipe_file(path) == recipe
    assert shipped(str(path), tmp_path).recipe == recipe


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_is_short_and_says_where_its_numbers_come_from(name: str) -> None:
    text = resource("recipes", f"{name}.yaml").read_text()
    assert len(text.splitlines()) <= 40
    comment = text.partition("\ndescription:")[0]
    assert all(line.startswith("# ") for line in comment.splitlines())
    assert "arXiv:" in comment or name in MADE_HERE


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_runs_on_files_and_a_local_model(name: str, tmp_path: Path) -> None:
    pair = shipped(name, tmp_path).recipe.task in ("question-answering", "ranking", "embedding")
    words = [
        "model.init=pretrained",
        "model.name=./minilm",
        "data.train=a.csv",
        "data.validation=b.csv",
        "data.split=null",
        "data.text=[s,t]" if pair else "data.text=t",
    ]
    recipe = shipped(name, tmp_path, *words, "data.label=l", "train.epochs=1").recipe
    assert recipe.model.name == str(tmp_path / "minilm")
    assert (recipe.data.source, recipe.data.train) == (None, str(tmp_path / "a.csv"))


def test_the_published_hyper_parameters(tmp_path: Path) -> None:
    def key_figures(name: str) -> tuple[float, int, float]:
        recipe = shipped(name, tmp_path).recipe
        return recipe.train.lr, recipe.batch.global_, recipe.train.epochs

    assert key_figures("bert-cls") == (2e-5, 32, 3)
    assert key_figures("roberta-cls") == (2e-5, 32, 10)
    assert key_figures("roberta-cls-lora") == (5e-4, 16, 60)
    assert key_figures("roberta-large-cls") == (1e-5, 32, 10)
    assert key_figures("roberta-regression") == (2e-5, 16, 10)
    assert key_figures("modernbert-mnli") == (5e-5, 64, 1)
    assert key_figures("modernbert-rte") == (5e-5, 64, 3)
    assert key_figures("modernbert-mrpc") == (5e-5, 64, 10)
    assert key_figures("modernbert-stsb") == (8e-5, 64, 10)
    assert key_figures("ettin-cls") == (8e-5, 64, 2)
    assert key_figures("chinese-bert-tnews") == (2e-5, 16, 3)
    assert key_figures("chinese-bert-ner") == (4e-5, 4, 5)


def test_smoke_needs_nothing_from_outside(tmp_path: Path) -> None:
    recipe = shipped("smoke", tmp_path).recipe
    assert (recipe.model.name, recipe.model.init, recipe.data.source) == (None, "scratch", None)
    assert recipe.tracking.wandb.mode == "offline"
    for file in (recipe.data.train, recipe.data.validation, recipe.data.test):
        assert isinstance(file, str)
        assert Path(file).is_file()
        assert Path(file).is_relative_to(resource_dir("recipes"))


def test_the_example_profile_loads_and_shows_every_key(tmp_path: Path) -> None:
    cluster = load_cluster("example", cwd=tmp_path)
    assert cluster.container is not None
    text = resource("slurm", "example.yaml").read_text()
    for key in type(cluster).model_fields:
        assert f"\n{key}:" in text or f"\n# {key}:" in text, key
    assert cluster.fills() == {"gpus": 4, "time": "12:00:00"}


def test_the_profile_of_the_development_cluster_asks_for_no_gpus(tmp_path: Path) -> None:
    cluster = load_cluster("local", cwd=tmp_path)
    assert (cluster.partition, cluster.gpus_per_node, cluster.interface) == ("main", 0, None)
    assert cluster.fills()["gpus"] is None


def test_zero_2_is_used_by_the_recipe_on_several_ranks_only(tmp_path: Path) -> None:
    assert shipped("roberta-cls", tmp_path, "nodes=4").recipe.zero.stage is None
    assert shipped("roberta-large-cls", tmp_path).recipe.zero.stage == 2


def test_a_recipe_without_any_key_but_the_needed_ones_has_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "least.yaml"
    path.write_text("task: classification\nmodel: {name: org/model}\ndata: {source: org/data}\n")
    least = shipped(str(path), tmp_path).recipe
    made = Recipe.model_validate_json(
        '{"task": "classification", "model": {"name": "org/model"}, "data": {"source": "org/data"}}'
    )
    assert least == made.model_copy(update={"runs_dir": str(tmp_path / "runs")})
