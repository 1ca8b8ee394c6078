"""Which words made the model say what it says: integrated gradients (Sundararajan et al., 2017, arXiv:1703.01365).

The gradient of one logit is integrated on the straight way, in the space of word embeddings, from the text with every word
masked to the text itself. The attributions add up to the difference of the logit between the two (completeness).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from launcher import tasks
from launcher.errors import Problem, UserError, choices
from launcher.runs.verb_results import Explanation, Word
from launcher.train.use.inference import Predictor

STEPS = 64
"""Points on the way at which the gradient is taken."""
AT_ONCE = 16
"""Points computed together."""


def explain(predictor: Predictor, texts: Sequence[str], label: str | None, max_length: int) -> Explanation:
    """Explain the prediction for a text or pair, or the logit of `label`.

    Raises UserError where the task has no such logits, or there is no such label.
    """
    task = predictor.task
    tasks.refuse_unexplained(task.recipe)
    encoding = predictor.tokenizer(
        *texts, truncation=True, max_length=max_length, return_tensors="pt", return_offsets_mapping=True
    )
    predictor.check_tokens(encoding["input_ids"].numpy())
    offsets = encoding.pop("offset_mapping")[0].tolist()
    inputs = {name: tensor.to(predictor.device) for name, tensor in encoding.items()}
    with torch.no_grad():
        logits = predictor.model(**inputs).logits[0].float()
    target = _target(predictor, logits, label)
    scores, masked = _attribute(predictor, inputs, target)
    words, rest = _words(texts, encoding, offsets, scores)
    return Explanation(
        label=predictor.label_names[target] if task.spec.classes else None,
        probability=task.probability(logits, target),
        logit=float(logits[target]),
        masked_logit=masked,
        words=words,
        rest=rest,
    )


def _target(predictor: Predictor, logits: torch.Tensor, label: str | None) -> int:
    names = predictor.label_names
    if label is None:
        return int(logits.argmax())
    if label not in names or len(logits) == 1:
        raise UserError(Problem("no such label", None, "--label", label, choices(label, names)))
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


def _words(
    texts: Sequence[str], encoding: Any, offsets: list[list[int]], scores: list[float]
) -> tuple[tuple[Word, ...], float]:
    """(words with the sum of their tokens' scores, what is left for special tokens)."""
    places: dict[tuple[int, int], list[int]] = {}
    sums: dict[tuple[int, int], float] = {}
    rest = 0.0
    for word, part, (start, end), score in zip(
        encoding.word_ids(0), encoding.sequence_ids(0), offsets, scores, strict=True
    ):
        if word is None or part is None:
            rest += score
            continue
        key = (part, word)
        first, last = places.get(key, (start, end))
        places[key] = [min(first, start), max(last, end)]
        sums[key] = sums.get(key, 0.0) + score
    words = tuple(
        Word(texts[part][start:end].strip(), sums[part, word], part)
        for (part, word), (start, end) in places.items()
    )
    return words, rest
