"""Ranks on one machine against the model that `launch plan` predicts with, and that model on paper up to 1,024 nodes.

    python -m benchmarks.scaling [--ranks 1 2 4] [--steps 12] [--hidden 256] [--layers 4]

Trains an encoder from random weights on ranks that talk through gloo. A rank's rate and fixed time are fitted on steps without
exchange at three other batch sizes, by as many ranks side by side, which share cores, caches and memory; the link on all-reduces
of three sizes. Nothing is fitted to the steps that are predicted.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from launcher.families import shape_from_config
from launcher.families.shared.base import ModelShape
from launcher.planning.estimate import Setup, estimate_traffic
from launcher.planning.hardware import DeviceSpeed, Link, fit_device, fit_link
from launcher.planning.step_time import Prediction, Work, step_flops

VOCABULARY = 2048
LENGTH = 32
BATCH = 64
EXCHANGES = (2**16, 2**20, 2**23)
"""Elements of the all-reduces that the link is fitted on."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker is not None:
        work(options)
        return
    if not {1, 2} <= set(options.ranks):
        parser.error("--ranks needs 1 and 2: what is said of more nodes rests on them")
    cores = len(os.sched_getaffinity(0))
    shape = shape_of(options)
    setup = Setup(precision="fp32", device="cpu")
    measured = {ranks: start(options, ranks) for ranks in options.ranks}
    devices = {ranks: fitted_device(shape, setup, measured[ranks]["alone"]) for ranks in options.ranks}
    for ranks, device in devices.items():
        link = fitted_link(ranks, measured[ranks]["exchanges"])
        step = predict(shape, setup, device, link, ranks).step(1)
        seconds = measured[ranks]["step_s"]
        print(
            f"{ranks} ranks on {cores} cores: measured {1e3 * seconds:.1f} ms a step, predicted {1e3 * step.total_s:.1f} ms "
            f"({100 * (step.total_s / seconds - 1):+.0f}%), of which {1e3 * step.exchange_s:.1f} ms exchange; "
            f"{device.flops_per_s / 1e9:.1f} GFLOP/s a rank and {1e3 * device.fixed_s:.1f} ms a step besides"
        )
    largest = predict(shape, setup, devices[1], fitted_link(2, measured[2]["exchanges"]), 1)
    for power in range(11):
        nodes = 2**power
        rate, efficiency = largest.step(nodes).examples_per_s, largest.efficiency(nodes)
        print(f"{nodes} nodes on paper: {rate:.0f} examples/s, efficiency {efficiency:.2f}")
    print(f"more nodes stop paying at {largest.stops_paying()}")


def shape_of(options: argparse.Namespace) -> ModelShape:
    return shape_from_config(config_of(options).to_dict(), "scaling")


def config_of(options: argparse.Namespace) -> Any:
    from transformers import BertConfig

    return BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=options.hidden,
        num_hidden_layers=options.layers,
        num_attention_heads=options.hidden // 64,
        intermediate_size=4 * options.hidden,
    )


def flops(shape: ModelShape, setup: Setup, examples: int) -> float:
    return step_flops(shape, setup, tokens=examples * LENGTH, mean_length=LENGTH)


def fitted_device(shape: ModelShape, setup: Setup, alone: dict[str, float]) -> DeviceSpeed:
    return fit_device([(flops(shape, setup, int(size)), seconds) for size, seconds in alone.items()])


def fitted_link(ranks: int, exchanges: dict[str, float]) -> Link:
    if ranks == 1:
        return Link(0.0, float("inf"))
    hops = 2 * math.ceil(math.log2(ranks))
    points = [
        (hops, 2 * 4 * int(size) * (ranks - 1) // ranks, seconds) for size, seconds in exchanges.items()
    ]
    return fit_link(points)


def predict(shape: ModelShape, setup: Setup, device: DeviceSpeed, link: Link, gpus: int) -> Prediction:
    work = Work(BATCH, BATCH * LENGTH, LENGTH, BATCH)
    return Prediction(shape, setup, work, device, link, gpus=gpus)


def start(options: argparse.Namespace, ranks: int) -> dict[str, Any]:
    """Measure with so many ranks, in processes of their own."""
    with tempfile.TemporaryDirectory() as directory:
        output = Path(directory) / "measured.json"
        words = [
            sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}", "-m",
            "benchmarks.scaling", "--worker", str(output), "--steps", str(options.steps),
            "--hidden", str(options.hidden), "--layers", str(options.layers),
        ]  # fmt: skip
        subprocess.run(
            words, check=True, env={**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
        )
        return json.loads(output.read_text())  # type: ignore[no-any-return]


def work(options: argparse.Namespace) -> None:
    """One rank: steps on its share of the batch, steps without exchange at three other sizes, and exchanges."""
    from transformers import BertForSequenceClassification

    from launcher.train.step.gradient_buckets import GradientBuckets

    torch.manual_seed(0)
    dist.init_process_group("gloo")
    ranks, rank = dist.get_world_size(), dist.get_rank()
    model = BertForSequenceClassification(config_of(options)).train()
    parameters = list(model.parameters())
    buckets = GradientBuckets(parameters)
    optimizer = torch.optim.AdamW(parameters, fused=True)

    def step(examples: int, exchange: bool) -> None:
        ids = torch.randint(5, VOCABULARY, (examples, LENGTH))
        loss = model(input_ids=ids, labels=torch.zeros(examples, dtype=torch.long)).loss
        if exchange:
            buckets.reduce_when_ready()
        loss.backward()
        if exchange:
            buckets.finish()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        buckets.zero()

    share = -(-BATCH // ranks)
    sizes = sorted({max(1, share // 2), max(1, share * 3 // 4), share * 3 // 2 + 1})
    found = {
        "alone": {size: timed(lambda size=size: step(size, False), options.steps) for size in sizes},
        "step_s": timed(lambda: step(share, ranks > 1), options.steps),
        "exchanges": {size: timed(exchange_of(size), options.steps, meet=False) for size in EXCHANGES},
        "bytes": estimate_traffic(shape_of(options), Setup(world_size=ranks)).bytes_per_step,
    }
    if rank == 0:
        options.worker.write_text(json.dumps(found))
    dist.destroy_process_group()


def exchange_of(size: int) -> Callable[[], Any]:
    """Summing so many elements over the ranks."""
    tensor = torch.ones(size)
    return lambda: dist.all_reduce(tensor)


def timed(action: Any, times: int, meet: bool = True) -> float:
    """Median seconds until the slowest rank is done, all starting together; the first two are not counted.

    Not `meet` is for what ends for all at once anyway.
    """
    seconds = []
    for _ in range(times + 2):
        dist.barrier()
        started = time.perf_counter()
        action()
        if meet:
            dist.barrier()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds[2:])


if __name__ == "__main__":
    main()
