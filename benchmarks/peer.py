"""The peer: a stock Hugging Face Trainer script as its documentation shows it, for the recipe of one of our runs.

    python -m benchmarks.peer RECIPE_YAML OUTPUT_JSON [--flavour plain|dynamic|best]

It reads the same rows, weights, seed, batch size, schedule and optimizer settings, trains, and evaluates the last model on
the validation file. plain: padded to the longest input of the data, fp32; dynamic: padded to the batch, in the recipe's
precision; best: those, batches grouped by length and fused AdamW.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

STARTED = time.perf_counter()

import numpy as np  # noqa: E402
import torch  # noqa: E402
from datasets import Dataset  # noqa: E402
from transformers import (  # noqa: E402
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)

from launcher.datacheck import files, label_columns, read_options, text_columns  # noqa: E402
from launcher.datafiles import read_rows  # noqa: E402
from launcher.loading import read_recipe_file  # noqa: E402
from launcher.recipe import Recipe  # noqa: E402
from launcher.train.tasks import get_task  # noqa: E402

PLAIN_LENGTH = 128


class Timer(TrainerCallback):
    """When training begins, when the first step is done, and when training ends."""

    def __init__(self) -> None:
        self.begin = self.first_step = self.end = 0.0

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self.begin = time.perf_counter()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.first_step = self.first_step or time.perf_counter()

    def on_train_end(self, *_: Any, **__: Any) -> None:
        self.end = time.perf_counter()


def rows_of(recipe: Recipe, split: str, names: list[str] | None) -> tuple[Dataset, list[str]]:
    """A split as a datasets.Dataset of texts and labels, and the label names."""
    (column,) = label_columns(recipe.data)
    rows = [
        row.values
        for path in files(getattr(recipe.data, split))
        for row in read_rows(path, read_options(recipe.data))
    ]
    texts = text_columns(recipe.data)
    table: dict[str, list[Any]] = {
        f"text{index}": [str(row[name]) for row in rows] for index, name in enumerate(texts)
    }
    if recipe.task == "regression":
        table["label"] = [float(str(row[column])) for row in rows]
        return Dataset.from_dict(table), []
    names = names or sorted({str(row[column]) for row in rows})
    table["label"] = [names.index(str(row[column])) for row in rows]
    return Dataset.from_dict(table), names


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("recipe", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--flavour", choices=("plain", "dynamic", "best"), default="dynamic")
    options = parser.parse_args()
    recipe, flavour = read_recipe_file(options.recipe), options.flavour
    set_seed(recipe.seed)
    train, names = rows_of(recipe, "train", None)
    validation, _ = rows_of(recipe, "validation", names)
    tokenizer = AutoTokenizer.from_pretrained(recipe.model.name)
    model = AutoModelForSequenceClassification.from_pretrained(
        recipe.model.name, num_labels=max(1, len(names)), ignore_mismatched_sizes=True
    )
    longest = recipe.data.max_length or PLAIN_LENGTH
    texts = sorted(set(train.column_names) - {"label"})

    def tokenize(batch: dict[str, list[Any]]) -> Any:
        padding = {"padding": "max_length"} if flavour == "plain" else {}
        return tokenizer(*(batch[name] for name in texts), truncation=True, max_length=longest, **padding)

    train = train.map(tokenize, batched=True, remove_columns=texts)
    validation = validation.map(tokenize, batched=True, remove_columns=texts)
    timer = Timer()
    with tempfile.TemporaryDirectory() as directory:
        trainer = Trainer(
            model=model,
            args=arguments(recipe, flavour, directory),
            train_dataset=train,
            eval_dataset=validation,
            data_collator=DataCollatorWithPadding(tokenizer),
            callbacks=[timer],
        )
        trainer.train()
        scores = np.asarray(trainer.predict(validation).predictions, dtype=np.float32)
    task = get_task(recipe.task)
    scores = scores.squeeze(-1) if recipe.task == "regression" else scores
    result = {
        "metrics": task.metrics(scores, np.asarray(validation["label"])),
        "examples": len(train),
        "train_s": timer.end - timer.begin,
        "first_step_s": timer.first_step - STARTED,
        "process_s": time.perf_counter() - STARTED,
    }
    options.output.write_text(json.dumps(result, indent=2) + "\n")


def arguments(recipe: Recipe, flavour: str, directory: str) -> TrainingArguments:
    """The recipe's settings under the Trainer's names."""
    train = recipe.train
    return TrainingArguments(
        output_dir=directory,
        per_device_train_batch_size=recipe.batch.global_,
        per_device_eval_batch_size=32,
        learning_rate=train.lr,
        num_train_epochs=train.epochs,
        max_steps=train.max_steps or -1,
        lr_scheduler_type=train.schedule,
        warmup_steps=train.warmup,
        weight_decay=train.weight_decay,
        adam_beta1=train.beta1,
        adam_beta2=train.beta2,
        adam_epsilon=train.epsilon,
        max_grad_norm=train.clip or 0.0,
        seed=recipe.seed,
        use_cpu=not torch.cuda.is_available(),
        bf16=flavour != "plain" and recipe.precision == "bf16",
        optim="adamw_torch_fused" if flavour == "best" else "adamw_torch",
        train_sampling_strategy="group_by_length" if flavour == "best" else "random",
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        logging_steps=1000,
    )


if __name__ == "__main__":
    main()
