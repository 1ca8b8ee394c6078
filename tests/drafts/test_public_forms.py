"""The forms in which public data sets are published: what of each is guessed, and what is told instead."""

from __future__ import annotations

import json
import re
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from launcher import tasks
from launcher.cli import main
from launcher.drafts.class_folders import gathered, splits_of
from launcher.drafts.recipe import Draft, draft_recipe
from launcher.errors import UserError
from launcher.loading.resolve import load
from launcher.planning.prepare import prepare
from launcher.reading.files import peek, read_rows
from launcher.reading.nested import dotted_names
from launcher.reading.options import ReadOptions
from launcher.recipe.recipe import Recipe
from launcher.tasks.shared.rows import Row

ROWS = 40
NAMES = ("entailment", "neutral", "contradiction")


def sentence(number: int, what: str = "film") -> str:
    """A sentence of English words that no other number has."""
    return f"the {('good', 'bad', 'old')[number % 3]} {what} number {number} was seen by them all"


def lines(directory: Path, name: str, rows: list[str]) -> None:
    path = directory / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")


def objects(directory: Path, name: str, rows: Iterator[dict[str, Any]]) -> None:
    lines(directory, name, [json.dumps(row, ensure_ascii=False) for row in rows])


def drafted(directory: Path, *words: str) -> Draft:
    """The recipe for what lies in the directory, planned as it stands."""
    draft = draft_recipe([directory], words, directory.parent, directory.parent)
    (directory.parent / "drafted.yaml").write_text(draft.text, encoding="utf-8")
    prepare(["recipe=drafted.yaml", "executor=local"], {}, directory.parent, submits=False)
    return draft


def found(draft: Draft, *keys: str) -> tuple[Any, ...]:
    return tuple(draft.keys[key].value if key in draft.keys else None for key in keys)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    directory = tmp_path / "data"
    directory.mkdir()
    return directory


def test_cola_has_its_label_in_the_second_of_four_columns_without_names(data: Path) -> None:
    rows = [
        f"{('gj04', 'r-67', 'clc95')[n % 3]}\t{n % 2}\t{'' if n % 2 else '*'}\t{sentence(n)}"
        for n in range(ROWS)
    ]
    lines(data, "train.tsv", rows)
    draft = drafted(data)
    assert draft.keys["data.columns"].value == ["column1", "label", "column3", "text"]
    assert draft.keys["data.label"].why.startswith("'0' 50%, '1' 50%")


def test_a_context_and_a_hypothesis_are_a_pair_and_a_reason_is_none_of_it(data: Path) -> None:
    objects(
        data,
        "train.jsonl",
        (
            {
                "context": sentence(n),
                "hypothesis": sentence(n, "book"),
                "reason": sentence(n, "word"),
                "label": "enc"[n % 3],
            }
            for n in range(ROWS)
        ),
    )
    assert found(drafted(data), "task", "data.text") == ("classification", ["context", "hypothesis"])


def test_what_each_annotator_said_is_not_the_label_and_a_dash_is_told(data: Path) -> None:
    objects(
        data,
        "snli_1.0_train.jsonl",
        (
            {"annotator_labels": [NAMES[n % 3]] * (1 + n % 2), "gold_label": "-" if n % 10 == 0 else NAMES[n % 3],
             "sentence1": sentence(n), "sentence2": sentence(n, "book")}
            for n in range(ROWS)
        ),
    )  # fmt: skip
    draft = drafted(data)
    assert found(draft, "task", "data.label") == ("classification", "gold_label")
    assert "label '-' (4 rows) is a class like any other here" in draft.text


def test_choices_that_are_counted_from_one_are_called_so(data: Path) -> None:
    objects(
        data,
        "train.jsonl",
        (
            {"sentence": sentence(n), "option1": f"cup {n}", "option2": f"bag {n}", "answer": str(1 + n % 2)}
            for n in range(ROWS)
        ),
    )
    draft = drafted(data)
    assert found(draft, "task", "data.text", "data.labels") == ("multiple-choice", "sentence", ["1", "2"])


def test_a_list_of_three_with_a_yes_or_no_beside_it_is_no_list_of_choices(data: Path) -> None:
    objects(
        data,
        "train.jsonl",
        ({"abst": sentence(n), "keyword": [f"a{n}", f"b{n}", "c"], "label": str(n % 2)} for n in range(ROWS)),
    )
    assert found(drafted(data), "task", "data.text") == ("classification", "abst")


def test_what_choices_are_for_is_not_read_twice_and_the_question_belongs_to_it(data: Path) -> None:
    objects(
        data,
        "train.jsonl",
        (
            {"ctx_a": sentence(n), "ctx": f"{sentence(n)} then", "question": ("cause", "effect")[n % 2],
             "endings": [f"it {k}{n}" for k in range(4)], "label": n % 4}
            for n in range(ROWS)
        ),
    )  # fmt: skip
    assert found(drafted(data), "task", "data.text") == ("multiple-choice", ["ctx", "question"])


def test_keywords_that_some_rows_lack_are_no_second_text(data: Path) -> None:
    objects(
        data,
        "train.json",
        (
            {
                "label": ("100", "101", "104")[n % 3],
                "sentence": sentence(n),
                "keywords": sentence(n, "key") if n % 3 else "",
            }
            for n in range(ROWS)
        ),
    )
    assert found(drafted(data), "data.text", "data.format") == ("sentence", "jsonl")


def test_three_texts_without_names_are_a_query_what_it_looks_for_and_what_not(data: Path) -> None:
    lines(
        data,
        "triples.train.tsv",
        [f"who {n} saw it\t{sentence(n)}\t{sentence(n + 99, 'book')}" for n in range(ROWS)],
    )
    draft = drafted(data)
    assert found(draft, "task", "data.text", "data.negatives") == (
        "embedding",
        ["text1", "text2"],
        "negative",
    )
    assert draft.keys["data.columns"].value == ["text1", "text2", "negative"]


def test_columns_of_tags_and_words_are_called_what_they_are(data: Path) -> None:
    lines(data, "train.bio", [f"{'B-X' if k == 2 else 'O'}\t{word}\n" * 1 if word else "" for n in range(ROWS)
                              for k, word in enumerate([*sentence(n).split(), ""])])  # fmt: skip
    text = (data / "train.bio").read_text().replace("\n\n", "\n")
    (data / "train.bio").write_text(text.replace("all\n", "all\n\n"))
    assert found(drafted(data), "data.columns", "data.text", "data.label") == (
        ["label", "text"],
        "text",
        "label",
    )


def test_files_whose_names_tell_no_format_are_told_by_what_they_hold(data: Path) -> None:
    tagged = [f"{word} NN {'B-PER' if k == 1 else 'O'}" for k, word in enumerate(sentence(1).split())]
    for name in ("eng.train", "eng.testa", "eng.testb"):
        lines(data, name, [*tagged, ""] * 20)
    draft = drafted(data)
    files = [Path(draft.keys[f"data.{split}"].value[0]).name for split in ("train", "validation", "test")]
    assert files == ["eng.train", "eng.testa", "eng.testb"]
    assert found(draft, "task", "data.format") == ("token-classification", "conll")


def test_a_zip_file_of_one_table_is_data_and_other_archives_are_to_be_unpacked(data: Path) -> None:
    rows = "text,label\n" + "".join(f"{sentence(n)},{'ab'[n % 2]}\n" for n in range(ROWS))
    with zipfile.ZipFile(data / "train.zip", "w") as file:
        file.writestr("train.csv", rows)
    assert found(drafted(data), "data.text", "data.label") == ("text", "label")
    with zipfile.ZipFile(data / "train.zip", "w") as file:
        file.writestr("train.csv", rows)
        file.writestr("dev.csv", rows)
    with pytest.raises(UserError, match="unzip train"):
        drafted(data)


def test_the_page_of_data_converts_what_is_refused(
    data: Path, repo_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(data.parent)
    span = {"text": "李明在北京", "label": {"name": {"李明": [[0, 1]]}, "address": {"北京": [[3, 4]]}}}
    spans = ({**span, "text": f"{span['text']}{n:02}"} for n in range(ROWS))
    objects(data.parent, "cluener.json", spans)
    question = {"question": "何时走", "choice": ["今天", "明天"], "answer": "明天"}
    dialogues = [
        [[f"男 我走了{n}", "女 何时"], [{**question, "answer": question["choice"][n % 2]}], n]
        for n in range(ROWS)
    ]
    lines(data.parent, "c3.json", [json.dumps(dialogues)])
    idioms = (
        {"candidates": ["一心一意", "三心二意"], "content": [f"他第{n}次做事#idiom{n:06}#。"]}
        for n in range(ROWS)
    )
    objects(data.parent, "chid.json", idioms)
    lines(data.parent, "chid_answer.json", [json.dumps({f"#idiom{n:06}#": n % 2 for n in range(ROWS)})])
    for name in ("queries", "corpus"):
        objects(
            data.parent,
            f"{name}.jsonl",
            ({"_id": f"{name[0]}{n}", "text": f"{sentence(n, name)}", "metadata": {}} for n in range(ROWS)),
        )
    lines(
        data.parent,
        "qrels/train.tsv",
        ["query-id\tcorpus-id\tscore", *(f"q{n}\tc{n}\t1" for n in range(ROWS))],
    )
    places = (
        {"id": n, "text": f"Anna saw Rome{n:02}.", "label": [[0, 4, "PER"], [9, 15, "LOC"]]}
        for n in range(ROWS)
    )
    objects(data.parent, "doccano.jsonl", places)
    words = [f"{'Sentence: 1' if k == 0 else ''},{word},{'B-per' if k == 3 else 'O'}" for n in range(ROWS)
             for k, word in enumerate(sentence(n).split())]  # fmt: skip
    lines(data.parent, "ner_dataset.csv", ["Sentence #,Word,Tag", *words])
    asked = [f"{sentence(n)},who {n} saw it?,{sentence(n)[4:22]}" for n in range(ROWS)]
    lines(data.parent, "answers.csv", ["context,question,answer", *asked])
    forms = (
        *(("cluener.json", "tags"), ("c3.json", "choices"), ("chid.json", "row for each"), ("", "queries")),
        *(("doccano.jsonl", "tags"), ("ner_dataset.csv", "two lists"), ("answers.csv", "stand in 'context'")),
    )
    for name, to in forms:
        with pytest.raises(UserError, match=f"(?s){to}.*docs/data.md"):
            draft_recipe([data.parent / name], (), data.parent, data.parent)

    page = (repo_root / "docs" / "data.md").read_text(encoding="utf-8")
    for block in re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL):
        exec(compile(block, "docs/data.md", "exec"), {})
    converted = {
        "tags.jsonl": ("token-classification", "words", "tags"),
        "choices.jsonl": ("multiple-choice", ["context", "question"], "answer"),
        "blanks.jsonl": ("multiple-choice", "text", "label"),
        "pairs.jsonl": ("embedding", ["query", "document"], None),
        "words.jsonl": ("token-classification", "words", "tags"),
        "sentences.jsonl": ("token-classification", "words", "tags"),
        "questions.jsonl": ("question-answering", ["question", "context"], "answers"),
    }
    for name, keys in converted.items():
        draft = draft_recipe([data.parent / name], (), data.parent, data.parent)
        assert found(draft, "task", "data.text", "data.label") == keys
    tags = json.loads((data.parent / "tags.jsonl").read_text().splitlines()[0])["tags"]
    assert tags == ["B-name", "I-name", "O", "B-address", "I-address", "O", "O"]
    tagged = json.loads((data.parent / "words.jsonl").read_text().splitlines()[0])
    assert tagged == {"words": ["Anna", "saw", "Rome00", "."], "tags": ["B-PER", "O", "B-LOC", "O"]}


def test_a_label_means_what_its_row_calls_the_choices(data: Path) -> None:
    """In ARC some questions have choices 1 to 4, and most A to D."""
    marks = ["1234" if n % 20 == 3 else "ABCD" for n in range(ROWS)]
    objects(
        data,
        "ARC-Easy-Train.jsonl",
        (
            {"question": {"stem": sentence(n), "choices": [{"text": f"thing {k}{n}", "label": k} for k in marks[n]]},
             "answerKey": marks[n][n % 4]}
            for n in range(ROWS)
        ),
    )  # fmt: skip
    draft = drafted(data)
    assert found(draft, "task", "data.choices") == ("multiple-choice", "question.choices")
    spec = tasks.of(load(["recipe=drafted.yaml"], environ={}, cwd=data.parent).recipe)
    options = ReadOptions(nested=("question.stem", "question.choices"))
    rows = list(read_rows(data / "ARC-Easy-Train.jsonl", options))
    assert [spec.label(row) for row in rows] == [n % 4 for n in range(ROWS)]


def test_marks_of_choices_may_stand_beside_their_texts() -> None:
    """As `datasets` has ARC: {"text": [...], "label": [...]}."""
    given = {
        "task": "multiple-choice",
        "data": {"text": "question", "choices": "choices.text", "label": "answerKey"},
    }
    recipe = Recipe.model_validate(given | {"model": {"name": "any"}})
    assert dotted_names(recipe.data) == ("choices.text", "choices.label")
    row = {"choices.text": ["a", "b", "c"], "choices.label": ["1", "2", "3"], "answerKey": "2"}
    assert tasks.of(recipe).label(Row(row, 1)) == 1


def test_columns_without_names_before_a_letter_are_choices(data: Path) -> None:
    rows = [f"{sentence(n)},cup {n},{n},bag {n},sun {n},{'ABCD'[n % 4]}" for n in range(ROWS)]
    lines(data, "abstract_algebra_test.csv", rows)
    assert found(drafted(data), "task", "data.text", "data.choices") == (
        "multiple-choice",
        "text",
        ["column2", "column3", "column4", "column5"],
    )


def test_numbers_of_words_are_no_tags_of_them(data: Path) -> None:
    kinds = ("NOUN", "VERB", "DET")
    words = [
        [f"{k}\t{word}\t{word}\t{kinds[k % 3]}" + "\t_" * 6 for k, word in enumerate(sentence(n).split(), 1)]
        for n in range(ROWS)
    ]
    lines(data, "en_ewt-ud-train.conllu", [line for each in words for line in (*each, "")])
    assert found(drafted(data), "data.text", "data.label") == ("form", "upos")


def test_a_role_within_a_word_of_the_name_counts_where_no_name_has_one(data: Path) -> None:
    tagged = [f"{'B-X' if k == 1 else 'O'}\t{word}" for k, word in enumerate(sentence(1).split())]
    for name in ("engtrain.bio", "engtest.bio"):
        lines(data, name, [*tagged, ""] * 20)
    draft = drafted(data)
    assert [Path(draft.keys[f"data.{split}"].value[0]).name for split in ("train", "test")] == [
        "engtrain.bio",
        "engtest.bio",
    ]


def test_a_column_of_hard_negatives_tells_what_the_two_beside_it_are(data: Path) -> None:
    rows = [f"{sentence(n)},{sentence(n, 'book')},{sentence(n + 9, 'play')}" for n in range(ROWS)]
    lines(data, "nli_for_simcse.csv", ["sent0,sent1,hard_neg", *rows])
    assert found(drafted(data), "task", "data.text", "data.negatives") == (
        "embedding",
        ["sent0", "sent1"],
        "hard_neg",
    )


def test_pairs_are_an_embedding_where_that_is_said(data: Path) -> None:
    lines(
        data, "pairs.tsv", ["text1\ttext2", *(f"{sentence(n)}\t{sentence(n, 'book')}" for n in range(ROWS))]
    )
    with pytest.raises(UserError, match=r"task=embedding data.text=\[text1,text2\]"):
        drafted(data)
    draft = drafted(data, "task=embedding", "data.text=[text1,text2]")
    assert found(draft, "task", "data.text") == ("embedding", ["text1", "text2"])


def test_texts_and_lists_that_are_not_read_are_named(data: Path) -> None:
    rows = [f'"{n % 3 + 1}","who {n} has seen it?","","{sentence(n)}"' for n in range(ROWS)]
    lines(
        data,
        "train.csv",
        [row.replace('""', f'"{sentence(n, "book")}"') if n % 2 else row for n, row in enumerate(rows)],
    )
    assert "There are also texts in 'column2', " in drafted(data).keys["data.text"].why
    (data / "train.csv").unlink()
    rows = [f'{{"abst": "{sentence(n)}", "keyword": ["a{n}", "b"], "label": "{n % 2}"}}' for n in range(ROWS)]
    lines(data, "train.jsonl", rows)
    assert "Lists are no text: 'keyword' is not read" in drafted(data).keys["data.text"].why


def test_what_datasets_saved_to_disk_is_to_be_written_as_parquet(data: Path) -> None:
    from datasets import Dataset, DatasetDict

    rows = Dataset.from_dict({"text": [sentence(n) for n in range(4)], "label": [0, 1, 0, 1]})
    DatasetDict({"train": rows, "test": rows}).save_to_disk(str(data))
    told = r"load_from_disk\(FOLDER\).to_parquet"
    with pytest.raises(UserError, match=told):
        drafted(data)
    for path in (data / "train", next((data / "train").glob("*.arrow"))):
        with pytest.raises(UserError, match=told):
            peek(path, ReadOptions())


def test_folders_that_are_named_as_splits_hold_their_files(data: Path) -> None:
    for split in ("train", "test"):
        lines(
            data,
            f"data/{split}/part-0.csv",
            ["text,label", *(f"{sentence(n)},{'ab'[n % 2]}" for n in range(ROWS))],
        )
    draft = drafted(data)
    assert [Path(path).parent.name for path in draft.keys["data.train"].value] == ["train"]
    assert [Path(path).parent.name for path in draft.keys["data.test"].value] == ["test"]


def test_classes_may_be_folders_of_files_without_an_extension(data: Path) -> None:
    for split in ("20news-bydate-train", "20news-bydate-test"):
        for name in ("sci.med", "alt.atheism"):
            for n in range(12):
                lines(data, f"{split}/{name}/{10000 + n}", ["From: somebody", "", sentence(n)])
    assert {role: sorted(classes) for role, classes in splits_of(data).items()} == {
        "train": ["alt.atheism", "sci.med"],
        "test": ["alt.atheism", "sci.med"],
    }


def test_json_in_files_of_text_is_no_text(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("high", "middle"):
        lines(data, f"train/{name}/1.txt", [json.dumps({"article": sentence(1), "questions": ["who?"]})])
    with pytest.raises(SystemExit, match="2"):
        main(["init", str(data), "--output", str(data.parent / "race.yaml")])
    assert "holds an object of json" in capsys.readouterr().err
    assert [path.name for path in data.parent.iterdir()] == ["data"]


def test_validation_data_alone_are_trained_on_and_that_is_said(data: Path) -> None:
    lines(data, "xnli.dev.tsv", ["text\tlabel", *(f"{sentence(n)}\t{'ab'[n % 2]}" for n in range(ROWS))])
    assert (
        "No file is named as one for training: xnli.dev.tsv is taken." in drafted(data).keys["data.train"].why
    )


def test_nothing_is_kept_together_where_nothing_is_cut(data: Path) -> None:
    rows = [f"who is {n // 6}\t{sentence(n)}\t{int(n % 6 == 2)}" for n in range(ROWS)]
    for split in ("train", "dev"):
        lines(data, f"WikiQA-{split}.tsv", ["Question\tSentence\tLabel", *rows])
    assert found(drafted(data), "task", "data.group", "data.split") == ("ranking", None, None)
    (data / "WikiQA-dev.tsv").unlink()
    assert found(drafted(data), "task", "data.group") == ("ranking", "Question")


def test_a_file_that_lacks_the_label_is_left_out_by_the_name_of_the_column(data: Path) -> None:
    lines(data, "train.tsv", ["sentence\tlabel", *(f"{sentence(n)}\t{'ab'[n % 2]}" for n in range(ROWS))])
    lines(data, "test.tsv", ["index\tsentence", *(f"{n}\t{sentence(n)}" for n in range(ROWS))])
    assert (
        "test.tsv is left out of data.test: it has no column 'label'." in drafted(data).keys["data.train"].why
    )


@pytest.mark.parametrize(
    ("name", "row", "message"),
    [
        ("train_5500.label", "LOC:city T", "a label before the text, with a blank between"),
        ("stsa.binary.train", "1 T", "a label before the text, with a blank between"),
        ("msra.txt", "中国/ns 的/o 第N/m 人民/n", "a tag behind each word"),
        ("train.jsonl", '{"goal": "T", "sol1": "T and so", "sol2": "T and not"}', "hold pairs of texts"),
        ("test.tsv", "T\tit is U", "hold pairs of texts"),
        (
            "siqa.jsonl",
            '{"context": "T", "question": "U?", "answerA": "T a", "answerB": "T b", "answerC": "T c"}',
            "no column says which is right",
        ),
        (
            "newsqa.jsonl",
            '{"question": "U?", "answer_char_ranges": "1:9|None", "story_text": "T"}',
            "begin and end",
        ),
    ],
)
def test_what_is_to_be_learnt_is_not_left_out_without_a_word(
    name: str, row: str, message: str, data: Path
) -> None:
    rows = [
        row.replace("T", sentence(n)).replace("U", sentence(n, "book")).replace("第N", f"第{n}")
        for n in range(ROWS)
    ]
    rows = [f"{n % 2}{text[1:]}" if text[0] == "1" else text for n, text in enumerate(rows)]
    rows = [text.replace("LOC", ("LOC", "NUM")[n % 2]) for n, text in enumerate(rows)]
    lines(data, name, [*(["sentence1\tsentence2"] if name == "test.tsv" else []), *rows])
    with pytest.raises(UserError, match=message):
        drafted(data)


def test_a_table_with_a_broken_line_is_no_text_whatever_its_name(data: Path) -> None:
    """QQP and SICK as they are published; before, such lines made lines of text of a .txt, and cut the labels off."""
    rows = [f"{n}\t{sentence(n)}\t{sentence(n, 'book')}\t{'ab'[n % 2]}" for n in range(ROWS)]
    lines(
        data,
        "SICK.txt",
        ["pair_ID\tsentence_A\tsentence_B\tjudgment", *rows[:20], f"20\t{sentence(20)}", *rows[20:]],
    )
    with pytest.raises(
        UserError, match=r"(?s)SICK.txt:22: 2 fields, but 4 columns.*NF==4' SICK.txt > NEW.txt"
    ):
        drafted(data)
    (data / "SICK.txt").unlink()
    lines(data, "train.tsv", [*rows[:20], f"20\t{sentence(20)}", *rows[20:]])
    with pytest.raises(UserError, match=r"train.tsv:21: 2 fields, but 4 columns"):
        drafted(data)


@pytest.mark.parametrize(
    ("word", "tags", "command"),
    [
        ("{}0", "诸葛亮在南阳耕", r"[0-9]([[:blank:]])/\1\2/'"),
        ("en:{}", sentence(1).split(), "'s/^[a-z-]+://'"),
    ],
)
def test_marks_on_every_word_are_told_and_taken_out(
    word: str, tags: list[str], command: str, data: Path
) -> None:
    """Weibo NER numbers the characters of each word, WikiANN puts the language before each."""
    tagged = [f"{word.format(one)}\t{'B-PER' if k == 1 else 'O'}" for k, one in enumerate(tags)]
    lines(data, "train", [*tagged, ""] * 20)
    with pytest.raises(UserError) as error:
        drafted(data)
    told = str(error.value).partition("take it out: ")[2].partition(" FILE")[0]
    assert told.endswith(command)
    subprocess.run(f"{told} train > new.conll && rm train", shell=True, check=True, cwd=data)
    row = next(read_rows(data / "new.conll", ReadOptions()))
    assert row.values["text"] == list(tags)


def test_brat_is_told_and_not_read_as_texts_alone(data: Path) -> None:
    for n in range(3):
        lines(data, f"doc{n}.txt", [sentence(n)])
        lines(data, f"doc{n}.ann", ["T1\tPER 0 3\tthe"])
    with pytest.raises(UserError, match="as brat writes them"):
        drafted(data)


def test_the_command_for_files_of_another_encoding_is_for_all_of_them(data: Path) -> None:
    for name in ("a", "b"):
        for n in range(12):
            lines(data, f"{name}/{n}.txt", [sentence(n)])
    (data / "b" / "3.txt").write_bytes("a café in the city of my friends".encode("cp1252"))
    with pytest.raises(UserError) as error, gathered(data, data.parent, force=False):
        pass
    command = str(error.value).partition(": find ")[2].splitlines()[0]
    subprocess.run(f"find {command}", shell=True, check=True)
    with gathered(data, data.parent, force=False) as files:
        assert "a café in the city" in files[0].read_text(encoding="utf-8")
    assert sorted(path.name for path in (data / "b").iterdir()) == sorted(f"{n}.txt" for n in range(12))
