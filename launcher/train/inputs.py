"""What a recipe trains on, made for its model: the tokenizer and the data."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from launcher import tasks
from launcher.errors import RunFailed
from launcher.recipe.recipe import Recipe
from launcher.train.dataset.prepare import Dataset, prepare, training_texts
from launcher.train.pretrained import load_config, read_json
from launcher.train.process.file_locks import nothing
from launcher.train.process.stop_requests import never
from launcher.train.tokens.encoder import length_of
from launcher.train.tokens.tokenizer import load_tokenizer, position_limit, train_tokenizer


def prepare_dataset(
    recipe: Recipe,
    tokenizer: Any,
    progress: Callable[[int, int], None],
    stop: Callable[[], bool] = never,
    on_wait: Callable[[], None] = nothing,
) -> Dataset:
    """The recipe's data, tokenised for its model."""
    limit = longest_input(recipe)
    return prepare(recipe, tokenizer, progress=progress, stop=stop, on_wait=on_wait, position_limit=limit)


def tokenizer_for(recipe: Recipe, tell: Callable[[str], None] | None = None) -> Any:
    """The model's own tokenizer, or one trained on the training texts where there is no model to take it from.

    `tell` hears what of its files transformers would not have heeded.
    """
    spec, name = tasks.of(recipe), recipe.model.name
    if name is None:
        tokenizer = train_tokenizer(training_texts(recipe), recipe.model.scratch, recipe.scratch_length)
    else:
        tokenizer = load_tokenizer(name, recipe.model.revision, tell)
        length = spec.text_length(partial(read_json, name, recipe.model.revision))
        tokenizer.model_max_length = length or tokenizer.model_max_length
    if spec.keeps_length:
        tokenizer.model_max_length = length_of(recipe, tokenizer, longest_input(recipe))
    return tokenizer


def longest_input(recipe: Recipe) -> int | None:
    """Tokens that the model can take, None for any number."""
    if recipe.model.name is None:
        return None
    return position_limit(load_config(recipe.model.name, recipe.model.revision))


def check_vocabulary(ids: NDArray[np.int32], tokenizer: Any, rows: int) -> None:
    """Raises RunFailed('model') where there is a token that the model's embeddings, of so many rows, don't have."""
    if len(tokenizer) <= rows:
        return
    highest = int(ids.max(initial=0))
    if highest >= rows:
        word = tokenizer.convert_ids_to_tokens(highest)
        text = f"the tokenizer knows {word!r}, token {highest}, and the model's embeddings have {rows} rows"
        remedy = (
            "resize_token_embeddings(len(tokenizer)) of transformers gives it rows; or take its own tokenizer"
        )
        raise RunFailed("model", text, remedy)
