"""The recipe: what to train, as one strict, frozen tree of sections.

A recipe file holds these keys and nothing else; every key has one sentence here, which is also what the messages and the
documentation show. Checks of one value alone stand on its field; checks between values are in `conflicts`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

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
READY_TASKS: tuple[str, ...] = ("classification", "multilabel", "regression")
"""The tasks that can be trained today; the others are reserved names."""

TIME_LIMIT = re.compile(r"\d+|\d+:\d{2}|\d+:\d{2}:\d{2}|\d+-\d+|\d+-\d+:\d{2}|\d+-\d+:\d{2}:\d{2}")
SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def _safe_name(value: str) -> str:
    if not SAFE_NAME.fullmatch(value):
        raise ValueError("must be letters, digits, '.', '_' or '-', and start with a letter or digit")
    return value


def _one_line(value: str) -> str:
    if any(ord(character) < 32 or ord(character) == 127 for character in value):
        raise ValueError("must be one line without control characters")
    return value


def _time_limit(value: str) -> str:
    if not TIME_LIMIT.fullmatch(value):
        raise ValueError("must be MINUTES, MM:SS, HH:MM:SS, D-HH, D-HH:MM or D-HH:MM:SS")
    return value


def _path_or_id(value: str) -> str:
    if value.startswith("-") or "#SBATCH" in value or not value.strip():
        raise ValueError("must not be empty, start with '-' or contain '#SBATCH'")
    return _one_line(value)


Name = Annotated[str, AfterValidator(_safe_name)]
Line = Annotated[str, AfterValidator(_one_line)]
PathOrId = Annotated[str, AfterValidator(_path_or_id)]
TimeLimit = Annotated[str, AfterValidator(_time_limit)]
Count = Annotated[int, Field(ge=1)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Probability = Annotated[float, Field(ge=0, lt=1)]
Warmup = Annotated[int, Field(ge=0)] | Annotated[float, Field(ge=0, lt=1)]
Every = Count | Literal["epoch"]
Files = PathOrId | Annotated[tuple[PathOrId, ...], Field(min_length=1)]


class Section(BaseModel):
    """Base of every section: unknown keys refused, values never coerced, frozen once made."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True, protected_namespaces=()
    )


class Lora(Section):
    """Low-rank adaptation (Hu et al., 2021), used where `tuning=lora`."""

    r: Count = 8
    """Rank of the update of each adapted matrix."""
    alpha: Positive = 16.0
    """Scale of the update: it is multiplied by alpha / r."""
    dropout: Probability = 0.05
    """Dropout on the input of the adapters."""
    targets: Annotated[tuple[Name, ...], Field(min_length=1)] | None = None
    """Leaf names of the linear modules to adapt; null takes the attention projections of the model's family."""


class Dropout(Section):
    """Dropout probabilities; null keeps what the model's own configuration says."""

    hidden: Probability | None = None
    """After embeddings, attention outputs and feed-forward layers."""
    attention: Probability | None = None
    """On attention probabilities."""
    classifier: Probability | None = None
    """Before the last linear layer of the head."""


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
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, about a third more time."""
    scratch: Scratch = Scratch()
    """The architecture to make from nothing."""


class Data(Section):
    """Where examples come from and what their columns mean."""

    source: PathOrId | None = None
    """Hub data set, `id` or `id:config`; data.train given in a stronger place replaces it."""
    train: Files | None = None
    """Training file or files: csv, tsv, json, jsonl, parquet or txt."""
    validation: Files | None = None
    """Validation file or files: they choose the best checkpoint."""
    test: Files | None = None
    """Test file or files, used once, after training."""
    train_split: Line = "train"
    """Split of data.source to train on."""
    validation_split: Line | None = "validation"
    """Split of data.source that chooses the best checkpoint; null takes a part of the training split."""
    test_split: Line | None = None
    """Split of data.source used once, after training."""
    text: Line | Annotated[tuple[Line, ...], Field(min_length=1, max_length=2)] = "text"
    """Column that holds the text, or two columns [a,b] for pairs."""
    label: Line | Annotated[tuple[Line, ...], Field(min_length=1)] = "label"
    """Column that holds the label or score; for multilabel also a list of 0/1 columns."""
    choices: Line | Annotated[tuple[Line, ...], Field(min_length=2)] | None = None
    """For multiple-choice: the columns that hold the choices, or one column that holds a list of them."""
    labels: Annotated[tuple[Line, ...], Field(min_length=2)] | None = None
    """Every label in the order they are numbered; null sorts those of the training data, numbers by value."""
    stride: Count = 128
    """Tokens that the windows of a text longer than data.max_length have in common, where a task cuts windows."""
    label_delimiter: Line = "|"
    """What separates the labels within one cell of a multilabel file."""
    split: Annotated[tuple[Probability, ...], Field(min_length=2, max_length=3)] | None = None
    """Fractions of data.train for train, validation and test where no validation is given; null means [0.7,0.15,0.15]."""
    max_length: Count | None = None
    """Longest sequence in tokens, special tokens included; longer ones are cut. Null means the model's limit, 512 at most."""
    limit: Count | None = None
    """Use only this many training examples, drawn by the seed; null uses all."""
    header: bool = True
    """Whether csv and tsv files start with a line of column names."""
    columns: Annotated[tuple[Line, ...], Field(min_length=1)] | None = None
    """Column names of files without a header line (then data.header is false)."""
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] | None = None
    """Column separator; null means a comma in csv and a tab in tsv."""
    quoting: bool | None = None
    """Whether double quotes enclose fields; null means yes in csv and no in tsv."""
    format: Literal["csv", "tsv", "json", "jsonl", "parquet", "txt"] | None = None
    """Format of the files where their extension lies."""
    cache_dir: PathOrId | None = None
    """Where tokenised data are kept and shared between runs; null means the user's cache directory."""


class Batch(Section):
    """How many examples make one optimizer step, and how much of it is computed at a time."""

    global_: Count = Field(32, alias="global")
    """Examples in one optimizer step over all ranks: part of the mathematics, the same on any machine."""
    micro: Count | None = None
    """Most examples in a micro-batch; null lets the plan choose from the memory."""
    tokens: Count | None = None
    """Most tokens in a micro-batch, padding included; null sets no limit."""


class EarlyStopping(Section):
    """Stop when the monitored metric has not improved for a while."""

    metric: Name | None = None
    """Metric to watch, such as `accuracy` or `loss`; null means eval.metric."""
    patience: Count | None = None
    """Evaluations without improvement before stopping; null never stops early."""
    min_delta: NonNegative = 0.0
    """Smallest change that counts as an improvement."""


class Train(Section):
    """Optimization."""

    lr: Positive = 2e-5
    """Peak learning rate."""
    epochs: Positive = 3.0
    """Passes over the training data; a fraction is allowed."""
    max_steps: Count | None = None
    """Optimizer steps, whatever train.epochs says; null means epochs decide."""
    warmup: Warmup = 0.06
    """Linear warm-up: a whole number is steps, a fraction below 1 is a share of all steps."""
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    """Learning rate after warm-up: linear or cosine decay to zero, or constant."""
    optimizer: Literal["adamw"] = "adamw"
    """Optimizer (AdamW: Loshchilov and Hutter, 2019)."""
    beta1: Probability = 0.9
    """Decay of the first moment."""
    beta2: Probability = 0.999
    """Decay of the second moment."""
    epsilon: Positive = 1e-8
    """Added to the denominator of the update."""
    weight_decay: NonNegative = 0.01
    """Decoupled weight decay, on matrices only (not on biases, norms or one-dimensional parameters)."""
    clip: Positive | None = 1.0
    """Largest norm of the gradient over all parameters; null does not clip."""
    early_stopping: EarlyStopping = EarlyStopping()
    """When to stop before the last step."""


class Eval(Section):
    """Evaluation during training."""

    every: Every | None = "epoch"
    """Steps between evaluations, or `epoch`; null evaluates only at the end."""
    metric: Name | None = None
    """Metric that chooses the best checkpoint; null means the task's own (accuracy, f1, pearson, ...)."""


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
    model: Model = Model()
    """The encoder."""
    data: Data = Data()
    """The data."""
    batch: Batch = Batch.model_validate({})
    """Batch sizes."""
    train: Train = Train()
    """Optimization."""
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

    def tree(self) -> dict[str, Any]:
        """The recipe as plain nested values, every default written out, under the keys of the contract."""
        tree: dict[str, Any] = self.model_dump(mode="json", by_alias=True)
        return tree


@dataclass(frozen=True)
class Conflict:
    """Values that are fine one by one but not together."""

    fields: tuple[str, ...]
    """Dotted names of the keys involved; the message points at the first."""
    message: str
    remedy: str


def conflicts(recipe: Recipe) -> Iterator[Conflict]:
    """Every contradiction within the recipe itself, whatever the machine or the data."""
    yield from _model_conflicts(recipe)
    yield from _data_conflicts(recipe)
    yield from _batch_conflicts(recipe)
    yield from _zero_conflicts(recipe)


def _model_conflicts(recipe: Recipe) -> Iterator[Conflict]:
    model = recipe.model
    if recipe.task not in READY_TASKS:
        yield Conflict(("task",), "is not available yet", "available: " + ", ".join(READY_TASKS))
    if model.name is None and model.init == "pretrained":
        yield Conflict(
            ("model.name", "model.init"),
            "is needed with model.init=pretrained",
            "give a hub id or a directory, or set model.init=scratch",
        )
    if model.init == "scratch" and model.name is None and model.scratch.hidden % model.scratch.heads:
        yield Conflict(
            ("model.scratch.heads", "model.scratch.hidden"),
            f"does not divide model.scratch.hidden={model.scratch.hidden}",
            "choose a number of heads that divides the hidden width",
        )
    if recipe.tuning == "lora" and model.init == "scratch":
        yield Conflict(
            ("tuning", "model.init"),
            "adapters on random weights can't learn",
            "use tuning=full with model.init=scratch, or give a pretrained model.name",
        )
    if recipe.precision == "fp16" and recipe.device == "cpu":
        yield Conflict(
            ("precision", "device"), "fp16 needs a GPU", "use precision=bf16 or precision=fp32 on the CPU"
        )


def _data_conflicts(recipe: Recipe) -> Iterator[Conflict]:
    data = recipe.data
    if data.source is None and data.train is None:
        yield Conflict(
            ("data.train", "data.source"), "no data given", "give data.train=FILE or data.source=HUB_ID"
        )
    if data.source is not None and data.train is not None:
        yield Conflict(
            ("data.train", "data.source"), "both a file and a hub data set are given", "leave one of them out"
        )
    if data.columns is not None and data.header:
        yield Conflict(
            ("data.columns", "data.header"),
            "names the columns of files without a header line",
            "add data.header=false, or leave data.columns out",
        )
    if data.split is not None:
        if data.validation is not None:
            yield Conflict(
                ("data.split", "data.validation"),
                "splits data.train, but data.validation is given too",
                "leave one of them out",
            )
        if sum(data.split) > 1 + 1e-9 or min(data.split[:2]) == 0:
            yield Conflict(
                ("data.split",),
                "fractions must be above 0 for train and validation and add up to at most 1",
                "for example data.split=[0.8,0.1,0.1]",
            )
    if recipe.task != "multilabel" and isinstance(data.label, tuple):
        yield Conflict(
            ("data.label", "task"), "a list of label columns is for task=multilabel", "name one column"
        )


def _batch_conflicts(recipe: Recipe) -> Iterator[Conflict]:
    batch = recipe.batch
    if batch.micro is not None and batch.micro > batch.global_:
        yield Conflict(
            ("batch.micro", "batch.global"),
            f"is larger than batch.global={batch.global_}",
            f"use batch.micro={batch.global_} or less: batch.global is what makes one step",
        )
    longest = recipe.data.max_length
    if batch.tokens is not None and longest is not None and batch.tokens < longest:
        yield Conflict(
            ("batch.tokens", "data.max_length"),
            f"is less than one example of data.max_length={longest} tokens",
            f"use batch.tokens={longest} or more",
        )
    stopping = recipe.train.early_stopping
    if stopping.patience is not None and recipe.eval.every is None:
        yield Conflict(
            ("train.early_stopping.patience", "eval.every"),
            "early stopping needs evaluations during training",
            "set eval.every to a number of steps or to epoch",
        )


def _zero_conflicts(recipe: Recipe) -> Iterator[Conflict]:
    zero = recipe.zero
    if zero.offload != "none" and zero.stage == 0:
        yield Conflict(
            ("zero.offload", "zero.stage"), "needs ZeRO", "set zero.stage to 1, 2 or 3, or leave it out"
        )
    if zero.offload == "nvme" and zero.stage in (1, 2):
        yield Conflict(
            ("zero.offload", "zero.stage"), "needs ZeRO stage 3", "set zero.stage=3 or zero.offload=cpu"
        )
    if zero.offload == "nvme" and zero.nvme_path is None:
        yield Conflict(
            ("zero.nvme_path", "zero.offload"), "is needed by zero.offload=nvme", "give a local directory"
        )
    if zero.nvme_path is not None and zero.offload != "nvme":
        yield Conflict(
            ("zero.nvme_path", "zero.offload"), "is used only by zero.offload=nvme", "leave it out"
        )


def field_names(section: type[Section] = Recipe, prefix: str = "") -> Iterator[str]:
    """Full dotted name of every key that a recipe may hold, leaves only, in the order of the schema."""
    for attribute, field in section.model_fields.items():
        name = prefix + (field.alias or attribute)
        nested = next(
            (kind for kind in (field.annotation, *get_args(field.annotation)) if _is_section(kind)), None
        )
        if nested is None:
            yield name
        else:
            yield from field_names(nested, name + ".")


def _is_section(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, Section)
