"""Lengths, batch, optimization and metric for data whose task is known: those of a shipped recipe, fitted to the data."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping

from launcher import resources, tasks
from launcher.figures import quantity
from launcher.loading import resolve as loading
from launcher.planning.machine import local_gpus, native_bf16, scheduler_here
from launcher.reading.check import DataFacts
from launcher.recipe.recipe import LONGEST, Recipe
from launcher.tasks.shared.sample import Said, Sample
from launcher.tasks.shared.words import HAN

LENGTHS = (32, 64, 96, 128, 192, 256, 384, LONGEST)
"""Values that data.max_length is chosen from."""
CHARACTERS = 3.5
"""Characters of a token, a little fewer than English has; a Chinese character is a token of its own."""
SPECIAL = 4
"""Tokens that a pair has beside its texts."""
LONG = 0.05
"""Share of longer texts from which it is worth reading them in windows."""
FEW_STEPS, MOST_EPOCHS = 400, 20
"""Optimizer steps below which a small data set is passed through more often, and how often at most."""
SCRATCH_LR = 1e-4
"""Learning rate of weights that start from nothing: BERT was pretrained with it (Devlin et al., 2019, A.2)."""
RARE = 10
"""Times that the most frequent class has more rows than the rarest where accuracy says little."""


def shipped(task: str) -> Iterator[Recipe]:
    """The shipped recipes for a task on data of the hub, those that train every parameter."""
    for path in sorted(resources.resource_dir("recipes").glob("*.yaml")):
        if f"\ntask: {task}\n" in path.read_text(encoding="utf-8"):
            loaded = loading.load([f"recipe={path}"], environ={}, cwd=path.parent)
            if loaded.recipe.data.source is not None and not loaded.origins["tuning"].startswith(path.name):
                yield loaded.recipe.model_copy(update={"description": path.stem})


def training(task: str, keys: Mapping[str, Said], facts: DataFacts, rows: int) -> dict[str, Said]:
    """Batch and optimization as in a shipped recipe for the task, the one with the same model where there is one."""
    recipes = list(shipped(task))
    if not recipes:
        return {}
    like = next((recipe for recipe in recipes if recipe.model.name == keys["model.name"].value), recipes[0])
    why = f"As in recipe={like.description}, whose file names the source."
    found = {"batch.global": Said(like.batch.global_, why)}
    for key in ("lr", "warmup", "weight_decay"):
        found[f"train.{key}"] = Said(getattr(like.train, key), why if key == "lr" else "")
    if "model.init" in keys and keys["model.init"].value == "scratch" and like.train.lr < SCRATCH_LR:
        than = f"the {like.train.lr} of recipe={like.description}"
        found["train.lr"] = Said(
            SCRATCH_LR, f"Weights that start from nothing want more than {than}: as BERT was pretrained."
        )
    count = facts.train_examples or rows
    epochs = like.train.epochs
    if count * epochs / like.batch.global_ < FEW_STEPS:
        more = min(MOST_EPOCHS, math.ceil(FEW_STEPS * like.batch.global_ / count))
        passes = f"{count:,} examples are few: so often, as small data sets want some hundred steps (Mosbach et al., 2021)."
        found["train.epochs"] = Said(max(more, math.ceil(epochs)), passes)
    else:
        found["train.epochs"] = Said(int(epochs) if epochs.is_integer() else epochs, "")
    return found


def lengths_of(sample: Sample, recipe: Recipe) -> dict[str, Said]:
    """data.max_length so that nearly all texts fit, and windows where many don't."""
    spec = tasks.of(recipe)
    columns = [column for name in spec.text_columns if (column := sample.named(name)) is not None]
    rows = zip(*(column.values for column in columns), strict=True)
    lengths = sorted(SPECIAL + math.ceil(sum(map(_tokens, cells))) for cells in rows)
    nearly = lengths[min(len(lengths) - 1, int(0.99 * len(lengths)))]
    length = next((length for length in LENGTHS if length >= nearly), LONGEST)
    longer = sum(tokens > LONGEST for tokens in lengths) / len(lengths)
    why = f"99 of 100 have about {nearly:,} tokens or fewer, as estimated from their characters."
    if spec.windows and longer > LONG:
        windows = f"{longer:.0%} of the texts are longer than that: they are read in windows, which takes more time."
        return {"data.max_length": Said(length, why), "data.windows": Said("mean", windows)}
    if spec.cuts_windows:
        length = min(
            length, max((found.data.max_length or LONGEST for found in shipped(recipe.task)), default=length)
        )
        why += " Longer ones are cut into windows, and nothing is lost."
    elif longer > LONG:
        why += f" {longer:.0%} are cut off."
    return {"data.max_length": Said(length, why)}


def _tokens(value: object) -> float:
    text = as_text(value) if value is not None else ""
    ideographs = len(re.findall(HAN, text))
    return ideographs + (len(text) - ideographs) / CHARACTERS


def measure(sample: Sample, recipe: Recipe) -> dict[str, Said]:
    """A metric that rare classes count in, where some are rare."""
    spec = tasks.of(recipe)
    label = sample.named(spec.label_columns[0]) if spec.one_class and spec.label_columns else None
    if label is None or not spec.fair_metrics or len(label.names) < 2:
        return {}
    counts = [count for _, count in label.names.most_common()]
    if counts[0] < RARE * counts[-1]:
        return {}
    rarest = quantity(counts[-1], "row")
    why = f"The rarest of the classes has {rarest} and the most frequent {counts[0]:,}: here each counts as much."
    return {"eval.metric": Said(spec.fair_metrics[0], why)}


def precision_here(wanted: Mapping[str, object]) -> dict[str, Said]:
    """fp32 where nothing but this machine's CPU is there to train on, and that has no units for bf16."""
    elsewhere = "cluster" in wanted or wanted.get("device") == "cuda"
    if elsewhere or native_bf16() or local_gpus() or scheduler_here() is not None:
        return {}
    why = "This machine has no GPU, and its CPU only imitates bf16, which takes it about three times as long; a GPU wants bf16."
    return {"precision": Said("fp32", why)}


def as_text(value: object) -> str:
    """A cell as one text."""
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
