"""The peer for question answering: a stock Hugging Face Trainer script as its documentation shows it, with nothing of ours in it.

    python -m benchmarks.squad_peer JOB

JOB/settings.json names the data (json lines as of the hub's `squad`), the model and the arguments of tokenizer and Trainer;
leaves predictions.json, the answer to each question by its id.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, load_dataset
from transformers import (
    AutoModelForQuestionAnswering,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainingArguments,
    set_seed,
)

N_BEST = 20


def main(job: Path) -> None:
    settings = json.loads((job / "settings.json").read_text())
    set_seed(settings["trainer"]["seed"])
    data = load_dataset("json", data_files=settings["data"])
    tokenizer = AutoTokenizer.from_pretrained(settings["model"])
    model = AutoModelForQuestionAnswering.from_pretrained(settings["model"])
    options = settings["tokenizer"]  # all of the settings would be part of the cached data's name

    def tokenize(batch: dict[str, list[Any]]) -> Any:
        return tokenizer(
            [question.strip() for question in batch["question"]],
            batch["context"],
            truncation="only_second",
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
            **options,
        )

    def preprocess_training(batch: dict[str, list[Any]]) -> Any:
        inputs = tokenize(batch)
        offset_mapping = inputs.pop("offset_mapping")
        sample_map = inputs.pop("overflow_to_sample_mapping")
        positions = [
            answer_tokens(inputs.sequence_ids(i), offset, batch["answers"][sample])
            for i, (offset, sample) in enumerate(zip(offset_mapping, sample_map, strict=True))
        ]
        inputs["start_positions"] = [start for start, _ in positions]
        inputs["end_positions"] = [end for _, end in positions]
        return inputs

    def preprocess_validation(batch: dict[str, list[Any]]) -> Any:
        inputs = tokenize(batch)
        sample_map = inputs.pop("overflow_to_sample_mapping")
        inputs["example_id"] = [batch["id"][sample] for sample in sample_map]
        inputs["offset_mapping"] = [
            [pair if sequence == 1 else None for pair, sequence in zip(offset, inputs.sequence_ids(i), strict=True)]
            for i, offset in enumerate(inputs["offset_mapping"])
        ]  # fmt: skip
        return inputs

    train = data["train"].map(preprocess_training, batched=True, remove_columns=data["train"].column_names)
    validation = data["validation"].map(
        preprocess_validation, batched=True, remove_columns=data["validation"].column_names
    )
    trainer = Trainer(
        model=model,
        args=TrainingArguments(output_dir=str(job / "output"), report_to=[], **settings["trainer"]),
        train_dataset=train,
        data_collator=DataCollatorWithPadding(tokenizer),
    )
    trainer.train()
    output: Any = trainer.predict(validation.remove_columns(["example_id", "offset_mapping"]))
    starts, ends, *_ = output.predictions
    answers = best_answers(starts, ends, validation, data["validation"], settings["max_answer_length"])
    (job / "predictions.json").write_text(json.dumps(answers))


def answer_tokens(
    sequence_ids: list[int | None], offset: list[tuple[int, int]], answers: dict[str, Any]
) -> tuple[int, int]:
    """The answer's first and last token, or (0, 0) where it isn't wholly in this window."""
    start_char = answers["answer_start"][0]
    end_char = start_char + len(answers["text"][0])
    context_start = sequence_ids.index(1)
    context_end = len(sequence_ids) - 1 - sequence_ids[::-1].index(1)
    if offset[context_start][0] > start_char or offset[context_end][1] < end_char:
        return 0, 0
    first = context_start
    while first <= context_end and offset[first][0] <= start_char:
        first += 1
    last = context_end
    while last >= context_start and offset[last][1] >= end_char:
        last -= 1
    return first - 1, last + 1


def best_answers(
    starts: np.ndarray, ends: np.ndarray, features: Dataset, examples: Dataset, longest: int
) -> dict[str, str]:
    """The text of the best stretch in any window of each example."""
    windows = defaultdict(list)
    for index, name in enumerate(features["example_id"]):
        windows[name].append(index)
    offset_mapping = features["offset_mapping"]
    answers = {}
    for name, context in zip(examples["id"], examples["context"], strict=True):
        best_score, answers[name] = -np.inf, ""
        for index in windows[name]:
            start, end, offsets = starts[index], ends[index], offset_mapping[index]
            # Only tokens of the context, and none of the padding, which the offsets don't cover.
            inside = [place for place, pair in enumerate(offsets) if pair is not None]
            firsts = sorted(inside, key=lambda place: -start[place])[:N_BEST]
            lasts = sorted(inside, key=lambda place: -end[place])[:N_BEST]
            for first, last in product(firsts, lasts):
                score = start[first] + end[last]
                if 0 <= last - first < longest and score > best_score:
                    best_score, answers[name] = score, context[offsets[first][0] : offsets[last][1]]
    return answers


if __name__ == "__main__":
    main(Path(sys.argv[1]))
