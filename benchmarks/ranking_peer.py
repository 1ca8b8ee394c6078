"""The peer for ranking: a training of a cross-encoder on lists as the documentation of sentence-transformers shows it.

    python -m benchmarks.ranking_peer JOB

JOB/settings.json names the data (json lines of query, docs and labels), the model, the loss and the Trainer's arguments; leaves
predictions.json, the scores of each query's documents.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from datasets import load_dataset
from sentence_transformers.cross_encoder import (
    CrossEncoder,
    CrossEncoderTrainer,
    CrossEncoderTrainingArguments,
    losses,
)
from transformers import set_seed

LOSSES = {"pairwise": losses.RankNetLoss, "listwise": losses.ListNetLoss, "lambda": losses.LambdaLoss}


def main(job: Path) -> None:
    settings = json.loads((job / "settings.json").read_text())
    options = settings["trainer"]
    set_seed(options["seed"])
    data = load_dataset("json", data_files=settings["data"])
    model = CrossEncoder(settings["model"], num_labels=1, max_length=settings["max_length"], device="cpu")
    trainer = CrossEncoderTrainer(
        model=model,
        args=CrossEncoderTrainingArguments(output_dir=str(job / "output"), report_to=[], **options),
        train_dataset=data["train"],
        loss=LOSSES[settings["loss"]](model),
    )
    trainer.train()
    found = []
    for row in data["validation"]:
        pairs = [(row["query"], document) for document in row["docs"]]
        found.append(model.predict(pairs, show_progress_bar=False).tolist())
    (job / "predictions.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
