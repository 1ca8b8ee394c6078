"""The peer: a stock Hugging Face Trainer script as its documentation shows it, with nothing of ours in it.

    python -m benchmarks.peer JOB

JOB holds settings.json (see `stock.write_job`), which names the data; it trains, evaluates the last model on the
validation data, saves it, and leaves result.json, scores.npy and labels.npy, both in the order of its evaluation.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import load_dataset
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)


class Timer(TrainerCallback):  # type: ignore[misc]
    """Wall-clock and CPU time at the end of the first and of the last step."""

    def __init__(self) -> None:
        self.steps: list[tuple[float, float]] = []

    def on_step_end(self, *_: Any, **__: Any) -> None:
        if torch.cuda.is_available() and len(self.steps) < 2:
            torch.cuda.synchronize()
        self.steps.append((time.time(), time.process_time()))


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
    timer = Timer()
    trainer = Trainer(
        model=model,
        args=TrainingArguments(output_dir=str(job / "output"), report_to=[], **settings["trainer"]),
        train_dataset=data["train"],
        eval_dataset=data["validation"],
        data_collator=DataCollatorWithPadding(tokenizer),
        callbacks=[timer],
        compute_metrics=lambda found: {"count": len(found.label_ids)},
    )
    trainer.train()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        timer.steps[-1] = (time.time(), time.process_time())
    begun = (time.time(), time.process_time())
    # Not in the order of the data where batches are grouped by length.
    output = trainer.predict(data["validation"])
    ended = (time.time(), time.process_time())
    trainer.save_model(str(job / "model"))
    np.save(job / "scores.npy", np.asarray(output.predictions, dtype=np.float32))
    np.save(job / "labels.npy", np.asarray(output.label_ids))
    (first, first_cpu), (last, last_cpu) = timer.steps[0], timer.steps[-1]
    result = {
        "first_step_at": first,
        "first_step_cpu_s": first_cpu,
        "steps": len(timer.steps),
        "train_s": last - first,
        "train_cpu_s": last_cpu - first_cpu,
        "eval_s": ended[0] - begun[0],
        "eval_cpu_s": ended[1] - begun[1],
        "gpu_bytes": torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None,
        "host_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }
    (job / "result.json").write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
