"""The recipe: what to train, as one strict, frozen tree of sections, one file each.

A recipe file holds these keys and nothing else; every key has one sentence below it, which is also what the messages and
docs/keys.md show. What values may be stands in `fields`, checks of one value alone on its field, checks between values in
`conflicts`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal, get_args

from pydantic import Field

from launcher.recipe.batch import Batch
from launcher.recipe.checkpoint import Checkpoint
from launcher.recipe.data import Data
from launcher.recipe.debug import Debug
from launcher.recipe.distill import Distill
from launcher.recipe.eval import Eval
from launcher.recipe.fields import Count, Line, Name, PathOrId, Section, TimeLimit
from launcher.recipe.lora import Lora
from launcher.recipe.mlm import MaskedWords
from launcher.recipe.model import Model
from launcher.recipe.prune import Prune
from launcher.recipe.qa import Questions
from launcher.recipe.ranking import Ranking
from launcher.recipe.tagging import Tagging
from launcher.recipe.tracking import Tracking
from launcher.recipe.train import Train
from launcher.recipe.zero import Zero

Task = Literal[
    "classification",
    "multilabel",
    "regression",
    "ordinal",
    "token-classification",
    "masked-lm",
    "question-answering",
    "multiple-choice",
    "ranking",
]
TASKS: tuple[Task, ...] = get_args(Task)
LONGEST = 512
"""Tokens in a sequence where data.max_length doesn't say otherwise."""


class Recipe(Section):
    """What to train and on what: complete and runnable as it stands."""

    task: Task
    """What the model learns to do."""
    description: Line | None = None
    """One sentence for the list of recipes."""
    nodes: Count = 1
    """Machines."""
    gpus: Count | None = None
    """Ranks per node: one a GPU, or a process on CPU; null takes the cluster's or this machine's number."""
    device: Literal["auto", "cuda", "cpu"] = "auto"
    """auto uses GPUs where there are any; cpu means gloo and no GPUs asked of Slurm."""
    time: TimeLimit | None = None
    """Time limit of a Slurm job, in Slurm's notation; null takes the cluster's default."""
    cluster: PathOrId | None = None
    """Cluster profile: a name in slurm/ or a file."""
    executor: Literal["auto", "local", "slurm"] = "auto"
    """auto means Slurm where sbatch is on PATH."""
    requeue: bool = True
    """Whether Slurm may put the job back after preemption, node failure or the time limit; it then resumes."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 42
    """Seed of initialisation, data order and dropout."""
    deterministic: bool = False
    """Use deterministic kernels on GPUs, so that resuming is exact there as well."""
    run_id: Name | None = None
    """Name of the run; null makes one from the recipe's name and the time."""
    runs_dir: PathOrId = "runs"
    """Directory that run directories are made in, relative to the working directory; shared by all nodes."""
    precision: Literal["bf16", "fp16", "fp32"] = "bf16"
    """bf16 and fp16 are autocast over fp32 parameters; fp16 scales the loss."""
    tuning: Literal["full", "lora"] = "full"
    """Train every parameter, or low-rank adapters and the head."""
    lora: Lora = Lora()
    """Low-rank adaptation."""
    init_from: PathOrId | None = None
    """Another run (id, start of one, or directory) or a model's directory to start from instead of model.name."""
    model: Model = Model()
    """The encoder."""
    data: Data = Data()
    """The data."""
    tagging: Tagging = Tagging()
    """Tagging words."""
    mlm: MaskedWords = MaskedWords()
    """Masked language modelling."""
    qa: Questions = Questions()
    """Question answering."""
    ranking: Ranking = Ranking()
    """Ranking documents for queries."""
    batch: Batch = Batch.model_validate({})
    """Batch sizes."""
    train: Train = Train()
    """Optimization."""
    prune: Prune = Prune()
    """Making the model smaller, or sparse."""
    distill: Distill = Distill()
    """Learning from a teacher."""
    eval: Eval = Eval()
    """Evaluation."""
    checkpoint: Checkpoint = Checkpoint()
    """Resumable state."""
    zero: Zero = Zero()
    """Sharding through DeepSpeed."""
    tracking: Tracking = Tracking()
    """Tracking."""
    debug: Debug = Debug()
    """Debugging."""

    @property
    def scratch_length(self) -> int:
        """Tokens that a model made from nothing, and its tokenizer, can take."""
        return max(LONGEST, self.data.max_length or 0)

    def tree(self) -> dict[str, Any]:
        """The recipe as plain nested values, every default written out, under the keys of the contract."""
        tree: dict[str, Any] = self.model_dump(mode="json", by_alias=True)
        return tree


def field_names(section: type[Section] = Recipe, prefix: str = "") -> Iterator[str]:
    """Full dotted name of every key that a recipe may hold, leaves only, in the order of the schema."""
    for attribute, field in section.model_fields.items():
        name = prefix + (field.alias or attribute)
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, Section):
            yield from field_names(kind, name + ".")
        else:
            yield name
