"""The peer: a training script as the documentation of sentence-transformers shows it, with nothing of ours in it.

    python -m benchmarks.embedding_peer JOB

JOB holds settings.json (see `embedding.write_job`); it trains, embeds the validation data, and leaves result.json.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from datasets import load_dataset
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.sentence_transformer import losses
from sentence_transformers.sentence_transformer.evaluation import EmbeddingSimilarityEvaluator
from transformers import TrainerCallback, set_seed

LOSSES = {"infonce": losses.MultipleNegativesRankingLoss, "cosent": losses.CoSENTLoss}


class Timer(TrainerCallback):  # type: ignore[misc]
    """Wall-clock and CPU time at the end of each step."""

    def __init__(self) -> None:
        self.steps: list[tuple[float, float]] = []

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.steps.append((time.time(), time.process_time()))


def main(job: Path) -> None:
    settings = json.loads((job / "settings.json").read_text())
    set_seed(settings["trainer"]["seed"])
    data = load_dataset("json", data_files=settings["data"])
    model = SentenceTransformer(settings["model"], device="cpu")
    model.max_seq_length = settings["max_length"]
    timer = Timer()
    trainer = SentenceTransformerTrainer(
        model=model,
        args=SentenceTransformerTrainingArguments(
            output_dir=str(job / "output"), report_to=[], **settings["trainer"]
        ),
        train_dataset=data["train"],
        loss=LOSSES[settings["loss"]](model),
        callbacks=[timer],
    )
    trainer.train()
    (first, first_cpu), (last, last_cpu) = timer.steps[0], timer.steps[-1]
    found = {"train_s": last - first, "train_cpu_s": last_cpu - first_cpu}
    rows = data["validation"]
    if "score" in rows.column_names:
        evaluator = EmbeddingSimilarityEvaluator(rows["anchor"][:], rows["positive"][:], rows["score"][:])
        found["spearman"] = float(evaluator(model)["spearman_cosine"])
    (job / "result.json").write_text(json.dumps(found) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
