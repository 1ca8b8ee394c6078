"""The peer: a training script as the documentation of sentence-transformers shows it, with nothing of ours in it.

    python -m benchmarks.embedding_peer JOB

JOB holds settings.json (see `embedding.write_job`); it trains, embeds the validation data, and leaves result.json.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from datasets import load_dataset
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.sentence_transformer import losses
from sentence_transformers.sentence_transformer.evaluation import EmbeddingSimilarityEvaluator
from transformers import set_seed

from benchmarks.timer import StepTimer, Timed

LOSSES = {"infonce": losses.MultipleNegativesRankingLoss, "cosent": losses.CoSENTLoss}


def main(job: Path) -> None:
    settings = json.loads((job / "settings.json").read_text())
    set_seed(settings["trainer"]["seed"])
    data = load_dataset("json", data_files=settings["data"])
    model = SentenceTransformer(settings["model"], device="cpu")
    model.max_seq_length = settings["max_length"]
    timed = Timed()
    trainer = SentenceTransformerTrainer(
        model=model,
        args=SentenceTransformerTrainingArguments(
            output_dir=str(job / "output"), report_to=[], **settings["trainer"]
        ),
        train_dataset=data["train"],
        loss=LOSSES[settings["loss"]](model),
        callbacks=[StepTimer(timed)],
    )
    trainer.train()
    timed.trained()
    assert timed.first is not None
    found = {"train_s": timed.last[0] - timed.first[0], "train_cpu_s": timed.last[1] - timed.first[1]}
    rows = data["validation"]
    if "score" in rows.column_names:
        evaluator = EmbeddingSimilarityEvaluator(rows["anchor"][:], rows["positive"][:], rows["score"][:])
        found["spearman"] = float(evaluator(model)["spearman_cosine"])
    (job / "result.json").write_text(json.dumps(found) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
