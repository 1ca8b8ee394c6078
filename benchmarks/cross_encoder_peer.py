"""The peer: a training of a cross-encoder as the documentation of sentence-transformers shows it.

    python -m benchmarks.cross_encoder_peer JOB

JOB is what `benchmarks.peer` takes; the data are pairs.
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

from benchmarks.timer import StepTimer, Timed, now


def main(job: Path) -> None:
    settings = json.loads((job / "settings.json").read_text())
    options = settings["trainer"]
    set_seed(options["seed"])
    data = load_dataset("json", data_files=settings["data"])
    model = CrossEncoder(
        settings["model"],
        num_labels=settings["labels"],
        max_length=settings["tokenizer"]["max_length"],
        device="cpu" if options["use_cpu"] else None,
    )
    timed = Timed()
    # It samples batches in a way of its own, so that no length groups them.
    options = {key: value for key, value in options.items() if key != "train_sampling_strategy"}
    trainer = CrossEncoderTrainer(
        model=model,
        args=CrossEncoderTrainingArguments(output_dir=str(job / "output"), report_to=[], **options),
        train_dataset=data["train"],
        loss=losses.CrossEntropyLoss(model),
        callbacks=[StepTimer(timed)],
    )
    trainer.train()
    timed.trained()
    begun = now()
    pairs = list(zip(data["validation"]["text0"], data["validation"]["text1"], strict=True))
    scores = model.predict(pairs, batch_size=options["per_device_eval_batch_size"], show_progress_bar=False)
    timed.write(job, (begun, now()), scores, data["validation"]["label"])
    model.save_pretrained(str(job / "model"))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
