"""What the launch side and a node read of a run's plan.json: the typed part of it, and the whole for what is printed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from launcher import tasks
from launcher.errors import DamagedFile, choices
from launcher.runs.records import Extensible, make, tree_of
from launcher.runs.results import Predicted

Tree = Mapping[str, Any]


@dataclass(frozen=True)
class PlannedLayout(Extensible):
    """How a global batch is spread."""

    global_batch_size: int
    micro_batch_size: int
    examples_per_rank: int
    gradient_accumulation_steps: int
    max_length: int
    max_tokens: int | None = None


@dataclass(frozen=True)
class PlannedSteps(Extensible):
    """Length of the training, where that is known before."""

    total: int | None
    train_examples: int | None


@dataclass(frozen=True)
class PlannedMemory(Extensible):
    """Predicted bytes of a rank at the peak of a step; None where the model's shape isn't known."""

    total: int | None = None
    """On the device."""
    optimizer: int | None = None
    host: int | None = None
    """In main memory, where something is offloaded."""


@dataclass(frozen=True)
class PlannedTraffic(Extensible):
    """What a step sends comes from these."""

    parameters: int | None = None
    trainable_parameters: int | None = None


@dataclass(frozen=True)
class PlannedThroughput(Extensible):
    """Predicted seconds of a step."""

    step_s: float | None


@dataclass(frozen=True)
class PlannedRequest(Extensible):
    """What is asked of a scheduler."""

    requeue: bool
    time: str | None = None
    partition: str | None = None
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class PlannedShape(Extensible):
    """The shape of a model from scratch."""

    family: str
    layers: int
    hidden: int


@dataclass(frozen=True)
class PlannedModel(Extensible):
    """The model by name, or from scratch."""

    name: str | None
    scratch: PlannedShape

    @property
    def told(self) -> str:
        """Its name, or its family and sizes."""
        return self.name or f"a new {self.scratch.family} ({self.scratch.layers} x {self.scratch.hidden})"


@dataclass(frozen=True)
class PlannedData(Extensible):
    """Where the data are."""

    source: str | None
    train: str | tuple[str, ...] | None
    validation: str | tuple[str, ...] | None
    text: str | tuple[str, ...]
    split: Any = None


@dataclass(frozen=True)
class PlannedEvaluation(Extensible):
    """What chooses the best model."""

    metric: str | None


@dataclass(frozen=True)
class PlannedWandb(Extensible):
    """How the run is tracked."""

    mode: str


@dataclass(frozen=True)
class PlannedTracking(Extensible):
    """Where the run is tracked."""

    wandb: PlannedWandb


@dataclass(frozen=True)
class PlannedStopping(Extensible):
    """When a training ends before its last step."""

    patience: int | None


@dataclass(frozen=True)
class PlannedTraining(Extensible):
    """What advice about a run looks at."""

    lr: float
    epochs: float
    max_steps: int | None
    warmup: float | int
    clip: float | None
    early_stopping: PlannedStopping


@dataclass(frozen=True)
class PlannedRecipe(Extensible):
    """The recipe within a plan, as far as it is read without the schema."""

    task: str
    tuning: str
    seed: int
    run_id: str | None
    model: PlannedModel
    data: PlannedData
    train: PlannedTraining
    eval: PlannedEvaluation
    tracking: PlannedTracking
    requeue: bool = True


@dataclass(frozen=True)
class PlannedCluster(Extensible):
    """The site, as far as starting a job needs it."""

    pass_env: tuple[str, ...] = ()
    spare_nodes: int = 0
    python: str | None = None


@dataclass(frozen=True)
class RunPlan(Extensible):
    """plan.json."""

    plan_id: str
    name: str
    run_id: str
    run_dir: str
    executor: str
    launcher_version: str
    nodes: int
    gpus: int
    world_size: int
    device: str
    precision: str
    zero_stage: int
    git_commit: str | None
    layout: PlannedLayout
    steps: PlannedSteps
    memory: PlannedMemory
    traffic: PlannedTraffic
    throughput: PlannedThroughput
    notes: tuple[str, ...]
    recipe: PlannedRecipe
    cluster: PlannedCluster
    request: PlannedRequest | None = field(metadata={"name": "slurm"})
    """What its job asks of a scheduler; None where it has none."""
    least_nodes: int | None = None

    @property
    def needed_nodes(self) -> int:
        """The fewest nodes that it trains on."""
        return self.least_nodes or self.nodes

    @property
    def passed_variables(self) -> tuple[str, ...]:
        """Names of environment variables that the cluster profile passes to jobs."""
        return self.cluster.pass_env

    @property
    def predicted(self) -> Predicted:
        """The figures that a result has beside those that were measured."""
        figures = {**tree_of(self.memory), **tree_of(self.traffic), "step_s": self.throughput.step_s}
        return make(Predicted, figures, "the plan")


def read_plan_tree(tree: Mapping[str, Any], where: str) -> RunPlan:
    """The plan from its JSON object. Raises DamagedFile where it is no plan of ours."""
    plan = make(RunPlan, tree, where)
    task = plan.recipe.task
    if task not in tasks.names():
        raise DamagedFile(f"recipe.task is {task!r}", where, remedy=choices(task, tasks.names()))
    return plan
