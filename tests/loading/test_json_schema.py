"""The JSON Schema that editors use agrees with what `launch` itself takes."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from launcher.loading.json_schema import json_schema
from launcher.recipe.cluster import Cluster
from launcher.recipe.recipe import Recipe
from launcher.resources import resource_dir

RECIPES = sorted(resource_dir("recipes").glob("*.yaml"))


def mistakes(root: Any, value: object) -> list[str]:
    validator = Draft202012Validator(json_schema(root))
    return [".".join(map(str, error.absolute_path)) for error in validator.iter_errors(value)]


class Loader(yaml.SafeLoader):
    """YAML 1.2 as an editor reads it: 3e-5 is a number."""


Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", __import__("re").compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+"), list("-+0123456789")
)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_shipped_recipes_fit(path: Any) -> None:
    assert mistakes(Recipe, yaml.load(path.read_text(encoding="utf-8"), Loader)) == []


@pytest.mark.parametrize("name", ["example", "local"])
def test_shipped_profiles_fit(name: str) -> None:
    profile = yaml.safe_load((resource_dir("slurm") / f"{name}.yaml").read_text(encoding="utf-8"))
    profile.pop("time")  # YAML 1.1 takes 12:00:00 for a number
    profile.get("limits", {}).pop("time", None)
    assert mistakes(Cluster, profile) == []


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ({"nodes": "2-4"}, {"nodes": "2..4"}),
        ({"run_id": "a b"}, {"run_id": "a-b"}),
        ({"time": "1h"}, {"time": "1:00:00"}),
    ],
)
def test_an_editor_marks_a_string_of_another_form(wrong: dict[str, str], right: dict[str, str]) -> None:
    assert mistakes(Recipe, {"task": "classification", **wrong}) == list(wrong)
    assert mistakes(Recipe, {"task": "classification", **right}) == []


def test_mistakes_are_found_and_every_key_is_described() -> None:
    wrong = {"task": "classification", "train": {"lr": "fast"}, "precision": "int8", "nodez": 4}
    assert set(mistakes(Recipe, wrong)) == {"train.lr", "precision", ""}
    schema = json_schema(Recipe)
    for part in (schema, *schema["$defs"].values()):
        for key, entry in part.get("properties", {}).items():
            assert entry["description"], key
