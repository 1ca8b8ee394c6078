"""The recipe: what to train, as one strict, frozen tree of sections, one file each.

A recipe file holds these keys and nothing else; every key has one sentence below it, which is also what the messages and
docs/keys.md show. What values may be stands in `fields`, checks of one value alone on its field, checks between values in
`conflicts`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from launcher.recipe.batch import Batch
from launcher.recipe.checkpoint import Checkpoint
from launcher.recipe.data import Data
from launcher.recipe.debug import Debug
from launcher.recipe.decides import Decides, Subject
from launcher.recipe.distill import Distill
from launcher.recipe.embedding import Embedding
from launcher.recipe.eval import Eval
from launcher.recipe.fields import Count, Line, LocalPath, Name, Nodes, PathOrId, Section, TimeLimit, leaves
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
from launcher.resources import module_names

TASKS = module_names("tasks")
"""The tasks that there are: a file each."""
AUTO = "auto"
if TYPE_CHECKING:
    Task = str
    ExecutorName = str
else:
    Task = Literal[TASKS]
    ExecutorName = Literal[(AUTO, *module_names("executors"))]
LONGEST = 512
"""Tokens in a sequence where data.max_length doesn't say otherwise."""


class Recipe(Section):
    """What to train and on what: complete and runnable as it stands."""

    task: Annotated[Task, Decides("tokens", "training")]
    """What the model learns to do."""
    description: Annotated[Line | None, Decides("nothing")] = None
    """One sentence for the list of recipes."""
    nodes: Annotated[Nodes, Decides("execution")] = 1
    """Machines; 2..4 takes as many of these as there are when it starts, and goes on with those that are left."""
    gpus: Annotated[Count | None, Decides("execution")] = None
    """Ranks per node: one a GPU, or a process on CPU; null takes the cluster's or this machine's number."""
    device: Annotated[Literal["auto", "cuda", "cpu"], Decides("execution")] = "auto"
    """auto uses GPUs if there are any; cpu means gloo, and no GPUs are asked of Slurm."""
    time: Annotated[TimeLimit | None, Decides("execution")] = None
    """Time limit of a Slurm job, in Slurm's notation; null takes the cluster's default."""
    cluster: Annotated[PathOrId | None, Decides("execution")] = None
    """Cluster profile: a name in slurm/ or a file."""
    executor: Annotated[ExecutorName, Decides("execution")] = AUTO
    """auto means Slurm if sbatch is on PATH."""
    requeue: Annotated[bool, Decides("execution")] = True
    """Whether a run resumes by itself after preemption, a time limit, a lost node or a passing failure."""
    seed: Annotated[int, Field(ge=0, lt=2**32), Decides("tokens", "training")] = 42
    """Seed of initialisation, data order and dropout."""
    deterministic: Annotated[bool, Decides("training")] = False
    """Use deterministic kernels on GPUs, so that resuming is exact there as well."""
    run_id: Annotated[Name | None, Decides("identity")] = None
    """Name of the run; null makes one from the recipe's name and the time."""
    runs_dir: Annotated[LocalPath, Decides("identity")] = "runs"
    """Directory for run directories, relative to the working directory; all nodes must share it."""
    share: Annotated[Literal["group"] | None, Decides("execution")] = None
    """group lets your group list the run directory and read model/; null keeps everything private to you."""
    precision: Annotated[Literal["bf16", "fp16", "fp32"], Decides("training")] = "bf16"
    """bf16 and fp16 are autocast over fp32 parameters; fp16 scales the loss."""
    tuning: Annotated[Literal["full", "lora"], Decides("training")] = "full"
    """Train every parameter, or low-rank adapters and the head."""
    lora: Lora = Lora.default()
    """Low-rank adaptation."""
    init_from: Annotated[PathOrId | None, Decides("contents", "training")] = None
    """Another run (id, beginning of one, or directory) or a model's directory to start from instead of model.name."""
    model: Model = Model.default()
    """The encoder."""
    data: Data = Data.default()
    """The data."""
    tagging: Tagging = Tagging.default()
    """Tagging words."""
    mlm: MaskedWords = MaskedWords.default()
    """Masked language modelling."""
    qa: Questions = Questions.default()
    """Question answering."""
    ranking: Ranking = Ranking.default()
    """Ranking documents for queries."""
    embedding: Embedding = Embedding.default()
    """Vectors of texts."""
    batch: Batch = Batch.default()
    """Batch sizes."""
    train: Train = Train.default()
    """Optimization."""
    prune: Prune = Prune.default()
    """Making the model smaller, or sparse."""
    distill: Distill = Distill.default()
    """Learning from a teacher."""
    eval: Eval = Eval.default()
    """Evaluation."""
    checkpoint: Checkpoint = Checkpoint.default()
    """Resumable state."""
    zero: Zero = Zero.default()
    """Sharding through DeepSpeed."""
    tracking: Tracking = Tracking.default()
    """Tracking."""
    debug: Debug = Debug.default()
    """Debugging."""

    @property
    def shared(self) -> bool:
        """Whether the group may read the best model."""
        return self.share == "group"

    @property
    def least_nodes(self) -> int:
        """Fewest machines that it trains on."""
        return self.nodes if isinstance(self.nodes, int) else int(self.nodes.partition("..")[0])

    @property
    def most_nodes(self) -> int:
        """Machines that it is planned for, and the most that it trains on."""
        return self.nodes if isinstance(self.nodes, int) else int(self.nodes.partition("..")[2])

    @property
    def scratch_length(self) -> int:
        """Tokens that a model made from nothing, and its tokenizer, can take."""
        return max(LONGEST, self.data.max_length or 0)

    def tree(self, without: Subject | None = None) -> dict[str, Any]:
        """The recipe as plain nested values, every default written out, but for keys that decide `without` alone."""
        tree: dict[str, Any] = self.model_dump(mode="json", by_alias=True)
        for key in (leaf.name for leaf in leaves(Recipe) if leaf.subjects == (without,)):
            branch, name = _branch(tree, key)
            del branch[name]
        return tree

    def by_key(self) -> dict[str, Any]:
        """Dotted key -> plain value, of every key."""
        tree, names = self.tree(), (leaf.name for leaf in leaves(Recipe))
        return {key: branch[name] for key in names for branch, name in [_branch(tree, key)]}

    def deciding(self, subject: Subject) -> dict[str, Any]:
        """The same of the keys that decide this subject."""
        values = self.by_key()
        return {leaf.name: values[leaf.name] for leaf in leaves(Recipe) if subject in leaf.subjects}


def _branch(tree: dict[str, Any], key: str) -> tuple[dict[str, Any], str]:
    """The mapping that holds a dotted key, and the key's name in it."""
    *sections, name = key.split(".")
    for section in sections:
        tree = tree[section]
    return tree, name


def nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values by full dotted name, as sections within sections."""
    tree: dict[str, Any] = {}
    for key, value in values.items():
        *sections, name = key.split(".")
        branch = tree
        for section in sections:
            branch = branch.setdefault(section, {})
        branch[name] = value
    return tree


def leaf_values(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every leaf of a recipe's plain values under its full dotted name."""
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from leaf_values(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value
