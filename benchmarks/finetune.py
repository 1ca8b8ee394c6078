"""Speed beside a stock Hugging Face Trainer: same rows, weights, schedule and dropout, turn by turn in one run.

    python -m benchmarks.finetune                                # short texts on this CPU, ours and the best flags
    python -m benchmarks.finetune --peers all --rounds 3         # every way to call the peer
    python -m benchmarks.finetune --device cuda --model roberta-base --peers all --rows 60000
    python -m benchmarks.finetune --device cuda --model bert-large --batch 128 --rows 67349 --epochs 3

Each round runs every contender once, with the round's number as seed: A B A B. It prints progress, checks that gradients
and accuracies agree, and writes NAME.json, NAME.md and NAME.png into --output.
"""

from __future__ import annotations

import argparse
import compileall
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import report
from benchmarks.stock import LEFT_OUT, PEERS, PeerData, command, environment, why_not, write_job
from benchmarks.workloads import SHAPES, WORKLOADS, Workload, write_data, write_model
from launcher.loading.resolve import dump_recipe
from launcher.recipe.recipe import Recipe

OURS = "ours"
DEFAULT_PEERS = ("best flags, fp32", "best flags, bf16")
LORA = {"r": 8, "alpha": 16.0, "dropout": 0.05}
RATES = {"full": 1e-4, "lora": 2e-3}


@dataclass(frozen=True)
class Measured:
    """One run of one contender; steady training is from the end of the first step to the end of the last."""

    contender: str
    seed: int
    examples_per_s: float
    tokens_per_s: float
    """Real tokens: padding not counted."""
    train_s: float
    train_cpu_s: float
    first_step_s: float
    """From the command to the end of the first step."""
    first_step_cpu_s: float
    eval_examples_per_s: float
    eval_cpu_s: float
    process_s: float
    process_cpu_s: float
    peak_bytes: int
    """Of the GPU, or the resident set on a CPU."""
    accuracy: float


@dataclass(frozen=True)
class Bench:
    """What is the same for all contenders."""

    options: argparse.Namespace
    directory: Path
    recipe: Recipe
    data: PeerData
    train_tokens: int
    mean_length: float
    """Mean over tokens of the length of their example."""
    chance: float
    """Share of the commonest class of the validation data."""

    @property
    def batch(self) -> int:
        return self.recipe.batch.global_

    def throughput(self, seconds: float) -> dict[str, float]:
        """Of steady training: all examples but those of the first step."""
        epochs, rows = self.recipe.train.epochs, self.options.rows
        return {
            "examples_per_s": (epochs * rows - self.batch) / seconds,
            "tokens_per_s": self.train_tokens * (epochs - self.batch / rows) / seconds,
        }


def main() -> None:
    options = arguments()
    options.work.mkdir(parents=True, exist_ok=True)
    bench = prepare(options)
    gates = check_gradients(bench)
    wanted = (*PEERS, *LEFT_OUT) if "all" in options.peers else options.peers
    refused = {peer: reason for peer in wanted if (reason := why_not(peer, bench.recipe))}
    contenders = [*(peer for peer in wanted if peer not in refused), OURS]
    if not options.cold:
        for contender in contenders:
            say(f"warming up: {contender}")
            run(bench, contender, seed=0, max_steps=2)
    found: list[Measured] = []
    for seed in range(1, options.rounds + 1):
        for contender in contenders:
            measured = run(bench, contender, seed)
            found.append(measured)
            say(
                f"round {seed}/{options.rounds}  {contender}: {measured.examples_per_s:.1f} examples/s, "
                f"first step {measured.first_step_s:.1f} s, evaluation {measured.eval_examples_per_s:.0f} examples/s, "
                f"process {measured.process_s:.0f} s, accuracy {measured.accuracy:.4f}"
            )
    facts = {
        "command": "python -m benchmarks.finetune " + shlex.join(told(sys.argv[1:])),
        "mean_tokens": bench.train_tokens / options.rows,
        "mean_length": bench.mean_length,
        "chance": bench.chance,
        "gradients": gates,
        "not measured": refused,
        **{key: str(value) for key, value in vars(options).items()},
    }
    report.write(options.output, options.name, facts, [asdict(each) for each in found])


def told(words: list[str]) -> list[str]:
    """The arguments without paths of this machine."""
    places = {f"--{name}" for name in report.LOCAL}
    return [
        word
        for before, word in zip(["", *words], words, strict=False)
        if word not in places and before not in places
    ]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workload", choices=WORKLOADS, default="short")
    parser.add_argument("--tuning", choices=("full", "lora"), default="full")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rows", type=int, default=1600, help="training examples")
    parser.add_argument("--epochs", type=float, default=1.0)
    parser.add_argument("--model", choices=("minilm", *SHAPES), default="minilm")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--precision", choices=("fp32", "bf16"), help="of ours; fp32 on a CPU, bf16 on a GPU")
    parser.add_argument("--peers", nargs="+", choices=(*PEERS, *LEFT_OUT, "all"), default=list(DEFAULT_PEERS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cold", action="store_true", help="without a first short run that fills caches")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="further overrides of ours")
    parser.add_argument(
        "--data", type=Path, default=Path("../shared/data"), help="directory that holds sst2/"
    )
    parser.add_argument("--work", type=Path, default=Path("runs/finetune"))
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--name", help="of the files written; made from the other options")
    options = parser.parse_args()
    options.precision = options.precision or ("bf16" if options.device == "cuda" else "fp32")
    options.name = options.name or "-".join(
        [
            options.device,
            options.model,
            options.workload,
            options.tuning,
            str(options.batch),
            str(options.rows),
        ]
    )
    return options


def prepare(options: argparse.Namespace) -> Bench:
    """Write data and model once, and the recipe that ours is called with; our code is compiled, as it is once installed."""
    work = options.work.resolve()
    compileall.compile_dir(Path(__file__).parents[1] / "launcher", quiet=1)
    data = work / f"{options.workload}-{options.rows}"
    write_data(options.workload, options.rows, options.data, data)
    model = work / options.model
    if not (model / "model.safetensors").exists():
        lines = (data / "train.jsonl").read_text().splitlines()
        write_model(options.model, (json.loads(line)["text"] for line in lines), model)
    recipe = Recipe.model_validate_json(
        json.dumps(
            {
                "task": "classification",
                "device": options.device,
                "executor": "local",
                "gpus": 1,
                "precision": options.precision,
                "tuning": options.tuning,
                "lora": LORA,
                "model": {"name": str(model)},
                "data": {
                    "train": str(data / "train.jsonl"),
                    "validation": str(data / "validation.jsonl"),
                    "text": list(WORKLOADS[options.workload].columns),
                    "max_length": WORKLOADS[options.workload].max_length,
                },
                "batch": {"global": options.batch},
                "train": {"lr": RATES[options.tuning], "epochs": options.epochs},
                "eval": {"every": None},
                "checkpoint": {"every": None},
                "tracking": {"wandb": {"mode": "disabled"}},
            }
        )
    )
    (work / "recipe.yaml").write_text(dump_recipe(recipe))
    lengths = token_counts(model, data / "train.jsonl", WORKLOADS[options.workload])
    peer_data = PeerData.write(recipe, data / "peer")
    mean_length = float((lengths**2).sum() / lengths.sum())
    chance = commonest(data / "validation.jsonl")
    return Bench(options, work, recipe, peer_data, int(lengths.sum()), mean_length, chance)


def commonest(rows: Path) -> float:
    """Share of the commonest label."""
    labels = Counter(json.loads(line)["label"] for line in rows.read_text().splitlines())
    return max(labels.values()) / labels.total()


def token_counts(model: Path, rows: Path, workload: Workload) -> np.ndarray[Any, np.dtype[np.float64]]:
    from transformers import AutoTokenizer

    lines = [json.loads(line) for line in rows.read_text().splitlines()]
    texts = [[line[column] for line in lines] for column in workload.columns]
    encoded = AutoTokenizer.from_pretrained(model)(*texts, truncation=True, max_length=workload.max_length)
    return np.array([len(ids) for ids in encoded["input_ids"]], dtype=np.float64)


def check_gradients(bench: Bench) -> dict[str, float]:
    """Relative error of our gradient against the padded model's, in a process of its own."""
    words = [sys.executable, "-m", "benchmarks.gradients", str(bench.directory / "recipe.yaml")]
    done = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True)
    errors: dict[str, float] = json.loads(done.stdout)
    say(
        "gradients against the padded model's: "
        + ", ".join(f"{name} {error:.1e}" for name, error in errors.items())
    )
    return errors


def run(bench: Bench, contender: str, seed: int, max_steps: int | None = None) -> Measured:
    """One run from command to end."""
    if contender == OURS:
        return run_ours(bench, seed, max_steps)
    flags = PEERS[contender]
    train = bench.recipe.train.model_copy(update={"max_steps": max_steps})
    job = bench.directory / "peer"
    recipe = bench.recipe.model_copy(update={"seed": seed, "train": train})
    write_job(recipe, bench.data, flags, job)
    process = timed(command(job, flags.script), environment(flags, os.environ), bench.directory / "peer.log")
    result = json.loads((job / "result.json").read_text())
    return Measured(
        contender,
        seed,
        **bench.throughput(result["train_s"]),
        train_s=result["train_s"],
        train_cpu_s=result["train_cpu_s"],
        first_step_s=result["first_step_at"] - process["started_at"],
        first_step_cpu_s=result["first_step_cpu_s"],
        eval_examples_per_s=WORKLOADS[bench.options.workload].validation / result["eval_s"],
        eval_cpu_s=result["eval_cpu_s"],
        process_s=process["seconds"],
        process_cpu_s=process["cpu_s"],
        peak_bytes=result["gpu_bytes"] or result["host_bytes"],
        accuracy=float((np.load(job / "scores.npy").argmax(-1) == np.load(job / "labels.npy")).mean()),
    )


def run_ours(bench: Bench, seed: int, max_steps: int | None) -> Measured:
    run_id, runs = "ours", bench.directory / "runs"
    shutil.rmtree(runs / run_id, ignore_errors=True)
    words = [
        sys.executable, "-m", "launcher", f"recipe={bench.directory / 'recipe.yaml'}", f"seed={seed}",
        f"run_id={run_id}", f"runs_dir={runs}", f"train.max_steps={max_steps or 'null'}", *bench.options.set,
    ]  # fmt: skip
    process = timed(words, dict(os.environ), bench.directory / "ours.log")
    run_dir = runs / run_id
    events = [json.loads(line) for line in (run_dir / "logs" / "events.jsonl").read_text().splitlines()]
    steps = [event for event in events if event["event"] == "step"]
    evaluation = next(event for event in events if event["event"] == "eval")
    train_s = steps[-1]["t"] - steps[0]["t"]
    return Measured(
        OURS,
        seed,
        **bench.throughput(train_s),
        train_s=train_s,
        train_cpu_s=steps[-1]["cpu_s"] - steps[0]["cpu_s"],
        first_step_s=steps[0]["t"] - process["started_at"],
        # The command that starts the training counts in full.
        first_step_cpu_s=steps[0]["cpu_s"] + process["cpu_s"] - events[-1]["cpu_s"],
        eval_examples_per_s=WORKLOADS[bench.options.workload].validation / evaluation["seconds"],
        eval_cpu_s=evaluation["cpu_seconds"],
        process_s=process["seconds"],
        process_cpu_s=process["cpu_s"],
        peak_bytes=json.loads((run_dir / "result.json").read_text())["measured"]["total"],
        accuracy=evaluation["metrics"]["accuracy"],
    )


def timed(words: list[str], env: dict[str, str], log: Path) -> dict[str, float]:
    """Run a command; when it started, seconds, and CPU seconds of it and everything it waited for."""
    started_at, started = time.time(), time.perf_counter()
    with log.open("wb") as output:
        process = subprocess.Popen(words, stdout=output, stderr=subprocess.STDOUT, env=env)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - started
    if process.returncode:
        raise SystemExit(f"{' '.join(words)} ended with code {process.returncode}; see {log}")
    return {"started_at": started_at, "seconds": seconds, "cpu_s": usage.ru_utime + usage.ru_stime}


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
