"""What each verb that needs torch answers: one record, written by the verb and read back by the command line.

As JSON (`--json`) it has the names of its fields.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from launcher.runs.drills import TensorDifference
from launcher.runs.examination import Interval
from launcher.runs.records import ONLY_IF_KNOWN
from launcher.runs.results import Metrics

Level = Literal["error", "warning", "note"]


@dataclass(frozen=True)
class Sent:
    """`sync`: what of a record was brought where people look at it."""

    run_id: str
    rows: int
    """That were sent now."""
    url: str | None
    ended: bool
    """Whether the run has, so that nothing more comes."""


@dataclass(frozen=True)
class Workspace:
    """`workspace`: panels in a project at W&B."""

    run_id: str
    url: str


@dataclass(frozen=True)
class UploadedFile:
    """One file of a model, by its path in the repository."""

    path: str
    bytes: int


@dataclass(frozen=True)
class Upload:
    """`push`: what is to be sent to a hub, and where."""

    repo: str
    """`OWNER/NAME`."""
    endpoint: str
    private: bool
    exists: bool | None
    """Whether the repository is there already; None where the hub was not reached."""
    doubt: str | None
    """Why the hub said nothing."""
    files: tuple[UploadedFile, ...]
    url: str | None = None
    """Of the commit, once it is there."""


@dataclass(frozen=True)
class SplitIntervals:
    """Intervals of the metrics of a split, and how they were found."""

    method: str
    by_metric: Mapping[str, Interval | None]

    def tree(self) -> dict[str, Any]:
        """As JSON has it: the metrics beside `method`."""
        bounds = {name: None if each is None else vars(each) for name, each in self.by_metric.items()}
        return {"method": self.method, **bounds}


@dataclass(frozen=True)
class Evaluations:
    """`eval`: metrics by split or file; with `--output` also intervals, and the directory where all of it is."""

    metrics: Mapping[str, Metrics]
    intervals: Mapping[str, SplitIntervals | None] | None = field(default=None, metadata=ONLY_IF_KNOWN)
    """None of a split of which nothing but the loss is known."""
    output: str | None = field(default=None, metadata=ONLY_IF_KNOWN)

    def tree(self) -> dict[str, Any]:
        """As JSON has it: the splits beside `intervals` and `output`."""
        tree: dict[str, Any] = dict(self.metrics)
        if self.intervals is not None:
            tree["intervals"] = {
                name: None if each is None else each.tree() for name, each in self.intervals.items()
            }
        return tree if self.output is None else {**tree, "output": self.output}


@dataclass(frozen=True)
class Predictions:
    """`predict`: the rows themselves, or the file that they were written to and how many they are."""

    predictions: tuple[Mapping[str, Any], ...] | None = field(default=None, metadata=ONLY_IF_KNOWN)
    """The input's columns and what the task predicts."""
    output: str | None = field(default=None, metadata=ONLY_IF_KNOWN)
    rows: int | None = field(default=None, metadata=ONLY_IF_KNOWN)


@dataclass(frozen=True)
class Negatives:
    """`negatives`: how many were found, and the file that they are in."""

    output: str
    rows: int
    queries: int
    documents: int
    negatives: int
    short: int
    """Positives that have fewer than were asked for."""


@dataclass(frozen=True)
class Word:
    """A word of a text and its part in the logit."""

    text: str
    score: float
    part: int
    """0 in the first text of a pair, 1 in the second."""


@dataclass(frozen=True)
class Explanation:
    """One text, or pair of texts, and the words that speak for and against a label."""

    label: str | None
    """None for a regression."""
    probability: float | None
    logit: float
    masked_logit: float
    """The logit of the text with every word masked."""
    words: tuple[Word, ...]
    rest: float
    """What special tokens add: they are the same in both texts, so next to nothing."""


@dataclass(frozen=True)
class Explanations:
    """`explain`: one for each text, or pair of texts."""

    explanations: tuple[Explanation, ...]


@dataclass(frozen=True)
class OnnxModel:
    """A model for ONNX Runtime beside the PyTorch model."""

    file: str
    bytes: int
    largest_difference: float
    """Of any output, over real tokens of all examples that were compared."""
    same_choice: float | None
    """Share of examples (or tokens) for which the same output is the largest; None where outputs are no choice."""
    latency_ms: float
    latency_many_ms: float


@dataclass(frozen=True)
class OnnxExport:
    """The models for ONNX Runtime, and what they were compared on."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    examples: int
    torch_latency_ms: float
    torch_latency_many_ms: float
    many: int
    """Texts at once in `latency_many_ms`."""
    threads: int
    models: tuple[OnnxModel, ...]


@dataclass(frozen=True)
class Exported:
    """`export`: a directory with the model."""

    output: str
    onnx: OnnxExport | None = field(default=None, metadata=ONLY_IF_KNOWN)


@dataclass(frozen=True)
class Timed:
    """`latency`: how long the best model takes for one text."""

    ms: float
    tokens: int
    device: str
    threads: int


@dataclass(frozen=True)
class Prefetched:
    """`prefetch`: what lies in the caches now."""

    model: str | None
    examples: Mapping[str, int]
    labels: tuple[str, ...]
    fingerprint: str


@dataclass(frozen=True)
class Lengths:
    """Tokens of the sequences of a split, before any is cut; nothing but counts where there is none."""

    median: int | None = field(default=None, metadata=ONLY_IF_KNOWN)
    p90: int | None = field(default=None, metadata=ONLY_IF_KNOWN)
    p99: int | None = field(default=None, metadata=ONLY_IF_KNOWN)
    longest: int | None = field(default=None, metadata=ONLY_IF_KNOWN)
    longer: int = 0
    """Sequences that are too long."""
    of: int = 0
    windows: int | None = field(default=None, metadata=ONLY_IF_KNOWN)
    """That the longer ones are cut into, where the task does so."""


@dataclass(frozen=True)
class SplitReport:
    """What a split holds."""

    examples: int
    labels: Mapping[str, int]
    """The most frequent ones, and how often they are there."""
    classes: int
    """How many different ones there are."""
    tokens: Lengths | None
    """None where there is no tokenizer."""


@dataclass(frozen=True)
class DataFinding:
    """Something doubtful about one split."""

    kind: str
    split: str
    level: Level
    message: str
    """One sentence with the count."""
    count: int
    of: int
    examples: tuple[str, ...]
    """The first places, `file:line: excerpt`."""
    remedy: str


@dataclass(frozen=True)
class DataReport:
    """`data`: what the data of a recipe hold, and what is doubtful about them."""

    splits: Mapping[str, SplitReport]
    labels: tuple[str, ...]
    findings: tuple[DataFinding, ...]


@dataclass(frozen=True)
class TrainedExample:
    """One example of a step."""

    example: int
    """Its number in the tokenised training data."""
    texts: tuple[str, ...]
    """As the tokenizer has cut them."""
    tokens: int
    place: str | None = field(default=None, metadata=ONLY_IF_KNOWN)
    """Its file and line, and the row itself, where an example is a row."""
    values: Mapping[str, Any] | None = field(default=None, metadata=ONLY_IF_KNOWN)


@dataclass(frozen=True)
class TrainedStep:
    """`step`: the examples that a step of a run was made of, in the order of their batch."""

    step: int
    epoch: int
    """From 0."""
    examples: tuple[TrainedExample, ...]


@dataclass(frozen=True)
class StateDifference:
    """How many tensors and values two final states have in common, and the first that they don't."""

    same: int
    count: int
    largest: float | None
    """The largest difference between elements of weights; None where it is no number."""
    first: TensorDifference | None


@dataclass(frozen=True)
class StateDifferences:
    """`states`: how the final states of runs differ from that of another."""

    states: tuple[StateDifference, ...]


@dataclass(frozen=True)
class Planted:
    """`plant`: what was changed in a checkpoint."""

    planted: str


@dataclass(frozen=True)
class TorchFacts:
    """`doctor`: what torch sees of a machine."""

    versions: Mapping[str, str]
    """Of Python and of the packages that decide what is computed."""
    untested: tuple[str, ...]
    """`name version` of those that the tests have never run with."""
    cuda: str
    gpus: str
    bf16: bool | str
    gloo: bool
    nccl: bool

    def shown(self) -> dict[str, str | bool]:
        """All but `untested`, by name."""
        rest = {name: getattr(self, name) for name in ("cuda", "gpus", "bf16", "gloo", "nccl")}
        return {**self.versions, **rest}


@dataclass(frozen=True)
class Prebuilt:
    """`prebuild`: where compiled operators are."""

    directory: str
