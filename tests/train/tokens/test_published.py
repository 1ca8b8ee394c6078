"""Tokenizers as people have put them on the hub: what their files say counts, not the defaults of a class."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sentencepiece import SentencePieceProcessor, SentencePieceTrainer
from support.training import recipe
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import AutoConfig, AutoTokenizer, BertTokenizer

from launcher.errors import RunFailed
from launcher.train.inputs import check_vocabulary
from launcher.train.tokens.encoder import Encoder
from launcher.train.tokens.tokenizer import load_tokenizer

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
LOWER = [*SPECIAL, "good", "day", "cafe", *"abcdefghijklmnopqrstuvwxyz"]
CASED = [*LOWER, "Good", "Day", "Café"]


def repository(
    directory: Path, vocabulary: list[str], said: dict[str, Any] | None = None, **config: Any
) -> Path:
    """Files as the oldest models have them: vocab.txt and config.json, and tokenizer_config.json where it says something."""
    directory.mkdir()
    kind = config.pop("model_type", "bert")
    AutoConfig.for_model(kind, vocab_size=len(vocabulary), **config).save_pretrained(directory)
    (directory / "vocab.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
    if said is not None:
        (directory / "tokenizer_config.json").write_text(json.dumps(said), encoding="utf-8")
    return directory


def with_json(directory: Path, **changes: Any) -> Path:
    """The same with a tokenizer.json instead of vocab.txt; `changes` are entries of its normalizer, or of itself."""
    description = json.loads(BertTokenizer(str(directory / "vocab.txt")).backend_tokenizer.to_str())
    for name, value in changes.items():
        (description if name in description else description["normalizer"])[name] = value
    (directory / "tokenizer.json").write_text(json.dumps(description), encoding="utf-8")
    (directory / "vocab.txt").unlink()
    return directory


def told(directory: Path) -> str:
    """The one line about what transformers would have read otherwise, without its beginning; "" where there is none."""
    lines: list[str] = []
    load_tokenizer(str(directory), None, lines.append)
    assert len(lines) <= 1
    return lines[0].rpartition(": ")[2] if lines else ""


def tokens(directory: Path, text: str = "Good Café") -> list[str]:
    return list(load_tokenizer(str(directory), None).backend_tokenizer.encode(text).tokens[1:-1])


def test_a_cased_vocabulary_is_read_with_its_case(tmp_path: Path) -> None:
    assert tokens(repository(tmp_path / "cased", CASED)) == ["Good", "Café"]
    assert tokens(repository(tmp_path / "uncased", LOWER)) == ["good", "cafe"]
    assert tokens(repository(tmp_path / "said", CASED, {"do_lower_case": True})) == ["good", "cafe"]
    assert told(tmp_path / "cased") == "do_lower_case=false"
    assert told(tmp_path / "uncased") == told(tmp_path / "said") == ""


@pytest.mark.parametrize("kind", [{}, {"tokenizer_class": "BertTokenizerFast"}])
def test_what_tokenizer_json_says_counts_where_nothing_else_does(
    tmp_path: Path, kind: dict[str, str]
) -> None:
    cased = with_json(repository(tmp_path / "cased", CASED, kind), lowercase=False)
    assert tokens(cased) == ["Good", "Café"]
    accents = with_json(repository(tmp_path / "accents", [*LOWER, "café"], kind), strip_accents=False)
    assert tokens(accents) == ["good", "café"]
    assert [told(cased), told(accents)] == ["do_lower_case=false", "strip_accents=false"]
    said = repository(tmp_path / "said", CASED, kind | {"do_lower_case": True})
    assert tokens(with_json(said, lowercase=False)) == ["good", "cafe"]
    load_tokenizer(str(cased), None).save_pretrained(tmp_path / "saved")
    (tmp_path / "saved" / "config.json").write_bytes((cased / "config.json").read_bytes())
    assert BertTokenizer.from_pretrained(tmp_path / "saved").tokenize("Good Café") == ["Good", "Café"]


@pytest.mark.parametrize("kind", ["BertTokenizer", "XLMRobertaTokenizer", "PreTrainedTokenizerFast"])
def test_a_tokenizer_json_of_another_kind_than_its_class_is_taken_as_it_is(tmp_path: Path, kind: str) -> None:
    pieces = [(word, 0.0) for word in ("<s>", "<pad>", "</s>", "<unk>", "▁")] + [
        ("▁good", -1.0),
        ("▁day", -1.0),
    ]
    backend = Tokenizer(models.Unigram(pieces, unk_id=3))
    backend.normalizer, backend.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.Metaspace()
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    names = {"cls_token": "<s>", "sep_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    directory = repository(tmp_path / "m", LOWER, {"tokenizer_class": kind, "do_lower_case": True, **names})
    (directory / "vocab.txt").unlink()
    backend.save(str(directory / "tokenizer.json"))
    assert tokens(directory, "GOOD day") == ["▁good", "▁day"]
    assert told(directory).startswith("words as tokenizer.json cuts them") == (
        kind != "PreTrainedTokenizerFast"
    )
    tokenizer = load_tokenizer(str(directory), None)
    assert (tokenizer.pad_token_id, tokenizer.cls_token_id, tokenizer.sep_token_id) == (1, 0, 2)


def test_the_characters_of_a_sentencepiece_model_are_its_own(tmp_path: Path) -> None:
    """DeBERTa-v3 comes as spm.model alone, whose table of characters transformers leaves out."""
    directory = repository(tmp_path / "m", LOWER, {"do_lower_case": False}, model_type="deberta-v2")
    (directory / "vocab.txt").unlink()
    written = BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter(["a fine day...", "ABC and so on..."] * 20),
        model_writer=written, vocab_size=60, hard_vocab_limit=False, minloglevel=3,
        pad_id=0, bos_id=1, eos_id=2, unk_id=3, pad_piece="[PAD]", bos_piece="[CLS]", eos_piece="[SEP]", unk_piece="[UNK]",
    )  # fmt: skip
    (directory / "spm.model").write_bytes(written.getvalue())
    wide = "a \ufb01ne day\u2026 \uff21\uff22\uff23  and"
    expected = SentencePieceProcessor(model_proto=written.getvalue()).encode(wide, out_type=str)
    assert tokens(directory, wide) == expected
    tokenizer = load_tokenizer(str(directory), None)
    assert (tokenizer.pad_token_id, tokenizer.cls_token_id, tokenizer.sep_token_id) == (0, 1, 2)
    assert tokenizer("a day", "a").input_ids == tokenizer("a day").input_ids + tokenizer("a").input_ids[1:]
    # What a run saves is read by anyone as it was trained.
    tokenizer.save_pretrained(tmp_path / "saved")
    (tmp_path / "saved" / "config.json").write_bytes((directory / "config.json").read_bytes())
    plain = AutoTokenizer.from_pretrained(tmp_path / "saved")
    assert plain(wide, "a").input_ids == tokenizer(wide, "a").input_ids
    assert plain.mask_token_id == tokenizer.mask_token_id
    assert told(directory) == "characters by the table of its sentencepiece model"
    assert told(tmp_path / "saved") == ""


def test_cutting_and_padding_baked_into_tokenizer_json_are_not_ours(tmp_path: Path) -> None:
    """As in the files of sentence-transformers, which cut at 128."""
    cut = {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0}
    fill = {"strategy": {"Fixed": 4}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0}
    fill |= {"pad_type_id": 0, "pad_token": "[PAD]"}
    directory = with_json(repository(tmp_path / "m", LOWER, {}), truncation=cut, padding=fill)
    wanted = recipe(tmp_path, model={"init": "pretrained", "name": str(directory)})
    encoder = Encoder.of(wanted, load_tokenizer(str(directory), None), 64)
    assert encoder.encode(["good day good day good day", "day"]).lengths.tolist() == [8, 3]


def test_a_pair_has_two_token_types_where_the_model_has_them(tmp_path: Path) -> None:
    generic = {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "[UNK]"}
    two = with_json(repository(tmp_path / "two", LOWER, generic))
    assert load_tokenizer(str(two), None)("good", "day").token_type_ids == [0, 0, 0, 1, 1]
    assert told(two) == "with token types"
    # Such as klue/roberta-base: a RoBERTa, of one type, with a tokenizer of BERT's class.
    kind = {"tokenizer_class": "BertTokenizer"}
    one = repository(tmp_path / "one", LOWER, kind, model_type="roberta", type_vocab_size=1)
    assert "token_type_ids" not in load_tokenizer(str(one), None)("good", "day")
    assert told(one) == "without token types"
    load_tokenizer(str(one), None).save_pretrained(tmp_path / "one")
    assert "token_type_ids" not in load_tokenizer(str(tmp_path / "one"), None).model_input_names


def test_an_old_config_without_a_family_has_its_tokenizer(tmp_path: Path) -> None:
    directory = repository(tmp_path / "scibert", LOWER)
    config = json.loads((directory / "config.json").read_bytes())
    del config["model_type"]
    (directory / "config.json").write_text(json.dumps(config))
    assert tokens(directory) == ["good", "cafe"]


def test_a_token_without_a_row_in_the_embeddings_is_named(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(str(repository(tmp_path / "m", LOWER)), None)
    tokenizer.add_tokens(["<url>"])

    known, unknown = np.array([6], np.int32), np.array([6, len(LOWER)], np.int32)
    check_vocabulary(known, tokenizer, len(LOWER))
    with pytest.raises(RunFailed, match=f"knows '<url>', token {len(LOWER)}, and .* have {len(LOWER)} rows"):
        check_vocabulary(unknown, tokenizer, len(LOWER))
