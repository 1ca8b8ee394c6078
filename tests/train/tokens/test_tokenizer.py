"""Tokenizers are loaded without a network where they can be, and trained to the same ids everywhere."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from transformers import AutoConfig, AutoTokenizer

from launcher import families
from launcher.errors import RunFailed
from launcher.recipe.model import Scratch
from launcher.train.tokens.tokenizer import load_tokenizer, position_limit, train_tokenizer

SENTENCES = [f"The {animal} {verb} the {other}." for animal in ("cat", "dog", "ox") for verb in ("sees", "hears")
             for other in ("hen", "owl", "Ämsel", "鸟")] * 5  # fmt: skip


@pytest.mark.parametrize("family", families.FAMILIES)
def test_a_trained_tokenizer_is_a_plain_hugging_face_one(family: str, tmp_path: Path) -> None:
    tokenizer = train_tokenizer(SENTENCES, Scratch(family=family, vocab=128))  # type: ignore[arg-type]
    assert len(tokenizer) <= 128
    tokenizer.save_pretrained(tmp_path)
    AutoConfig.for_model(family).save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    pair = loaded("The cat", "an owl")
    assert dict(pair) == dict(tokenizer("The cat", "an owl"))
    assert ("token_type_ids" in pair) == families.find(family).special_tokens.token_types
    assert loaded.convert_ids_to_tokens(loaded("The CAT").input_ids)[1:-1] == ["the", "cat"]
    assert loaded.decode(loaded("ämsel 鸟").input_ids, skip_special_tokens=True) == "amsel 鸟"
    assert loaded.model_max_length == 512


def test_roberta_pads_with_1_as_its_positions_expect() -> None:
    tokenizer = train_tokenizer(SENTENCES, Scratch(family="roberta", vocab=128))
    ids = {name: tokenizer.convert_tokens_to_ids(name) for name in ("<s>", "<pad>", "</s>", "<unk>")}
    assert ids == {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3}
    tokens = tokenizer.convert_ids_to_tokens(tokenizer("the cat", "the dog").input_ids)
    assert tokens == ["<s>", "the", "cat", "</s>", "</s>", "the", "dog", "</s>"]


def test_case_is_kept_where_asked() -> None:
    tokenizer = train_tokenizer(SENTENCES, Scratch(lowercase=False, vocab=128))
    assert tokenizer.tokenize("The the") == ["The", "the"]


TRAIN = """
import sys, hashlib
from launcher.recipe.model import Scratch
from launcher.train.tokens.tokenizer import train_tokenizer
texts = [" ".join(chr(97 + (i * j) % 26) + chr(0x4e00 + (i * i + j) % 900) * (j % 3) for j in range(9)) for i in range(300)]
tokenizer = train_tokenizer(texts, Scratch(vocab=512))
print(hashlib.sha256(tokenizer.backend_tokenizer.to_str().encode()).hexdigest())
"""


@pytest.mark.long
def test_every_process_trains_the_same_ids() -> None:
    found = {
        subprocess.run([sys.executable, "-c", TRAIN], capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    }
    assert len(found) == 1


def test_a_directory_without_a_vocabulary_is_refused(tmp_path: Path) -> None:
    AutoConfig.for_model("bert").save_pretrained(tmp_path)
    with pytest.raises(RunFailed, match="its vocabulary is missing") as caught:
        load_tokenizer(str(tmp_path), None)
    assert caught.value.error_class == "model"
    assert "tokenizer.json" in str(caught.value.remedy)


@pytest.mark.parametrize("content", [None, "{"])
def test_an_empty_or_broken_directory_is_refused(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        AutoConfig.for_model("bert").save_pretrained(tmp_path)
        (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(RunFailed, match="can't be loaded"):
        load_tokenizer(str(tmp_path), None)


def test_a_hub_model_that_was_not_downloaded_points_to_prefetch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "huggingface_hub.constants.HF_HUB_OFFLINE", True
    )  # the variable is read at import alone
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(RunFailed) as failed:
        load_tokenizer("someone/nothing", None)
    assert "unset HF_HUB_OFFLINE" in str(failed.value.remedy)
    assert "launch prefetch on a machine with a network" in str(failed.value.remedy)


def test_a_pretrained_tokenizer(minilm: Path) -> None:
    tokenizer = load_tokenizer(str(minilm), None)
    assert tokenizer("hello world").input_ids[:3] == [101, 7592, 2088]


@pytest.mark.parametrize(
    ("family", "positions", "limit"),
    [("bert", 512, 512), ("roberta", 514, 512), ("modernbert", 8192, 8192), ("xlm-roberta", 514, 512)],
)
def test_longest_sequence_of_a_model(family: str, positions: int, limit: int) -> None:
    config = AutoConfig.for_model(family, max_position_embeddings=positions)
    assert position_limit(config) == limit
