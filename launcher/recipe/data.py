"""The section `data`: what data there are and how they are prepared, as docs/data.md describes it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from launcher.recipe.data_formats import COLUMNS_OF_WORDS, FormatName, format_named
from launcher.recipe.decides import Decides
from launcher.recipe.fields import Count, Files, Line, LocalPath, PathOrId, Probability, Section, Share


def _as_tab(value: object) -> object:
    return "\t" if value == "\\t" else value


class Clean(Section):
    """Cleaning of texts and rows before anything else; `launch data` counts what each key would change."""

    decides = Decides("tokens")

    html: bool = False
    """Remove HTML tags and turn entities such as &amp; into characters."""
    control: bool = False
    """Remove control characters, invisible direction and width marks, and U+FFFD."""
    nfkc: bool = False
    """Unicode's NFKC: full-width letters, digits and punctuation become ordinary ones, ligatures are taken apart."""
    whitespace: bool = False
    """One blank for any run of white space, none at either end."""
    drop_empty: bool = False
    """Leave out rows without text."""
    drop_duplicates: bool = False
    """Leave out rows whose text and label came before in the same split."""
    drop_leaked: bool = False
    """Leave out training rows whose text is also in the validation or test data."""

    @property
    def mends(self) -> bool:
        """Whether texts are changed at all."""
        return self.html or self.control or self.nfkc or self.whitespace


class Augment(Section):
    """Altered copies of training examples, made while tokenising; off if every probability is 0.

    Replacement, insertion, swap and deletion are those of EDA (Wei and Zou, 2019), drawn for each word.
    """

    decides = Decides("tokens")

    copies: Count = 1
    """Altered copies of each training example, besides the example itself."""
    synonyms: Share = 0.0
    """Probability that a word is replaced by a synonym."""
    insert: Share = 0.0
    """Probability that a synonym of a word is inserted at a random place."""
    swap: Share = 0.0
    """Probability that a word is swapped with another one."""
    delete: Share = 0.0
    """Probability that a word is left out; one always stays."""
    typos: Share = 0.0
    """Probability that a letter is mistyped: as a neighbouring key, doubled, left out, or swapped."""
    synonym_file: Annotated[LocalPath | None, Decides("contents")] = None
    """Synonyms: one line per set of words that may replace each other, separated by tabs, commas or blanks."""
    wordnet: bool = False
    """Take synonyms from the English WordNet through nltk."""
    alike_file: Annotated[LocalPath | None, Decides("contents")] = None
    """For typos in Chinese: one line per set of characters that sound or look alike, written together."""
    segmenter: Literal["jieba"] | None = None
    """What splits Chinese text into words; null takes every character as a word."""
    back_translation: Annotated[tuple[LocalPath, LocalPath] | None, Decides("contents")] = None
    """Directories of two Marian models, into another language and back, which reword each copy first."""

    @property
    def any(self) -> bool:
        """Whether there are copies at all."""
        shares = (self.synonyms, self.insert, self.swap, self.delete, self.typos)
        return self.back_translation is not None or sum(shares) > 0


class Data(Section):
    """Where examples come from and what their columns mean."""

    decides = Decides("tokens")

    source: Annotated[PathOrId | None, Decides("contents")] = None
    """Hub data set, `id` or `id:config`, or a directory in that form; data.train replaces it if given in a stronger place."""
    train: Annotated[Files | None, Decides("contents")] = None
    """Training file or files: csv, tsv, json, jsonl, parquet, txt, CoNLL columns or SQuAD json."""
    validation: Annotated[Files | None, Decides("contents")] = None
    """Validation file or files: they choose the best checkpoint."""
    test: Annotated[Files | None, Decides("contents")] = None
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
    negatives: Line | Annotated[tuple[Line, ...], Field(min_length=1)] | None = None
    """For embedding: the column or columns of training data that hold a negative of the row's first text, or a list of them."""
    labels: Annotated[tuple[Line, ...], Field(min_length=2)] | None = None
    """All labels in the order of their numbers; null sorts those of the training data. For choices: the label of each."""
    windows: Annotated[Literal["mean", "max"] | None, Decides("tokens", "training")] = None
    """Cut texts longer than data.max_length into windows and pool their logits; null cuts off what is too long."""
    stride: Count | None = None
    """Tokens that neighbouring windows of a long text share; null means a third of data.max_length, 128 at most."""
    label_delimiter: Line = "|"
    """What separates the labels within one cell of a multilabel file."""
    split: Annotated[tuple[Probability, ...], Field(min_length=2, max_length=3)] | None = None
    """Fractions of data.train for train, validation and test if no validation is given; null means [0.7,0.15,0.15]."""
    max_length: Count | None = None
    """Longest sequence in tokens, special tokens included; longer ones are cut. Null means the model's own limit, at most 512."""
    group: Line | None = None
    """Column whose values stay together: all rows of one patient, author or document go to one part."""
    stratify: bool = True
    """Whether splits keep the proportions of the classes."""
    folds: Annotated[int, Field(ge=2)] | None = None
    """Cut data.train into this many parts for cross-validation, and validate on one of them."""
    fold: Annotated[int, Field(ge=0)] = 0
    """The part to validate on, from 0; sweep over it for cross-validation."""
    shots: Count | None = None
    """Use only this many training examples of each class, drawn by the seed; null uses all."""
    limit: Count | None = None
    """Use only this many training examples, drawn by the seed; null uses all."""
    header: bool = True
    """Whether csv and tsv files start with a line of column names."""
    columns: Annotated[tuple[Line, ...], Field(min_length=1)] | None = None
    """Column names of CoNLL files, and of others without a header line (then data.header is false)."""
    delimiter: Annotated[str, BeforeValidator(_as_tab), Field(min_length=1, max_length=1)] | None = None
    """Column separator, \\t for a tab; null means a comma in csv, a tab in tsv, and any blanks and tabs in CoNLL files."""
    quoting: bool | None = None
    """Whether double quotes enclose fields; null means yes in csv and no in tsv."""
    format: FormatName | None = None
    """Format of the files if their extension is missing or wrong."""
    clean: Clean = Clean.default()
    """Cleaning of texts and rows."""
    augment: Augment = Augment.default()
    """Altered copies of training examples."""
    cache_dir: Annotated[LocalPath | None, Decides("execution")] = None
    """Where tokenised data are kept and shared between runs; null means the user's cache directory."""

    @property
    def holds_columns_of_words(self) -> bool:
        """Whether the training files have a line for each word, and so no header line."""
        if self.format is not None or self.train is None:
            return self.format in COLUMNS_OF_WORDS
        names = (self.train,) if isinstance(self.train, str) else self.train
        return all(format_named(name) in COLUMNS_OF_WORDS for name in names)
