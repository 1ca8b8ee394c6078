"""Data become tokens once: exactly the rows, labels and splits that were asked for, in a cache that can't be half there."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.recipes import recipe
from support.small_tokenizer import SmallTokenizer

from launcher.errors import RunFailed, RunStopped
from launcher.reading.files import split_sizes
from launcher.recipe.recipe import Recipe
from launcher.tasks.shared.rows import Row
from launcher.train.dataset import prepare as prepare_module
from launcher.train.dataset.prepare import (
    BATCH,
    Dataset,
    default_cache_dir,
    encode_texts,
    prepare,
    training_texts,
)
from launcher.train.reading.splits import cut
from launcher.train.tokens.cache import TokenSplit

Write = Callable[[str, str], str]


@pytest.fixture
def tokenizer() -> SmallTokenizer:
    return SmallTokenizer()


def rows(count: int, classes: int = 2) -> str:
    return "text,label\n" + "".join(f"text {number},{number % classes}\n" for number in range(count))


def texts(split: TokenSplit, tokenizer: SmallTokenizer) -> list[str]:
    ranges = zip(split.offsets[:-1], split.offsets[1:], strict=True)
    return [tokenizer.backend_tokenizer.decode(split.ids[start:end].tolist()) for start, end in ranges]


@pytest.fixture
def make(tmp_path: Path, tokenizer: SmallTokenizer) -> Callable[..., Dataset]:
    def make(asked: Recipe, **options: Any) -> Dataset:
        return prepare(asked, tokenizer, cache_dir=tmp_path / "cache", **options)

    return make


def failure(make: Callable[..., Dataset], asked: Recipe) -> str:
    with pytest.raises(RunFailed) as caught:
        make(asked)
    assert caught.value.error_class == "data"
    return str(caught.value)


# Tokens


def test_tokens_of_each_example(
    write: Write, make: Callable[..., Dataset], tokenizer: SmallTokenizer
) -> None:
    train = write("train.csv", "text,label\nb a,no\na,yes\n,no\n")
    data = make(recipe(train=train, validation=write("validation.csv", "text,label\nc,no\n,yes\nd,no\n")))
    assert texts(data.train, tokenizer) == ["b a", "a", ""]
    assert data.train.lengths.tolist() == [4, 3, 2]
    assert (data.train.ids.dtype, data.train.offsets.dtype, data.train.lengths.dtype) == ("i4", "i8", "i4")
    assert data.train.ids[:4].tolist() == tokenizer.backend_tokenizer.encode("b a").ids
    assert data.train.type_ids is None
    assert len(data.train) == 3
    assert data.notes == tuple(f"{split}: 1 of 3 examples have no text" for split in ("train", "validation"))


def test_altered_copies_count_among_the_examples_without_text(
    write: Write, make: Callable[..., Dataset]
) -> None:
    train = write("train.csv", "text,label\n,no\n,yes\na b,no\n")
    validation = write("validation.csv", "text,label\nc,no\na,yes\n")
    data = make(recipe(train=train, validation=validation, augment={"swap": 0.5, "copies": 2}))
    assert "train: 6 of 9 examples have no text" in data.notes


def test_pairs_have_token_types(write: Write, make: Callable[..., Dataset]) -> None:
    train = write("train.csv", "text,other,label\na b,c,1\na,,0\n")
    data = make(recipe(train=train, validation=train, text=("text", "other")))
    assert data.train.type_ids is not None
    assert data.train.type_ids.tolist() == [0, 0, 0, 0, 1, 1, 0, 0, 0, 1]
    assert data.train.type_ids.dtype == "u1"


def test_long_texts_are_cut_and_counted(write: Write, make: Callable[..., Dataset]) -> None:
    train = write("train.csv", "text,label\na b c d e,1\na b c,0\na b,0\n")
    data = make(recipe(train=train, validation=train, max_length=5))
    assert data.train.lengths.tolist() == [5, 5, 4]
    assert data.truncated == {"train": 1, "validation": 1}
    assert data.notes[-2:] == tuple(
        f"{split}: 1 text is cut, since a sequence holds 5 tokens (data.max_length)"
        for split in ("train", "validation")
    )


def test_the_longest_length_is_the_models_limit_or_512(write: Write, make: Callable[..., Dataset]) -> None:
    train = write("train.csv", "text,label\n" + "a " * 600 + ",1\na,0\n")
    assert make(recipe(train=train, validation=train)).train.lengths[0] == 512
    assert make(recipe(train=train, validation=train), position_limit=100).train.lengths[0] == 100
    with pytest.raises(RunFailed, match=r"data.max_length=200 is longer.*\n.*data.max_length=100 or less"):
        make(recipe(train=train, validation=train, max_length=200), position_limit=100)
    assert "leaves no room" in failure(make, recipe(train=train, validation=train, max_length=2))


def test_padding_and_truncation_in_the_tokenizers_own_file_do_not_matter(
    write: Write, make: Callable[..., Dataset], tokenizer: SmallTokenizer
) -> None:
    train = write("train.csv", rows(10))
    plain = make(recipe(train=train, validation=train))
    tokenizer.backend_tokenizer.enable_padding(length=64)
    tokenizer.backend_tokenizer.enable_truncation(3)
    assert make(recipe(train=train, validation=train)).fingerprint == plain.fingerprint


def test_texts_for_a_tokenizer_are_those_of_the_training_data(write: Write) -> None:
    train = write(
        "train.jsonl", '{"text": "a", "other": null, "label": 1}\n{"text": 5, "other": "c", "label": 0}\n'
    )
    assert list(training_texts(recipe(train=train, text=("text", "other")))) == ["a", "", "5", "c"]


def test_rows_without_labels_are_encoded_for_prediction(tokenizer: SmallTokenizer) -> None:
    held = [Row({"text": "a b", "label": "x"}, 1), Row({"text": None}, 2)]
    split = encode_texts(tokenizer, held, recipe())
    assert split.labels is None
    assert texts(split, tokenizer) == ["a b", ""]
    labelled = encode_texts(tokenizer, held[:1], recipe(), label_names=("w", "x"))
    assert labelled.labels is not None
    assert labelled.labels.tolist() == [1]
    assert len(encode_texts(tokenizer, [], recipe())) == 0


def test_whoever_waits_for_many_rows_hears_how_many_are_tokenised(tokenizer: SmallTokenizer) -> None:
    told: list[tuple[int, int]] = []
    rows = [Row({"text": "a film", "label": "w"}, number) for number in range(2 * BATCH + 5)]
    encode_texts(tokenizer, rows, recipe(), progress=lambda done, total: told.append((done, total)))
    assert told == [(done, len(rows)) for done in (BATCH, 2 * BATCH, len(rows))]


def test_of_long_texts_fewer_are_tokenised_at_once(
    tokenizer: SmallTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a tokenizer makes of 2,048 long documents would take gigabytes; the tokens are the same."""
    told: list[tuple[int, int]] = []
    rows = [Row({"text": "a film " * (1 + number)}, number) for number in range(5)]
    together = encode_texts(tokenizer, rows, recipe())
    monkeypatch.setattr(prepare_module, "BATCH_CHARACTERS", 40)
    found = encode_texts(tokenizer, rows, recipe(), progress=lambda done, total: told.append((done, total)))
    assert told == [(3, 5), (5, 5)]
    assert (found.ids == together.ids).all()
    assert (found.offsets == together.offsets).all()


# Labels


def test_classes_are_sorted_by_name_or_number(write: Write, make: Callable[..., Dataset]) -> None:
    words = write("words.csv", "text,label\na,b\na,c\na,a\n")
    data = make(recipe(train=words, validation=words))
    assert (data.label_names, data.train.labels.tolist()) == (("a", "b", "c"), [1, 2, 0])  # type: ignore[union-attr]
    numbers = write("numbers.jsonl", "".join(f'{{"text": "a", "label": {n}}}\n' for n in (10, 2, 1)))
    data = make(recipe(train=numbers, validation=numbers))
    assert (data.label_names, data.train.labels.tolist()) == (("1", "2", "10"), [2, 1, 0])  # type: ignore[union-attr]
    assert data.train.labels.dtype == "i8"  # type: ignore[union-attr]


def test_scores(write: Write, make: Callable[..., Dataset]) -> None:
    train = write("train.csv", "text,label\na,1.5\nb,-2\n")
    data = make(recipe("regression", train=train, validation=train))
    assert data.label_names == ()
    assert data.train.labels is not None
    assert (data.train.labels.dtype, data.train.labels.tolist()) == ("f4", [1.5, -2.0])


@pytest.mark.parametrize(
    ("name", "content", "label", "names"),
    [
        ("a.csv", "text,label\na,x|y\nb,\nc,z\n", "label", ("x", "y", "z")),
        ("a.jsonl", '{"text":"a","label":["y","x"]}\n{"text":"b","label":[]}\n{"text":"c","label":["z"]}\n', "label",
         ("x", "y", "z")),
        ("b.csv", "text,q,p,r\na,1,1,0\nb,0,0,0\nc,0,0,1\n", ("q", "p", "r"), ("q", "p", "r")),
    ],
)  # fmt: skip
def test_several_labels(
    write: Write, make: Callable[..., Dataset], name: str, content: str, label: Any, names: tuple[str, ...]
) -> None:
    train = write(name, content)
    data = make(recipe("multilabel", train=train, validation=train, label=label))
    assert data.label_names == names
    assert data.train.labels is not None
    assert data.train.labels.tolist() == [[1, 1, 0], [0, 0, 0], [0, 0, 1]]


@pytest.mark.parametrize(
    ("task", "train", "validation", "message"),
    [
        ("classification", "a,x\nb,y\n", "c,x\nd,z\n", "v.csv:3: label 'z' is not in the training data"),
        ("multilabel", "a,x|y\nb,y\n", "c,x|z\n", "v.csv:2: label 'z' is not in the training data"),
        ("classification", "a,x\nb,\nc,y\n", "c,x\n", "train.csv:3: label: the label is empty"),
        ("classification", "a,x\nb,x\n", "c,x\n", "every training example has the label 'x'"),
        ("regression", "a,2.5\nb,2.50\n", "c,2\n", "every row has the label 2.5: there is nothing to learn"),
        ("multilabel", "a,x|y\nb,x|y\n", "c,x\n", "every row has the label ['x', 'y']: there is nothing"),
        ("classification", "a,x\nb,y\n", "c,\n", "no row of"),
        ("regression", "a,1\nb,high\n", "c,2\n", "train.csv:3: label: 'high' is not a finite number"),
        ("regression", "a,1\nb,2,3\n", "c,2\n", "train.csv:3: 3 fields, but 2 columns"),
    ],
)
def test_labels_that_do_not_fit(
    write: Write, make: Callable[..., Dataset], task: str, train: str, validation: str, message: str
) -> None:
    files = [
        write(name, "text,label\n" + body) for name, body in (("train.csv", train), ("v.csv", validation))
    ]
    assert message in failure(make, recipe(task, train=files[0], validation=files[1]))


def test_columns_and_files_are_checked_on_the_node_as_well(
    write: Write, make: Callable[..., Dataset]
) -> None:
    train = write("train.csv", rows(10))
    assert "no such column" in failure(make, recipe(train=train, text="sentence"))
    assert "no such file" in failure(make, recipe(train=train + ".csv"))


# Splits


def test_a_file_is_cut_in_proportion_to_its_classes(write: Write, make: Callable[..., Dataset]) -> None:
    data = make(recipe(train=write("train.csv", rows(200, classes=4)), split=(0.7, 0.2, 0.1)))
    splits = [data.train, data.validation, data.test]
    counts = [
        np.bincount(split.labels).tolist()
        for split in splits
        if split is not None and split.labels is not None
    ]
    assert counts == [[35] * 4, [10] * 4, [5] * 4]
    seen = [split.ids[split.offsets[:-1] + 2].tolist() for split in splits if split is not None]
    assert len(set().union(*seen)) == 200


def test_the_seed_decides_the_cut_and_only_the_cut(write: Write, make: Callable[..., Dataset]) -> None:
    train = write("train.csv", rows(50))
    first, again, other = (make(recipe(train=train, seed=seed)) for seed in (1, 1, 2))
    assert first.fingerprint == again.fingerprint != other.fingerprint
    assert first.train.ids.tolist() != other.train.ids.tolist()
    whole = [make(recipe(train=train, validation=train, seed=seed)).fingerprint for seed in (1, 2)]
    assert whole[0] == whole[1]


def test_the_cut_of_a_seed_is_the_same_for_ever() -> None:
    train, validation, test = cut(12, (0.5, 0.25, 0.25), seed=42)
    assert train.tolist() == [1, 2, 3, 4, 5, 10]
    assert validation.tolist() == [6, 7, 9]
    assert test.tolist() == [0, 8, 11]


@given(
    st.lists(st.integers(0, 4), min_size=1, max_size=80),
    st.tuples(st.floats(0, 0.9), st.floats(0, 0.9), st.floats(0, 0.9)).filter(lambda parts: sum(parts) <= 1),
    st.integers(0, 2**32 - 1),
)
def test_cuts_are_disjoint_and_of_the_size_announced(
    classes: list[int], fractions: tuple[float, float, float], seed: int
) -> None:
    for strata in (None, np.array(classes)):
        parts = cut(len(classes), fractions, seed, strata)
        assert tuple(map(len, parts)) == split_sizes(len(classes), fractions)
        together = np.concatenate(parts)
        assert len(np.unique(together)) == len(together)
        assert all(np.all(np.diff(part) > 0) for part in parts)


def test_a_rare_class_stays_in_training() -> None:
    strata = np.array([0] * 50 + [1])
    for seed in range(20):
        assert 50 in cut(51, (0.5, 0.5, 0.0), seed, strata)[0]


def test_limit_draws_training_examples(write: Write, make: Callable[..., Dataset]) -> None:
    train = write("train.csv", rows(100))
    data = make(recipe(train=train, limit=10))
    assert [len(split or ()) for split in (data.train, data.validation, data.test)] == [10, 15, 15]
    assert make(recipe(train=train, limit=10, seed=1)).train.ids.tolist() != data.train.ids.tolist()
    assert len(make(recipe(train=train, limit=1000)).train) == 70


def test_a_cut_that_leaves_nothing_is_refused(write: Write, make: Callable[..., Dataset]) -> None:
    assert "leaves no example for validation" in failure(
        make, recipe(train=write("a.csv", rows(4)), split=(0.9, 0.1))
    )


# The cache


def test_a_later_run_finds_the_cache(write: Write, make: Callable[..., Dataset]) -> None:
    asked = recipe(train=write("train.csv", rows(5000)), limit=3000)
    calls: list[tuple[int, int]] = []
    first = make(asked, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(2048, 4500), (3000, 4500), (3750, 4500), (4500, 4500)]
    second = make(asked, progress=lambda *_: pytest.fail("tokenised again"))
    assert first.fingerprint == second.fingerprint
    assert np.array_equal(first.train.ids, second.train.ids)
    assert not second.train.ids.flags.writeable


@pytest.mark.parametrize(
    "change",
    [{"max_length": 8}, {"text": "other"}, {"limit": 5}, {"split": (0.5, 0.5)}, {"quoting": False}],
)
def test_whatever_matters_is_in_the_fingerprint(
    write: Write, make: Callable[..., Dataset], change: dict[str, Any]
) -> None:
    train = write("train.csv", "text,other,label\n" + "a,b,1\nc,d,0\n" * 10)
    assert make(recipe(train=train)).fingerprint != make(recipe(train=train, **change)).fingerprint


def test_content_not_names_and_times_is_in_the_fingerprint(
    write: Write, make: Callable[..., Dataset]
) -> None:
    one, same, other = write("a.csv", rows(20)), write("b.csv", rows(20)), write("c.csv", rows(21))
    assert make(recipe(train=one)).fingerprint == make(recipe(train=same)).fingerprint
    assert make(recipe(train=one)).fingerprint != make(recipe(train=other)).fingerprint


@pytest.mark.parametrize("damage", ["short", "missing", "meta", "empty"])
def test_a_damaged_cache_is_built_again(
    write: Write, make: Callable[..., Dataset], tmp_path: Path, damage: str
) -> None:
    asked = recipe(train=write("train.csv", rows(20)))
    first = make(asked)
    expected, directory = first.train.ids.tolist(), tmp_path / "cache" / "tokens" / first.fingerprint
    match damage:
        case "short":
            file = directory / "train.ids.npy"
            file.write_bytes(file.read_bytes()[:-4])
        case "missing":
            (directory / "train.labels.npy").unlink()
        case "meta":
            (directory / "meta.json").write_text("{")
        case "empty":
            for file in directory.iterdir():
                file.unlink()
    assert make(asked).train.ids.tolist() == expected
    assert {entry.name for entry in directory.parent.iterdir()} == {
        first.fingerprint,
        f"{first.fingerprint}.lock",
    }


def test_stopping_leaves_nothing(write: Write, make: Callable[..., Dataset], tmp_path: Path) -> None:
    asked = recipe(train=write("train.csv", rows(20)))
    answers = iter([False, True])
    with pytest.raises(RunStopped):
        make(asked, stop=lambda: next(answers))
    assert [entry.suffix for entry in (tmp_path / "cache" / "tokens").iterdir()] == [".lock"]


@pytest.mark.fault(29)
def test_one_who_waits_for_the_lock_can_be_stopped(
    write: Write, make: Callable[..., Dataset], tmp_path: Path
) -> None:
    asked = recipe(train=write("train.csv", rows(20)))
    directory = tmp_path / "cache" / "tokens"
    name = make(asked).fingerprint
    (directory / name / "meta.json").unlink()
    with (directory / f"{name}.lock").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        answers = iter([False, False, True])
        with pytest.raises(RunStopped):
            make(asked, stop=lambda: next(answers))


def test_a_cache_that_cannot_be_written_is_said(
    write: Write, tmp_path: Path, tokenizer: SmallTokenizer
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFailed, match=r"set data\.cache_dir"):
        prepare(recipe(train=write("train.csv", rows(20))), tokenizer, cache_dir=tmp_path / "file")


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/scratch/me")
    assert default_cache_dir(recipe()) == Path("/scratch/me/launcher")
    assert default_cache_dir(recipe(cache_dir="/data/cache")) == Path("/data/cache")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/me")
    assert default_cache_dir(recipe()) == Path("/home/me/.cache/launcher")


PROCESS = """
import os, signal, sys, time
from pathlib import Path
from support.small_tokenizer import SmallTokenizer
from launcher.recipe.recipe import Recipe
from launcher.train.dataset.prepare import prepare

train, cache, mode = sys.argv[1:]
calls = []

def progress(done, total):
    calls.append(done)
    if mode == "crash":
        os.kill(os.getpid(), signal.SIGKILL)

recipe = Recipe.model_validate({"task": "classification", "data": {"train": train}})
print("ready", flush=True)
sys.stdin.readline()
data = prepare(recipe, SmallTokenizer(), cache_dir=Path(cache), progress=progress)
assert "datasets" not in sys.modules
print(len(calls), data.fingerprint, int(data.train.ids.sum()))
"""


def start(train: str, cache: Path, mode: str) -> subprocess.Popen[str]:
    tests, root = Path(__file__).parents[2], Path(__file__).parents[3]
    process = subprocess.Popen(
        [sys.executable, "-c", PROCESS, train, str(cache), mode],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": f"{tests}:{root}"},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.fault(29)
@pytest.mark.long
def test_of_four_processes_at_once_one_tokenises(write: Write, tmp_path: Path) -> None:
    train = write("train.csv", rows(8000))
    processes = [start(train, tmp_path / "cache", "plain") for _ in range(4)]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    outputs = [process.communicate()[0].split() for process in processes]
    assert all(process.returncode == 0 for process in processes)
    assert sorted(int(calls) > 0 for calls, *_ in outputs) == [False, False, False, True]
    assert len({(fingerprint, total) for _, fingerprint, total in outputs}) == 1


@pytest.mark.fault(29)
def test_a_builder_that_is_killed_leaves_no_cache(
    write: Write, tmp_path: Path, make: Callable[..., Dataset]
) -> None:
    train = write("train.csv", rows(5000))
    process = start(train, tmp_path / "cache", "crash")
    process.communicate("go\n")
    assert process.returncode == -signal.SIGKILL
    left = [entry.name for entry in (tmp_path / "cache" / "tokens").iterdir()]
    assert sorted(name.startswith(".") or name.endswith(".lock") for name in left) == [True, True]
    (lock,) = [name for name in left if name.endswith(".lock")]
    elsewhere = f".{lock.removesuffix('.lock')}.another-machine.0f"  # its locks may be known there alone
    (tmp_path / "cache" / "tokens" / elsewhere).mkdir()
    data = make(recipe(train=train))
    assert {entry.name for entry in (tmp_path / "cache" / "tokens").iterdir()} == {
        data.fingerprint,
        f"{data.fingerprint}.lock",
        elsewhere,
    }


# Hub data sets

HUB = """
import json, sys
from launcher.errors import RunFailed
from launcher.recipe.recipe import Recipe
from launcher.train.dataset.prepare import prepare
from pathlib import Path
from support.small_tokenizer import SmallTokenizer

for task, data in json.loads(sys.argv[1]):
    recipe = Recipe.model_validate({"task": task, "data": data})
    try:
        ready = prepare(recipe, SmallTokenizer(), cache_dir=Path(sys.argv[2]))
        sizes = [len(split) if split else None for split in (ready.train, ready.validation, ready.test)]
        print(json.dumps([sizes, ready.label_names, ready.train.labels[:4].tolist(), ready.fingerprint]))
    except RunFailed as error:
        print(json.dumps([error.error_class, str(error)]))
"""


@pytest.fixture
def hub_cache(tmp_path: Path) -> Path:
    """A cache of the `datasets` library that holds `someone/reviews`, configuration `short`, as after a download."""
    import datasets
    from datasets.packaged_modules.parquet.parquet import Parquet

    features = datasets.Features(
        {
            "sentence": datasets.Value("string"),
            "label": datasets.ClassLabel(names=["negative", "positive"]),
            "score": datasets.Value("float32"),
        }
    )
    labels = {"train": [1, 0] * 20, "validation": [0, 1] * 3, "test": [-1] * 4}
    files = {split: str(tmp_path / f"{split}.parquet") for split in labels}
    datasets.disable_progress_bars()
    for split, values in labels.items():
        texts = [f"{split} {number}" for number in range(len(values))]
        content = {"sentence": texts, "label": values, "score": [float(value) for value in values]}
        datasets.Dataset.from_dict(content, features=features).to_parquet(files[split])
    root = tmp_path / "hub"
    Parquet(
        cache_dir=str(root), dataset_name="reviews", config_name="short", hash="0123", data_files=files
    ).download_and_prepare()
    (built,) = (root / "reviews").iterdir()
    (root / "someone___reviews").mkdir()
    built.rename(root / "someone___reviews" / "short")
    return root


@pytest.mark.fault(29)
def test_a_hub_data_set_that_was_downloaded_needs_no_network(hub_cache: Path, tmp_path: Path) -> None:
    base = {"source": "someone/reviews:short", "text": "sentence"}
    asked = [
        ("classification", base),
        ("classification", {**base, "validation_split": None}),
        ("classification", {**base, "test_split": "test"}),
        ("regression", {**base, "label": "score", "test_split": "test"}),
        ("classification", {**base, "validation_split": "validatoin"}),
        ("classification", {**base, "text": "sentense"}),
    ]
    tests, root = Path(__file__).parents[2], Path(__file__).parents[3]
    environment = {
        **{name: value for name, value in os.environ.items() if name != "HF_HUB_OFFLINE"},
        "HF_DATASETS_CACHE": str(hub_cache),
        "HF_ENDPOINT": "http://127.0.0.1:9",  # nothing listens there
        "PYTHONPATH": f"{tests}:{root}",
    }
    done = subprocess.run(
        [sys.executable, "-c", HUB, json.dumps(asked), str(tmp_path / "cache")],
        capture_output=True,
        text=True,
        env=environment,
        check=True,
    )
    plain, cut_up, unlabelled, unscored, no_split, no_column = map(json.loads, done.stdout.splitlines())
    assert plain[:3] == [[40, 6, None], ["negative", "positive"], [1, 0, 1, 0]]
    assert cut_up[0] == [28, 6, 6]
    assert "no row of someone/reviews:short [test] has a label" in unlabelled[1]
    assert "no row of someone/reviews:short [test] has a label" in unscored[1]
    assert "did you mean validation?" in no_split[1]
    assert "did you mean sentence?" in no_column[1]
    assert {unlabelled[0], no_split[0], no_column[0]} == {"data"}
    assert done.stderr == ""


def test_a_directory_is_known_by_what_it_holds(
    make: Callable[..., Dataset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither its place nor the times of its files are part of the fingerprint; its rows are."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "hub")

    def fingerprint(place: str, rows: str) -> str:
        directory = tmp_path / place
        directory.mkdir(exist_ok=True)
        (directory / "train.csv").write_text(f"text,label\n{rows}")
        return make(recipe(source=str(directory), validation_split=None)).fingerprint

    rows = "good,1\nbad,0\n" * 20
    first = fingerprint("here", rows)
    assert fingerprint("here", rows) == first
    assert fingerprint("there", rows) == first
    assert fingerprint("here", rows.replace("good", "fine")) != first


@pytest.mark.fault(29)
def test_a_hub_data_set_that_is_nowhere(
    make: Callable[..., Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)  # the variable is read at import alone
    message = failure(make, recipe(source="someone/nothing:short"))
    assert "someone/nothing:short can't be loaded" in message
    assert "launch prefetch" in message


# Public data


def test_public_data_sets(shared_data: Path, make: Callable[..., Dataset]) -> None:
    names = ("genre", "file", "year", "id", "score", "sentence1", "sentence2")
    stsb = {split: str(shared_data / f"stsb/sts-{split}.csv") for split in ("train", "dev", "test")}
    mrpc = [str(shared_data / f"mrpc/msr_paraphrase_{split}.txt") for split in ("train", "test")]
    asked = {
        (4076, 1725, None): recipe(
            train=mrpc[0], validation=mrpc[1], format="tsv", text=("#1 String", "#2 String"), label="Quality"
        ),
        (5749, 1500, 1379): recipe(
            "regression", train=stsb["train"], validation=stsb["dev"], test=stsb["test"], format="tsv",
            header=False, columns=names, text=("sentence1", "sentence2"), label="score",
        ),
        (60614, 6735, 872): recipe(
            **{split: str(shared_data / f"sst2/{name}.tsv")
               for split, name in (("train", "train"), ("validation", "dev"), ("test", "test"))},
            text="sentence",
        ),
    }  # fmt: skip
    for sizes, one in asked.items():
        data = make(one)
        splits = (data.train, data.validation, data.test)
        assert tuple(len(split) if split else None for split in splits) == sizes
