"""What the files of a model say before it is launched: of its length, of tokens that it lacks, of sentence-transformers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from launcher.planning.prepare import Checked, check, plan_of

CONFIG = {"model_type": "bert", "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
CONFIG |= {"intermediate_size": 64, "vocab_size": 100}
MODULES = "sentence_transformers.models."


def model(directory: Path, **files: Any) -> Path:
    """A directory whose JSON files hold these; `__` in a name stands for a folder."""
    for name, content in {"config": CONFIG, "tokenizer": {}, **files}.items():
        path = directory / f"{name.replace('__', '/')}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
    return directory


def checked(directory: Path, *words: str) -> Checked:
    start = ["recipe=smoke", "executor=local", "model.init=scratch", f"model.name={directory}"]
    if not any(word.startswith("data.max_length=") for word in words):
        start.append("data.max_length=null")
    return check([*start, *words], {}, directory)


def notes(directory: Path, *words: str) -> list[str]:
    told = plan_of(checked(directory, *words), directory).notes
    return [note.removeprefix(f"{directory}: ") for note in told if note.startswith(str(directory))]


def of_sentence_transformers(*kinds: str) -> list[dict[str, Any]]:
    paths = ["", *(f"{number}_{kind}" for number, kind in enumerate(kinds, 1))]
    return [{"path": path, "type": MODULES + (path[2:] or "Transformer")} for path in paths]


EMBEDDING = ("task=embedding", "data.text=text", "data.label=label")


@pytest.mark.parametrize(
    ("files", "words", "length"),
    [
        ({}, (), 512),
        ({"tokenizer_config": {"model_max_length": 256}}, (), 256),
        ({"tokenizer_config": {"max_len": 256}}, (), 256),
        ({"tokenizer_config": {"model_max_length": 10**30}}, (), 512),
        ({"tokenizer_config": {"model_max_length": 256}}, ("data.max_length=300",), 300),
        ({"tokenizer_config": []}, (), 512),
    ],
)
def test_a_plan_cuts_texts_as_the_tokenizer_says(
    tmp_path: Path, files: dict[str, Any], words: tuple[str, ...], length: int
) -> None:
    directory = model(tmp_path / "m", **files)
    assert plan_of(checked(directory, *words), tmp_path).layout.max_length == length


def test_the_length_of_sentence_transformers_is_that_of_vectors_alone(tmp_path: Path) -> None:
    said = {"sentence_bert_config": {"max_seq_length": 128}, "tokenizer_config": {"model_max_length": 512}}
    directory = model(tmp_path / "m", modules=of_sentence_transformers("Pooling"), **said)
    assert plan_of(checked(directory, *EMBEDDING), tmp_path).layout.max_length == 128
    assert plan_of(checked(directory), tmp_path).layout.max_length == 512


@pytest.mark.parametrize("file", ["tokenizer", "added_tokens"])
def test_a_token_beyond_the_embeddings_is_told(tmp_path: Path, file: str) -> None:
    words = {"<url>": 101, "<at>": 100, "[MASK]": 4}
    content: Any = words
    if file == "tokenizer":
        content = {"added_tokens": [{"content": word, "id": number} for word, number in words.items()]}
    (note,) = notes(model(tmp_path / "m", **{file: content}))
    assert "have 100 rows, and its tokenizer knows 2 tokens beyond them, such as '<url>' (101)" in note


def test_what_sentence_transformers_would_do_otherwise_is_told_before_the_launch(tmp_path: Path) -> None:
    """As with multi-qa-mpnet-dot (products), Instructor (prompts left out) and a shortened Matryoshka."""
    directory = model(
        tmp_path / "m",
        modules=of_sentence_transformers("Pooling", "Dense"),
        config_sentence_transformers={
            "similarity_fn_name": "dot",
            "truncate_dim": 16,
            "prompts": {"query": "q: ", "passage": "p: ", "document": ""},
        },
        sentence_bert_config={"do_lower_case": True},
        **{"1_Pooling__config": {"pooling_mode": "cls", "include_prompt": False}},
    )
    told = notes(directory, *EMBEDDING, "embedding.prompts.query=q:")
    for words in (
        "trained with embedding.pooling=cls, and this run has mean", "leave out the tokens of prompts",
        "2_Dense (Dense) is left out", "by their products", "first 16 entries", "lower case",
        "other prompts than embedding.prompts has: {'query': 'q: ', 'passage': 'p: '}",
    ):  # fmt: skip
        assert sum(words in note for note in told) == 1, words
    fitting = ('embedding.prompts.query="q: "', 'embedding.prompts.document="p: "', "embedding.pooling=cls")
    assert len(notes(directory, *EMBEDDING, *fitting)) == len(told) - 2
    assert not notes(directory)


@pytest.mark.parametrize("content", [{}, ["Pooling"], [{"type": 3}], None])
def test_files_of_another_form_are_no_mistake(tmp_path: Path, content: Any) -> None:
    directory = model(tmp_path / "m", modules=content, config_sentence_transformers=content)
    assert all("is left out" in note for note in notes(directory, *EMBEDDING))
