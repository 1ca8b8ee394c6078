"""Running the stock Trainer script with the settings of a recipe of ours."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launcher import tasks
from launcher.families import shape_from_config
from launcher.families.shared.base import resolve_lora_targets
from launcher.planning.model_config import find_config
from launcher.reading.data_section import files, read_options
from launcher.reading.files import read_rows
from launcher.recipe.recipe import Recipe
from launcher.tasks.shared.answers import answers

PLAIN_LENGTH = 128
ALLOCATOR = {
    "MALLOC_MMAP_THRESHOLD_": "33554432",
    "MALLOC_TRIM_THRESHOLD_": "1073741824",
    "MALLOC_TOP_PAD_": "67108864",
    "GOMP_SPINCOUNT": "10000",
}
"""What slurm/job.macros.j2 sets for our own trainings on a CPU."""


@dataclass(frozen=True)
class Flags:
    """One way to call the Trainer."""

    padded_to: str = "longest"
    """max_length: every example to the longest allowed; longest: to the longest of its batch."""
    precision: str = "fp32"
    grouped: bool = False
    """Batches of examples of like length, and the fused optimizer."""
    allocator: bool = False
    """With our settings of the C library's allocator."""
    script: str = "peer"
    """The module of benchmarks that trains."""
    accumulate: int = 1
    """Micro-batches of a step."""
    pairs_only: bool = False
    """Whether it reads nothing but pairs of texts."""


PEERS = {
    "defaults": Flags(padded_to="max_length"),
    "dynamic, fp32": Flags(),
    "dynamic, bf16": Flags(precision="bf16"),
    "best flags, fp32": Flags(grouped=True),
    "best flags, bf16": Flags(precision="bf16", grouped=True),
    "best flags, fp32, our allocator settings": Flags(grouped=True, allocator=True),
    "best flags, bf16, our allocator settings": Flags(precision="bf16", grouped=True, allocator=True),
    "accelerate, 2 micro-batches": Flags(script="accelerate_peer", accumulate=2),
    "CrossEncoder": Flags(grouped=True, script="cross_encoder_peer", pairs_only=True),
}
LEFT_OUT = ("flattening collator", "unsloth")
"""Ways that can't be measured everywhere: see `why_not`."""


def why_not(peer: str, recipe: Recipe) -> str | None:
    """Why a way can't be measured on this recipe and machine, found by trying where it can be tried; None where it can."""
    if peer == "flattening collator":
        return _flattening_refuses()
    if peer == "unsloth":
        return "it needs a GPU" if recipe.device == "cpu" else "no script of it has been run on a GPU yet"
    if PEERS[peer].pairs_only and not tasks.of(recipe).is_pair:
        return "it reads pairs: take --workload pairs"
    return "it has no adapters here" if recipe.tuning == "lora" and PEERS[peer].script != "peer" else None


def _flattening_refuses() -> str | None:
    from transformers import DataCollatorWithFlattening

    try:
        DataCollatorWithFlattening()([{"input_ids": [1, 2, 3], "labels": 0}] * 2)
    except TypeError as error:
        return f"DataCollatorWithFlattening takes a label for each token, none for a text ({error})"
    return "heads for texts read the first token of a row alone"


@dataclass(frozen=True)
class PeerData:
    """The rows of a recipe, written down as the script reads them."""

    files: dict[str, str]
    """Split -> json lines of text0, text1 and label."""
    labels: int
    """Number of classes, 1 for regression."""

    @classmethod
    def write(cls, recipe: Recipe, directory: Path) -> PeerData:
        """Write the rows once: the script's own cache goes by path and time of these files."""
        directory.mkdir(parents=True, exist_ok=True)
        names: list[str] | None = None
        written = {}
        for split in ("train", "validation"):
            rows, names = _rows(recipe, split, names)
            written[split] = str(directory / f"{split}.jsonl")
            Path(written[split]).write_text("".join(json.dumps(row) + "\n" for row in rows))
        return cls(written, max(1, len(names or [])))


def _rows(recipe: Recipe, split: str, names: list[str] | None) -> tuple[list[dict[str, Any]], list[str]]:
    """Rows {text0, text1, label} of a split, and the label names."""
    (column,) = tasks.of(recipe).label_columns
    rows = list(_values(recipe, split))
    names = names or sorted({str(row[column]) for row in rows})
    if recipe.task == "regression":
        names = []
    texts = tasks.of(recipe).text_columns
    made = []
    for row in rows:
        label = float(str(row[column])) if recipe.task == "regression" else names.index(str(row[column]))
        made.append({f"text{i}": str(row[name]) for i, name in enumerate(texts)} | {"label": label})
    return made, names


def _values(recipe: Recipe, split: str) -> Iterator[dict[str, Any]]:
    for path in files(getattr(recipe.data, split)):
        for row in read_rows(path, read_options(recipe.data)):
            yield row.values


def write_questions(recipe: Recipe, flags: Flags, job: Path) -> None:
    """Write what `benchmarks.squad_peer` reads: the rows as the hub's `squad` has them, and settings.json.

    The script counts a batch in windows, where ours counts it in questions.
    """
    job.mkdir(parents=True)
    question, context = tasks.of(recipe).text_columns
    (column,) = tasks.of(recipe).label_columns
    written = {}
    for split in ("train", "validation"):
        written[split] = str(job / f"{split}.jsonl")
        with Path(written[split]).open("w") as file:
            for number, values in enumerate(_values(recipe, split)):
                found = answers(values[column]) or ()
                row = {
                    "id": str(number),
                    "question": values[question],
                    "context": values[context],
                    "answers": {
                        "text": [answer.text for answer in found],
                        "answer_start": [answer.start for answer in found],
                    },
                }
                file.write(json.dumps(row) + "\n")
    settings = {
        "data": written,
        "model": recipe.model.name,
        "max_answer_length": recipe.qa.max_answer,
        "tokenizer": {**_tokenizer(recipe, flags), "stride": recipe.data.stride},
        "trainer": trainer_arguments(recipe, flags),
    }
    (job / "settings.json").write_text(json.dumps(settings, indent=2) + "\n")


def write_job(recipe: Recipe, data: PeerData, flags: Flags, job: Path) -> None:
    """Write what `benchmarks.peer` reads into a fresh directory."""
    shutil.rmtree(job, ignore_errors=True)
    job.mkdir(parents=True)
    settings = {
        "data": data.files,
        "model": recipe.model.name,
        "labels": data.labels,
        "lora": _lora(recipe) if recipe.tuning == "lora" else None,
        "accumulate": flags.accumulate,
        "tokenizer": _tokenizer(recipe, flags),
        "trainer": trainer_arguments(recipe, flags),
    }
    (job / "settings.json").write_text(json.dumps(settings, indent=2) + "\n")


def _tokenizer(recipe: Recipe, flags: Flags) -> dict[str, Any]:
    padding = {"padding": "max_length"} if flags.padded_to == "max_length" else {}
    return {"max_length": recipe.data.max_length or PLAIN_LENGTH, **padding}


def _lora(recipe: Recipe) -> dict[str, Any]:
    config = find_config(str(recipe.model.name))
    assert config is not None
    targets = resolve_lora_targets(shape_from_config(config, str(recipe.model.name)), recipe.lora.targets)
    heads = ["classifier"] if config["model_type"] == "roberta" else ["pooler", "classifier"]
    return {
        "r": recipe.lora.r,
        "lora_alpha": recipe.lora.alpha,
        "lora_dropout": recipe.lora.dropout,
        "target_modules": list(targets),
        "modules_to_save": heads,
    }


def trainer_arguments(recipe: Recipe, flags: Flags) -> dict[str, Any]:
    """The recipe's settings under the names of TrainingArguments."""
    train = recipe.train
    return {
        "per_device_train_batch_size": recipe.batch.global_,
        "per_device_eval_batch_size": 32,
        "learning_rate": train.lr,
        "num_train_epochs": train.epochs,
        "max_steps": train.max_steps or -1,
        "lr_scheduler_type": train.schedule,
        "warmup_steps": train.warmup,
        "weight_decay": train.weight_decay,
        "adam_beta1": train.beta1,
        "adam_beta2": train.beta2,
        "adam_epsilon": train.epsilon,
        "max_grad_norm": train.clip or 0.0,
        "seed": recipe.seed,
        "use_cpu": recipe.device == "cpu",
        "bf16": flags.precision == "bf16",
        "optim": "adamw_torch_fused" if flags.grouped else "adamw_torch",
        "train_sampling_strategy": "group_by_length" if flags.grouped else "random",
        "save_strategy": "no",
        "disable_tqdm": True,
        "logging_steps": 1000,
    }


def command(job: Path, script: str = "peer") -> list[str]:
    """The command that trains what was written for a script."""
    return [sys.executable, "-m", f"benchmarks.{script}", str(job)]


def environment(flags: Flags, base: Mapping[str, str]) -> dict[str, str]:
    """The environment to run it in."""
    return {**base, **(ALLOCATOR if flags.allocator else {})}
