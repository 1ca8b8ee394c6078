"""The peer: a stock Hugging Face Trainer script as its documentation shows it, with nothing of ours in it.

    python -m benchmarks.peer JOB

JOB holds settings.json (see `stock.write_job`), which names the data; it trains, evaluates the last model on the
validation data, saves it, and leaves result.json, scores.npy and labels.npy, both in the order of its evaluation.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from datasets import load_dataset
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainingArguments,
    set_seed,
)

from benchmarks.timer import StepTimer, Timed, now


def main(job: Path) -> None:
    settings = json.loads((job / "settings.json").read_text())
    set_seed(settings["trainer"]["seed"])
    data = load_dataset("json", data_files=settings["data"])
    tokenizer = AutoTokenizer.from_pretrained(settings["model"])
    model = AutoModelForSequenceClassification.from_pretrained(
        settings["model"], num_labels=settings["labels"], ignore_mismatched_sizes=True
    )
    if settings["lora"] is not None:
        from peft import LoraConfig, get_peft_model

        model = get_peft_model(model, LoraConfig(task_type="SEQ_CLS", **settings["lora"]))
    texts = [name for name in ("text0", "text1") if name in data["train"].column_names]
    options = settings["tokenizer"]  # all of the settings would be part of the cached data's name

    def tokenize(batch: dict[str, list[Any]]) -> Any:
        return tokenizer(*(batch[name] for name in texts), truncation=True, **options)

    data = data.map(tokenize, batched=True, remove_columns=texts)
    timed = Timed()
    trainer = Trainer(
        model=model,
        args=TrainingArguments(output_dir=str(job / "output"), report_to=[], **settings["trainer"]),
        train_dataset=data["train"],
        eval_dataset=data["validation"],
        data_collator=DataCollatorWithPadding(tokenizer),
        callbacks=[StepTimer(timed)],
        compute_metrics=lambda found: {"count": len(found.label_ids)},
    )
    trainer.train()
    timed.trained()
    begun = now()
    # Not in the order of the data where batches are grouped by length.
    output = trainer.predict(data["validation"])
    ended = now()
    trainer.save_model(str(job / "model"))
    timed.write(job, (begun, ended), output.predictions, output.label_ids)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
