"""The plan as a reader wants it: a table, then the files that are executed."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence

from launcher.cli.output import table
from launcher.executors.shared.base import Forecast
from launcher.figures import human_bytes, human_count, human_seconds, moment, quantity
from launcher.planning.plan import Memory, Plan
from launcher.planning.sharding import Way
from launcher.planning.throughput import Throughput

WIDTH = 11
SOON_S = 60
"""A job that starts within this many seconds starts now."""
KERNELS = {"graph": "a CUDA graph for each size of step", "inductor": "fused by torch.compile"}


def plan_lines(plan: Plan, files: Mapping[str, str], forecast: Forecast | None) -> Iterator[tuple[str, str]]:
    """Everything about a plan: (heading, text) of each line, to be printed one after the other."""
    yield plan.name, _title(plan)
    for name, texts in _rows(plan, files, forecast):
        for number, text in enumerate(texts):
            yield f"  {(name if number == 0 else '').ljust(WIDTH)}", text
    for name in ("ds_config.json", "job.sbatch", "job.sh"):
        if name in files:
            yield f"\n--- {name}", "\n" + files[name].rstrip("\n")


def _title(plan: Plan) -> str:
    recipe = plan.recipe
    tuning = "full fine-tuning" if recipe.tuning == "full" else f"LoRA r={recipe.lora.r}"
    model = recipe.model.name or f"{recipe.model.scratch.family} from scratch"
    return f": {recipe.task}, {model}, {tuning}, {plan.precision}"


def _rows(plan: Plan, files: Mapping[str, str], forecast: Forecast | None) -> Iterator[tuple[str, list[str]]]:
    if plan.advice:
        yield "advice", list(plan.advice)
    yield "executor", [_executor(plan)]
    if forecast is not None:
        yield "start", [_start(forecast)]
    each = quantity(plan.gpus, "GPU" if plan.device == "cuda" else "process")
    least = "" if plan.least_nodes is None else f"{plan.least_nodes} to "
    up_to = "up to " if least else ""
    yield (
        "ranks",
        [f"{least}{quantity(plan.nodes, 'node')} x {each} = {up_to}{plan.world_size} on {plan.device}"],
    )
    yield "strategy", ["plain" if plan.strategy == "plain" else f"deepspeed, ZeRO stage {plan.zero_stage}"]
    if plan.compile != "none":
        yield "kernels", [KERNELS[plan.compile]]
    yield "batch", _batch(plan)
    yield "steps", [_steps(plan)]
    yield "memory", list(_memory(plan.memory))
    yield "traffic", [_traffic(plan)]
    if plan.sharding:
        yield "sharding", _sharding(plan.sharding)
    if plan.throughput.step_s is not None:
        yield "speed", list(_speed(plan))
    yield "run", [plan.run_dir]
    yield "files", [f"{name} ({human_bytes(len(text.encode()))})" for name, text in sorted(files.items())]
    yield "plan id", [plan.plan_id]
    if plan.notes:
        yield "notes", list(plan.notes)


def _executor(plan: Plan) -> str:
    if plan.request is None:
        return f"{plan.executor}: this machine"
    asked = plan.request
    parts = [f"partition {asked.partition or '(default)'}"]
    parts += [f"{name} {value}" for name, value in (("account", asked.account), ("qos", asked.qos)) if value]
    parts.append(f"time {asked.time or '(the default)'}")
    parts.append(f"{quantity(asked.cpus_per_task, 'CPU')} a node")
    if asked.gpu_option:
        parts.append(asked.gpu_option)
    return f"{plan.executor}: " + ", ".join(parts)


def _start(forecast: Forecast) -> str:
    if forecast.starts_at is None:
        return f"would be refused: {forecast.refusal}"
    wait_s = forecast.starts_at - time.time()
    when = "now" if wait_s < SOON_S else f"{moment(forecast.starts_at)}, in {human_seconds(wait_s)}"
    return f"{when}, as the scheduler sees it"


def _batch(plan: Plan) -> list[str]:
    layout = plan.layout
    tokens = "" if layout.max_tokens is None else f" and {human_count(layout.max_tokens)} tokens"
    micro = quantity(layout.gradient_accumulation_steps, "micro-batch")
    if layout.gradient_accumulation_steps != 1:
        micro = f"{layout.gradient_accumulation_steps} micro-batches"
    most = f"in {micro} of at most {layout.micro_batch_size} examples{tokens}"
    return [
        f"{layout.global_batch_size} examples make a step: at most {layout.examples_per_rank} a rank, {most}",
        f"sequences of at most {layout.max_length} tokens",
    ]


def _steps(plan: Plan) -> str:
    steps, train = plan.steps, plan.recipe.train
    length = f"train.max_steps={train.max_steps}" if train.max_steps else f"{train.epochs:g} epochs"
    if steps.total is None:
        return f"{length}; counted on the node, where the data are known"
    per_epoch = "" if steps.per_epoch is None else f", {human_count(steps.per_epoch)} an epoch"
    examples = "" if steps.train_examples is None else f" of {human_count(steps.train_examples)} examples"
    warmup = "" if steps.warmup is None else f"; {human_count(steps.warmup)} of them warm-up"
    return f"{human_count(steps.total)} ({length}{per_epoch}{examples}){warmup}"


def _memory(memory: Memory) -> Iterator[str]:
    if memory.total is None:
        yield "unknown: the model's shape is not known here"
        return
    capacity = "" if memory.capacity is None else f" of {human_bytes(memory.capacity)}"
    yield f"{human_bytes(memory.total)}{capacity} a rank (predicted)"
    parts = ("weights", "gradients", "optimizer", "activations", "other")
    yield ", ".join(f"{part} {human_bytes(getattr(memory, part))}" for part in parts)
    if memory.host:
        yield f"and {human_bytes(memory.host)} of the host's for what is offloaded"


def _speed(plan: Plan) -> Iterator[str]:
    speed = plan.throughput
    assert speed.step_s is not None
    assert speed.examples_per_s is not None
    ends = "" if speed.fastest_step_s is None else f" ({_between(speed)})"
    yield (
        f"{speed.step_s:.3g} s a step{ends}, {_rate(speed.examples_per_s)} examples/s "
        f"(predicted: {speed.device} a rank, about {speed.tokens_per_example:.0f} tokens an example)"
    )
    if speed.measured_on is None:
        yield "never measured on such a device: from its datasheet and an assumed share of its peak"
    else:
        yield f"from measurements on {speed.measured_on}: others differ"
    yield "on " + ", ".join(f"{quantity(nodes, 'node')}: {_rate(rate)}/s" for nodes, rate in speed.by_nodes)
    if speed.stops_paying is not None:
        yield f"from {quantity(speed.stops_paying, 'node')} on, each adds less than half of what the first one gives"
        yield from speed.advice


def _rate(each_s: float) -> str:
    """A rate as a whole number, with more digits where that would be none: a large step may take a minute."""
    return f"{each_s:.0f}" if each_s >= 9.5 else f"{each_s:.2g}"


def _between(speed: Throughput) -> str:
    assert speed.fastest_step_s is not None
    assert speed.slowest_step_s is not None
    return f"between {speed.fastest_step_s:.3g} and {speed.slowest_step_s:.3g}"


def _sharding(ways: Sequence[Way]) -> list[str]:
    """A line for each way, its columns one below the other; the planned one is marked."""
    rows = [
        (
            "*" if way.planned else " ",
            _way_name(way),
            f"{human_bytes(way.memory)} a rank",
            f"{human_bytes(way.bytes_per_step)} sent",
            "" if way.step_s is None else f"{way.step_s:.3g} s a step",
            f"and {human_bytes(way.host)} of the host's" if way.host else "",
        )
        for way in ways
    ]
    return table(rows).splitlines()


def _way_name(way: Way) -> str:
    name = f"ZeRO-{way.zero_stage}" if way.zero_stage else "plain"
    return name if way.offload == "none" else f"{name}, offload {way.offload}"


def _traffic(plan: Plan) -> str:
    traffic = plan.traffic
    if traffic.parameters is None:
        return "unknown: the model's shape is not known here"
    sent = "nothing is sent on one rank"
    if traffic.bytes_per_step:
        sent = f"{human_bytes(traffic.bytes_per_step)} sent by a rank in a step"
    trained, total = human_count(traffic.trainable_parameters), human_count(traffic.parameters)
    at_most = (
        "" if plan.recipe.model.name else ", fewer if the data have fewer words than model.scratch.vocab"
    )
    return f"{sent}; {trained} of {total} parameters are trained{at_most}"
