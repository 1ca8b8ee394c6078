"""What a task says of itself, without torch: the columns it reads, what a row and a label are, how it is measured.

A task is one file in `launcher.tasks` holding a class `SPEC`, made from the recipe; what is computed stands in the file of
the same name in `launcher.train.tasks`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from launcher.errors import Conflict, Problem, UserError, choices
from launcher.figures import human_number
from launcher.tasks.shared import labels, snippets
from launcher.tasks.shared.findings import Doubt, Finding, Kind, Seen
from launcher.tasks.shared.metric_names import metric_called
from launcher.tasks.shared.rows import Mistake, Row, Value, shown, text_mistake
from launcher.tasks.shared.sample import Guess, Sample

if TYPE_CHECKING:
    from launcher.recipe.recipe import Recipe

Rows = Literal["first", "all", "selected"]
"""What of the encoder's output a head reads: one row for each sequence, for each token, or for some tokens."""
Label = Any
"""What is to be predicted of a row: a class, a score, the number of a choice, or a tuple of classes, tags, 0/1 or answers."""
MOST_SHARED = 128
"""Tokens that windows share where data.stride doesn't say it and they are long enough: of 384, as in BERT's own code."""
ALTERNATIVES = 5
"""Probabilities that are told beside a prediction."""
Unknown = tuple[str, str]
"""Message and remedy."""
Change = Callable[[str], str]


class TaskSpec:
    """One kind of thing that an encoder learns to do; the defaults are those of one class for each text."""

    # What is measured

    metric: ClassVar[str]
    """The metric that chooses the best checkpoint unless the recipe names another."""
    metrics: ClassVar[tuple[str, ...]]
    """Every metric, beside the loss."""
    label_metrics: ClassVar[tuple[str, ...]] = ()
    """Those that are also computed of each type of label, as METRIC/TYPE."""
    fair_metrics: ClassVar[tuple[str, ...]] = ()
    """Those to which rare classes count as much as frequent ones, the first as good as any."""
    lower_is_better: ClassVar[frozenset[str]] = frozenset()
    """Those of which less is better, as of the loss."""

    # What the head reads and learns

    reads: ClassVar[Rows] = "first"
    """What of the encoder's output the head reads."""
    fixed_shape: ClassVar[bool] = True
    """Whether the head's shapes depend on nothing but the number of examples, so that a step can be a CUDA graph."""
    losses: ClassVar[tuple[str, ...]] = ()
    """Values of train.loss.name, where there is a choice."""
    deep_head: ClassVar[bool] = False
    """Whether the head can be several layers (model.head.layers)."""
    windows: ClassVar[bool] = False
    """Whether the logits of several windows of a text can be pooled (data.windows)."""
    explained: ClassVar[bool] = False
    """Whether `launch explain` can say which words a prediction comes from."""

    # What the labels are

    labelled: ClassVar[bool] = True
    """Whether there is a column of labels."""
    classes: ClassVar[bool] = True
    """Whether labels are names of classes or tags."""
    several: ClassVar[bool] = False
    """Whether an example has several of them."""
    flags: ClassVar[bool] = False
    """Whether there may be a 0/1 column for each class."""
    lesson: ClassVar[str] = "a label"
    """What at least one row of training data must have for anything to be learnt."""
    about_text: ClassVar[bool] = False
    """Whether labels speak of the text, so that nothing can be said of them where it is wrong."""
    head_outputs: ClassVar[int | None] = 1
    """Outputs of the head where there are no classes; None: as many as the vocabulary."""

    # Which columns there are

    texts: ClassVar[tuple[int, ...]] = (1, 2)
    """How many columns data.text may name."""
    example_columns: ClassVar[str] = "name one column of text"
    """What to do about another number of them."""
    choices: ClassVar[bool] = False
    """Whether there are columns of choices."""
    negatives: ClassVar[bool] = False
    """Whether there may be columns of negatives."""
    words: ClassVar[bool] = False
    """Whether the text is a list of words."""
    probes: ClassVar[bool] = False
    """Whether mlm.probes can be tried."""

    negatives_by: ClassVar[Literal["pairs", "vectors"] | None] = None
    """How a model tells which documents are near a query, where it can: by reading both together, or by their vectors."""

    pipeline_tag: ClassVar[str] = "text-classification"
    """What the hub calls models of this kind."""
    library: ClassVar[str] = "transformers"
    """The library that loads them, as the hub calls it."""
    keeps_length: ClassVar[bool] = False
    """Whether a saved tokenizer says what texts are cut to, since that library cuts them so."""
    outputs: ClassVar[tuple[str, ...]] = ("prediction", "probabilities")
    """The columns that `predict` adds to those of the input."""

    corpus_key: ClassVar[str] = ""
    """The key that names the file which evaluation searches."""
    array: ClassVar[str | None] = None
    """The one of them that is a vector, and may be written as an array."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe

    # What it starts from; `read` gives what a JSON file of that model holds, None where there is none

    def doubts_of_model(self, read: Callable[[str], Any]) -> Iterator[str]:
        """What the files of the model say against this recipe."""
        yield from ()

    def width_conflicts(self, width: int) -> Iterator[Conflict]:
        """What a model whose hidden states have `width` entries can't do of this recipe."""
        yield from ()

    def text_length(self, read: Callable[[str], Any]) -> int | None:
        """Tokens that texts are cut to where no key says it, in place of what the tokenizer says; None: no such number."""
        return None

    # Metrics

    @classmethod
    def higher_is_better(cls, metric: str) -> bool:
        """Whether a larger value of this metric means a better model."""
        return metric != "loss" and metric.partition("/")[0] not in cls.lower_is_better

    @property
    def chosen_metric(self) -> str:
        """The metric that chooses the best checkpoint."""
        return self.recipe.eval.metric or self.metric

    @property
    def asked_metrics(self) -> tuple[tuple[str, str], ...]:
        """The keys that name a metric, each with the metric, where they do."""
        asked = {
            "eval.metric": self.recipe.eval.metric,
            "train.early_stopping.metric": self.recipe.train.early_stopping.metric,
        }
        return tuple((key, metric) for key, metric in asked.items() if metric is not None)

    def metrics_of(self, names: Sequence[str] | None) -> tuple[str, ...]:
        """Every metric that is computed where these are the classes or tags; None: all that may be."""
        return ("loss", *self.metrics)

    def metric_problem(self, metric: str, names: Sequence[str] | None = None) -> Unknown | None:
        """Message and remedy where a metric is not computed, as far as the classes are known; None where it is."""
        known = self.metrics_of(names)
        kind, of_label, _ = metric.partition("/")
        if metric in known or (names is None and of_label and kind in self.label_metrics):
            return None
        by_label = " or ".join(f"{name}/LABEL" for name in self.label_metrics)
        remedy = choices(metric_called(metric), known) + (
            f", and {by_label}" if by_label and names is None else ""
        )
        return f"is not computed by task={self.recipe.task}" + (" on these data" if names else ""), remedy

    # What others call it

    called: ClassVar[tuple[str, ...]] = ()
    """Classes of transformers, task types of peft and names of data sets that mean this task."""

    # Data that nobody has described yet

    @classmethod
    def guess(cls, sample: Sample) -> Guess | None:
        """How likely these rows are for this task, and the keys that say so; None where they can't be."""
        return None

    # The recipe

    def conflicts(self) -> Iterator[Conflict]:
        """Contradictions within the recipe that concern this task alone."""
        return iter(())

    def most_shared(self, longest: int) -> int | None:
        """Tokens that neighbouring windows of `longest` tokens may share; None where there are no windows."""
        if self.recipe.data.windows is None or not self.windows:
            return None
        return max(0, (longest - 4) // 2 - 1 if self.is_pair else longest - 3)

    @property
    def cuts_windows(self) -> bool:
        """Whether texts that are too long are cut into windows."""
        return self.recipe.data.windows is not None

    def shared(self, longest: int) -> int | None:
        """Tokens that neighbouring windows of `longest` tokens have in common; None where too long texts are cut off."""
        most, stride = self.most_shared(longest), self.recipe.data.stride
        if not self.cuts_windows or most is None:
            return 0 if self.cuts_windows else None
        return min(MOST_SHARED, longest // 3, most) if stride is None else stride

    # Columns

    @cached_property
    def given_texts(self) -> tuple[str, ...]:
        """The columns that data.text names."""
        text = self.recipe.data.text
        return (text,) if isinstance(text, str) else text

    @cached_property
    def choice_columns(self) -> tuple[str, ...]:
        """The columns that hold the choices, or the one that holds their list."""
        return ()

    @property
    def negative_columns(self) -> tuple[str, ...]:
        """The columns of training data that hold negatives."""
        return ()

    @property
    def optional_columns(self) -> tuple[str, ...]:
        """Columns that are read where data have them."""
        return ()

    @property
    def corpus(self) -> str | None:
        """The file of texts, in the last column of data.text, that evaluation searches."""
        return None

    def texts_to_predict(self, columns: Sequence[str]) -> tuple[str, ...]:
        """The columns of text that predictions need of a file with these columns."""
        return self.given_texts

    @cached_property
    def text_columns(self) -> tuple[str, ...]:
        """The columns of text: one, a pair, or those of a question and its choices."""
        return self.given_texts + self.choice_columns

    @cached_property
    def label_columns(self) -> tuple[str, ...]:
        """The label column, or the 0/1 columns; none for a task that needs no labels."""
        if not self.labelled:
            return ()
        label = self.recipe.data.label
        return (label,) if isinstance(label, str) else label

    @property
    def altered_columns(self) -> tuple[str, ...]:
        """The columns whose texts may change without changing what the label says."""
        return self.given_texts

    @property
    def sequences_each(self) -> int:
        """Sequences of an example, as far as the recipe tells, where each of its texts is one."""
        return 1

    @property
    def guessed(self) -> float:
        """Share of the tokens that the head scores each word of the vocabulary for."""
        return 0.0

    @property
    def is_pair(self) -> bool:
        """Whether a sequence is two texts."""
        return len(self.text_columns) == 2

    # Rows

    def mistakes(self, row: Row) -> Iterator[Mistake]:
        """Everything in a row that doesn't fit the task."""
        wrong = list(self.text_mistakes(row))
        yield from wrong
        if not wrong or not self.about_text:
            yield from self.label_mistakes(row)

    def training_mistakes(self, row: Row) -> Iterator[Mistake]:
        """What is wrong with the cells of a training row."""
        yield from self.mistakes(row)
        yield from self.group_mistakes(row)

    def text_mistakes(self, row: Row) -> Iterator[Mistake]:
        """What is wrong with the cells of text; an empty one is no mistake, but where words or choices are needed."""
        for column in self.text_columns:
            wrong = text_mistake(row.values.get(column))
            if wrong:
                yield Mistake("data.text", column, wrong)

    def label_mistakes(self, row: Row) -> Iterator[Mistake]:
        """What is wrong with the label cells of a row whose text is as it should be."""
        for column in self.label_columns:
            wrong = self.label_mistake(row, row.values.get(column))
            if wrong:
                yield Mistake("data.label", column, wrong)

    def group_mistakes(self, row: Row) -> Iterator[Mistake]:
        """What is wrong with the cell of a training row that data.group names."""
        column = self.recipe.data.group
        if column is not None and isinstance(value := row.values.get(column), list | dict):
            text = f"{shown(value)} is a list or object, and no name of a group"
            yield Mistake("data.group", column, text)

    def cell_remedy(self, key: str) -> str:
        """What to do about a cell that `key` names the column of."""
        match key:
            case "data.text":
                return f"name a column of {'words' if self.words else 'texts'}"
            case "data.choices":
                return "name one column with a list of choices, or the columns that hold one each"
            case "data.group":
                return "name a column of texts or numbers"
            case _:
                return f"mend or remove the row, or name another column: this one doesn't fit task={self.recipe.task}"

    def label_mistake(self, row: Row, value: Value) -> str | None:
        """What is wrong with the cell of a label, or None."""
        return labels.class_mistake(value)

    def label(self, row: Row) -> Label:
        """What is to be predicted of a row without mistakes."""
        (column,) = self.label_columns
        return labels.class_name(row.values.get(column))

    def teaches(self, label: Label) -> bool:
        """Whether a label is what the task calls its `lesson`; data in which none is can't be trained on."""
        return True

    def class_names(self, row: Row) -> Sequence[str]:
        """The classes or tags that a row has, whatever else is wrong with it; empty where there are none."""
        if not self.classes:
            return ()
        (column,) = self.label_columns
        name = labels.class_name(row.values.get(column))
        return () if name is None else (name,)

    def findings(self, row: Row, names: Sequence[str]) -> Iterator[Finding]:
        """What is doubtful about a row without mistakes; `names` are the classes or tags of the data."""
        return iter(())

    def kinds(self, found: Mapping[str, object]) -> dict[str, Kind]:
        """What is said of each kind of finding, where all of `found` were found somewhere in the data."""
        return {}

    def sequences(self, row: Row, text_of: Callable[[str], str]) -> Iterator[Any]:
        """What the tokenizer is given of a row: a text, a pair or words; `text_of` gives the text of a column."""
        texts = [text_of(column) for column in self.text_columns]
        yield tuple(texts) if len(texts) == 2 else texts[0]

    def mended(self, row: Row, change: Change) -> Row:
        """A row with its texts changed, and what its label says of them."""
        columns = [column for column in self.text_columns if column in row.values]
        return Row(
            {**row.values, **{name: mended(row.values[name], change) for name in columns}}, row.position
        )

    # Classes

    def known_classes(self, names: Sequence[str]) -> tuple[str, ...]:
        """The classes of a model whose training data have those `names`, in their order."""
        return tuple(names)

    def class_problem(self, names: Sequence[str], seen: Mapping[str, Seen]) -> Problem | None:
        """Why these can't be the classes of the data, None where they can; `seen` are those of the training data."""
        return None

    def classes_of(self, names: Iterable[str]) -> tuple[str, ...]:
        """The classes that the names in training data stand for, in order; tags stand for themselves."""
        return labels.in_order(names) if self.words else labels.classes_of(names)

    def taken_for(self, name: str, known: labels.Known) -> str | None:
        """The known class that a name in data stands for; None where there is none."""
        return (name if name in known else None) if self.words else labels.taken_for(name, known)

    def joint_problem(self, names: Sequence[str]) -> Problem | None:
        """Why names must be several labels each, as far as some of the data show it."""
        return None

    def class_doubts(self, names: Sequence[str], seen: Mapping[str, Seen]) -> Iterator[Doubt]:
        """What is doubtful about the classes as a whole: names that differ in case, blanks or leading zeros alone, or that
        seem to say that there is no label."""
        if not self.classes:
            return
        if seen and all(name[0] == name[-1] == '"' for name in seen):
            remedy = (
                "data.quoting=true takes them off; or no blank before them: sed 's/, \"/,\"/g' FILE > NEW"
            )
            yield Doubt(f"all labels stand in quotes ({next(iter(seen))})", remedy)
        likely = labels.likely_delimiter(tuple(seen)) if self.one_class and not self.words else None
        if likely is not None and labels.are_several(seen, likely):
            example = next(name for name in seen if likely in name)
            text = f"label {example!r} is a class of its own, though its parts are labels too"
            yield Doubt(text, f'task=multilabel data.label_delimiter="{likely}" takes them apart')
        for name in seen if not self.words and len(seen) > 2 else ():
            if labels.says_none(name) and "+" not in seen:
                text = f"label {name!r} ({seen[name].count:,} rows) is a class like any other here"
                yield Doubt(text, "take these rows out if it says that there is no label")
        known = dict.fromkeys(names)
        taken = {name: self.taken_for(name, known) for name in seen}
        for name, other in taken.items():
            if other not in (None, name):
                place = f" (first: {seen[name].place})" if seen[name].place else ""
                yield Doubt(f"label {name!r}{place} is taken for {other!r}", "nothing is to be done if it is")
        for alike in labels.alike(name for name, other in taken.items() if other in (None, name)):
            text = f"{' and '.join(map(repr, alike))} are taken for different classes"
            yield Doubt(text, "write each class in one way")

    def column_doubts(self, columns: Sequence[str]) -> Iterator[Doubt]:
        """What is doubtful about the columns of the training data."""
        return iter(())

    @property
    def given_classes(self) -> tuple[str, ...] | None:
        """The classes that data.labels names, as cells with them are read."""
        given = self.recipe.data.labels
        return None if given is None else tuple(labels.class_name(name) or name for name in given)

    @property
    def least_classes(self) -> int:
        """How many classes there must be for anything to be learnt."""
        return 2

    @property
    def learns_differences(self) -> bool:
        """Whether nothing is learnt where all rows have the same label."""
        return self.one_class

    @property
    def one_class(self) -> bool:
        """Whether each example has just one class."""
        return self.classes and not self.several

    # Use

    def positive_pair(self, row: Row) -> tuple[str, str, float] | None:
        """A query, a document that is relevant to it, and how relevant; None where a row of training data says no such thing."""
        return None

    def sample_texts(self) -> tuple[str, ...]:
        """Texts to try a model with, as `launch predict --text` takes them."""
        return ("a sentence of yours",) if len(self.given_texts) == 1 else ("the first text", "the second")

    def snippet(self, model: str) -> str:
        """Python that uses a model with transformers alone; `model` is its directory, or its name on the hub."""
        return snippets.piped("text-classification", model, self.sample_texts())

    def rows_of(self, texts: Sequence[str]) -> list[Row]:
        """The rows that texts given by hand make. Raises UserError where their number doesn't fit."""
        columns = self.text_columns
        width = len(columns)
        if not texts or len(texts) % width:
            message = f"{len(texts)} given, {' and '.join(columns)} needed"
            raise UserError(message, field="--text", remedy="give --text twice for a pair")
        return [
            Row(dict(zip(columns, texts[start : start + width], strict=True)), start // width + 1)
            for start in range(0, len(texts), width)
        ]

    @property
    def located_in(self) -> str | None:
        """The column whose characters `start` and `end` of a prediction count; None where a prediction has neither."""
        return None

    def told(self, found: Mapping[str, Any]) -> str:
        """A prediction in one line, with its likeliest alternatives; `none` for an empty one."""
        chances, predicted = found.get("probabilities"), found.get("prediction")
        ordered = sorted(chances.items(), key=lambda item: -item[1]) if isinstance(chances, dict) else []
        likeliest = "  ".join(f"{name or 'none'} {value:.3f}" for name, value in ordered[:ALTERNATIVES])
        said = ", ".join(predicted) if isinstance(predicted, list) else human_number(predicted)
        return f"{said or 'none'}   {likeliest}".rstrip()


def mended(value: Value, change: Change) -> Value:
    """A cell with its text, or each text of its list or of the objects in it, changed."""
    if isinstance(value, list):
        return [
            {**item, "text": mended(item["text"], change)}
            if isinstance(item, dict) and "text" in item
            else mended(item, change)
            for item in value
        ]
    return change(value) if isinstance(value, str) else value
