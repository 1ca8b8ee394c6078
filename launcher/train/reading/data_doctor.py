"""What is doubtful about the data, and what to do about it: `launch data`, and in short before every training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from launcher import tasks
from launcher.reading.cleaning import REMEDIES
from launcher.recipe.recipe import Recipe
from launcher.runs.verb_results import DataFinding, Level
from launcher.tasks.shared.base import TaskSpec
from launcher.tasks.shared.findings import Kind, Seen
from launcher.train.reading.row_statistics import (
    EXAMPLES,
    Found,
    Limits,
    Progress,
    SplitStatistics,
    Text,
    shared,
    statistics_of,
    unwatched,
)
from launcher.train.reading.sources import Source
from launcher.train.reading.splits import Part

QUICK = Limits(rows=200_000, characters=1_000_000)
"""What is looked at before a training: a few seconds' work."""
IMBALANCE = 10
"""A class is rare where another has this many times its examples."""
FEW = 0.01
"""What touches a smaller share of the rows is a note, but for kinds that make figures wrong."""


KINDS = {
    "misfit": Kind("don't fit the task", "mend or remove these rows", always=True),
    "conflict": Kind(
        "have a text that has another label elsewhere",
        "decide on one label for each; no model can learn both",
    ),
    "duplicate": Kind(
        "say again what an earlier row says",
        "data.clean.drop_duplicates=true leaves them out",
    ),
    "form": Kind("have a label written otherwise than its class", "nothing is to be done", harmless=True),
    "empty": Kind("have no text", "data.clean.drop_empty=true leaves them out"),
    **{kind: Kind(f"have texts {what}", remedy) for kind, (what, remedy) in REMEDIES.items()},
}
"""Kinds found in a row, or in a row and an earlier one of the same split."""


def examine(
    recipe: Recipe,
    sources: dict[str, Source],
    parts: dict[str, Part],
    names: Sequence[str],
    limits: Limits,
    progress: Progress,
) -> tuple[dict[str, SplitStatistics], list[DataFinding]]:
    """Statistics of each split and everything doubtful in them, the worst first."""
    statistics = statistics_of(recipe, sources, parts, names, limits, progress)
    findings = [*_leaks(recipe, statistics), *_in_rows(recipe, statistics), *_balance(recipe, statistics)]
    findings += _doubts(recipe, statistics, names)
    return statistics, worst_first(findings)


def worst_first(findings: Sequence[DataFinding]) -> list[DataFinding]:
    """Errors, then warnings, then notes."""
    return sorted(findings, key=lambda finding: ("error", "warning", "note").index(finding.level))


def warnings(
    recipe: Recipe, sources: dict[str, Source], parts: dict[str, Part], names: Sequence[str]
) -> list[str]:
    """What a training should say of its data before it begins, one sentence each."""
    _, findings = examine(recipe, sources, parts, names, QUICK, unwatched)
    told = [finding for finding in findings if finding.level != "note" and finding.kind != "empty"]
    return [
        f"{finding.message} (first: {finding.examples[0].partition(': ')[0]}); {finding.remedy}"
        if finding.examples
        else f"{finding.message}; {finding.remedy}"
        for finding in told
    ]


def share(count: int, of: int) -> str:
    """`338 of 1,200 (28%)`."""
    percent = 100 * count / max(of, 1)
    digits = 0 if percent >= 10 or percent == 0 else 1 if percent >= 0.1 else 2
    return f"{count:,} of {of:,} ({percent:.{digits}f}%)"


def _leaks(recipe: Recipe, statistics: dict[str, SplitStatistics]) -> Iterator[DataFinding]:
    for split, other in (("validation", "train"), ("test", "train"), ("test", "validation")):
        if split not in statistics or other not in statistics:
            continue
        seen, found = statistics[split], Found()
        for here, there in shared(seen, statistics[other]):
            found.add(here.place, partial(_also, here, there), here.rows)
        if not found.count:
            continue
        message = f"{split}: the texts of {share(found.count, seen.rows)} rows also stand in {other}"
        remedy = "remove them from one of the two"
        if other == "train":
            message += ": figures on them are too good" if tasks.of(recipe).labelled else ""
            remedy = "data.clean.drop_leaked=true leaves them out of training"
        yield DataFinding(
            "leak", split, "warning", message, found.count, seen.rows, tuple(found.examples), remedy
        )


def _also(here: Text, there: Text) -> str:
    return f"{here.excerpt} (also {there.place})"


def _in_rows(recipe: Recipe, statistics: dict[str, SplitStatistics]) -> Iterator[DataFinding]:
    everywhere = {kind: found for seen in statistics.values() for kind, found in seen.found.items()}
    kinds = {**KINDS, **tasks.of(recipe).kinds(everywhere)}
    for split, seen in statistics.items():
        for name, kind in kinds.items():
            found = seen.found.get(name)
            if found is None:
                continue
            often = kind.always or found.count >= FEW * seen.rows
            level: Level = "warning" if often and not kind.harmless else "note"
            level = "error" if name == "misfit" else level
            count = f"{share(found.count, seen.rows)} rows" if kind.in_rows else f"{found.count:,}"
            message = f"{split}: {count} {kind.what}"
            yield DataFinding(
                name, split, level, message, found.count, seen.rows, tuple(found.examples), kind.remedy
            )


def _balance(recipe: Recipe, statistics: dict[str, SplitStatistics]) -> Iterator[DataFinding]:
    if tasks.of(recipe).words:
        return
    labels = statistics["train"].labels
    if len(labels) > 1:
        (most, many), (least, few) = labels.most_common()[0], labels.most_common()[-1]
        if many >= IMBALANCE * few:
            text = f"train: {few:,} examples of {least!r} against {many:,} of {most!r}"
            remedy = "; ".join(_against_imbalance(tasks.of(recipe)))
            yield DataFinding(
                "imbalance", "train", "warning", text, few, statistics["train"].rows, (), remedy
            )
    for split in ("validation", "test"):
        missing = [label for label in labels if split in statistics and not statistics[split].labels[label]]
        if missing and statistics[split].labels:
            shown = ", ".join(map(repr, missing[:EXAMPLES])) + (", ..." if len(missing) > EXAMPLES else "")
            text = f"{split}: no example of {len(missing)} of {len(labels)} classes ({shown})"
            yield DataFinding(
                "unseen", split, "note", text, len(missing), len(labels), (), "add some, or cut by data.split"
            )


def _doubts(
    recipe: Recipe, statistics: dict[str, SplitStatistics], names: Sequence[str]
) -> Iterator[DataFinding]:
    """What is doubtful about the classes as a whole."""
    labels = statistics["train"].labels
    seen = {name: Seen(count, None) for name, count in labels.items()}
    for doubt in tasks.of(recipe).class_doubts(names, seen):
        text = f"train: {doubt.message}"
        yield DataFinding("labels", "train", "warning", text, len(labels), len(labels), (), doubt.remedy)


def _against_imbalance(task: TaskSpec) -> Iterator[str]:
    if "focal" in task.losses:
        yield "train.loss.class_weights=balanced or train.loss.name=focal"
    if task.fair_metrics and task.chosen_metric not in task.fair_metrics:
        yield f"judge by eval.metric={task.fair_metrics[0]}"
