"""Checks local data against the recipe before anything is queued, and says how much of it there is.

Small files are read whole; of larger ones the first rows, and their lines are counted. What stands deeper in a
large file, or on the hub, only a node can see.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, field, replace
from pathlib import Path

from launcher import tasks
from launcher.errors import Problem, UserError, nearest
from launcher.reading import missing_columns
from launcher.reading.cleaning import kept
from launcher.reading.files import Peek, peek, split_sizes, words_are_lines
from launcher.reading.messages import where
from launcher.reading.nested import dotted_names
from launcher.reading.opening import missing_files, size_of
from launcher.reading.options import ReadOptions
from launcher.recipe.data import Augment, Data
from launcher.recipe.data_formats import EXTENSIONS, extension
from launcher.recipe.fields import Files
from launcher.recipe.recipe import Recipe
from launcher.tasks.shared.base import TaskSpec
from launcher.tasks.shared.findings import Seen
from launcher.tasks.shared.labels import likeness
from launcher.tasks.shared.rows import Mistake, Row, Value, shown

SMALL_BYTES = 1 << 20
"""Files up to this size are read whole, in about a tenth of a second."""
FIRST_ROWS = 1000
"""Rows read of larger files."""
EXAMPLES_SHOWN = 3
"""Bad cells reported for each file, and unknown labels for each split; the others are counted."""
MANY_CLASSES = 50
"""With more classes than these nobody looks for the nearest name, and hardly one example for each is doubtful."""


@dataclass(frozen=True)
class DataFacts:
    """What is known about the data without a node; None where it isn't."""

    train_examples: int | None = None
    """Training examples, after data.split and data.limit."""
    validation_examples: int | None = None
    test_examples: int | None = None
    columns: tuple[str, ...] = ()
    """Columns of the first training file."""
    labels: int | None = None
    """Outputs of the head: classes or tags; 1 for a score, 2 for the two ends of an answer; None where it isn't known."""
    mean_chars: float | None = None
    """Mean length of a text, or of both texts of a pair, in characters, over the training rows read."""
    notes: tuple[str, ...] = ()
    """Sentences worth showing with the plan."""


def check_data(recipe: Recipe) -> DataFacts:
    """What local files hold; UserError with every mistake found in them or between them and the recipe."""
    problems = [*_contradictions(recipe.data), *_missing_helpers(recipe.data.augment)]
    extra = [_Split.of_file(name, Path(path), recipe, problems) for name, path in recipe.eval.extra.items()]
    if recipe.data.train is None or recipe.data.source is not None:
        return _done(DataFacts(), problems)
    train = _Split.read("train", recipe, problems)
    validation = _Split.read("validation", recipe, problems)
    test = _Split.read("test", recipe, problems)
    problems.extend(_label_sets(recipe, train, (validation, test, *extra)))
    sizes = _sizes(recipe, train, validation, test, problems)
    facts = DataFacts(
        *sizes,
        columns=train.columns,
        labels=_label_count(recipe, train),
        mean_chars=train.characters / train.rows if train.rows else None,
        notes=tuple(_notes(recipe, train, validation, test)),
    )
    return _done(facts, problems)


def read_options(data: Data) -> ReadOptions:
    """How the recipe says that files are to be read."""
    own = (data.header, data.columns, data.delimiter, data.quoting, data.format)
    return ReadOptions(*own, nested=dotted_names(data))


def options_for(path: Path, data: Data) -> ReadOptions:
    """How a file beside the run's own data is read: as the training files, in the format that its own extension names."""
    options, own = read_options(data), extension(path)
    if own not in EXTENSIONS or own in {extension(file) for file in files(data.train)}:
        return options
    return replace(options, format=None, delimiter=None, quoting=None)


def files(value: Files | None) -> tuple[Path, ...]:
    """The file or files of a data.train, data.validation or data.test as paths."""
    if value is None:
        return ()
    return tuple(Path(name) for name in ((value,) if isinstance(value, str) else value))


def cut_fractions(data: Data) -> tuple[float, float, float] | None:
    """Shares of the training data for train, validation and test, or None where validation data are given."""
    local = data.source is None
    if data.folds is not None:
        return (1 - 1 / data.folds, 1 / data.folds, 0.0)
    if (data.validation if local else data.validation_split) is not None:
        return None
    if data.split is None:
        has_test = (data.test if local else data.test_split) is not None
        return (0.85, 0.15, 0.0) if has_test else (0.7, 0.15, 0.15)
    return (data.split[0], data.split[1], data.split[2] if len(data.split) == 3 else 0.0)


def unknown_label(name: str, known: Sequence[str], given: bool = False) -> tuple[str, str]:
    """Message and remedy for a label that the training data, or data.labels where they are given, don't have."""
    most = 20 if len(known) <= MANY_CLASSES else EXAMPLES_SHOWN
    listed = known if len(known) <= most else (*known[:most], f"{len(known) - most:,} more")
    same = next((other for other in known if likeness(other) == likeness(name)), None)
    guess = same or nearest(name, known) if len(known) <= MANY_CLASSES else None
    hint = f"did you mean {guess}? " if guess else ""
    owner = "data.labels" if given else "the training data"
    return f"label {shown(name)} is not in {owner}", f"{hint}labels there: {', '.join(listed)}"


@dataclass
class _Split:
    """What was learnt from reading the files of one split."""

    name: str
    given: bool
    count: int | None = 0
    complete: bool = True
    columns: tuple[str, ...] = ()
    counts: Counter[str] = field(default_factory=Counter)
    """Class -> how often it was seen."""
    places: dict[str, str] = field(default_factory=dict)
    """Class -> where it was seen first."""
    kept: list[tuple[str, Row]] = field(default_factory=list)
    """Rows read, where data.clean may leave some of them out."""
    rows: int = 0
    characters: int = 0
    empty: int = 0
    doubts: dict[str, tuple[int, str]] = field(default_factory=dict)
    """Kind of finding that is worth a note -> how often, and where first."""
    failed: bool = False

    @property
    def names(self) -> dict[str, Seen]:
        """Class -> how often, and where first."""
        return {name: Seen(count, self.places[name]) for name, count in self.counts.items()}

    @classmethod
    def read(cls, name: str, recipe: Recipe, problems: list[Problem]) -> _Split:
        paths = files(getattr(recipe.data, name))
        split = cls(name, given=bool(paths))
        for path in paths:
            try:
                split._add(path, read_options(recipe.data), recipe, problems)
            except UserError as error:
                split.failed = True
                problems.extend(_with_field(error.problems, f"data.{name}"))
        if split.kept:
            split.count = sum(1 for _ in kept(recipe, split.kept)) if split.complete else None
        return split

    @classmethod
    def of_file(cls, name: str, path: Path, recipe: Recipe, problems: list[Problem]) -> _Split:
        """A file of eval.extra."""
        split = cls(name, given=True)
        try:
            split._add(path, options_for(path, recipe.data), recipe, problems)
        except UserError as error:
            problems.extend(_with_field(error.problems, "eval.extra"))
        return split

    def _add(self, path: Path, options: ReadOptions, recipe: Recipe, problems: list[Problem]) -> None:
        seen = _read(path, options)
        self.columns = self.columns or seen.columns
        self.complete = self.complete and seen.complete
        self.count = None if self.count is None or seen.count is None else self.count + seen.count
        missing = lacks_columns(recipe, path, seen, self.name, options)
        if missing is not None:
            problems.append(missing)
            self.failed = True
            return
        spec = tasks.of(recipe)
        mistakes = spec.training_mistakes if self.name == "train" else spec.mistakes
        problems.extend(bad_cells(recipe, path, seen.rows, options, mistakes))
        if recipe.data.clean.drop_empty or recipe.data.clean.drop_duplicates:
            self.kept.extend((str(path), row) for row in seen.rows)
        told = {kind for kind, said in spec.kinds({}).items() if said.before_launch}
        lines = words_are_lines(path, options)
        for row in seen.rows:
            self._learn(spec, path, row, told)
            self._learn_classes(spec, path, row, lines)

    def _learn(self, spec: TaskSpec, path: Path, row: Row, told: Set[str]) -> None:
        characters = sum(_characters(row.values.get(column)) for column in spec.text_columns)
        self.rows += 1
        self.characters += characters
        self.empty += not characters
        for finding in spec.findings(row, ()) if told else ():
            if finding.kind in told:
                count, first = self.doubts.get(finding.kind, (0, where(path, row.position)))
                self.doubts[finding.kind] = count + 1, first

    def _learn_classes(self, spec: TaskSpec, path: Path, row: Row, lines: bool) -> None:
        """`lines` says whether each word of a row has a line of its own."""
        if not isinstance(spec.recipe.data.label, str):
            return
        for number, name in enumerate(spec.class_names(row)):
            self.counts[name] += 1
            if self.counts[name] == 1:
                self.places[name] = where(path, row.position + (number if lines else 0))


def _characters(value: Value) -> int:
    if isinstance(value, list):
        return sum(len(word) + 1 for word in value if isinstance(word, str))
    return 0 if value is None else len(str(value))


def _read(path: Path, options: ReadOptions) -> Peek:
    small = size_of(path) <= SMALL_BYTES
    return peek(path, options, rows=SMALL_BYTES if small else FIRST_ROWS)


def _contradictions(data: Data) -> Iterator[Problem]:
    if data.split is None:
        return
    if data.source is not None and data.validation_split is not None:
        yield Problem(
            "cuts the training split, but the hub's validation split is used",
            field="data.split",
            value=list(data.split),
            remedy="data.validation_split=null, or leave data.split out",
        )
    test_given = data.test is not None or (data.source is not None and data.test_split is not None)
    if len(data.split) == 3 and data.split[2] > 0 and test_given:
        yield Problem(
            "leaves a part for testing, but test data are given too",
            field="data.split",
            value=list(data.split),
            remedy="give two fractions, or leave the test data out",
        )


def _missing_helpers(augment: Augment) -> Iterator[Problem]:
    """A problem for each file or model that altered copies need and that isn't there."""
    for key in ("synonym_file", "alike_file"):
        path = getattr(augment, key)
        if path is not None:
            yield from _with_field(missing_files([Path(path)]), f"data.augment.{key}")
    for directory in augment.back_translation or ():
        if not Path(directory, "config.json").is_file():
            remedy = "give two directories of Marian models, such as opus-mt-en-de and opus-mt-de-en"
            text = "is no directory of a model: there is no config.json"
            yield Problem(text, directory, "data.augment.back_translation", None, remedy)


def lacks_columns(
    recipe: Recipe, path: Path, seen: Peek, split: str, options: ReadOptions | None = None
) -> Problem | None:
    """What is wrong with a file that hasn't all columns of text and label; `options` are those it was read with."""
    options, spec = options or read_options(recipe.data), tasks.of(recipe)
    wanted = [("data.text", name) for name in spec.given_texts]
    wanted += [("data.choices", name) for name in spec.choice_columns]
    wanted += [("data.label", column) for column in spec.label_columns]
    if recipe.data.group is not None and split == "train":
        wanted.append(("data.group", recipe.data.group))
    problem = missing_columns.missing(path, seen, options, wanted)
    if problem is not None and split == "test" and problem.field == "data.label":
        problem = replace(problem, remedy=f"{problem.remedy}; data.test needs labels, launch predict doesn't")
    return problem


def bad_cells(
    recipe: Recipe,
    path: Path,
    rows: Iterable[Row],
    options: ReadOptions,
    mistakes: Callable[[Row], Iterable[Mistake]],
) -> Iterator[Problem]:
    """Problems with the first cells of a file that don't fit the task, and how many more there are."""
    lines, spec = words_are_lines(path, options), tasks.of(recipe)
    found = 0
    for row in rows:
        for key, column, wrong, offset in mistakes(row):
            found += 1
            if found <= EXAMPLES_SHOWN:
                place = where(path, row.position + (offset if lines else 0))
                yield Problem(wrong, place, key, column, spec.cell_remedy(key))
    if found > EXAMPLES_SHOWN:
        yield Problem(f"{found - EXAMPLES_SHOWN} more cells like these", str(path))


def _label_sets(recipe: Recipe, train: _Split, others: Sequence[_Split]) -> Iterator[Problem]:
    spec = tasks.of(recipe)
    given = spec.given_classes
    if not train.complete and (joint := spec.joint_problem(tuple(train.names))) is not None:
        yield joint
    if given is None and (not train.names or not train.complete or train.failed):
        return
    known = given or _known(recipe, train)
    problem = spec.class_problem(known, train.names)
    if problem is not None:
        yield problem
    else:
        yield from _metric_problems(spec, known)
    if len(known) == 1 < spec.least_classes:
        yield Problem(
            f"every row has the label {known[0]!r}: there is nothing to learn",
            field="data.label",
            value=recipe.data.label,
            remedy="give data with at least two classes, or name another column",
        )
    if given is None and _class_per_row(recipe, train):
        text = f"has {len(train.names):,} classes in {train.rows:,} rows"
        remedy = "one class per row: is this the label column?" + _other_columns(recipe, train)
        yield Problem(text, None, "data.label", recipe.data.label, remedy)
        return
    unknown = [
        problem
        for split in (others if given is None else (train, *others))
        for problem in _unknown_labels(recipe, split, known)
    ]
    for doubt in spec.class_doubts(known, train.names) if unknown else ():
        yield Problem(doubt.message, "data.train", "data.label", recipe.data.label, doubt.remedy)
    yield from unknown


def _metric_problems(spec: TaskSpec, known: Sequence[str]) -> Iterator[Problem]:
    """Metrics that are not computed of these classes, though of others they may be."""
    for key, metric in spec.asked_metrics:
        problem = spec.metric_problem(metric, known)
        if problem is not None and spec.metric_problem(metric) is None:
            yield Problem(problem[0], None, key, metric, problem[1])


def _class_per_row(recipe: Recipe, train: _Split) -> bool:
    """Whether nearly every row has a class of its own, as in a column of texts, numbers or ids."""
    return (
        tasks.of(recipe).one_class
        and len(train.names) > MANY_CLASSES
        and len(train.names) >= 0.9 * train.rows
    )


def _other_columns(recipe: Recipe, train: _Split) -> str:
    others = [
        name for name in train.columns if name not in (*tasks.of(recipe).text_columns, recipe.data.label)
    ]
    return f" There are also: {', '.join(others)}" if others else ""


def _unknown_labels(recipe: Recipe, split: _Split, known: Sequence[str]) -> Iterator[Problem]:
    spec = tasks.of(recipe)
    unknown = {name for name in split.names if spec.taken_for(name, known) is None}
    found = [(name, seen.place) for name, seen in split.names.items() if name in unknown]
    for name, place in found[:EXAMPLES_SHOWN]:
        message, remedy = unknown_label(name, known, recipe.data.labels is not None)
        yield Problem(message, place, "data.label", recipe.data.label, remedy)
    if len(found) > EXAMPLES_SHOWN:
        text = f"{len(found) - EXAMPLES_SHOWN:,} more labels that are not known in data.{split.name}"
        yield Problem(text, field="data.label", value=recipe.data.label)


def _label_count(recipe: Recipe, train: _Split) -> int | None:
    spec = tasks.of(recipe)
    if not spec.classes:
        return spec.head_outputs
    if isinstance(recipe.data.label, tuple):
        return len(recipe.data.label)
    if recipe.data.labels is not None:
        return len(recipe.data.labels)
    return len(_known(recipe, train)) if train.complete and train.names else None


def _known(recipe: Recipe, train: _Split) -> tuple[str, ...]:
    """The classes of the training data; of tags all those that the same types may need."""
    return tasks.of(recipe).known_classes(tasks.of(recipe).classes_of(train.names))


def _sizes(
    recipe: Recipe, train: _Split, validation: _Split, test: _Split, problems: list[Problem]
) -> tuple[int | None, int | None, int | None]:
    counts = {split.name: split.count if split.given else None for split in (train, validation, test)}
    fractions = cut_fractions(recipe.data)
    if fractions is not None and recipe.data.group is not None:
        counts |= {"train": None, "validation": None} | ({} if test.given else {"test": None})
    elif fractions is not None and train.count is not None and not train.failed:
        parts = _parts(recipe.data, train.count, fractions)
        for name, size, fraction in zip(counts, parts, fractions, strict=True):
            if fraction > 0 and size == 0:
                problems.append(_empty_part(name, train.count, fractions))
        counts |= dict(zip(("train", "validation") if test.given else counts, parts, strict=False))
    if recipe.data.clean.drop_leaked:
        counts["train"] = None
    if counts["train"] is not None:
        counts["train"] = _training_examples(recipe, train, counts["train"])
    return counts["train"], counts["validation"], counts["test"] or None


def _parts(data: Data, count: int, fractions: Sequence[float]) -> tuple[int, ...]:
    if data.folds is None:
        return split_sizes(count, fractions)
    held_out = len(range(data.fold, count, data.folds))
    return count - held_out, held_out, 0


def _training_examples(recipe: Recipe, train: _Split, count: int) -> int | None:
    """Examples after data.shots or data.limit, altered copies included."""
    data = recipe.data
    if data.shots is not None:
        classes = _label_count(recipe, train)
        if classes is None:
            return None
        count = min(count, data.shots * classes)
    if data.limit is not None:
        count = min(count, data.limit)
    return count * (1 + data.augment.copies) if data.augment.any else count


def _empty_part(name: str, count: int, fractions: Sequence[float]) -> Problem:
    return Problem(
        f"leaves no example for {name}: data.train has {count} rows",
        field="data.split",
        value=[fraction for fraction in fractions if fraction],
        remedy="give more data, data.validation=FILE, or other fractions",
    )


def _notes(recipe: Recipe, *splits: _Split) -> Iterator[str]:
    spec = tasks.of(recipe)
    kinds = spec.kinds({})
    for doubt in spec.class_doubts(_known(recipe, splits[0]), splits[0].names):
        yield f"data.train: {doubt.message}; {doubt.remedy}"
    for split in splits:
        if split.empty:
            yield f"data.{split.name}: {split.empty} of {split.rows} rows read have no text"
        for kind, (count, first) in split.doubts.items():
            said = kinds[kind]
            yield f"data.{split.name}: {count} {said.what} (first: {first}); {said.before_launch}"


def _with_field(problems: Iterable[Problem], key: str) -> Iterator[Problem]:
    for problem in problems:
        yield Problem(problem.message, problem.where, key, problem.value, problem.remedy)


def _done(facts: DataFacts, problems: Sequence[Problem]) -> DataFacts:
    if problems:
        raise UserError(missing_columns.told_once(problems))
    return facts
