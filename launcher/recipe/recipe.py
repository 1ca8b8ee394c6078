"""The recipe: what to train, as one strict, frozen tree of sections.

A recipe file holds these keys and nothing else; every key has one sentence here, which is also what the messages and the
documentation show. Checks of one value alone stand on its field; checks between values are in `conflicts`.
What the values may be stands in `fields`; the sections that say how a model learns are in `techniques`,
those of one task alone in `task_sections`, those about data in `data_sections`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal, get_args

from pydantic import Field

from launcher.recipe.compression import Distill, Prune
from launcher.recipe.data import Data
from launcher.recipe.fields import Count, Every, Line, Name, PathOrId, Section, TimeLimit
from launcher.recipe.task_sections import MaskedWords, Questions, Ranking, Tagging
from launcher.recipe.techniques import Dropout, Freeze, Head, Lora, Train

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


class Scratch(Section):
    """The architecture made where `model.init=scratch` and `model.name` is null."""

    family: Literal["bert", "roberta", "distilbert", "electra", "modernbert"] = "bert"
    """Model family."""
    hidden: Count = 128
    """Width of the hidden states."""
    layers: Count = 2
    """Number of transformer layers."""
    heads: Count = 2
    """Attention heads in each layer; must divide hidden."""
    intermediate: Count = 512
    """Width of the feed-forward layers."""
    vocab: Annotated[int, Field(ge=64)] = 4096
    """Most entries of the WordPiece vocabulary trained on the training text."""
    lowercase: bool = True
    """Whether the tokenizer lower-cases its input and strips accents."""


class Model(Section):
    """The encoder that is fine-tuned."""

    name: PathOrId | None = None
    """Hub id or directory of a Hugging Face model; null only with `model.init=scratch`."""
    revision: PathOrId | None = None
    """Branch, tag or commit on the hub; null takes the main branch."""
    init: Literal["pretrained", "scratch"] = "pretrained"
    """Load pretrained weights, or start from random ones (and, with a null name, a tokenizer trained on the data)."""
    dropout: Dropout = Dropout()
    """Dropout of each kind, in one place for all families."""
    head: Head = Head()
    """A deeper head for one label, several or a number."""
    freeze: Freeze = Freeze()
    """What doesn't train."""
    reinit_layers: Annotated[int, Field(ge=0)] = 0
    """How many of the top layers start from random weights (Zhang et al., 2021)."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, about a third more time."""
    scratch: Scratch = Scratch()
    """The architecture to make from nothing."""


class Batch(Section):
    """How many examples make one optimizer step, and how much of it is computed at a time."""

    global_: Count = Field(32, alias="global")
    """Examples in one optimizer step over all ranks: part of the mathematics, the same on any machine."""
    micro: Count | None = None
    """Most examples in a micro-batch; null lets the plan choose from the memory."""
    tokens: Count | Literal["auto"] | None = None
    """Most tokens in a micro-batch, padding included; auto fills the GPU's memory; null sets no limit (4,096 on a CPU)."""


class Eval(Section):
    """Evaluation during training."""

    every: Every | None = "epoch"
    """Steps between evaluations, or `epoch`; null evaluates only at the end."""
    metric: Name | None = None
    """Metric that chooses the best checkpoint; null means the task's own (accuracy, f1, pearson, ...)."""
    extra: dict[Name, PathOrId] = Field(default_factory=dict)
    """More test files by name, such as one for each language: {de: de.csv, fr: fr.csv}; used once, after training."""
    tune_thresholds: bool = True
    """multilabel: choose each label's threshold for the best F1 on the validation data; otherwise it is a half."""


class Checkpoint(Section):
    """Resumable state."""

    every: Every | None = "epoch"
    """Steps between checkpoints, or `epoch`; null saves only when stopped and at the end."""
    keep: Count = 2
    """How many of the newest checkpoints stay on disk."""


class Zero(Section):
    """ZeRO (Rajbhandari et al., 2020) through DeepSpeed."""

    stage: Annotated[int, Field(ge=0, le=3)] | None = 0
    """0: plain PyTorch; 1 shards optimizer state, 2 gradients too, 3 parameters too; null: 0 on one rank, 2 on more."""
    offload: Literal["none", "cpu", "nvme"] = "none"
    """Where optimizer state (and, in stage 3, parameters) is kept between uses."""
    nvme_path: PathOrId | None = None
    """Directory on a local NVMe disk for zero.offload=nvme."""


class Wandb(Section):
    """Weights & Biases."""

    mode: Literal["auto", "online", "offline", "disabled"] = "auto"
    """auto: online where there is a key and the server answers, otherwise offline."""
    project: Line = "launcher"
    """Project that the run appears in."""
    entity: Line | None = None
    """User or team; null means the account's default."""
    name: Line | None = None
    """Display name; null means the run id."""
    group: Line | None = None
    """Group that the run belongs to; null means the recipe's name."""
    job_type: Line = "train"
    """Job type shown beside the run."""
    tags: tuple[Line, ...] = ()
    """Tags of the run."""
    notes: str | None = None
    """A longer note, shown on the run's page."""


class Tracking(Section):
    """Where metrics go besides metrics.jsonl."""

    wandb: Wandb = Wandb()
    """Weights & Biases."""


class Debug(Section):
    """Switches for proving what a run does."""

    samples: bool = False
    """Write the example ids of every step to samples/rank_R.jsonl."""


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
