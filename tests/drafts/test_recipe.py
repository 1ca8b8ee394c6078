"""A recipe from data of many shapes: what is guessed, that it is planned as it stands, and what can't be guessed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.shapes import SHAPES, write_shape

from launcher import tasks
from launcher.drafts import hyper_parameters
from launcher.drafts.commented import commented
from launcher.drafts.recipe import Draft, draft_recipe
from launcher.errors import UserError
from launcher.planning.prepare import prepare
from launcher.tasks.shared.sample import Sample


def drafted(directory: Path, *names: str, words: tuple[str, ...] = ()) -> Draft:
    return draft_recipe([directory / name for name in names], words, directory, directory)


def planned(draft: Draft, directory: Path) -> None:
    """Plan the recipe as it was written."""
    (directory / "drafted.yaml").write_text(draft.text, encoding="utf-8")
    prepare(["recipe=drafted.yaml", "executor=local"], {}, directory, submits=False)


@pytest.mark.parametrize("name", SHAPES)
def test_data_of_many_shapes_are_understood_and_planned_without_editing(name: str, tmp_path: Path) -> None:
    write_shape(name, tmp_path)
    draft = drafted(tmp_path, name)
    assert {key: draft.keys[key].value for key in SHAPES[name].found} == SHAPES[name].found
    planned(draft, tmp_path)


def test_a_folder_of_texts_is_for_learning_their_language(tmp_path: Path) -> None:
    (tmp_path / "texts").mkdir()
    for chapter in range(3):
        lines = "".join(f"It was the {n}th of May, and the story went on with music.\n" for n in range(60))
        (tmp_path / "texts" / f"chapter{chapter}.txt").write_text(lines)
    (tmp_path / "texts" / "README.txt").write_text("About these texts\n")
    draft = drafted(tmp_path, "texts")
    assert draft.keys["task"].value == "masked-lm"
    assert [Path(path).name for path in draft.keys["data.train"].value] == [
        "chapter0.txt",
        "chapter1.txt",
        "chapter2.txt",
    ]
    planned(draft, tmp_path)


def test_a_file_whose_name_looks_like_an_option_is_planned_as_it_stands(tmp_path: Path) -> None:
    write_shape("stars.csv", tmp_path).rename(tmp_path / "-x.csv")
    planned(drafted(tmp_path, "-x.csv"), tmp_path)


def test_numbers_that_no_head_reaches_are_told(tmp_path: Path) -> None:
    rows = (f"a chair number {n} of many,{n * 41.5}\n" for n in range(1, 121))
    (tmp_path / "chairs.csv").write_text("text,price\n" + "".join(rows))
    draft = drafted(tmp_path, "chairs.csv")
    assert draft.keys["data.label"].why == "Numbers from 41.5 to 4980."
    (note,) = draft.facts.notes
    assert note.startswith("data.train: 120 numbers lie so far from 0, where a head begins,")
    assert "divide the column until its numbers are a few units large" in note


EXPORTED = "Nr;Anfrage;Kategorie\n" + "".join(
    f"T-{n};Wo bleibt die Lieferung zu Auftrag {n}?;{'Versand' if n % 2 else 'Rechnung'}\n"
    + ";;\n" * (n % 20 == 0)
    for n in range(100)
)
"""A table as spreadsheets export it, with lines without anything between others."""


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "data.label=Kategorie: the label is empty"),
        (("data.label=Kategorie",), "data.label=Kategorie: the label is empty"),
        (("task=classification", "data.label=Kategorie"), "data.label=Kategorie: the label is empty"),
        (("data.label=Katgorie",), "no such column in the file\n    -> did you mean Kategorie?"),
        (("data.text=Anfage",), "no such column in the file\n    -> did you mean Anfrage?"),
        (("data.label=Nr",), "the cells of 'Nr' have 100 values in 100 rows: too many for classes"),
    ],
)
def test_a_label_that_was_named_is_learnt_or_told_and_never_passed_over(
    words: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    """The texts were taken alone before, for masked-lm, with the label in a key that nothing reads."""
    (tmp_path / "export.csv").write_text(EXPORTED, encoding="utf-8")
    with pytest.raises(UserError) as caught:
        drafted(tmp_path, "export.csv", words=words)
    assert message in str(caught.value)


def test_a_label_that_was_named_may_lack_in_some_rows_of_its_column_and_hold_several_words(
    tmp_path: Path,
) -> None:
    kinds = ("very late delivery today", "broken on the way here")
    rows = "".join(f"where is my parcel {n},{kinds[n % 2]}\n" for n in range(100))
    (tmp_path / "kinds.csv").write_text("words,what they are about\n" + rows)
    draft = drafted(tmp_path, "kinds.csv", words=("data.label=what they are about",))
    assert (draft.keys["task"].value, draft.keys["data.text"].value) == ("classification", "words")


@pytest.mark.parametrize(
    ("native", "gpus", "words", "precision"),
    [
        (False, 0, [], "fp32"),
        (True, 0, [], None),
        (False, 1, [], None),
        (False, 0, ["device=cuda"], None),
        (False, 0, ["precision=bf16"], "bf16"),
    ],
)
def test_a_cpu_that_imitates_bf16_trains_in_fp32(
    native: bool,
    gpus: int,
    words: list[str],
    precision: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hyper_parameters, "native_bf16", lambda: native)
    monkeypatch.setattr(hyper_parameters, "local_gpus", lambda: gpus)
    monkeypatch.setattr(hyper_parameters, "scheduler_here", lambda: None)
    write_shape("stars.csv", tmp_path)
    keys = drafted(tmp_path, "stars.csv", words=tuple(words)).keys
    assert (keys["precision"].value if "precision" in keys else None) == precision


def test_names_of_columns_decide_between_several_labels_and_pairs(tmp_path: Path) -> None:
    rows = (
        f"{n}\t( {n} a b c )\t( {n} d e f )\tthis is {n}\tthat is {n}\t{'ab'[n % 2]}\t{'abc'[n % 3]}"
        for n in range(60)
    )
    header = "id\tsentence1_parse\tsentence2_parse\tsentence1\tsentence2\tlabel1\tgold_label"
    (tmp_path / "mnli.tsv").write_text("\n".join([header, *rows]) + "\n")
    draft = drafted(tmp_path, "mnli.tsv")
    assert draft.keys["data.text"].value == ["sentence1", "sentence2"]
    assert draft.keys["data.label"].value == "gold_label"


def test_triplets_are_known_by_their_names_however_short_their_texts_are(tmp_path: Path) -> None:
    goods = ("red pan", "tent", "mouse")
    rows = (f"{goods[n % 3]},buy {goods[n % 3]},buy {goods[(n + 1) % 3]}\n" for n in range(60))
    (tmp_path / "goods.csv").write_text("query,positive,negative\n" + "".join(rows))
    draft = drafted(tmp_path, "goods.csv")
    chosen = {key: draft.keys[key].value for key in ("task", "data.text", "data.negatives")}
    assert chosen == {
        "task": "embedding",
        "data.text": ["query", "positive"],
        "data.negatives": "negative",
    }


def test_files_are_for_what_their_names_say(tmp_path: Path) -> None:
    text = write_shape("stars.csv", tmp_path).read_text()
    for name in ("my-train.csv", "my_dev.csv", "dev_clean.csv", "TEST.csv"):
        (tmp_path / "all" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "all" / name).write_text(text)
    draft = drafted(tmp_path, "all")
    found = {
        key: [Path(path).name for path in draft.keys[f"data.{key}"].value]
        for key in ("train", "validation", "test")
    }
    assert found == {
        "train": ["my-train.csv"],
        "validation": ["dev_clean.csv"],
        "test": ["TEST.csv"],
    } or found == {
        "train": ["my-train.csv"],
        "validation": ["my_dev.csv"],
        "test": ["TEST.csv"],
    }
    assert "data.split" not in draft.keys


def test_files_in_parts_are_taken_whole(tmp_path: Path) -> None:
    """As `datasets` and the hub write them; of two versions of the same rows one is taken."""
    text = write_shape("stars.csv", tmp_path).read_text()
    (tmp_path / "all").mkdir()
    names = [f"{role}-0000{n}-of-00002.csv" for role in ("train", "validation", "test") for n in (0, 1)]
    for name in (*names, "validation_clean-00000-of-00001.csv"):
        (tmp_path / "all" / name).write_text(text)
    draft = drafted(tmp_path, "all")
    found = [
        Path(path).name for key in ("train", "validation", "test") for path in draft.keys[f"data.{key}"].value
    ]
    assert found == names
    assert draft.keys["data.train"].why == "Left out: validation_clean-00000-of-00001.csv."


def test_a_large_file_that_is_sorted_by_class_still_has_its_classes(tmp_path: Path) -> None:
    rows = (f"it was the film number {n} of them,{'good' if n < 15_000 else 'bad'}" for n in range(20_000))
    (tmp_path / "sorted.csv").write_text("text,label\n" + "\n".join(rows) + "\n")
    assert drafted(tmp_path, "sorted.csv").keys["task"].value == "classification"


def test_a_test_file_without_labels_is_left_out_and_that_is_said(tmp_path: Path) -> None:
    rows = write_shape("pairs.csv", tmp_path).read_text().splitlines()
    (tmp_path / "train.csv").write_text("\n".join(rows) + "\n")
    (tmp_path / "test.csv").write_text("".join(row.rpartition(",")[0] + "\n" for row in rows))
    draft = drafted(tmp_path, "train.csv", "test.csv")
    assert "data.test" not in draft.keys
    assert "test.csv is left out of data.test" in draft.keys["data.train"].why


def test_files_of_a_folder_without_a_place_are_named(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    write_shape("stars.csv", folder).rename(folder / "train.csv")
    (folder / "more.jsonl").write_text('{"text": "other"}\n')
    assert drafted(tmp_path, "data").keys["data.train"].why == "Left out: more.jsonl."


def test_what_the_user_says_is_taken_and_the_rest_guessed_around_it(tmp_path: Path) -> None:
    write_shape("stars.csv", tmp_path)
    draft = drafted(
        tmp_path, "stars.csv", words=("task=classification", "train.epochs=1", "model.name=some/model")
    )
    assert [draft.keys[key].value for key in ("task", "data.label", "train.epochs", "model.name")] == [
        "classification",
        "stars",
        1,
        "some/model",
    ]


@pytest.mark.parametrize(
    ("words", "columns"),
    [
        (("data.header=false",), ["label", "text"]),
        (("data.header=false", "data.columns=[kind,said]"), ["kind", "said"]),
    ],
)
def test_how_a_file_is_read_can_be_said(words: tuple[str, ...], columns: list[str], tmp_path: Path) -> None:
    write_shape("noheader.tsv", tmp_path)
    draft = drafted(tmp_path, "noheader.tsv", words=words)
    assert draft.keys["data.columns"].value == columns
    assert (draft.keys["data.label"].value, draft.keys["data.text"].value) == tuple(columns)
    planned(draft, tmp_path)


def test_weights_that_start_from_nothing_get_a_higher_learning_rate(tmp_path: Path) -> None:
    rows = "".join(
        f"the film of {year} is good,yes\nthe film of {year} is bad,no\n" for year in range(1950, 2000)
    )
    (tmp_path / "a.csv").write_text(f"text,label\n{rows}")
    words = ("model.init=scratch", "model.name=null")
    assert drafted(tmp_path, "a.csv").keys["train.lr"].value == 2e-5
    assert drafted(tmp_path, "a.csv", words=words).keys["train.lr"].value == 1e-4
    assert drafted(tmp_path, "a.csv", words=(*words, "train.lr=3e-4")).keys["train.lr"].value == 3e-4


def test_each_sentence_stands_above_its_key_and_no_cell_breaks_out_of_it(tmp_path: Path) -> None:
    rows = "".join(f"the film was good {n},a\x1b[31m\u202eb{n % 2}\n" for n in range(40))
    (tmp_path / "odd.csv").write_text(f"text,label\n{rows}", encoding="utf-8")
    draft = drafted(tmp_path, "odd.csv")
    assert "\x1b" not in draft.text
    assert "\u202e" not in draft.text
    lines = draft.text.splitlines()
    assert lines[lines.index("task: classification") - 1].startswith("# 'label' has 2 values")


def test_rows_that_must_be_mended_are_told_and_no_other_task_is_taken_instead(tmp_path: Path) -> None:
    lines = write_shape("pairs.csv", tmp_path).read_text().splitlines()
    lines[7] = lines[7].rpartition(",")[0] + ","
    (tmp_path / "pairs.csv").write_text("\n".join(lines) + "\n")
    with pytest.raises(UserError, match=r"pairs\.csv:8.*the label is empty"):
        drafted(tmp_path, "pairs.csv")


TEXTS = [f"the {('good', 'bad')[n % 2]} film number {n} that they saw" for n in range(30)]
LABELS = ["pos" if n % 2 else "neg" for n in range(30)]


def table(header: str, row: str) -> str:
    """A line for each text, in which T is the text, N its number and L its label."""
    rows = zip(TEXTS, LABELS, strict=True)
    return "\n".join(
        [
            header,
            *(
                row.replace("T", t).replace("N", str(n)).replace("L", name)
                for n, (t, name) in enumerate(rows)
            ),
        ]
    )


@pytest.mark.parametrize(
    ("name", "header", "row", "text", "label"),
    [
        ("index of pandas.csv", ",text,label", "N,T,L", "text", "label"),
        ("empty columns of excel.csv", "v1,v2,,,", "L,T,,,", "v2", "v1"),
        ("semicolons at the end.csv", "review;sentiment;;", "T;L;;", "review", "sentiment"),
        ("cells in quotes.tsv", '"sentence"\t"label"', '"T"\t"L"', "sentence", "label"),
        (
            "quotes where they are needed.txt",
            "sentence\tlabel",
            '"it was ""T"" they say"\tL',
            "sentence",
            "label",
        ),
        ("dates.csv", "when,text,label", "Mon Apr 06 22:19:N 2009,T,L", "text", "label"),
        ("days.jsonl", "", '{"when": "01 N, 2014", "text": "T", "label": "L"}', "text", "label"),
        ("commas.csv", "text\tlabel", "oh, T\tL", "text", "label"),
        ("without an extension", "id,text,label", 'N,"oh, T",L', "text", "label"),
        ("table.txt", "text,label", "T,L", "text", "label"),
        (
            "hashtags.jsonl",
            "",
            '{"text": "T", "hashtags": ["L"], "gold": {"label": "L", "annotator": "L"}}',
            "text",
            "gold.label",
        ),
        ("ids of users.jsonl", "", '{"text": "T", "user_id": 7, "label": "L"}', "text", "label"),
    ],
)
def test_names_of_columns_are_names_and_never_a_row(
    name: str, header: str, row: str, text: str, label: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(table(header, row).lstrip("\n"), encoding="utf-8")
    draft = drafted(tmp_path, name)
    assert (draft.keys["data.text"].value, draft.keys["data.label"].value) == (text, label)
    assert draft.keys["data.label"].why.startswith("'neg' 50%, 'pos' 50%.")
    planned(draft, tmp_path)


@pytest.mark.parametrize(
    ("name", "header", "row", "message"),
    [
        (
            "doccano.jsonl",
            "",
            '{"text": "T", "label": [[0, 3, "LOC"]]}',
            "where parts of a text begin and end",
        ),
        (
            "cluener.jsonl",
            "",
            '{"text": "T", "label": {"name": {"N": [[0, 1]]}}}',
            "where parts of a text begin",
        ),
        (
            "prodigy.jsonl",
            "",
            '{"text": "T", "spans": [{"start": 0, "end": 3}]}',
            "where parts of a text begin",
        ),
        (
            "label studio.csv",
            "id,label,lead_time,text",
            '"t N","[{""start"": 0, ""end"": 3, ""text"": ""who"", ""labels"": [""PER""]}]",3.N,T',
            "^(?!.*(columns|plainly)).*say where parts of a text begin and end",
        ),
        (
            "tags with commas.csv",
            "sentence,word_labels",
            'T,"O,O,B-L,O"',
            "several tags that no blanks separate",
        ),
        (
            "squad without answers.jsonl",
            "",
            '{"question": "N", "context": "T", "answers": []}',
            "'answers' are all empty",
        ),
        (
            "mrqa.jsonl",
            "",
            '{"context": "T", "qas": [{"question": "N"}]}',
            "(?s)are lists of questions.*answer_start",
        ),
        ("bge.jsonl", "", '{"query": "who N", "pos": ["T"], "neg": ["T", "T"]}', "'pos' are lists of texts"),
        (
            "answers of several queries.jsonl",
            "",
            '{"query": "who came N", "pos": ["the L man in the house"], "neg": ["T"]}',
            "'pos' are lists of texts",
        ),
        (
            "studio.jsonl",
            "",
            '{"data": {"text": "T"}, "annotations": [{"result": []}], "meta": {}}',
            "^(?!.*meta)",
        ),
        ("toutiao.txt", "", "65N_!_10N_!_news_L_!_T", r"(?s)'_!_' equally often.*sed 's/_!_/"),
        ("colons.txt", "", "N::L::T", r"(?s)hold '::' equally often.*sed 's/::/"),
        ("labels.txt", "", "L", "paste TEXTS LABELS"),
        ("words.arff", "@data", "'T',L", "hold no rows"),
        ("decimal commas.csv", "text;points", "T;N,5", "numbers, but not written plainly"),
        ("prices.csv", "text;price", "T;€ 1N.50", "numbers, but not written plainly"),
        ("one class.csv", "text,label", "T,1", "all alike"),
        ("as many as rows.csv", "text,label", "T,uN", "30 values in 30 rows"),
        ("fasttext.txt", "", "__label__L T", "a label before the text"),
        ("a row for each word.csv", "Sentence #,Word,Tag", "N,wN,O\nN,vN,B-PER", "tag one word in each row"),
        ("two names alike.csv", "text,label,label", "T,L,L", "label more than once"),
        ("markup.xml", "<a>", "<b>T</b>", "hold no rows"),
        ("nothing.txt", "", "\n", "holds no rows"),
    ],
)
def test_a_label_that_no_task_reads_is_told_and_its_texts_are_not_taken_alone(
    name: str, header: str, row: str, message: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(table(header, row).lstrip("\n") if name != "nothing.txt" else row * 9)
    with pytest.raises(UserError, match=message):
        drafted(tmp_path, name)


def test_rows_without_a_label_are_told_however_many(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text(table("text,label", "T,L") + "\n,\n" * 5)
    with pytest.raises(UserError, match=r"data\.csv:32.*the label is empty"):
        drafted(tmp_path, "data.csv")


def test_objects_beside_the_text_are_named_as_not_read(tmp_path: Path) -> None:
    """Of CLUE's WSC the words that the label is about stand in an object."""
    row = '{"target": {"span1_text": "who", "span1_index": 0}, "text": "T", "label": "L"}'
    (tmp_path / "wsc.jsonl").write_text(table("", row).lstrip("\n"))
    assert (
        "Objects are no text: 'target' is not read." in drafted(tmp_path, "wsc.jsonl").keys["data.text"].why
    )


def test_every_column_that_could_be_the_label_is_named(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text(table("text,sentiment,topic", "T,L,aL"))
    assert "'sentiment' could be it too" in drafted(tmp_path, "data.csv").keys["data.label"].why


@pytest.mark.parametrize(
    ("row", "task", "label"),
    [
        ('{"query": "which film is L", "passage": "T", "query_id": N, "relevance": R}', "ranking", "relevance"),
        ('{"text": "T", "labels": ["L"]}', "multilabel", "labels"),
        ('{"text": "T", "unclear": Y, "joy": R, "fear": S}', "multilabel", ["joy", "fear"]),
        ('{"text": "T", "labels": "M"}', "multilabel", "labels"),
        ('{"text": "T", "images": [], "joy": X, "fear": Z, "rage": Q}', "multilabel", ["joy", "fear", "rage"]),
        ('{"question": "T", "choices": {"text": ["a N", "b", "c"], "label": ["A", "B", "C"]}, "answerKey": "K"}',
         "multiple-choice", "answerKey"),
        ('{"abstract": "T", "keyword": ["L", "film"], "label": "R"}', "classification", "label"),
    ],
)  # fmt: skip
def test_lists_and_numbers_are_taken_for_what_they_are(
    row: str, task: str, label: str | list[str], tmp_path: Path
) -> None:
    joined = ["a", "b", "c", "a,b", "b,c", "a,c"]
    lines = table("", row).strip().splitlines()
    lines = [
        line.replace("Y", ("true", "false")[n % 2])
        .replace("S", str(n // 2 % 2))
        .replace("X", str(int(n % 3 == 0)))
        .replace("Z", str(int(n % 3 == 1)))
        .replace("Q", str(int(n % 3 == 2)))
        for n, line in enumerate(lines)
    ]
    filled = (
        line.replace('"M"', f'"{joined[n % 6]}"').replace("R", str(n % 2)).replace('"K"', f'"{"ABC"[n % 3]}"')
        for n, line in enumerate(lines)
    )
    (tmp_path / "data.jsonl").write_text("\n".join(filled))
    draft = drafted(tmp_path, "data.jsonl")
    assert (draft.keys["task"].value, draft.keys["data.label"].value) == (task, label)


@pytest.mark.parametrize(
    ("labels", "task"),
    [
        (("a", "b", "a|b"), "multilabel"),
        (("a|b", "c|d"), "multilabel"),
        (("a", "b", "a; b"), "multilabel"),
        (("a,b", "a,c", "b,c"), "multilabel"),
        (("Books, Comics", "Books", "Music"), "classification"),
        (("red/white", "red", "blue"), "classification"),
    ],
)
def test_few_combinations_of_labels_are_several_labels(
    labels: tuple[str, ...], task: str, tmp_path: Path
) -> None:
    rows = (f'{text},"{labels[n % len(labels)]}"\n' for n, text in enumerate(TEXTS))
    (tmp_path / "data.csv").write_text("text,label\n" + "".join(rows))
    draft = drafted(tmp_path, "data.csv")
    assert draft.keys["task"].value == task
    if labels[-1] == "a|b":
        assert (
            draft.keys["task"].why
            == "33% of the cells of 'label' hold several labels, with '|' between them."
        )
        assert draft.rejected[0][0] == "classification"


@pytest.mark.parametrize(("towns", "houses"), [(1, 5), (1, 20), (2, 100)])
def test_questions_about_few_texts_are_questions(towns: int, houses: int, tmp_path: Path) -> None:
    articles = []
    for town in range(towns):
        built = "".join(f"House {n} of town {town} was built by mason{n}. " for n in range(houses))
        asked = (
            {
                "question": f"Who built house {n}?",
                "answers": [{"text": f"mason{n}.", "answer_start": built.index(f"mason{n}.")}],
            }
            for n in range(houses)
        )
        articles.append({"title": f"Town {town}", "paragraphs": [{"context": built, "qas": list(asked)}]})
    (tmp_path / "squad.json").write_text(json.dumps({"version": "1.1", "data": articles}))
    draft = drafted(tmp_path, "squad.json")
    assert (draft.keys["task"].value, draft.keys["data.text"].value) == (
        "question-answering",
        ["question", "context"],
    )
    planned(draft, tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [("id,n\n1,2\n2,3\n3,4\n", "no column of text"), ("text,label\n", "holds no rows"), ("", "is empty")],
)
def test_what_can_not_be_guessed_is_told(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text(text)
    with pytest.raises(UserError, match=message):
        drafted(tmp_path, "data.csv")


def test_a_task_that_says_nothing_of_unknown_rows_is_never_guessed() -> None:
    sample = Sample.of([])
    assert [name for name in tasks.names() if tasks.named(name).guess(sample) is not None] == []
    assert commented({}, "") == ""


REAL = {
    "sst2": ("classification", "sentence", "label"),
    "rte": ("classification", ["sentence1", "sentence2"], "label"),
    "stsb": ("regression", ["text1", "text2"], "label"),
    "mrpc": ("classification", ["#1 String", "#2 String"], "Quality"),
    "conll2003": ("token-classification", "text", "label"),
    "chnsenticorp": ("classification", "text", "label"),
    "squad_v1.1_dev": ("question-answering", ["question", "context"], "answers"),
}


@pytest.mark.parametrize("name", REAL)
def test_public_data_sets_are_understood(name: str, shared_data: Path, tmp_path: Path) -> None:
    draft = draft_recipe([shared_data / name], [], tmp_path, tmp_path)
    assert tuple(draft.keys[key].value for key in ("task", "data.text", "data.label")) == REAL[name]
    planned(draft, tmp_path)
