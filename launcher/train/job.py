"""What a training works with, and how it is made: data, model, strategy, and the state to go on from."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from dataclasses import dataclass
from shutil import which
from typing import Any

import numpy as np
import torch

from launcher.errors import RunStopped, UserError
from launcher.planning.plan import Plan, step_counts
from launcher.recipe.recipe import Recipe
from launcher.runs.attempt_directory import AttemptDir
from launcher.runs.directory import RunDir
from launcher.runs.files import write_text
from launcher.train.compress.compression import pruned_start
from launcher.train.compress.magnitude_pruning import Sparsity
from launcher.train.dataset.prepare import Dataset
from launcher.train.inputs import check_vocabulary, longest_input, prepare_dataset, tokenizer_for
from launcher.train.model.build import BuiltModel, build_model
from launcher.train.model.family import family_of
from launcher.train.model.unpadded import make_collate
from launcher.train.packed.attention import takes_flash_kernel
from launcher.train.packed.collate import Collate
from launcher.train.packed.packing import PackedCollate
from launcher.train.probe.of_job import choose_engine
from launcher.train.process.events import Events
from launcher.train.process.heartbeat import Heartbeat
from launcher.train.process.ranks import Ranks
from launcher.train.process.stop_requests import StopFlag
from launcher.train.record.loss_spikes import LossSpikes
from launcher.train.record.pace import PaceLog
from launcher.train.record.provenance import record_data, record_environment
from launcher.train.record.rank_times import RankTimes
from launcher.train.record.recorder import MetricsRecorder, NoRecord, open_record
from launcher.train.record.versions import versions
from launcher.train.step.captured_steps import CudaRecorder, GraphedSteps
from launcher.train.step.checkpoints import Checkpoints, TrainState
from launcher.train.step.plain import Plain
from launcher.train.step.regularisation import Adversary
from launcher.train.step.schedule import StepCounts
from launcher.train.step.strategy import Strategy
from launcher.train.step.token_limit import probe_tokens, with_tokens, within
from launcher.train.step.torch_compile import compile_layers
from launcher.train.step.zero import ZeroRedundancy
from launcher.train.tasks import Task, get_task
from launcher.train.tasks.labelled import take_own_loss
from launcher.train.use.cloze_probes import Probes, make_probes


@dataclass(frozen=True)
class Job:
    """Everything the loop works with, made by `make_job`."""

    run: RunDir
    plan: Plan
    ranks: Ranks
    task: Task
    dataset: Dataset
    tokenizer: Any
    built: BuiltModel
    strategy: Strategy
    collate: Collate
    probes: Probes | None
    adversary: Adversary | None
    checkpoints: Checkpoints
    sparsity: Sparsity | None
    graphs: GraphedSteps | None
    record: MetricsRecorder
    rank_times: RankTimes
    pace: PaceLog
    events: Events
    stop: StopFlag
    steps: StepCounts
    spikes: LossSpikes = dataclasses.field(default_factory=LossSpikes)

    @property
    def recipe(self) -> Recipe:
        return self.plan.recipe

    @property
    def heartbeat(self) -> Heartbeat:
        """Where this rank stands, for whoever watches it."""
        return self.events.heartbeat


def make_job(
    run: RunDir, attempt: AttemptDir, plan: Plan, ranks: Ranks, events: Events, stop: StopFlag
) -> tuple[Job, TrainState]:
    """Read data, build the model, and take up the newest valid checkpoint."""
    recipe = plan.recipe
    _set_kernels(recipe, ranks)
    events.phase("loading data")
    tokenizer = _tokenizer(recipe, ranks, events)
    task = _make_task(run, recipe, tokenizer, ranks)
    dataset = _prepare_together(ranks, recipe, tokenizer, events, stop)
    if ranks.is_main:
        _record_provenance(run, attempt, recipe, dataset, events)
    task.fit(dataset.train, dataset.label_names)
    if dataset.validation is not None:
        task.check_metrics(dataset.validation)
    events.phase("building model")
    built = _built(run, recipe, task, dataset, tokenizer, ranks, events)
    collate, padding = make_collate(task, tokenizer, built.model, ranks.device)
    task.watch(built.base)
    if padding is not None:
        events.notice(padding)
    plan = _as_far_as_can_be(plan, built, ranks, events)
    plan, collate = choose_engine(
        run, attempt, plan, ranks, events, stop, built, task, tokenizer, collate, dataset.train
    )
    _compile(plan, built, events)
    strategy = make_strategy(plan, run, ranks, built.model)
    checkpoints = Checkpoints(run, ranks, recipe.checkpoint.keep)
    state = _newest_state(checkpoints, strategy, dataset, events)
    found = state.max_tokens
    if found is None:
        found = probe_tokens(plan, ranks, strategy, collate, task, dataset.train)
    limit = _within_limit(found, run, attempt, plan, ranks)
    state, plan = dataclasses.replace(state, max_tokens=limit), with_tokens(plan, limit)
    steps = StepCounts(*step_counts(recipe, len(dataset.train)))
    record = _record(run, plan, dataset, state.step, events) if ranks.is_main else NoRecord()
    job = Job(
        run=run,
        plan=plan,
        ranks=ranks,
        task=task,
        dataset=dataset,
        tokenizer=tokenizer,
        built=built,
        strategy=strategy,
        collate=collate,
        probes=make_probes(recipe, tokenizer, longest_input(recipe)),
        adversary=_adversary(recipe, built),
        checkpoints=checkpoints,
        sparsity=_sparsity(recipe, built, steps.total, state.step),
        graphs=_graphed_steps(plan, task, strategy, collate, events),
        record=record,
        rank_times=RankTimes(attempt, plan, ranks, events),
        pace=PaceLog(attempt if ranks.is_main else None),
        events=events,
        stop=stop,
        steps=steps,
    )
    return job, state


def _built(
    run: RunDir, recipe: Recipe, task: Task, dataset: Dataset, tokenizer: Any, ranks: Ranks, events: Events
) -> BuiltModel:
    """The model that is trained, a smaller one where the recipe asks for that; rank 0 says what is doubtful about it."""
    if recipe.prune.shrinks:
        recipe = pruned_start(run, recipe, task, dataset, tokenizer, ranks, events)
    built = build_model(recipe, task, dataset.label_names, tokenizer)
    for split in (dataset.train, dataset.validation, dataset.test):
        if split is not None:
            check_vocabulary(split.ids, tokenizer, built.base.config.vocab_size)
    if ranks.is_main:
        for doubt in built.doubts:
            events.notice(doubt, "warning")
    return built


def _compile(plan: Plan, built: BuiltModel, events: Events) -> None:
    if plan.compile == "inductor":
        compile_layers(built.base)
        events.heartbeat.compiles_in_steps()
    events.heartbeat.phase("compiling")


def _within_limit(
    found: int | None, run: RunDir, attempt: AttemptDir, plan: Plan, ranks: Ranks
) -> int | None:
    """The most tokens of a micro-batch that this attempt may have, which it notes down."""
    smaller = plan.layout.micro_batch_size < run.read_plan().layout.micro_batch_size
    limit = within(found, plan, smaller)
    if limit is not None and ranks.is_main:
        write_text(attempt.max_tokens, f"{limit}\n")
    return limit


def _record_provenance(
    run: RunDir, attempt: AttemptDir, recipe: Recipe, dataset: Dataset, events: Events
) -> None:
    """What the run is made of, for comparing it with another; a training that can't write it down goes on."""
    splits = {"train": dataset.train, "validation": dataset.validation, "test": dataset.test}
    sizes = {name: len(split) for name, split in splits.items() if split is not None}
    try:
        record_environment(run, attempt)
        record_data(run, recipe, dataset.fingerprint, sizes, dataset.label_names)
    except (OSError, UserError) as error:
        events.notice(f"versions and data are not recorded: {error}", "warning")


def _sparsity(recipe: Recipe, built: BuiltModel, steps: int, done: int) -> Sparsity | None:
    return Sparsity(built.base, recipe.prune, steps, done) if recipe.prune.magnitude else None


def _adversary(recipe: Recipe, built: BuiltModel) -> Adversary | None:
    fgm = recipe.train.fgm
    return Adversary(built.base.get_input_embeddings(), fgm) if fgm else None


def _record(run: RunDir, plan: Plan, dataset: Dataset, step: int, events: Events) -> MetricsRecorder:
    return open_record(run, plan, step, events, run_config(run, plan, plan.recipe, dataset))


def _newest_state(
    checkpoints: Checkpoints, strategy: Strategy, dataset: Dataset, events: Events
) -> TrainState:
    """Where to go on from: the newest valid checkpoint, loaded, or the beginning. RunFailed where the data changed."""
    newest = checkpoints.newest(on_bad=lambda text: events.notice(text, "warning"))
    directory, state = newest or (None, TrainState())
    state = state.on(dataset.fingerprint, len(dataset.train))
    if directory is not None:
        strategy.load(directory)
        events.notice(f"resuming from {directory.name}")
    return state


def _as_far_as_can_be(plan: Plan, built: BuiltModel, ranks: Ranks, events: Events) -> Plan:
    """The plan without what can't be had here: graphs where attention has no kernel of fixed shape, on an older GPU or for
    heads of odd width, and torch.compile where its compiler has none of C.
    """
    device, config = ranks.device, built.base.config
    if device.type != "cuda":
        return plan
    name = torch.cuda.get_device_name(device)
    if plan.precision == "bf16" and not torch.cuda.is_bf16_supported(including_emulation=False):
        events.notice(f"a {name} only imitates bf16: precision=fp16 is what it is made for", "warning")
    keys = family_of(config).keys
    width = getattr(config, keys.hidden) // getattr(config, keys.heads)
    if plan.compile == "graph" and not takes_flash_kernel(device, torch.bfloat16, width):
        events.notice(
            f"steps are not CUDA graphs, since a {name} has no kernel for attention heads of {width}"
        )
    elif plan.compile == "inductor" and not ("CC" in os.environ or which("gcc") or which("clang")):
        events.notice("nothing is compiled: torch.compile needs a C compiler, gcc or clang, on the node")
    else:
        return plan
    return plan.model_copy(update={"compile": "none"})


def _graphed_steps(
    plan: Plan, task: Task, strategy: Strategy, collate: Collate, events: Events
) -> GraphedSteps | None:
    """Steps as CUDA graphs where the plan has them."""
    if plan.compile != "graph":
        return None
    assert isinstance(strategy, Plain)
    if not isinstance(collate, PackedCollate):
        events.notice("steps are not CUDA graphs, since there is no unpadded path for this model")
        return None
    return GraphedSteps(task, strategy, collate, CudaRecorder(torch.device("cuda")), events.notice)


def _make_task(run: RunDir, recipe: Recipe, tokenizer: Any, ranks: Ranks) -> Task:
    """The task of the training, with a teacher where the recipe names one, and with the user's own loss."""
    if recipe.distill.teacher is None:
        task = get_task(recipe, tokenizer)
    else:
        from launcher.train.compress.distillation import with_teacher

        task = with_teacher(recipe, tokenizer, ranks.device)
    take_own_loss(task, run)
    return task


def _tokenizer(recipe: Recipe, ranks: Ranks, events: Events) -> Any:
    """The model's own; one that is trained on all texts is rank 0's, so that the others need not read and hold them."""
    if recipe.model.name is not None:
        return tokenizer_for(recipe, events.notice if ranks.is_main else None)
    return ranks.broadcast(tokenizer_for(recipe) if ranks.is_main else None)


def _prepare_together(
    ranks: Ranks, recipe: Recipe, tokenizer: Any, events: Events, stop: StopFlag
) -> Dataset:
    """`prepare_dataset`, with its notes told, or RunStopped on every rank where any of them was asked to stop meanwhile."""
    dataset = None
    with contextlib.suppress(RunStopped):
        dataset = prepare_dataset(
            recipe,
            tokenizer,
            lambda done, total: events.phase("tokenising", done, total),
            stop,
            on_wait=lambda: events.heartbeat.waits("tokenising"),
        )
    if ranks.any(dataset is None) or dataset is None:
        raise RunStopped("stopped before the training began")
    for note in dataset.notes:
        events.notice(note)
    return dataset


def run_config(run: RunDir, plan: Plan, recipe: Recipe, dataset: Dataset) -> dict[str, Any]:
    """What W&B shows as the run's configuration."""
    attempt = run.last_attempt()
    return {
        "recipe": recipe.tree(),
        "plan": {
            key: value for key, value in plan.tree().items() if key not in ("recipe", "cluster", "python")
        },
        "data": {
            "fingerprint": dataset.fingerprint,
            "train_examples": len(dataset.train),
            "labels": list(dataset.label_names),
        },
        "git_commit": plan.git_commit,
        "run_id": run.run_id,
        "job_id": run.last_job(),
        "hosts": [] if attempt is None else list(attempt.read().hosts),
        "versions": versions(),
    }


def _set_kernels(recipe: Recipe, ranks: Ranks) -> None:
    np.random.seed(recipe.seed)
    if ranks.device.type == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = recipe.precision != "fp32"
        torch.backends.cudnn.allow_tf32 = recipe.precision != "fp32"
        torch.cuda.reset_peak_memory_stats()
    if recipe.deterministic:
        torch.use_deterministic_algorithms(True)


def make_strategy(plan: Plan, run: RunDir, ranks: Ranks, model: torch.nn.Module) -> Strategy:
    """The strategy that the plan names, holding `model` on this rank's device."""
    if plan.strategy == "deepspeed":
        return ZeroRedundancy(plan, run, ranks, model)
    return Plain(plan, ranks, model)
