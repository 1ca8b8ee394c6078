"""The question of a training: what is planned for it, what it is tried with, and what follows for model and collate."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from launcher.engine.choice import Wish, is_worth_compiling
from launcher.engine.findings import Layout, Taken
from launcher.planning.compile_mode import ComputedOn, graph_obstacle, inductor_obstacle
from launcher.planning.plan import Plan, step_counts
from launcher.recipe.recipe import Recipe
from launcher.runs.attempt_directory import AttemptDir
from launcher.runs.directory import RunDir
from launcher.train.model.build import BuiltModel
from launcher.train.model.family import family_of
from launcher.train.packed.batch_layout import epoch_order
from launcher.train.packed.collate import Collate, padded_collate, token_lengths
from launcher.train.packed.dropout import use_stock_dropout
from launcher.train.packed.packing import PackedCollate
from launcher.train.probe.agreement import Question, agree, key_of
from launcher.train.probe.kernels import try_captured, try_compiled
from launcher.train.probe.probe import Plans
from launcher.train.probe.speed_records import measure_rates
from launcher.train.probe.subject import Subject, small_split
from launcher.train.process.events import Events
from launcher.train.process.ranks import Ranks
from launcher.train.step.captured_steps import CudaRecorder
from launcher.train.tasks import Task
from launcher.train.tokens.cache import TokenSplit

MOST_EXAMPLES = 32
MOST_TOKENS = {"cpu": 1024, "cuda": 8192}
"""Of the examples that ways are timed on."""


def choose_engine(
    run: RunDir,
    attempt: AttemptDir,
    plan: Plan,
    ranks: Ranks,
    events: Events,
    stop: Callable[[], bool],
    built: BuiltModel,
    task: Task,
    tokenizer: Any,
    collate: Collate,
    train: TokenSplit,
) -> tuple[Plan, Collate]:
    """The plan with the kernels, and the collate function with the layout, that are the fastest right ones here."""
    padded = padded_collate(task, tokenizer, built.base.config, ranks.device)
    packed = collate if isinstance(collate, PackedCollate) else None

    def subject() -> Subject:
        model, split = built.model.to(ranks.device), _tried(plan, train, ranks.device)
        return Subject(model, built.base, task, packed, padded, split, plan.precision, ranks.device, stop)

    question = Question(
        _wish(plan, packed is not None, len(train)),
        key_of(_subject_key(plan, built, task), ranks.device),
        subject,
        _plans(plan, ranks, packed is not None, len(train), built),
        lambda subject, finding: measure_rates(plan, subject, finding, ranks),
    )
    taken = agree(run, attempt, ranks, events, question)
    return _followed(taken, plan, built, collate, padded)


def _followed(
    taken: Taken, plan: Plan, built: BuiltModel, collate: Collate, padded: Collate
) -> tuple[Plan, Collate]:
    if taken.dropout == "stock":
        use_stock_dropout(built.model)
    chosen = plan if taken.kernels == plan.compile else plan.model_copy(update={"compile": taken.kernels})
    return chosen, padded if taken.layout == "padded" else collate


def _tried(plan: Plan, train: TokenSplit, device: torch.device) -> TokenSplit:
    """The first examples of the first epoch, as many as make a micro-batch, or fewer."""
    order = epoch_order(len(train), plan.recipe.seed, 0)[: min(MOST_EXAMPLES, plan.layout.micro_batch_size)]
    tokens = token_lengths(train, order).cumsum()
    return small_split(train, order[: max(1, int((tokens <= MOST_TOKENS[device.type]).sum()))])


def _passes(plan: Plan, examples: int) -> int:
    return step_counts(plan.recipe, examples)[1] * plan.layout.gradient_accumulation_steps


def _wish(plan: Plan, packs: bool, examples: int) -> Wish:
    recipe = plan.recipe
    return Wish(
        "packed" if packs else "padded",
        plan.compile,
        _passes(plan, examples),
        may_compile=recipe.train.compile == "auto",
        by_time=not recipe.deterministic,
        zero_stage=plan.zero_stage,
    )


def _subject_key(plan: Plan, built: BuiltModel, task: Task) -> dict[str, object]:
    """What of the model and the recipe decides which code runs on which shapes."""
    config, recipe = built.base.config, plan.recipe
    keys = family_of(config).keys
    sizes = [
        getattr(config, name, None) for name in (keys.layers, keys.hidden, keys.heads, keys.intermediate)
    ]
    return {
        "family": config.model_type,
        "sizes": "x".join(map(str, sizes)),
        "task": recipe.task,
        "tuning": recipe.tuning,
        "precision": plan.precision,
        "kernels": plan.compile,
        "dropout": _rates(built.model),
        "ranks": plan.gpus if plan.device == "cpu" else 1,
        "reads": task.spec.reads,
    }


def _rates(model: torch.nn.Module) -> str:
    rates = {module.p for module in model.modules() if isinstance(module, torch.nn.Dropout)}
    return ",".join(f"{rate:g}" for rate in sorted(rates))


def _plans(plan: Plan, ranks: Ranks, packs: bool, examples: int, built: BuiltModel) -> Plans:
    """Planned kernels are tried, and where the recipe leaves them open on a CPU, torch.compile for a long training."""
    if plan.compile == "graph" and packs:
        return Plans("graph", lambda subject: try_captured(subject, plan, ranks, CudaRecorder(ranks.device)))
    layout: Layout = "packed" if packs else "padded"
    if plan.compile == "inductor":
        return Plans("inductor", lambda subject: try_compiled(subject, layout))
    if not _is_open(plan, built):
        return Plans()
    passes = _passes(plan, examples)
    return Plans(
        "inductor",
        lambda subject: try_compiled(subject, layout),
        lambda pass_s: is_worth_compiling(passes, pass_s),
    )


def _is_open(plan: Plan, built: BuiltModel) -> bool:
    """Whether torch.compile may be tried though it isn't planned."""
    recipe: Recipe = plan.recipe
    if recipe.train.compile != "auto" or plan.compile != "none" or recipe.deterministic:
        return False
    place = ComputedOn(plan.device, plan.world_size, plan.zero_stage, family_of(built.base.config))
    return graph_obstacle(recipe, place) is not None and inductor_obstacle(recipe, place) is None
