"""The peer for tagging words: a stock Hugging Face Trainer script as its documentation shows it.

    python -m benchmarks.ner_peer JOB

JOB/settings.json names the data (json lines of words and numbered tags), the model, the loss (plain, focal or balanced: weights
inverse to the frequency of a tag) and the Trainer's arguments; leaves predictions.json, the number of each word's tag.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import load_dataset
from transformers import (
    AutoModelForTokenClassification,
    AutoTokenizer,
    DataCollatorForTokenClassification,
    Trainer,
    TrainingArguments,
    set_seed,
)


def losses(kind: str, gamma: float, counts: torch.Tensor) -> Any:
    """A function for the Trainer's compute_loss_func; `counts` are the words of each tag."""
    weights = counts.sum() / (len(counts) * counts.clamp(min=1)) if kind == "balanced" else None

    def compute(outputs: Any, labels: torch.Tensor, **_: Any) -> torch.Tensor:
        logits, truth = outputs.logits.flatten(0, 1), labels.flatten()
        if kind == "balanced":
            return torch.nn.functional.cross_entropy(logits, truth, weights)
        terms = torch.nn.functional.cross_entropy(
            logits, truth, reduction="none"
        )  # 0 where the label is -100
        return ((1 - torch.exp(-terms)) ** gamma * terms).sum() / (truth != -100).sum()

    return compute


def main(job: Path) -> None:
    settings = json.loads((job / "settings.json").read_text())
    set_seed(settings["trainer"]["seed"])
    data = load_dataset("json", data_files=settings["data"])
    tokenizer = AutoTokenizer.from_pretrained(settings["model"])
    model = AutoModelForTokenClassification.from_pretrained(settings["model"], num_labels=settings["labels"])

    def tokenize(batch: dict[str, list[Any]]) -> Any:
        found = tokenizer(
            batch["words"], truncation=True, max_length=settings["max_length"], is_split_into_words=True
        )
        found["labels"] = []
        for index, tags in enumerate(batch["tags"]):
            before, labels = None, []
            for word in found.word_ids(batch_index=index):
                labels.append(-100 if word is None or word == before else tags[word])
                before = word
            found["labels"].append(labels)
        return found

    data = data.map(tokenize, batched=True, remove_columns=["words", "tags"])
    kind = settings["loss"]
    tags = [tag for row in data["train"]["labels"] for tag in row if tag >= 0]
    counts = torch.bincount(torch.tensor(tags), minlength=settings["labels"]).float()
    trainer = Trainer(
        model=model,
        args=TrainingArguments(output_dir=str(job / "output"), report_to=[], **settings["trainer"]),
        train_dataset=data["train"],
        data_collator=DataCollatorForTokenClassification(tokenizer),
        compute_loss_func=None if kind == "plain" else losses(kind, settings["focal_gamma"], counts),
    )
    trainer.train()
    output = trainer.predict(data["validation"])
    assert output.label_ids is not None
    guesses = np.asarray(output.predictions).argmax(-1)
    tags = [row[labels != -100].tolist() for row, labels in zip(guesses, output.label_ids, strict=True)]
    (job / "predictions.json").write_text(json.dumps(tags))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
