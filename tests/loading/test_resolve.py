"""Where values come from, which one wins, how it is read, and what people are told when it can't be."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from launcher.errors import Problem, UserError
from launcher.loading.named_files import list_recipes
from launcher.loading.resolve import Loaded, dump_recipe, load, load_cluster, read_recipe_file
from launcher.loading.schema import expected, schema_of
from launcher.loading.yaml_source import hidden_character
from launcher.recipe.cluster import Cluster
from launcher.recipe.fields import leaves
from launcher.recipe.recipe import Recipe

RECIPE = """\
task: classification
model:
  name: org/model
data:
  train: train.csv
  text: sentence
train:
  lr: 3e-4
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """A small recipe at configs/mine.yaml."""
    path = tmp_path / "configs" / "mine.yaml"
    path.parent.mkdir()
    path.write_text(RECIPE)
    return path


def resolve(path: Path, *words: str, environ: Mapping[str, str] | None = None) -> Loaded:
    return load([f"recipe={path}", *words], environ=environ or {}, cwd=path.parent.parent)


def problems(*words: str, cwd: Path, environ: Mapping[str, str] | None = None) -> list[Problem]:
    with pytest.raises(UserError) as caught:
        load(list(words), environ=environ or {}, cwd=cwd)
    return list(caught.value.problems)


def mistakes(path: Path, *words: str, environ: Mapping[str, str] | None = None) -> list[str]:
    return [
        str(problem)
        for problem in problems(f"recipe={path}", *words, cwd=path.parent.parent, environ=environ)
    ]


# Places


def test_the_stronger_place_wins_and_every_value_knows_its_origin(recipe: Path) -> None:
    environ = {"LAUNCH_TRAIN__LR": "1e-4", "LAUNCH_NODES": "2", "OTHER": "x"}
    loaded = resolve(recipe, "nodes=4", environ=environ)
    assert (loaded.recipe.nodes, loaded.recipe.train.lr, loaded.recipe.data.text) == (4, 1e-4, "sentence")
    assert loaded.origins["nodes"] == "override"
    assert loaded.origins["train.lr"] == "environment LAUNCH_TRAIN__LR"
    assert loaded.origins["data.text"] == "mine.yaml:6"
    assert loaded.origins["seed"] == "default"
    assert list(loaded.origins) == [leaf.name for leaf in leaves(Recipe)]
    assert (loaded.name, loaded.path) == ("mine", recipe)
    assert (loaded.cluster, loaded.recipe.cluster) == (Cluster(), None)


def test_a_cluster_profile_fills_only_what_all_others_leave_null(recipe: Path) -> None:
    profile = recipe.parent.parent / "slurm" / "site.yaml"
    profile.parent.mkdir()
    profile.write_text("gpus_per_node: 8\ntime: 1-00:00:00\nenv:\n  OMP_NUM_THREADS: 4\n")
    loaded = resolve(recipe, "cluster=site", "gpus=2", "time=null")
    assert (loaded.recipe.gpus, loaded.recipe.time) == (2, "1-00:00:00")
    assert (loaded.origins["gpus"], loaded.origins["time"]) == ("override", "cluster")
    assert loaded.recipe.cluster == "site"
    assert loaded.cluster.env == {"OMP_NUM_THREADS": "4"}


def test_a_cluster_may_be_named_by_any_place_and_be_a_file(recipe: Path) -> None:
    profile = recipe.parent / "site.yaml"
    profile.write_text("gpus_per_node: 8\n")
    recipe.write_text(RECIPE + "cluster: ./site.yaml\n")
    loaded = resolve(recipe)
    assert (loaded.recipe.gpus, loaded.recipe.cluster) == (8, str(profile))
    assert resolve(recipe, environ={"LAUNCH_CLUSTER": "local"}).recipe.cluster == "local"


def test_recipes_are_found_by_name_here_first(recipe: Path) -> None:
    cwd = recipe.parent.parent
    own = cwd / "recipes" / "smoke.yaml"
    own.parent.mkdir()
    own.write_text(RECIPE + "description: My own\n")
    assert load(["recipe=smoke"], environ={}, cwd=cwd).path == own
    entries = {entry.name: entry for entry in list_recipes(cwd)}
    assert (entries["smoke"].path, entries["smoke"].description) == (own, "My own")
    assert entries["bert-cls"].task == "classification"
    own.write_text("[")
    assert "can't be read" in str({entry.name: entry.description for entry in list_recipes(cwd)}["smoke"])


def test_a_name_that_goes_into_job_names_is_safe(recipe: Path) -> None:
    odd = recipe.with_name("-my  recipe $(x).yaml")
    odd.write_text(RECIPE)
    assert resolve(odd).name == "my-recipe-x"


# A hub data set or files: the stronger place wins


def test_files_given_in_a_stronger_place_replace_the_hub_data_set(recipe: Path) -> None:
    recipe.write_text(RECIPE.replace("train: train.csv", "source: org/data\n  train_split: part"))
    loaded = resolve(recipe, "data.train=mine.csv")
    assert loaded.recipe.data.source is None
    assert loaded.recipe.data.train == str(recipe.parent.parent / "mine.csv")
    assert loaded.recipe.data.train_split == "part"
    assert loaded.origins["data.source"] == "override (data.train given)"


def test_a_hub_data_set_given_in_a_stronger_place_replaces_all_files(recipe: Path) -> None:
    recipe.write_text(RECIPE.replace("train: train.csv", "train: train.csv\n  test: test.csv"))
    environ = {"LAUNCH_DATA__SOURCE": "org/data", "LAUNCH_DATA__VALIDATION": "v.csv"}
    loaded = resolve(recipe, environ=environ)
    assert (loaded.recipe.data.source, loaded.recipe.data.train, loaded.recipe.data.test) == (
        "org/data",
        None,
        None,
    )
    assert loaded.recipe.data.validation == str(recipe.parent.parent / "v.csv")
    assert loaded.origins["data.test"] == "environment LAUNCH_DATA__SOURCE (data.source given)"


def test_a_directory_of_data_is_absolute_with_its_configuration_and_an_id_stays(recipe: Path) -> None:
    def source(word: str) -> str | None:
        return resolve(recipe, f"data.source={word}").recipe.data.source

    here = recipe.parent.parent
    (here / "imdb").mkdir()
    (here / "a:b").mkdir()
    assert [source(word) for word in ("imdb", "imdb:plain", "a:b", "./gone:x")] == [
        f"{here}/imdb", f"{here}/imdb:plain", f"{here}/a:b", f"{here}/gone:x"
    ]  # fmt: skip
    assert [source(word) for word in ("org/imdb", "glue:sst2")] == ["org/imdb", "glue:sst2"]


def test_both_in_one_place_contradict_each_other(recipe: Path) -> None:
    (mistake,) = mistakes(recipe, "data.train=a.csv", "data.source=org/data")
    assert "both a file and a hub data set are given" in mistake


# Values


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("run_id=007", "007"),
        ("model.revision=1e5", "1e5"),
        ("time=30", "30"),
        ("time=12:30:00", "12:30:00"),
        ("data.label=no", "no"),
        ("data.label=true", "true"),
        ('data.label="null"', "null"),
        ("data.text=[a, 1]", ["a", "1"]),
        ("data.text=[\"a,b\",'c']", ["a,b", "c"]),
        ('data.text="a, b"', "a, b"),
        ('data.delimiter="\\t"', "\t"),
        ("data.delimiter=;", ";"),
        ("tracking.wandb.tags=[]", []),
        ("tracking.wandb.notes=fix: all #3 *now* & !then [x", "fix: all #3 *now* & !then [x"),
        ('description=it\'s "so"', 'it\'s "so"'),
        ("train.lr=1", 1.0),
        ("train.clip=null", None),
        ("train.clip=", None),
        ("train.warmup=100", 100),
        ("train.warmup=0.1", 0.1),
        ("eval.every=epoch", "epoch"),
        ("eval.every=50", 50),
        ("nodes=010", 10),
        ("nodes=0x10", 16),
        ("requeue=false", False),
        ("data.split=[0.8,.1,.1]", [0.8, 0.1, 0.1]),
    ],
)
def test_values_are_yaml_1_2_scalars_and_text_stays_as_written(
    recipe: Path, word: str, value: object
) -> None:
    key, _, text = word.partition("=")
    found = resolve(recipe, word).recipe.by_key()[key]
    assert found == value
    assert type(found) is type(value)
    variable = "LAUNCH_" + key.upper().replace(".", "__")
    assert resolve(recipe, environ={variable: text}).recipe.by_key()[key] == value


def test_files_keep_text_as_written_too(recipe: Path) -> None:
    recipe.write_text(RECIPE + "time: 30\nrun_id: 007\ntuning: lora\nlora:\n  targets: [1, no]\n")
    loaded = resolve(recipe)
    assert (loaded.recipe.time, loaded.recipe.run_id, loaded.recipe.lora.targets) == (
        "30",
        "007",
        ("1", "no"),
    )


def test_a_value_may_be_read_from_a_file(recipe: Path) -> None:
    cwd = recipe.parent.parent
    (cwd / "notes.txt").write_text("one, two\n[three]\n\n")
    (cwd / "lr").write_text("1e-4\n")
    (cwd / "labels").write_text('["one, two",\n three]\n')
    words = ("tracking.wandb.notes=@notes.txt", "train.lr=@lr", "data.labels=@labels")
    loaded = resolve(recipe, *words)
    assert loaded.recipe.data.labels == ("one, two", "three")
    assert loaded.recipe.tracking.wandb.notes == "one, two\n[three]\n"
    assert loaded.recipe.train.lr == 1e-4
    (mistake,) = mistakes(recipe, "train.lr=@missing")
    assert mistake == "override: train.lr=@missing: can't be read: No such file or directory"


# Paths


def test_paths_are_relative_to_the_place_that_gives_them(recipe: Path) -> None:
    recipe.write_text(
        RECIPE.replace("train: train.csv", "train: [a.csv, ../b.csv]\n  test: ~/t.csv") + "runs_dir: out\n"
    )
    cwd = recipe.parent.parent
    environ = {"LAUNCH_DATA__CACHE_DIR": "cache", "HOME": "/home/me"}
    loaded = resolve(recipe, "data.validation=v.csv", environ=environ)
    assert loaded.recipe.data.train == (str(recipe.parent / "a.csv"), str(cwd / "b.csv"))
    assert loaded.recipe.data.test == "/home/me/t.csv"
    assert loaded.recipe.data.validation == str(cwd / "v.csv")
    assert loaded.recipe.data.cache_dir == str(cwd / "cache")
    assert loaded.recipe.runs_dir == str(cwd / "out")
    assert resolve(recipe, "runs_dir=/scratch/runs").recipe.runs_dir == "/scratch/runs"


def test_a_model_is_a_directory_where_there_is_one_or_it_is_written_as_a_path(recipe: Path) -> None:
    (recipe.parent / "org" / "model").mkdir(parents=True)
    assert resolve(recipe).recipe.model.name == str(recipe.parent / "org" / "model")
    assert resolve(recipe, "model.name=org/model").recipe.model.name == "org/model"
    assert resolve(recipe, "model.name=./m").recipe.model.name == str(recipe.parent.parent / "m")
    assert resolve(recipe, "model.name=bert-base-uncased").recipe.model.name == "bert-base-uncased"


# Mistakes


def test_all_mistakes_of_all_places_are_reported_at_once(recipe: Path) -> None:
    recipe.write_text(
        RECIPE.replace("lr: 3e-4", "lr: fast\n  epochz: 3").replace("text:", "train: again\n  text:")
    )
    words = ["nodez=4", "precision=bf17", "batch.micro=64", "seed=1", "seed=2", "flag", "cluster=lokal"]
    assert mistakes(recipe, *words, environ={"LAUNCH_NODEZ": "3"}) == [
        "mine.yaml:6: data.train: is given twice, on lines 5 and 6\n    -> keep one of them",
        "mine.yaml:9: train.lr=fast: must be a number above 0\n    -> Peak learning rate.",
        "mine.yaml:10: train.epochz=3: unknown key\n    -> did you mean train.epochs?",
        "environment LAUNCH_NODEZ: nodez=3: unknown key\n    -> did you mean LAUNCH_NODES?",
        "override: seed=2: is given twice\n    -> keep one of seed=1 and seed=2",
        "override: flag: is not key=value\n    -> for example nodes=4",
        "override: nodez=4: unknown key\n    -> did you mean nodes?",
        "override: precision=bf17: must be one of bf16, fp16, fp32\n    -> did you mean bf16?",
        "override: cluster=lokal: unknown cluster\n    -> did you mean local? allowed: example, local",
        (
            "override: batch.micro=64: is larger than batch.global=32\n"
            "    -> use batch.micro=32 or less: batch.global is what makes one step"
        ),
    ]


@pytest.mark.parametrize(
    ("word", "message", "remedy"),
    [
        ("lr=1e-4", "unknown key", "did you mean train.lr?"),
        ("every=3", "unknown key", "did you mean train.decay.every or eval.every or checkpoint.every?"),
        ("train.weight-decay=0", "unknown key", "did you mean train.weight_decay?"),
        ("Nodes=4", "unknown key", "did you mean nodes?"),
        ("--nodes=4", "unknown key", "did you mean nodes?"),
        ("seeds=4", "unknown key", "launch sweep ... seed=1..3"),
        ("xyzzy=4", "unknown key", "known here: task, description, nodes"),
        ("debug.xyzzy=1", "unknown key", "known here: debug.samples"),
        ("train=1", "is a section, not a value", "its keys: train.lr, train.epochs"),
        ("train.lr={a: 1}", "takes no {...}", "give each key by itself"),
        (
            "train.lr=1e-5,2e-5",
            "takes one value: here are commas outside brackets",
            "a run for each: launch sweep",
        ),
        ("data.text=[a,,b]", "has an item that is empty or a list", "[a,b]"),
        ("data.text=[[a],b]", "has an item that is empty or a list", "[a,b]"),
        ("nodes=0", "must be a whole number of at least 1 or a range such as 2..4", "Machines; 2..4"),
        (
            "nodes=4..2",
            "must be a whole number of at least 1, or a range such as 2..4, the smaller",
            "Machines; 2..4",
        ),
        ("gpus=0", "must be a whole number of at least 1", "Ranks per node"),
        ("nodes=1000000000000000000000000000000", "must be at most 1,000,000,000", "Machines; 2..4"),
        ("eval.every=2000000000", "must be at most 1,000,000,000", "Steps"),
        ("nodes=1.0", "must be a whole number of at least 1", "write 1"),
        ("nodes=four", "must be a whole number of at least 1, or a range such as 2..4", "Machines; 2..4"),
        ("requeue=yes", "must be true or false", "yes and no are text"),
        ("zero.stage=4", "must be a whole number from 0 to 3 or null", "plain PyTorch"),
        (
            "tracking.wandb.mode=off",
            "must be one of auto, online, offline, disabled",
            "did you mean disabled?",
        ),
        ("train.compile=false", "must be one of auto, none, graph, inductor", "did you mean none?"),
        ("seed=-1", "must be a whole number from 0 to 4294967295", "Seed"),
        ("train.lr=.inf", "must be a number above 0", "Peak"),
        ("train.beta1=.nan", "must be a number of at least 0 and below 1", "moment"),
        (
            "train.warmup=1.5",
            "must be a whole number of at least 0 or a number of at least 0 and below 1",
            "share",
        ),
        ("eval.every=0", "must be a whole number of at least 1, epoch, or null", "Steps"),
        (
            "data.train=[]",
            "must be a path, a list of one or more paths, or null",
            "Training file",
        ),
        ("data.text=[a,b,c]", "must be a line of text or a list of 1 to 2 lines of text", "two columns"),
        (
            "data.split=[0.9]",
            "must be a list of 2 to 3 numbers of at least 0 and below 1 or null",
            "Fractions",
        ),
        ("data.text=[a,b", "takes one value: here are commas outside brackets", "a list is [a,b],"),
        ("data.delimiter=;;", "must be one character or null", "separator"),
        (
            "time=90m",
            "must be MINUTES, MM:SS, HH:MM:SS, D-HH, D-HH:MM or D-HH:MM:SS; 90m is 90",
            "Time limit",
        ),
        (
            "time=2h",
            "must be MINUTES, MM:SS, HH:MM:SS, D-HH, D-HH:MM or D-HH:MM:SS; 2h is 2:00:00",
            "Time limit",
        ),
        ("time=tomorrow", "must be MINUTES, MM:SS, HH:MM:SS, D-HH, D-HH:MM or D-HH:MM:SS", "Time limit"),
        ("time=0", "must be more than 0, which Slurm takes for no limit at all", "Time limit"),
        ("time=0-00:00", "must be more than 0", "Time limit"),
        ("extends=smoke", "unknown key", "a recipe is whole"),
        ("task=ner", "must be one of", "did you mean token-classification?"),
        ("task=text-classification", "must be one of", "did you mean classification?"),
        ("device=gpu", "must be one of auto, cuda, cpu", "did you mean cuda?"),
        ("precision=16", "must be one of bf16, fp16, fp32", "did you mean fp16?"),
        ("eval.metric=F1", "is not computed by", "did you mean f1?"),
        ("tracking.wandb.enabled=false", "unknown key", "did you mean tracking.wandb.mode=disabled?"),
        ("data.labels=[a]", "must be a list of 2 or more lines of text or null", "All labels"),
        ("data.labels=[a,b,a]", "names a more than once", "once"),
        ("data.label=sentence", "sentence is also read as a text", "another column"),
        ("data.max_length=2", "leaves no room for a text beside 2 special tokens", "give more"),
        ("data.source=https://hub.example/datasets/glue", "is the address of a page", "org/name"),
        (
            "task=translation",
            "must be one of classification, embedding, masked-lm",
            "What the model learns",
        ),
    ],
)
def test_a_mistake_says_what_is_allowed(recipe: Path, word: str, message: str, remedy: str) -> None:
    (problem,) = problems(f"recipe={recipe}", word, cwd=recipe.parent.parent)
    assert problem.message.startswith(message)
    assert problem.where == "override"
    assert str(problem).splitlines()[0].startswith(f"override: {word}: ")
    assert remedy in str(problem.remedy)


def test_a_null_that_is_not_allowed_is_shown_as_it_was_written(recipe: Path) -> None:
    (problem,) = problems(f"recipe={recipe}", "train.lr=null", cwd=recipe.parent.parent)
    assert str(problem).startswith("override: train.lr=null: must be a number above 0")
    (problem,) = problems(f"recipe={recipe}", 'train.lr="1e-5"', cwd=recipe.parent.parent)
    assert problem.remedy == "leave out the quotes: what stands in them is text"


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("run_id=a\nb", "must be letters, digits"),
        ("run_id=-a", "must be letters, digits"),
        ("run_id=../a", "must be letters, digits"),
        ("run_id=a b", "must be letters, digits"),
        ("run_id=" + "a" * 101, "must be letters, digits, '.', '_' or '-', 100 at most"),
        ("run_id=$(touch x)", "must be letters, digits"),
        ("runs_dir=-rf", "must not be empty, start with '-'"),
        ("runs_dir=a\n#SBATCH --wrap=x", "must not be empty, start with '-' or contain '#SBATCH'"),
        ("runs_dir=a\nb", "must be one line"),
        ("data.train=#SBATCH", "must not be empty, start with '-' or contain '#SBATCH'"),
        ("data.train=[a.csv,-b.csv]", "must not be empty, start with '-'"),
        ("model.name=--upload", "must not be empty, start with '-'"),
        ("time=1;x", "must be MINUTES"),
        ("time=1\n", "must be MINUTES"),
        ("lora.targets=[a\nb]", "must be letters, digits"),
        ("run_id=a\0b", "contains the invisible character U+0000"),
        ("tracking.wandb.notes=a\u202eb", "contains the invisible character U+202E"),
        ("tracking.wandb.notes=\x1b[2J", "contains the invisible character U+001B"),
        ('tracking.wandb.notes="\\e[2J"', "contains the invisible character U+001B"),
        ("tracking.wandb.notes=\udcff", "is not UTF-8: byte 0xff"),
        ("no\u2066des=4", "contains the invisible character U+2066"),
    ],
)
def test_nothing_unsafe_reaches_a_script_or_a_terminal(recipe: Path, word: str, reason: str) -> None:
    (mistake,) = mistakes(recipe, word)
    assert reason in mistake
    assert hidden_character(mistake) is None
    key, _, text = word.partition("=")
    if key in schema_of(Recipe).leaves:
        (mistake,) = mistakes(recipe, environ={"LAUNCH_" + key.upper().replace(".", "__"): text})
        assert reason in mistake
        assert hidden_character(mistake) is None


def test_a_clean_environment_is_needed(recipe: Path) -> None:
    environ = {"LAUNCH_RECIPE": "smoke", "LAUNCH_TRAIN": "1", "LAUNCH_": "x", "LAUNCH_LR": "1"}
    assert [mistake.splitlines()[0] for mistake in mistakes(recipe, environ=environ)] == [
        "environment LAUNCH_LR: lr=1: unknown key",
        "environment LAUNCH_RECIPE: recipe=smoke: unknown key",
        "environment LAUNCH_TRAIN: train=1: is a section, not a value",
    ]


def test_mistakes_in_the_shape_of_a_file(recipe: Path) -> None:
    recipe.write_text(
        "model: bert\ntrain:\n  lr:\n    peak: 1\ntrain.epochs: 3\neval:\ndata:\n  train: a.csv\n"
    )
    assert mistakes(recipe) == [
        (
            "mine.yaml: task: is needed: one of classification, embedding, masked-lm, multilabel, multiple-choice, "
            "ordinal, question-answering, ranking, regression, token-classification\n    -> What the model learns to do."
        ),
        (
            "mine.yaml:1: model=bert: is a section, not a value\n"
            "    -> its keys: model.name, model.revision, model.init, model.reinit_layers, model.gradient_checkpointing, "
            "model.dropout, model.freeze, model.head, model.scratch"
        ),
        "mine.yaml:3: train.lr: is a value, not a section\n    -> Peak learning rate.",
        "mine.yaml:5: train.epochs=3: is a key of the section train\n    -> write it indented under `train:`",
    ]


def test_settings_of_adapters_that_are_not_there(recipe: Path) -> None:
    assert mistakes(recipe, "lora.r=4", "lora.dropout=0.05") == [
        "override: lora.r=4: there are no adapters\n    -> set tuning=lora, or leave it out (lora.r=8)"
    ]
    assert resolve(recipe, "lora.r=4", "tuning=lora").recipe.lora.r == 4


def test_the_recipe_is_named_on_the_command_line(tmp_path: Path) -> None:
    found = problems(cwd=tmp_path, environ={"LAUNCH_RECIPE": "smoke"})
    (problem,) = (problem for problem in found if problem.where == "environment LAUNCH_RECIPE")
    assert problem.remedy == "give recipe=smoke on the command line"


def test_a_contradiction_is_not_reported_where_a_value_is_a_mistake_itself(recipe: Path) -> None:
    assert len(mistakes(recipe, "batch.micro=64", "batch.global=x")) == 1
    recipe.write_text("task: classification\nmodel:\n  name: m\n  init: ?!\n")
    assert [mistake.splitlines()[0] for mistake in mistakes(recipe, "data=none")] == [
        "mine.yaml:4: model.init=?!: must be one of pretrained, scratch",
        "override: data=none: is a section, not a value",
    ]


def test_a_recipe_without_its_key_is_named_with_it(tmp_path: Path) -> None:
    for word in ("mine.yaml", "roberta-cls"):
        told = f"override: {word}: is not key=value\n    -> did you mean recipe={word}?"
        assert [str(problem) for problem in problems(word, "nodes=1", cwd=tmp_path)] == [told]
    (problem,) = problems("mine.yaml", "recipe=smoke", cwd=tmp_path)
    assert problem.remedy == "for example nodes=4"


def test_mistakes_of_the_command_line_are_found_without_a_recipe(tmp_path: Path) -> None:
    found = [str(problem).splitlines()[0] for problem in problems("nodez=4", "seed=x", cwd=tmp_path)]
    assert found == [
        "no recipe given",
        "override: nodez=4: unknown key",
        "override: seed=x: must be a whole number from 0 to 4294967295",
    ]


@pytest.mark.parametrize(
    ("reference", "message", "remedy"),
    [
        ("roberta-clz", "unknown recipe", "did you mean roberta-cls? allowed: bert-choice, bert-cls"),
        ("missing/smoke.yaml", "there is no such file", "did you mean smoke?"),
        ("roberta-cls.yaml", "there is no such file", "did you mean roberta-cls?"),
        (".", "is a directory, not a file", ""),
        ("x" * 5000, "unknown recipe", "allowed: "),
        ("/" + "x" * 5000, "can't be read: File name too long", "check the path"),
    ],
)
def test_recipes_that_are_not_there(tmp_path: Path, reference: str, message: str, remedy: str) -> None:
    (problem,) = problems(f"recipe={reference}", cwd=tmp_path)
    assert problem.message == message
    assert remedy in (problem.remedy or "")


def test_a_file_beside_whose_name_says_no_recipe_is_named_as_a_path(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text(RECIPE)
    (problem,) = problems("recipe=mine", cwd=tmp_path)
    assert str(problem.remedy).startswith("did you mean recipe=./mine? ")
    assert load(["recipe=./mine"], environ={}, cwd=tmp_path).recipe.train.lr == 3e-4


def test_a_recipe_file_whose_name_is_near_is_named(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(RECIPE)
    for reference in ("mime.yaml", "./mine.yml"):
        (problem,) = problems(f"recipe={reference}", cwd=tmp_path)
        assert str(problem.remedy).startswith("did you mean recipe=mine.yaml? "), problem.remedy


def test_a_data_file_in_the_place_of_a_recipe_is_told_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "my train.csv").write_text("text,label\ngood,1\n")
    (problem,) = problems("recipe=my train.csv", cwd=tmp_path)
    assert problem.message == "is a data file, not a recipe"
    assert problem.remedy == "launch init 'my train.csv' writes a recipe for it"


def test_a_path_unfit_for_a_script_is_a_mistake_also_where_it_comes_from_the_working_directory(
    tmp_path: Path,
) -> None:
    cwd = tmp_path / "a\nb"
    cwd.mkdir()
    (problem,) = problems("recipe=smoke", "data.train=x.csv", "runs_dir=/r", cwd=cwd)
    assert (problem.field, problem.message) == ("data.train", "must be one line without control characters")


# Cluster profiles


def profile_mistakes(tmp_path: Path, text: str) -> list[str]:
    path = tmp_path / "site.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        load_cluster(str(path), cwd=tmp_path)
    return [str(problem) for problem in caught.value.problems]


def test_a_profile_holds_no_hyper_parameter(tmp_path: Path) -> None:
    remedy = "\n    -> move it to the recipe, or give it as an override"
    belongs = "belongs in a recipe: a cluster profile holds facts about a site"
    assert profile_mistakes(tmp_path, "train:\n  lr: 1\nnodes: 4\npartitoin: main\n") == [
        f"site.yaml:1: train: {belongs}{remedy}",
        f"site.yaml:3: nodes=4: {belongs}{remedy}",
        "site.yaml:4: partitoin=main: unknown key\n    -> did you mean partition?",
    ]


def test_an_option_of_sbatch_leads_to_the_key_of_a_profile(tmp_path: Path) -> None:
    section = "options of sbatch stand in the section sbatch, by their long names"
    under_sbatch = f"{section}: sbatch: {{exclude: node7}}"
    assert profile_mistakes(tmp_path, "exclude: node7\nmem: 4G\nmail-user: me@example.com\n") == [
        f"site.yaml:1: exclude=node7: unknown key\n    -> {under_sbatch}",
        "site.yaml:2: mem=4G: unknown key\n    -> did you mean memory?",
        f"site.yaml:3: mail-user=me@example.com: unknown key\n    -> {under_sbatch}",
    ]


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("partition: 'a\n\n  b'", "site.yaml:1: partition=a\\nb: must be a name"),
        ("account: -x", "site.yaml:1: account=-x: must be letters, digits"),
        ("qos: '#SBATCH'", "site.yaml:1: qos=#SBATCH: must be a name"),
        ("python: '#SBATCH'", "site.yaml:1: python=#SBATCH: must not be empty"),
        ("env:\n  A: 1\n  WANDB_API_KEY: abc", "site.yaml:3: env.WANDB_API_KEY: looks like a secret"),
        ("env:\n  A B: 1", "site.yaml:2: env.A B: must be a name of an environment variable"),
        ("env: none", "site.yaml:1: env=none: must be a mapping of names to text"),
        ("env:\n  A: [1]", "site.yaml:2: env.A: must be a line of text"),
        ("partition: gpu, long", "site.yaml:1: partition=gpu, long: must be a name, or several with commas"),
        ("sbatch:\n  nodes: 4", "site.yaml:2: sbatch.nodes: is what the recipe's nodes decides"),
        ("sbatch:\n  clusters: b", "site.yaml:2: sbatch.clusters: is what the environment's SLURM_CLUSTERS"),
        ("sbatch:\n  --job-name: x", "site.yaml:2: sbatch.--job-name: is what launch itself decides"),
        ("sbatch:\n  x: node1", "site.yaml:2: sbatch.x: must be the long name of an sbatch option"),
        ('sbatch:\n  comment: "a\\nb"', "site.yaml:2: sbatch.comment: must be one line"),
        ("pass_env: [A B]", "site.yaml:1: pass_env=[A B]: must be a name of an environment variable"),
        ("setup: module load cuda", "site.yaml:1: setup=module load cuda: must be a list of lines of text"),
        ("container:\n  image: x.sif", "site.yaml: container.runtime: is needed: one of apptainer, pyxis"),
        ("limits:\n  time: soon", "site.yaml:2: limits.time=soon: must be MINUTES"),
        ("limits:\n  time: 0", "site.yaml:2: limits.time=0: must be more than 0"),
        (
            "setup: ['echo \"unbalanced']",
            'site.yaml:1: setup=echo "unbalanced: bash says: unexpected EOF while',
        ),
        (
            "setup:\n  - module purge\n  - if true; fi",
            "site.yaml:3: setup=if true; fi: bash says: syntax error near",
        ),
        ("setup: ['}']", "site.yaml:1: setup=}: bash says: syntax error near unexpected token `}'"),
    ],
)
def test_mistakes_in_profiles(tmp_path: Path, text: str, mistake: str) -> None:
    (found,) = profile_mistakes(tmp_path, text)
    assert found.startswith(mistake)
    assert "abc" not in found


def test_every_mistake_within_a_mapping_is_told(tmp_path: Path) -> None:
    text = "sbatch:\n  nodes: 4\n  comment: fine\n  output: x\nenv:\n  A: [1]\n  B C: 1\n"
    assert [found.partition(":")[2][:18] for found in profile_mistakes(tmp_path, text)] == [
        *("2: sbatch.nodes: i", "4: sbatch.output: ", "6: env.A: must be ", "7: env.B C: must b")
    ]


def test_setup_lines_are_one_piece_of_shell(tmp_path: Path) -> None:
    lines = ["if command -v module; then", "module purge", "fi", "echo $(date) '%'"]
    (tmp_path / "site.yaml").write_text(json.dumps({"setup": lines}))
    assert load_cluster(str(tmp_path / "site.yaml"), cwd=tmp_path).setup == tuple(lines)


def test_mistakes_in_the_profile_are_reported_with_those_of_the_recipe(recipe: Path) -> None:
    (recipe.parent / "site.yaml").write_text("gpus_per_node: many\n")
    found = mistakes(recipe, f"cluster={recipe.parent / 'site.yaml'}", "nodes=0")
    assert [mistake.splitlines()[0] for mistake in found] == [
        "site.yaml:1: gpus_per_node=many: must be a whole number of at least 0 or null",
        "override: nodes=0: must be a whole number of at least 1 or a range such as 2..4",
    ]


# Round trips


def lines() -> st.SearchStrategy[str]:
    shown = st.characters(codec="utf-8", exclude_categories=("Cc", "Cs"))
    odd = st.sampled_from(
        ["no", "3e-4", "12:30:00", "010", "~", "null", "[a]", "@x", "a: b", "# a", "!x", "*a", "true"]
    )
    return odd | st.text(shown.filter(lambda character: hidden_character(character) is None), max_size=20)


def below_one() -> st.SearchStrategy[float]:
    return st.floats(0, 1, exclude_max=True)


SETTINGS = st.fixed_dictionaries(
    {"task": st.sampled_from(["classification", "regression"])},
    optional={
        "description": lines(),
        "time": st.sampled_from(["30", "12:30:00", "1-00"]),
        "run_id": st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True),
        "requeue": st.booleans(),
        "lora": st.fixed_dictionaries(
            {"alpha": st.floats(1e-300, 1e300), "targets": st.none() | st.just(("query", "no"))}
        ),
        "data": st.fixed_dictionaries(
            {"train": st.sampled_from(["/a b.csv", ("/a.csv", "/3e-4")]), "text": lines(), "label": lines()},
            optional={
                "split": st.tuples(st.just(0.5), st.floats(0.1, 0.4)),
                "delimiter": st.sampled_from("\t;#'\"~"),
            },
        ).filter(lambda data: data["text"] != data["label"]),
        "train": st.fixed_dictionaries(
            {"warmup": st.integers(0, 10**9) | below_one(), "clip": st.none() | st.just(1e-300)}
        ),
        "eval": st.fixed_dictionaries({"every": st.integers(1, 10**9) | st.sampled_from(["epoch", None])}),
        "tracking": st.fixed_dictionaries(
            {
                "wandb": st.fixed_dictionaries(
                    {
                        "tags": st.lists(lines().filter(str.strip), max_size=3).map(tuple),
                        "notes": st.none() | lines(),
                    }
                )
            }
        ),
    },
)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=SETTINGS)
def test_a_dumped_recipe_reads_back_equal(tmp_path: Path, values: dict[str, Any]) -> None:
    data = {"source": None, "train": "/train.csv", **values.get("data", {})}
    model = {"name": "org/model"}
    tuning = "lora" if "lora" in values else "full"
    tree = {**values, "data": data, "model": model, "runs_dir": "/runs", "tuning": tuning}
    recipe = Recipe.model_validate_json(json.dumps(tree))
    path = tmp_path / "recipe.yaml"
    path.write_text(dump_recipe(recipe), encoding="utf-8")
    assert read_recipe_file(path) == recipe
    assert load([f"recipe={path}"], environ={}, cwd=tmp_path).recipe == recipe


KEYS = st.sampled_from([*(leaf.name for leaf in leaves(Recipe)), "train", "nodez", "recipe"])
VALUES = (
    st.text(max_size=30)
    | lines()
    | st.from_regex(r"[-+.0-9eE]{1,12}", fullmatch=True)
    | st.text("[]{},:\"'@ a1", max_size=12)
)
WORDS = st.builds("{}={}".format, KEYS, VALUES) | st.text(max_size=20)


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    words=st.lists(WORDS, max_size=5),
    environ=st.dictionaries(
        st.sampled_from(["LAUNCH_NODES", "LAUNCH_DATA__TEXT", "LAUNCH_X"]), VALUES, max_size=2
    ),
)
def test_no_command_line_or_environment_raises_anything_but_a_user_error(
    tmp_path: Path, words: list[str], environ: dict[str, str]
) -> None:
    message = ""
    try:
        load(["recipe=smoke", *words], environ=environ, cwd=tmp_path)
    except UserError as error:
        message = str(error)
    assert "pydantic" not in message
    assert hidden_character(message) is None


FRAGMENTS = st.sampled_from(
    [
        *RECIPE.splitlines(keepends=True),
        "  ",
        "\n",
        ": ",
        "- ",
        "[",
        "]",
        "{",
        "}",
        "'",
        '"',
        "&a ",
        "*a",
        "!t ",
        "? ",
        "| ",
        "\t",
    ]
)


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    content=st.lists(FRAGMENTS, max_size=12).map(lambda parts: "".join(parts).encode())
    | st.binary(max_size=60)
)
def test_no_file_raises_anything_but_a_user_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(content)
    for read in (
        lambda: resolve_file(path),
        lambda: read_recipe_file(path),
        lambda: load_cluster(str(path), cwd=tmp_path),
    ):
        with contextlib.suppress(UserError):
            read()


def resolve_file(path: Path) -> Loaded:
    return load([f"recipe={path}"], environ={}, cwd=path.parent)


# The schema itself


@pytest.mark.parametrize("root", [Recipe, Cluster])
def test_every_key_has_one_sentence_and_says_what_it_takes(root: type[Recipe] | type[Cluster]) -> None:
    schema = schema_of(root)
    for key, field in schema.leaves.items():
        sentence = schema.meaning(key)
        assert sentence, key
        assert sentence.endswith((".", "]", ")")), key
        assert "typing" not in expected(field), key


def test_loading_needs_no_heavy_package() -> None:
    heavy = "('torch', 'numpy', 'click', 'jinja2')"
    code = f"import sys, launcher.loading.resolve; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
