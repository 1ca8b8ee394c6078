"""Which words made the model say what it says: integrated gradients (Sundararajan et al., 2017, arXiv:1703.01365).

The gradient of one logit is integrated on the straight way, in the space of word embeddings, from the text with every word
masked to the text itself. The attributions add up to the difference of the logit between the two (completeness).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from launcher import tasks
from launcher.errors import UserError, choices
from launcher.runs.verb_results import Explanation, Word
from launcher.train.tokens.encoder import Encoder
from launcher.train.use.inference import Predictor

STEPS = 64
"""Points on the way at which the gradient is taken."""
AT_ONCE = 16
"""Points computed together."""


def explain(predictor: Predictor, texts: Sequence[str], label: str | None) -> Explanation:
    """Explain the prediction for a text or pair, or the logit of `label`; of all windows, where it is cut into several.

    Raises UserError where the task has no such logits, or there is no such label.
    """
    task = predictor.task
    tasks.refuse_unexplained(task.recipe)
    windows = _windows(predictor, texts)
    inputs = [_inputs(predictor, window) for window in windows]
    with torch.no_grad():
        each = torch.cat([predictor.model(**given).logits.float() for given in inputs])
    each.requires_grad_()
    logits = task.pooled(each)
    target = _target(predictor, logits, label)
    (shares,) = torch.autograd.grad(logits[target], each)
    words, rest, masked = _Words(texts), 0.0, 0.0
    for window, given, share in zip(windows, inputs, shares[:, target].tolist(), strict=True):
        if share:
            scores, start = _attribute(predictor, given, target)
            rest += words.add(window, [share * score for score in scores])
            masked += share * start
    logits = logits.detach()
    return Explanation(
        label=predictor.label_names[target] if task.spec.classes else None,
        probability=task.probability(logits, target),
        logit=float(logits[target]),
        masked_logit=masked,
        words=words.found(),
        rest=rest,
    )


def _windows(predictor: Predictor, texts: Sequence[str]) -> Sequence[Any]:
    """What the model reads of a text or pair: one encoding of tokenizers, or several where data.windows cuts it."""
    recipe = predictor.task.recipe
    encoder = Encoder.of(recipe, predictor.tokenizer, predictor.longest)
    if recipe.data.windows is None:
        return [encoder.backend.encode(texts[0], texts[1] if len(texts) == 2 else None)]
    (parts,) = encoder.windows([texts[0] if len(texts) == 1 else tuple(texts)], recipe.data.stride)
    return parts


def _inputs(predictor: Predictor, window: Any) -> dict[str, torch.Tensor]:
    arrays = {"input_ids": window.ids, "attention_mask": window.attention_mask}
    if "token_type_ids" in predictor.tokenizer.model_input_names:
        arrays["token_type_ids"] = window.type_ids
    predictor.check_tokens(np.array(window.ids, np.int32))
    return {name: torch.tensor([values], device=predictor.device) for name, values in arrays.items()}


def _target(predictor: Predictor, logits: torch.Tensor, label: str | None) -> int:
    names = predictor.label_names
    if label is None:
        return int(logits.argmax())
    if label not in names or len(logits) == 1:
        raise UserError("no such label", None, "--label", label, choices(label, names))
    return names.index(label)


def _attribute(
    predictor: Predictor, inputs: dict[str, torch.Tensor], target: int
) -> tuple[list[float], float]:
    """(attribution of each token to the logit, the logit of the masked text)."""
    from captum.attr import LayerIntegratedGradients

    model: Any = predictor.model
    ids = inputs.pop("input_ids")
    names = list(inputs)

    def logit(given: torch.Tensor, *rest: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = model(input_ids=given, **dict(zip(names, rest, strict=True))).logits
        return found.float()[:, target]

    masked = _masked(predictor.tokenizer, ids)
    rest = tuple(inputs.values())
    gradients = LayerIntegratedGradients(logit, model.get_input_embeddings())
    found = gradients.attribute(
        ids,
        baselines=masked,
        additional_forward_args=rest,
        n_steps=STEPS,
        internal_batch_size=AT_ONCE,
        method="gausslegendre",
    )
    with torch.no_grad():
        start = float(logit(masked, *rest))
    return found[0].sum(-1).tolist(), start


def _masked(tokenizer: Any, ids: torch.Tensor) -> torch.Tensor:
    """The same text with every token masked but the special ones."""
    special = torch.tensor(
        tokenizer.get_special_tokens_mask(ids[0].tolist(), already_has_special_tokens=True)
    )
    mask = tokenizer.mask_token_id if tokenizer.mask_token_id is not None else tokenizer.unk_token_id
    return torch.where(special.bool().to(ids.device), ids, torch.full_like(ids, mask))


class _Words:
    """The words of some texts with the sum of their tokens' scores, in whatever windows these stand."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = texts
        self._places: dict[tuple[int, int], tuple[int, int]] = {}
        self._sums: dict[tuple[int, int], float] = {}

    def add(self, window: Any, scores: Sequence[float]) -> float:
        """Add the scores of a window's tokens; returns what is left for special tokens."""
        rest = 0.0
        for word, part, (start, end), score in zip(
            window.word_ids, window.sequence_ids, window.offsets, scores, strict=True
        ):
            if word is None or part is None:
                rest += score
                continue
            key = (part, word)
            first, last = self._places.get(key, (start, end))
            self._places[key] = (min(first, start), max(last, end))
            self._sums[key] = self._sums.get(key, 0.0) + score
        return rest

    def found(self) -> tuple[Word, ...]:
        """Every word, in the order of the texts."""
        return tuple(
            Word(self._texts[part][start:end].strip(), self._sums[part, word], part)
            for (part, word), (start, end) in sorted(self._places.items())
        )
