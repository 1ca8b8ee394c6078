"""data.augment: altered copies of training examples and of nothing else, the same ones each time."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from support.recipes import recipe
from support.small_tokenizer import SmallTokenizer

from launcher import tasks
from launcher.errors import RunFailed, UserError
from launcher.reading.check import check_data
from launcher.tasks.shared.conflicts import conflicts
from launcher.tasks.shared.rows import Row
from launcher.train.augment import noise
from launcher.train.augment.copies import Augmenter
from launcher.train.augment.synonyms import WordNet, read_alike, read_synonyms
from launcher.train.dataset.prepare import Dataset, prepare
from launcher.train.tasks.embedding import layout_of
from launcher.train.tokens.cache import TokenSplit

Make = Callable[..., Dataset]
SENTENCE = "One two, three four five six seven eight nine ten."
TRAIN = "text,label\n" + "".join(f"a b c d e {number},{number % 2}\n" for number in range(40))


@pytest.fixture
def make(tmp_path: Path) -> Make:
    train = tmp_path / "train.csv"
    train.write_text(TRAIN, encoding="utf-8")

    def make(seed: int = 42, cache: str = "cache", **data: Any) -> Dataset:
        asked = recipe(seed=seed, train=str(train), **data)
        return prepare(asked, SmallTokenizer(), cache_dir=tmp_path / cache)

    return make


def texts(split: TokenSplit | None) -> list[str]:
    assert split is not None
    decode = SmallTokenizer().backend_tokenizer.decode
    return [
        decode(split.ids[a:b].tolist()) for a, b in zip(split.offsets[:-1], split.offsets[1:], strict=True)
    ]


def altered(text: str, seed: int = 0, **augment: Any) -> str:
    """The first copy of a text."""
    augmenter = Augmenter(recipe(seed=seed, augment=augment))
    ((_, row),) = augmenter([("train.csv", Row({"text": text, "label": 1}, 2))], [0], 1)
    assert (row.values["label"], row.position) == (1, 2)
    return str(row.values["text"])


# Which examples, and which not


def test_only_training_examples_get_copies(make: Make) -> None:
    plain, more = make(), make(augment={"swap": 0.5, "copies": 2})
    assert (len(more.train), len(plain.train)) == (84, 28)
    assert texts(more.train)[:28] == texts(plain.train), "the examples themselves stay, and come first"
    assert texts(more.validation) == texts(plain.validation)
    assert texts(more.test) == texts(plain.test)
    assert plain.train.labels is not None
    assert more.train.labels is not None
    assert more.train.labels.tolist() == plain.train.labels.tolist() * 3
    first, second = texts(more.train)[28:56], texts(more.train)[56:]
    assert first != second, "each copy is altered in its own way"
    for copy in (first, second):
        assert [Counter(text.split()) for text in copy] == [
            Counter(text.split()) for text in texts(plain.train)
        ]


def test_copies_depend_on_seed_row_and_copy_alone(make: Make) -> None:
    swap = {"swap": 0.5}
    first, again = (make(cache=cache, augment=swap) for cache in "ab")
    assert first.train.ids.tolist() == again.train.ids.tolist()
    fewer = make(augment=swap, limit=5)
    assert set(texts(fewer.train)) <= set(texts(first.train)), "whatever other rows there are"
    same = [("train.csv", Row({"text": SENTENCE}, 2))] * 5
    copies = Augmenter(recipe(augment=swap))(same, range(5), 1)
    assert len({row.values["text"] for _, row in copies}) == 5, (
        "equal texts of different rows are altered differently"
    )
    other = make(seed=1, validation=None, augment=swap)
    assert other.fingerprint != first.fingerprint


def test_what_alters_is_in_the_fingerprint(make: Make, tmp_path: Path) -> None:
    synonyms = tmp_path / "synonyms.txt"
    prints = set()
    for content in ("a f\n", "a g\n"):
        synonyms.write_text(content)
        prints.add(make(augment={"synonyms": 0.9, "synonym_file": str(synonyms)}).fingerprint)
    prints |= {make(augment={"swap": share}).fingerprint for share in (0.0, 0.1, 0.2)}
    assert len(prints) == 5


# What is altered


def test_swapped_words_are_the_same_words() -> None:
    changed = altered(SENTENCE, swap=0.5)
    assert changed != SENTENCE
    assert Counter(changed.replace(",", "").replace(".", "").split()) == Counter(
        SENTENCE.replace(",", "").replace(".", "").split()
    )


def test_deleted_words_leave_the_others_in_order() -> None:
    changed = altered(SENTENCE, delete=0.4)
    left = changed.replace(",", " ").replace(".", " ").split()
    assert 0 < len(left) < 10
    assert [word for word in SENTENCE.replace(",", "").replace(".", "").split() if word in left] == left
    assert altered("word", delete=1.0) == "word", "one always stays"


def test_synonyms_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "synonyms.txt"
    file.write_text("two\ttwain\nTen, decade\nAa01A01= 人 士\nAa01A02# 男人 女人\n", encoding="utf-8")
    assert read_synonyms(file)["人"] == ("士",)
    assert "男人" not in read_synonyms(file), "# marks related words, not synonyms"
    options = {"synonyms": 1.0, "synonym_file": str(file)}
    assert altered("One Two, TWO ten.", **options) == "One Twain, TWAIN decade."
    assert altered("一个人。", **options) == "一个士。"


def test_inserted_words_are_synonyms_of_words_in_the_text(tmp_path: Path) -> None:
    file = tmp_path / "synonyms.txt"
    file.write_text("two twain\n人 士\n", encoding="utf-8")
    options = {"insert": 1.0, "synonym_file": str(file)}
    assert altered("two is", **options) in ("twain two is", "two twain is", "two is twain")
    assert altered("一人", **options) in ("士一人", "一士人", "一人士")


def test_typing_errors_of_a_keyboard() -> None:
    """About one letter in ten, each next to where it was, doubled, missing or one key off."""
    text = "the quick brown fox jumps over the lazy dog " * 20
    changed = altered(text, typos=0.1)
    assert changed != text
    assert abs(len(changed) - len(text)) < 40
    assert 0.05 < sum(a != b for a, b in zip(changed.split(), text.split(), strict=True)) / 180 < 0.7
    assert altered("123, 45!", typos=1.0) == "123, 45!", "neither digits nor punctuation"
    assert set(noise.BESIDE["g"]) == set("tyfhvb")


def test_typing_errors_in_chinese(tmp_path: Path) -> None:
    file = tmp_path / "alike.txt"
    file.write_text("他她它\n在再\n", encoding="utf-8")
    assert read_alike(file)["在"] == "再"
    changed = altered("他在家", typos=1.0, alike_file=str(file))
    assert changed[0] in "她它"
    assert changed[1:] == "再家"
    without_table = {altered("甲乙丙丁", seed=seed, typos=0.5) for seed in range(20)}
    assert all(set(text) <= set("甲乙丙丁") for text in without_table)
    assert len(without_table) > 3


def test_words_of_chinese_are_characters_or_those_of_jieba() -> None:
    assert [word.text for word in noise.split("我来到北京")[0]] == list("我来到北京")
    swapped = {altered("我来到北京", seed=seed, swap=0.5, segmenter="jieba") for seed in range(5)}
    assert len(swapped) > 1
    assert all("来到" in text and "北京" in text for text in swapped)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "\u0939\u093f\u0928\u094d\u0926\u0940 \u092d\u093e\u0937\u093e",
            ["\u0939\u093f\u0928\u094d\u0926\u0940", "\u092d\u093e\u0937\u093e"],
        ),
        (
            "\u0645\u064f\u062d\u064e\u0645\u0651\u062f \u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
            [
                "\u0645\u064f\u062d\u064e\u0645\u0651\u062f",
                "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
            ],
        ),
        ("cafe\u0301 noir", ["cafe\u0301", "noir"]),
        ("\u304b\u3099\u8449\U000e0100", ["\u304b\u3099", "\u8449\U000e0100"]),
        (
            "\U0001f468\u200d\U0001f469\u200d\U0001f467 \u2764\ufe0f",
            ["\U0001f468\u200d\U0001f469\u200d\U0001f467", "\u2764\ufe0f"],
        ),
        (
            "ok\U0001f44d\U0001f3fd\U0001f1e9\U0001f1ea\U0001f1eb\U0001f1f7",
            ["ok", "\U0001f44d\U0001f3fd", "\U0001f1e9\U0001f1ea", "\U0001f1eb\U0001f1f7"],
        ),
    ],
    ids=["Hindi", "vowels and joiners of Arabic letters", "accents", "Japanese", "families", "flags"],
)
def test_marks_belong_to_their_letters_and_pictures_are_whole(text: str, words: list[str]) -> None:
    found, rest = noise.split(text)
    assert [word.text for word in found] == words
    assert noise.join(found, rest) == text


def test_a_synonym_keeps_its_own_capitals(tmp_path: Path) -> None:
    file = tmp_path / "synonyms.txt"
    file.write_text("phone iPhone\nagency NASA\n", encoding="utf-8")
    options = {"synonyms": 1.0, "synonym_file": str(file)}
    assert altered("Phone, Agency, phone", **options) == "iPhone, NASA, iPhone"


@pytest.mark.parametrize("text", [" a  b\n", "It's 3.5 well-known!", "混 mixed 文本。 ", "", "...", "_x_"])
def test_cutting_into_words_loses_nothing(text: str) -> None:
    words, rest = noise.split(text)
    assert noise.join(words, rest) == text
    assert noise.join(noise.swap(noise.delete(words, 0, Random(0)), 0, Random(0)), rest) == text


# By task


def test_tagged_words_stay_as_many() -> None:
    augmenter = Augmenter(recipe("token-classification", augment={"typos": 0.5}))
    row = Row({"text": ["Peter", "Blackburn", "a"], "label": ["B-PER", "I-PER", "O"]}, 1)
    ((_, changed),) = augmenter([("train.conll", row)], [0], 1)
    assert changed.values["text"] != row.values["text"]
    assert len(changed.values["text"]) == 3  # type: ignore[arg-type]
    assert all(changed.values["text"])  # type: ignore[arg-type]
    assert changed.values["label"] == row.values["label"]


def test_an_empty_word_stays_empty(tmp_path: Path) -> None:
    synonyms = tmp_path / "synonyms.txt"
    synonyms.write_text("big large\n")
    augment = {"synonyms": 1.0, "typos": 0.5, "synonym_file": str(synonyms)}
    row = Row({"text": ["big", "", "BIG"], "label": ["O", "O", "O"]}, 1)
    ((_, changed),) = Augmenter(recipe("token-classification", augment=augment))([("t.jsonl", row)], [0], 1)
    words = changed.values["text"]
    assert [bool(word) for word in words] == [True, False, True]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("task", "data", "columns"),
    [
        ("classification", {"text": ("a", "b")}, ("a", "b")),
        ("question-answering", {"text": ("question", "context")}, ("question",)),
        ("ranking", {"text": ("query", "document")}, ("document",)),
        ("multiple-choice", {"text": "question", "choices": ("a", "b")}, ("question",)),
        ("embedding", {"text": ("query", "document")}, ("document",)),
    ],
)
def test_what_labels_speak_of_stays(task: str, data: dict[str, Any], columns: tuple[str, ...]) -> None:
    assert tasks.of(recipe(task, **data)).altered_columns == columns


def test_a_pair_and_its_copy_are_no_negatives_of_each_other(tmp_path: Path) -> None:
    train = tmp_path / "pairs.csv"
    train.write_text("text,other\n" + "".join(f"a {n},b c d e {n}\n" for n in range(3)), encoding="utf-8")
    asked = recipe(
        "embedding",
        train=str(train),
        validation=str(train),
        text=("text", "other"),
        augment={"swap": 0.9, "copies": 1},
    )
    split = prepare(asked, SmallTokenizer(), cache_dir=tmp_path / "cache").train
    rows, documents = layout_of(split, np.arange(len(split))).false_negatives()
    assert sorted(zip(rows, documents, strict=True)) == [(0, 3), (1, 4), (2, 5), (3, 0), (4, 1), (5, 2)]
    assert len({split.ids[a:b].tobytes() for a, b in pairwise(split.offsets)}) > 6, "the copies are altered"


@pytest.mark.parametrize(
    ("task", "augment", "message"),
    [
        ("classification", {"synonyms": 0.1}, "needs to know synonyms"),
        ("classification", {"insert": 0.1}, "needs to know synonyms"),
        ("classification", {"wordnet": True}, "nothing uses its synonyms"),
        ("classification", {"alike_file": "alike.txt"}, "is used by typos alone"),
        ("token-classification", {"swap": 0.1}, "would tear words from their tags"),
    ],
)
def test_keys_that_contradict_each_other(task: str, augment: dict[str, Any], message: str) -> None:
    asked = recipe(task, train="train.csv", augment=augment)
    (found,) = [conflict for conflict in conflicts(asked) if conflict.fields[0].startswith("data.")]
    assert message in found.message


def test_files_and_models_that_are_missing_are_named_before_a_launch(tmp_path: Path) -> None:
    train = tmp_path / "train.csv"
    train.write_text(TRAIN)
    augment = {"synonyms": 0.1, "synonym_file": "nowhere.txt", "back_translation": ("there", str(tmp_path))}
    with pytest.raises(UserError) as caught:
        check_data(recipe(train=str(train), augment=augment))
    found = [str(problem) for problem in caught.value.problems]
    assert [text.split(": ")[1].split("=")[0] for text in found] == [
        "data.augment.synonym_file",
        "data.augment.back_translation",
        "data.augment.back_translation",
    ]


# WordNet and back-translation


def test_wordnet_that_is_missing_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nltk.corpus", None)
    with pytest.raises(RunFailed, match=r"nltk is not installed\n.*launch-encoders\[wordnet\]"):
        WordNet()


class Sense(list[str]):
    """A synset of nltk: as much of it as is used."""

    def lemma_names(self) -> list[str]:
        return self


def test_synonyms_of_wordnet_are_those_of_all_senses_in_one_word(monkeypatch: pytest.MonkeyPatch) -> None:
    senses = {"cat": [Sense(["cat", "true_cat"]), Sense(["cat", "guy", "hombre"]), Sense(["guy"])]}
    reader = SimpleNamespace(ensure_loaded=lambda: None, synsets=lambda word: senses.get(word, []))
    monkeypatch.setitem(sys.modules, "nltk.corpus", SimpleNamespace(wordnet=reader))
    wordnet = WordNet()
    assert wordnet("Cat") == ("guy", "hombre")
    assert wordnet("dog") == ()
    assert altered("A cat.", synonyms=1.0, wordnet=True) in ("A guy.", "A hombre.")


@pytest.fixture(scope="session")
def marian(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Two tiny Marian models with random weights."""
    return tuple(
        str(make_marian(tmp_path_factory.mktemp(name), seed)) for seed, name in enumerate(("en-de", "de-en"))
    )  # type: ignore[return-value]


def make_marian(directory: Path, seed: int) -> Path:
    import json

    import sentencepiece
    import torch
    from transformers import MarianConfig, MarianMTModel

    corpus = directory / "corpus.txt"
    corpus.write_text("the cat sat on the mat\na dog ran over the hill\n" * 20)
    sentencepiece.SentencePieceTrainer.train(
        input=str(corpus),
        model_prefix=str(directory / "source"),
        vocab_size=40,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    (directory / "source.model").rename(directory / "source.spm")
    (directory / "target.spm").write_bytes((directory / "source.spm").read_bytes())
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(directory / "source.spm"))
    names = ["</s>", "<unk>", *(pieces.id_to_piece(i) for i in range(3, pieces.vocab_size())), "<pad>"]
    (directory / "vocab.json").write_text(json.dumps({name: i for i, name in enumerate(names)}))
    torch.manual_seed(seed)
    pad = len(names) - 1
    config = MarianConfig(
        vocab_size=len(names), d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32, max_position_embeddings=64,
        pad_token_id=pad, decoder_start_token_id=pad, eos_token_id=0, forced_eos_token_id=0, init_std=1.0,
    )  # fmt: skip
    model = MarianMTModel(config)
    model.generation_config.max_length = 12
    model.save_pretrained(directory)
    return directory


@pytest.mark.long
def test_back_translation_says_it_in_other_words(marian: tuple[str, str]) -> None:
    augmenter = Augmenter(recipe(augment={"back_translation": marian, "copies": 2}))
    rows = [("t", Row({"text": text}, 1)) for text in ("the cat sat", "a dog ran", "")]
    copies = [[row.values["text"] for _, row in augmenter(rows, [0, 1, 2], copy)] for copy in (1, 2)]
    assert copies[0] == [row.values["text"] for _, row in augmenter(rows, [0, 1, 2], 1)], "nothing is drawn"
    assert copies[0] != copies[1], "the second copy is the second best"
    assert all(isinstance(text, str) for text in copies[0])
    assert copies[0][0] != "the cat sat"
    assert copies[0][2] == ""


def test_a_directory_that_is_no_translator_is_named(tmp_path: Path) -> None:
    augmenter = Augmenter(recipe(augment={"back_translation": (str(tmp_path), str(tmp_path))}))
    with pytest.raises(RunFailed, match="is no Marian model"):
        augmenter([("t", Row({"text": "a"}, 1))], [0], 1)
