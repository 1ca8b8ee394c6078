"""`launch [VERB] recipe=NAME|PATH [key=value ...] [--flags]`."""

from __future__ import annotations

import json

import pytest
from support.commands import Launch

import launcher
from launcher.cli.app import VERBS


def test_alone_it_prints_its_help(launch: Launch) -> None:
    result = launch()
    assert "launch recipe=smoke" in result.stdout
    assert all(name in result.stdout for name in VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_examples(launch: Launch, verb: str) -> None:
    result = launch(verb, "--help")
    assert "Examples:" in result.stdout
    assert f"launch {verb}" in result.stdout


def test_version(launch: Launch) -> None:
    assert launch("--version").stdout == f"launch {launcher.__version__}\n"


@pytest.mark.parametrize(
    "words", [("recipe=nothing",), ("--json", "recipe=nothing"), ("run", "recipe=nothing")]
)
def test_a_first_word_with_an_equals_sign_means_run(launch: Launch, words: tuple[str, ...]) -> None:
    assert "unknown recipe" in launch(*words, code=2).stderr


def test_an_unknown_verb_gets_the_nearest(launch: Launch) -> None:
    result = launch("statsu", code=2)
    assert "no verb 'statsu'" in result.stderr
    assert "-> launch status: state, step" in launch("ls", code=2).stderr
    assert "-> launch clean: show runs" in launch("rm", "some-run", code=2).stderr
    assert "did you mean status?" in result.stderr
    assert result.stdout == ""
    (problem,) = json.loads(launch("statsu", "--json", code=2).stdout)["problems"]
    assert problem["message"] == "no verb 'statsu'"
    assert problem["remedy"].startswith("did you mean status?")
    told = launch("train", "recipe=mine.yaml", code=2).stderr
    assert "to train a recipe: launch recipe=mine.yaml; " in told


@pytest.mark.parametrize(
    ("word", "remedy"),
    [
        ("--train.lr=1e-3", "a key is given as a word: train.lr=VALUE"),
        ("--recipe=smoke", "a key is given as a word: recipe=VALUE"),
        ("train.lr:1e-3", "write train.lr=1e-3"),
        ("train.lr", "write train.lr=VALUE"),
    ],
)
def test_a_key_in_another_form_is_shown_in_ours(launch: Launch, word: str, remedy: str) -> None:
    assert f"-> {remedy}" in launch("plan", "recipe=smoke", word, code=2).stderr


def test_an_option_that_goes_with_another_is_not_overlooked(launch: Launch) -> None:
    assert "--profile goes with --cluster" in launch("doctor", "--profile", "local", code=2).stderr


@pytest.mark.parametrize("verb", ["status", "logs", "stop", "cancel", "diagnose"])
def test_several_runs_get_the_verb_that_takes_them(launch: Launch, verb: str) -> None:
    told = launch(verb, "one", "two", code=2).stderr
    assert f"{verb}: takes one at a time, not 2" in told
    assert f"-> launch {verb} one; launch watch one two shows all of them" in told


def test_a_recipe_where_a_verb_belongs(launch: Launch) -> None:
    assert "launch recipe=roberta-cls" in launch("roberta-cls", code=2).stderr


def test_an_unknown_flag(launch: Launch) -> None:
    result = launch("run", "recipe=smoke", "--folow", code=2)
    assert "--follow" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_word_that_is_no_assignment(launch: Launch) -> None:
    assert "is not key=value" in launch("plan", "recipe=smoke", "nodes", code=2).stderr


def test_a_key_is_explained_by_its_name_a_part_of_it_or_its_meaning(launch: Launch) -> None:
    assert "Peak learning rate." in launch("recipes", "explain", "train.lr").stdout
    parts = json.loads(launch("recipes", "explain", "early", "--json").stdout)
    assert {key["key"].rpartition(".")[0] for key in parts} == {"train.early_stopping"}
    assert "lora.plus_ratio" in launch("recipes", "explain", "LoRA+").stdout
    assert "no key has 'zzqq'" in launch("recipes", "explain", "zzqq", code=2).stderr
