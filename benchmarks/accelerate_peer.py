"""The peer: a training loop with gradient accumulation as the documentation of accelerate shows it.

    python -m benchmarks.accelerate_peer JOB

JOB is what `benchmarks.peer` takes, with `accumulate` micro-batches to a step.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from datasets import load_dataset
from torch.utils.data import DataLoader
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    get_scheduler,
)

from benchmarks.timer import Timed, now


def main(job: Path) -> None:
    settings = json.loads((job / "settings.json").read_text())
    options, micro = settings["trainer"], settings["accumulate"]
    set_seed(options["seed"])
    accelerator = Accelerator(
        gradient_accumulation_steps=micro,
        cpu=options["use_cpu"],
        mixed_precision="bf16" if options["bf16"] else "no",
    )
    data = load_dataset("json", data_files=settings["data"])
    tokenizer = AutoTokenizer.from_pretrained(settings["model"])
    model = AutoModelForSequenceClassification.from_pretrained(
        settings["model"], num_labels=settings["labels"], ignore_mismatched_sizes=True
    )
    texts = [name for name in ("text0", "text1") if name in data["train"].column_names]
    limits = settings["tokenizer"]  # all of the settings would be part of the cached data's name

    def tokenize(batch: dict[str, list[Any]]) -> Any:
        return tokenizer(*(batch[name] for name in texts), truncation=True, **limits)

    data = data.map(tokenize, batched=True, remove_columns=texts).rename_column("label", "labels")
    collate = DataCollatorWithPadding(tokenizer)
    size = options["per_device_train_batch_size"] // micro
    train = DataLoader(data["train"], batch_size=size, shuffle=True, collate_fn=collate)
    validation = DataLoader(data["validation"], batch_size=32, collate_fn=collate)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=options["learning_rate"], weight_decay=options["weight_decay"]
    )
    steps = _steps(options, len(data["train"]))
    warmup = options["warmup_steps"]
    scheduler = get_scheduler(
        options["lr_scheduler_type"], optimizer, warmup if warmup >= 1 else round(warmup * steps), steps
    )
    model, optimizer, train, validation, scheduler = accelerator.prepare(
        model, optimizer, train, validation, scheduler
    )
    timed = Timed()
    model.train()
    while timed.steps < steps:
        for batch in train:
            with accelerator.accumulate(model):
                loss = model(**batch).loss
                accelerator.backward(loss)
                if accelerator.sync_gradients and options["max_grad_norm"]:
                    accelerator.clip_grad_norm_(model.parameters(), options["max_grad_norm"])
                optimizer.step()
                scheduler.step()
                optimizer.zero_grad()
            if accelerator.sync_gradients:
                timed.step()
                if timed.steps == steps:
                    break
    timed.trained()
    begun = now()
    scores, labels = _scores(model, validation)
    timed.write(job, (begun, now()), scores, labels)
    accelerator.unwrap_model(model).save_pretrained(job / "model")


def _steps(options: dict[str, Any], rows: int) -> int:
    batch = int(options["per_device_train_batch_size"])
    if options["max_steps"] > 0:
        return int(options["max_steps"])
    epochs = float(options["num_train_epochs"])
    return round(epochs * -(-rows // batch))


def _scores(model: Any, validation: Any) -> tuple[Any, Any]:
    """Logits and labels of the validation data."""
    model.eval()
    scores, labels = [], []
    for batch in validation:
        with torch.no_grad():
            scores.append(model(**batch).logits.float().cpu())
        labels.append(batch["labels"].cpu())
    return torch.cat(scores), torch.cat(labels)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
