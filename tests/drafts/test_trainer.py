"""Settings of other tools: what each field becomes, what is said of the others, and that no script is executed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.shapes import write_shape

from launcher.drafts.trainer import TakenOver, draft_from, take_over
from launcher.errors import UserError
from launcher.planning.prepare import prepare

ARGUMENTS = Path(__file__).with_name("args.json")
"""What args.to_json_string() of transformers 5 gave for a dozen fields that were set."""
SCRIPT = """
import os
from transformers import TrainingArguments, AutoModelForSequenceClassification, AutoTokenizer, IntervalStrategy
os.system("touch executed")
MODEL = "microsoft/deberta-v3-base"
raw = load_dataset("glue", "mrpc")
tokenizer = AutoTokenizer.from_pretrained(MODEL)
def tokenize(batch): return tokenizer(batch["sentence1"], batch["sentence2"], truncation=True, max_length=128)
model = AutoModelForSequenceClassification.from_pretrained(MODEL, num_labels=2)
lora = LoraConfig(r=16, lora_alpha=32, target_modules=["query_proj", "value_proj"], task_type=TaskType.SEQ_CLS)
args = TrainingArguments(
    "out", learning_rate=2e-5, per_device_train_batch_size=32, bf16=True, evaluation_strategy=IntervalStrategy.STEPS,
    eval_steps=len(raw) // 3, seed=int(os.environ["SEED"]), hub_token="hf_abcdefghijklmnop",
)
stop = EarlyStoppingCallback(early_stopping_patience=2)
"""
ACCELERATE = """
compute_environment: LOCAL_MACHINE
deepspeed_config: {gradient_accumulation_steps: 4, offload_optimizer_device: cpu, zero_stage: 3}
distributed_type: DEEPSPEED
downcast_bf16: 'no'
mixed_precision: fp16
num_machines: 2
num_processes: 8
use_cpu: false
"""


def taken_of(directory: Path, name: str, text: str) -> TakenOver:
    (directory / name).write_text(text)
    return take_over([directory / name])


def fates(found: TakenOver) -> dict[str, tuple[tuple[str, ...], str]]:
    return {fate.field: (fate.keys, fate.why) for fate in found.fates}


def test_training_arguments_become_keys_and_every_other_field_is_told() -> None:
    found = take_over([ARGUMENTS])
    assert found.keys == {
        "batch.global": 16,
        "train.epochs": 4.0,
        "train.lr": 3e-5,
        "train.schedule": "cosine",
        "train.warmup": 0.1,
        "train.optimizer": "adamw",
        "train.weight_decay": 0.0,
        "train.beta1": 0.9,
        "train.beta2": 0.999,
        "train.epsilon": 1e-8,
        "train.clip": 1.0,
        "train.loss.label_smoothing": 0.1,
        "eval.every": "epoch",
        "eval.metric": "mae",
        "checkpoint.every": 200,
        "tracking.wandb.mode": "disabled",
        "seed": 42,
        "device": "cpu",
        "precision": "fp32",
    }
    told = fates(found)
    assert told["neftune_noise_alpha"] == ((), "has no counterpart")
    assert "2 accumulated" in told["per_device_train_batch_size"][1]
    given = json.loads(ARGUMENTS.read_text())
    fields = {**given, **given["accelerator_config"]}.keys() - {"accelerator_config"}
    assert len(found.fates) + found.unset == len(fields) + len(["bf16, fp16"])
    assert all(keys or why for keys, why in told.values())


def test_a_script_is_read_and_never_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = taken_of(tmp_path, "train.py", SCRIPT)
    assert not (tmp_path / "executed").exists()
    assert found.keys == {
        "task": "classification",
        "data.source": "nyu-mll/glue:mrpc",
        "data.text": ["sentence1", "sentence2"],
        "data.label": "label",
        "data.max_length": 128,
        "model.name": "microsoft/deberta-v3-base",
        "tuning": "lora",
        "lora.r": 16,
        "lora.alpha": 32.0,
        "lora.targets": ["query_proj", "value_proj"],
        "train.lr": 2e-5,
        "train.early_stopping.patience": 2,
        "batch.global": 32,
        "precision": "bf16",
    }
    told = fates(found)
    assert "worked out by the script" in told["seed"][1]
    assert "worked out by the script" in told["evaluation_strategy"][1]
    assert [fate.value for fate in found.fates if fate.field == "hub_token"] == ["(hidden)"]


@pytest.mark.parametrize(
    ("owner", "task"),
    [
        ("CamembertForTokenClassification", "token-classification"),
        ("transformers.ModernBertForSequenceClassification", "classification"),
        ("AlbertForQuestionAnswering", "question-answering"),
    ],
)
def test_a_model_of_any_family_is_known_by_what_its_class_is_for(
    owner: str, task: str, tmp_path: Path
) -> None:
    script = (
        f"model = {owner}.from_pretrained('some/encoder')\nargs = TrainingArguments(learning_rate=3e-5)\n"
    )
    found = taken_of(tmp_path, "train.py", script)
    assert (found.keys["task"], found.keys["model.name"]) == (task, "some/encoder")


def test_what_accelerate_was_told_becomes_nodes_sharding_and_precision(tmp_path: Path) -> None:
    found = taken_of(tmp_path, "accelerate.yaml", ACCELERATE)
    assert found.keys == {"nodes": 2, "gpus": 4, "zero.stage": 3, "zero.offload": "cpu", "precision": "fp16"}


def test_several_files_are_taken_together(tmp_path: Path) -> None:
    (tmp_path / "accelerate.yaml").write_text(ACCELERATE)
    assert take_over([ARGUMENTS, tmp_path / "accelerate.yaml"]).keys["batch.global"] == 8 * 4 * 8


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("args.json", "{", "is no JSON"),
        ("args.json", "[1]", "holds no fields"),
        ("train.py", "def (", "is no Python that can be read"),
        ("train.py", "print(1)", "has no TrainingArguments"),
        ("accelerate.yaml", "a: &x 1", "anchor"),
    ],
)
def test_files_that_say_nothing_are_told(name: str, text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        taken_of(tmp_path, name, text)


@pytest.mark.parametrize(
    ("field", "value", "why"),
    [
        ("optim", "lion_8bit", "there is no lion_8bit"),
        ("lr_scheduler_type", "cosine_with_restarts", "there is no schedule cosine_with_restarts"),
        ("learning_rate", "fast", "train.lr: must be a number above 0"),
        ("max_grad_norm", [1], "can't be understood"),
        ("metric_for_best_model", "eval_rouge", "there is no metric rouge"),
    ],
)
def test_values_without_a_counterpart_are_told(field: str, value: Any, why: str, tmp_path: Path) -> None:
    found = taken_of(tmp_path, "args.json", json.dumps({field: value}))
    keys, said = fates(found)[field]
    assert (keys, why in said) == ((), True), said


def test_with_data_the_recipe_is_planned_and_keys_that_do_not_fit_the_task_are_left_out(
    tmp_path: Path,
) -> None:
    data = write_shape("stars.csv", tmp_path)
    draft, found = draft_from([ARGUMENTS], [data], ["eval.every=10"], tmp_path, tmp_path)
    keys, why = fates(found)["label_smoothing_factor"]
    assert (keys, "smooths the labels of cross-entropy" in why) == ((), True)
    assert draft.keys["train.lr"] == (3e-5, "From learning_rate.")
    assert draft.keys["eval.every"].value == 10
    (tmp_path / "drafted.yaml").write_text(draft.text)
    prepare(["recipe=drafted.yaml", "executor=local"], {}, tmp_path, submits=False)


def test_without_data_the_hubs_are_taken_or_some_are_asked_for(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(SCRIPT)
    draft, _ = draft_from([tmp_path / "train.py"], [], [], tmp_path, tmp_path)
    assert draft.keys["data.source"].value == "nyu-mll/glue:mrpc"
    with pytest.raises(UserError, match="says nothing of data"):
        draft_from([ARGUMENTS], [], [], tmp_path, tmp_path)


def test_columns_of_the_hubs_data_are_no_columns_of_the_files_that_are_given(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(SCRIPT)
    data = write_shape("pairs.csv", tmp_path)
    draft, taken = draft_from([tmp_path / "train.py"], [data], [], tmp_path, tmp_path)
    keys, why = fates(taken)["dataset_name"]
    assert (keys, why) == (
        ("task",),
        "data.source, data.text, data.label: is about other data than those given",
    )
    found = [draft.keys[key].value for key in ("data.text", "data.label", "lora.r")]
    assert found == [["premise", "hypothesis"], "gold_label", 16]
    assert "data.source" not in draft.keys
