"""What a page tells of one run, from its directory alone."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from launcher import tasks
from launcher.errors import LauncherError, UserError
from launcher.figures import human_bytes, human_count, human_number, human_seconds, quantity
from launcher.recipe import MOST_BYTES
from launcher.recipe.recipe import Recipe, leaf_values
from launcher.report import advice
from launcher.report.curves import MOST_POINTS, Curve, Curves, curves_of
from launcher.report.examined import Examined
from launcher.report.machines import machine_curves
from launcher.report.slow_ranks import slow_ranks
from launcher.report.timeline_svg import timeline
from launcher.runs import recovered_result
from launcher.runs.columns import Columns, read_columns
from launcher.runs.directory import RunDir, read_result
from launcher.runs.events import Notice, read_events
from launcher.runs.planned_recipe import planned_recipe
from launcher.runs.provenance import read_origins
from launcher.runs.records import read_text
from launcher.runs.results import Best, Error, Measured, Metrics

MOST_EVALUATIONS = 40
"""Rows of the table of evaluations; the best and the last are always among them."""
MOST_SAID = 30


@dataclass(frozen=True)
class Card:
    """One figure of a run."""

    name: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class EvaluationRow:
    """One evaluation: its figures in the order of `Story.metric_names`."""

    data: str
    step: int
    figures: list[str]
    best: bool


@dataclass(frozen=True)
class MeasuredRow:
    """A figure of the plan beside the measured one."""

    name: str
    planned: str
    measured: str


@dataclass(frozen=True)
class AttemptRow:
    """One start of the run."""

    number: int
    started: str
    took: str
    status: str
    cause: str
    last_step: str
    hosts: str
    job: str


@dataclass(frozen=True)
class KeyRow:
    """A key of the recipe that is not at its default."""

    key: str
    value: str
    default: str
    origin: str


@dataclass(frozen=True)
class CurveFinding:
    """What the curves say about the settings, and the keys to try."""

    message: str
    tries: list[str]


class Story:
    """What a page tells of one run, from its directory alone."""

    def __init__(self, run: RunDir, points: int = MOST_POINTS) -> None:
        self.run = run
        self.run_id = run.run_id
        self.directory = str(run.path)
        self.recipe = planned_recipe(run)
        self.plan = run.read_plan()
        self.result = run.read_result()
        recorded = read_columns(run)  # all that is wanted of it is taken here: of many runs it is large
        self.curves: Curves = curves_of(recorded, points)
        self.findings = _findings(run, recorded)
        """What the curves say about the settings."""
        self._evaluations = recorded.evaluations
        doubt = [recorded.doubt] if recorded.doubt else []
        self.notes: Sequence[str] = [*self.plan.notes, *doubt, *slow_ranks(run, recorded)]
        """What the plan says besides, what the record lacks, and which ranks were slow."""
        self._points = points

    @property
    def status(self) -> str:
        """How it ended; `unfinished` where it has not."""
        return "unfinished" if self.result is None else self.result.status

    @property
    def steps(self) -> int:
        """Steps trained."""
        if self.result is not None and self.result.steps:
            return self.result.steps
        curve = self.curves.train.get("train/loss")
        return curve.steps[-1] if curve else 0

    @cached_property
    def best(self) -> Best | None:
        """The evaluation of the best model, so far where the run isn't over; None where there is none yet."""
        if self.result is not None:
            return self.result.best
        return recovered_result.best(self.run, self.plan, self._evaluations)

    def best_value(self, metric: str) -> float | None:
        """That of the best model; None where another metric has chosen it, or there is none yet."""
        return self.best.value if self.best is not None and self.best.metric == metric else None

    @property
    def metric(self) -> str:
        """The metric that chooses the best model."""
        return tasks.of(self.recipe).chosen_metric if self.best is None else self.best.metric

    @property
    def sentence(self) -> str:
        """What was trained, in a line."""
        recipe, count = self.plan.recipe, self.plan.steps.train_examples
        tuning = "" if recipe.tuning == "full" else f" with {recipe.tuning} adapters"
        examples = f" on {human_count(count)} examples" if count else ""
        nodes, ranks = self.plan.nodes, quantity(self.plan.gpus, "rank")
        place = f"{nodes} nodes with {ranks} each" if nodes > 1 else ranks
        return f"{recipe.model.told}{tuning} for {recipe.task}{examples}, {place} on {self.plan.device}"

    @property
    def cause(self) -> Error | None:
        """Why it failed."""
        return None if self.result is None else self.result.error

    @cached_property
    def cards(self) -> tuple[Card, ...]:
        """The figures that a reader looks for first."""
        best, result, measured = self.best, self.result, self._measured
        test: Metrics = (result and result.test) or {}
        speed, tokens = map(self._median, ("perf/examples_per_s", "perf/tokens_per_s"))
        planned, so_far = self.plan.traffic.parameters, "" if result else ", so far"
        unknown = "no evaluation is over" if result is None else "nothing was evaluated"
        return (
            Card(
                f"best {self.metric}",
                human_number(best and best.value),
                f"validation, step {best.step:,}{so_far}" if best else unknown,
            ),
            Card(
                f"test {self.metric}",
                human_number(test.get(self.metric)),
                "of the best model" if test else "nothing was tested",
            ),
            Card("steps", human_count(self.steps), _epochs(None if result is None else result.epochs)),
            Card(
                "training time",
                human_seconds(None if result is None else result.wall_s),
                quantity(len(self.attempts), "attempt") + ("" if result else ", no end yet"),
            ),
            Card("speed", _per_second(speed), "examples, median"),
            Card("tokens", _per_second(tokens), _padding(self.padding)),
            Card("peak memory", human_bytes(measured.total), "of the fullest rank"),
            Card("parameters", human_count(measured.parameters or planned), _trainable(measured)),
        )

    @property
    def _measured(self) -> Measured:
        return (self.result and self.result.measured) or Measured()

    @property
    def padding(self) -> float | None:
        """Share of the positions computed that were padding, the median over the steps; None where nobody said."""
        return self._median("perf/padding")

    def _median(self, key: str) -> float | None:
        curve = self.curves.train.get(key)
        known = sorted(value for value in curve.values if value is not None) if curve else []
        return known[len(known) // 2] if known else None

    def card(self, name: str) -> str:
        """The value of the card of that name, `-` where this run has none."""
        return next((card.value for card in self.cards if card.name == name), "-")

    @cached_property
    def metric_names(self) -> list[str]:
        """Every metric that was computed and is a number somewhere, the one that chooses first."""
        rows = [row for split in self.curves.evaluations.values() for row in split]
        known = (key for row in rows for key, value in row.items() if value is not None)
        names = dict.fromkeys(key for key in known if key not in ("step", "epoch"))
        chosen = None if self.best is None else self.best.metric
        return sorted(names, key=lambda name: (name != chosen, name == "loss"))

    @cached_property
    def evaluations(self) -> list[EvaluationRow]:
        """Rows of the table: those on the validation data, then the others by name."""
        best = None if self.best is None else self.best.step
        splits = sorted(self.curves.evaluations.items(), key=lambda item: item[0] != "validation")
        rows = [
            EvaluationRow(
                data=split,
                step=row["step"],
                figures=[human_number(row.get(name)) for name in self.metric_names],
                best=split == "validation" and row["step"] == best,
            )
            for split, found in splits
            for row in found
        ]
        every = -(-len(rows) // MOST_EVALUATIONS)
        return [
            row for index, row in enumerate(rows) if row.best or index % every == 0 or index >= len(rows) - 3
        ]

    @property
    def left_out(self) -> str:
        """How many evaluations the table leaves out."""
        count = sum(map(len, self.curves.evaluations.values())) - len(self.evaluations)
        return f"{human_count(count)} more evaluations are in {self.run.metrics.name}." if count else ""

    @property
    def measured(self) -> Iterator[MeasuredRow]:
        """Planned figures beside the measured ones."""
        planned = (self.result and self.result.predicted) or self.plan.predicted
        measured = self._measured
        yield MeasuredRow("seconds a step", human_number(planned.step_s), human_number(measured.step_s))
        yield MeasuredRow("peak memory of a rank", human_bytes(planned.total), human_bytes(measured.total))
        yield MeasuredRow("parameters", human_count(planned.parameters), human_count(measured.parameters))
        trained = planned.trainable_parameters, measured.trainable_parameters
        yield MeasuredRow("trained parameters", *map(human_count, trained))

    @property
    def layout(self) -> str:
        """How a global batch was laid out."""
        plan, layout = self.plan, self.plan.layout
        zero = f"ZeRO-{plan.zero_stage}" if plan.zero_stage else "plain PyTorch"
        return (
            f"{layout.global_batch_size} examples a step, micro-batches of at most {layout.micro_batch_size} examples"
            f" of up to {layout.max_length} tokens, {plan.precision}, {zero}, plan {plan.plan_id}."
        )

    @cached_property
    def examined(self) -> list[Examined]:
        """What the evaluations of the best model found, by split."""
        return [Examined(record) for record in self.run.read_examinations()]

    @cached_property
    def said(self) -> list[str]:
        """What the training said about its data and itself, each sentence once."""
        found = (event.text for event in read_events(self.run.events, Notice))
        return list(dict.fromkeys(found))[:MOST_SAID]

    @cached_property
    def machines(self) -> dict[str, dict[str, Curve]]:
        """What the nodes were busy with: title -> node -> curve."""
        return machine_curves(self.run, self._points)

    @property
    def timeline(self) -> str:
        """The attempts as a picture, empty where there is but one."""
        records = [self.run.attempt(number).read() for number in self.run.attempt_numbers()]
        return timeline(records, [each.cause for each in self.attempts])

    @cached_property
    def attempts(self) -> list[AttemptRow]:
        """What is on record of each start."""
        return [_attempt(self.run, number) for number in self.run.attempt_numbers()]

    @property
    def keys(self) -> Iterator[KeyRow]:
        """Keys of the recipe that are not at their defaults."""
        defaults = dict(leaf_values(Recipe.model_validate({"task": self.recipe.task}).tree()))
        for key, value in leaf_values(self.recipe.tree()):
            if key == "task" or value != defaults.get(key):
                default = "" if key == "task" else plain(defaults.get(key))
                yield KeyRow(key, plain(value), default, self._origins.get(key, "planned"))

    @cached_property
    def _origins(self) -> dict[str, str]:
        """Who gave each key its value."""
        try:
            return read_origins(self.run)
        except LauncherError:
            return {}

    @property
    def recipe_text(self) -> str:
        """recipe.yaml. Raises DamagedFile where it is larger than a recipe may be."""
        return read_text(self.run.recipe, MOST_BYTES) or ""

    @property
    def reproduce(self) -> str:
        """The commands that do it again."""
        commit = self.plan.git_commit
        lines = [f"launch {self.run.recipe_word} run_id=null"]
        if self.status == "completed":
            lines.insert(
                0, f"launch reproduce {self.run_id}   # trains it again as it was, and compares every bit"
            )
        if commit:
            lines.insert(
                len(lines) - 1,
                f"git checkout {commit.removesuffix('-dirty')}   # launch {self.plan.launcher_version}",
            )
        if commit and commit.endswith("-dirty"):
            lines.insert(len(lines) - 1, "# the code had changes that were not committed")
        return "\n".join(lines)


def _findings(run: RunDir, recorded: Columns) -> list[CurveFinding]:
    """What the curves say about the settings; nothing where the run is too short to tell."""
    try:
        found = advice.diagnose(advice.history_of(run, recorded))
    except UserError:
        return []
    return [
        CurveFinding(finding.message, [f"{each.key}={plain(each.value)}" for each in finding.keys])
        for finding in found
    ]


def _attempt(run: RunDir, number: int) -> AttemptRow:
    attempt = run.attempt(number)
    record = attempt.read()
    is_last = number == run.attempt_numbers()[-1]
    result = read_result(attempt.result) or (run.read_result() if is_last else None)
    error = None if result is None else result.error
    started, took_s = record.started_at, record.seconds
    return AttemptRow(
        number=number,
        started=f"{dt.datetime.fromtimestamp(started).astimezone():%Y-%m-%d %H:%M:%S}" if started else "-",
        took=human_seconds(took_s) if took_s is not None else "-",
        status=record.status or "unfinished",
        cause=error.kind if error is not None else f"asked by {record.stop}" if record.stop else "",
        last_step="-" if record.last_step is None else human_count(record.last_step),
        hosts=", ".join(record.hosts),
        job=record.job_id or "-",
    )


def plain(value: object) -> str:
    """A value of a recipe as it would be written."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list | dict) else str(value)


def _padding(share: float | None) -> str:
    return "" if share is None else f"{share:.1%} padding" if share else "no padding"


def _per_second(rate: float | None) -> str:
    return "-" if rate is None else f"{rate:,.0f}/s"


def _epochs(epochs: float | None) -> str:
    return "" if epochs is None else f"{epochs:.3g} epochs"


def _trainable(measured: Measured) -> str:
    trained = measured.trainable_parameters
    return "" if trained is None else f"{human_count(trained)} trained"
