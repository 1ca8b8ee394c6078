"""Names that other tools use lead to ours, and variables of other programs are left alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from launcher.errors import UserError
from launcher.loading.other_names import KEYS, REMEDIES
from launcher.loading.resolve import Loaded, load
from launcher.loading.schema import schema_of
from launcher.recipe.recipe import Recipe

RECIPE = "task: classification\ndata: {train: train.csv}\nmodel: {name: bert-base-uncased}\n"


def resolve(folder: Path, *words: str, environ: dict[str, str] | None = None, recipe: str = RECIPE) -> Loaded:
    (folder / "mine.yaml").write_text(recipe)
    return load(["recipe=mine.yaml", *words], environ=environ or {}, cwd=folder)


def mistake(folder: Path, *words: str, environ: dict[str, str] | None = None, recipe: str = RECIPE) -> str:
    with pytest.raises(UserError) as caught:
        resolve(folder, *words, environ=environ, recipe=recipe)
    (only,) = caught.value.problems
    return str(only.remedy)


@pytest.mark.parametrize(
    ("word", "ours"),
    [
        ("learning_rate=3e-5", "did you mean train.lr?"),
        ("train.learning_rate=3e-5", "did you mean train.lr?"),
        ("--learning-rate=3e-5", "did you mean train.lr?"),
        ("lr=3e-5", "did you mean train.lr?"),
        ("num_train_epochs=3", "did you mean train.epochs?"),
        ("epochs=3", "did you mean train.epochs?"),
        ("train.batch_size=16", "did you mean batch.global?"),
        ("per_device_train_batch_size=16", "did you mean batch.global?"),
        ("gradient_accumulation_steps=2", "batch.global"),
        ("warmup_ratio=0.1", "did you mean train.warmup?"),
        ("weight_decay=0.1", "did you mean train.weight_decay?"),
        ("max_seq_length=128", "did you mean data.max_length?"),
        ("train.max_length=128", "did you mean data.max_length?"),
        ("fp16=true", "did you mean precision=fp16?"),
        ("mixed_precision=bf16", "did you mean precision?"),
        ("lora_alpha=16", "did you mean lora.alpha?"),
        ("lora.lora_alpha=16", "did you mean lora.alpha?"),
        ("eval_steps=100", "did you mean eval.every?"),
        ("save_steps=100", "did you mean checkpoint.every?"),
        ("logging_steps=10", "every step is recorded"),
        ("model_name_or_path=x", "did you mean model.name?"),
        ("output_dir=x", "did you mean runs_dir?"),
        ("num_processes=4", "did you mean gpus?"),
        ("resume_from_checkpoint=x", "launch resume RUN"),
        ("push_to_hub=true", "launch push RUN uploads the model"),
        ("ddp_backend=nccl", "the plan sets what is needed"),
        ("ntasks=8", "gpus=N and nodes=N say how many ranks there are"),
        ("mail_user=me@example.com", "it belongs into the cluster profile"),
        ("num_hidden_layers=4", "did you mean model.scratch.layers?"),
        ("val_set_size=0.1", "did you mean data.split?"),
        ("lora=true", "did you mean tuning=lora?"),
        ("batch=16", "did you mean batch.global?"),
        ("freeze=true", "did you mean model.freeze.embeddings or model.freeze.layers?"),
        ("loss=focal", "did you mean train.loss.name or "),
        ("dropout=0.1", "or model.dropout.hidden or "),
    ],
)
def test_the_name_of_another_tool_leads_to_ours(tmp_path: Path, word: str, ours: str) -> None:
    assert mistake(tmp_path, word).startswith(ours) or ours in mistake(tmp_path, word)


def test_so_it_does_in_a_recipe(tmp_path: Path) -> None:
    assert mistake(tmp_path, recipe=RECIPE + "train: {learning_rate: 3e-5}\n") == "did you mean train.lr?"


def test_every_name_leads_to_a_key_that_there_is() -> None:
    assert {key.partition("=")[0] for key in KEYS} <= schema_of(Recipe).leaves.keys()
    assert not REMEDIES.keys() & schema_of(Recipe).leaves.keys()


@pytest.mark.parametrize("suffix", [".yaml", ".yml"])
def test_a_recipe_file_beside_is_meant_by_its_name(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"sst2{suffix}").write_text(RECIPE)
    with pytest.raises(UserError, match=rf"did you mean recipe=sst2\{suffix}\?"):
        load(["recipe=sst2"], environ={}, cwd=tmp_path)


# The environment


@pytest.mark.parametrize(
    "name", ["LAUNCH_FOO", "LAUNCH_HOME", "LAUNCH_DIR", "LAUNCH_JOB_ID", "LAUNCH_", "LAUNCH_USER"]
)
def test_a_variable_of_another_program_is_named_in_a_note(tmp_path: Path, name: str) -> None:
    assert resolve(tmp_path, environ={name: "x"}).notes == (
        f"no keys, and not looked at: {name} in the environment",
    )


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("LAUNCH_NODEZ", "LAUNCH_NODES"),
        ("LAUNCH_SEEED", "LAUNCH_SEED"),
        ("LAUNCH_LR", "LAUNCH_TRAIN__LR"),
        ("LAUNCH_TRAIN__LRR", "LAUNCH_TRAIN__LR"),
        ("LAUNCH_TRIAN__LR", "LAUNCH_TRAIN__LR"),
        ("LAUNCH_LEARNING_RATE", "train.lr"),
        ("LAUNCH_RUN_DIR", "LAUNCH_RUNS_DIR"),
        ("LAUNCH_TRAIN_LR", "LAUNCH_TRAIN__LR"),
        ("LAUNCH_TRAIN_EARLY_STOPPING_METRIC", "LAUNCH_TRAIN__EARLY_STOPPING__METRIC"),
    ],
)
def test_a_variable_that_looks_like_a_key_is_a_mistake(tmp_path: Path, name: str, meant: str) -> None:
    assert meant in mistake(tmp_path, environ={name: "1"})


def test_other_variables_of_ours_are_no_news(tmp_path: Path) -> None:
    assert resolve(tmp_path, environ={"LAUNCH_COMPAT": "off", "LAUNCH_NODES": "1"}).notes == ()
