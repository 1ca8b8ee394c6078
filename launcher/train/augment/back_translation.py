"""Saying a text in other words by translating it into another language and back (Sennrich et al., 2016)."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from launcher.errors import RunFailed, first_line
from launcher.reading.files import content_hash

BATCH = 16
BEAMS = 4
"""Hypotheses that a search keeps, at least."""


class BackTranslator:
    """Two Marian models of directories, loaded at first use; on a GPU where there is one."""

    def __init__(self, there: str, back: str) -> None:
        self._there = there
        self._back = back
        self._models: tuple[Any, Any] | None = None

    def __call__(self, texts: Sequence[str], copy: int) -> list[str]:
        """Each text in the words of its `copy`-th best translation (from 1), translated back; empty ones stay.

        Beam search draws nothing, so that the same text always gives the same copies.
        """
        wanted = [text for text in texts if text.strip()]
        there, back = self._load()
        said = []
        for start in range(0, len(wanted), BATCH):
            foreign = _translate(there, wanted[start : start + BATCH], copy)
            said += _translate(back, foreign, 1)
        found = iter(said)
        return [next(found) if text.strip() else text for text in texts]

    def _load(self) -> tuple[Any, Any]:
        if self._models is None:
            self._models = _load(self._there), _load(self._back)
        return self._models


def _load(directory: str) -> Any:
    import torch
    from transformers import MarianMTModel, MarianTokenizer

    try:
        with warnings.catch_warnings():
            # Marian's own punctuation rules need sacremoses; without it texts go in as they are.
            warnings.filterwarnings("ignore", "Recommended: pip install sacremoses")
            tokenizer = MarianTokenizer.from_pretrained(directory, local_files_only=True)
        model = MarianMTModel.from_pretrained(directory, local_files_only=True)
    except (OSError, ValueError, TypeError) as error:
        text = f"data.augment.back_translation: {directory} is no Marian model: {first_line(error)}"
        raise RunFailed(
            "data", text, "give two directories of Marian models, such as opus-mt-en-de and opus-mt-de-en"
        ) from None
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return tokenizer, torch.nn.Module.to(model, device)


def _translate(loaded: Any, texts: list[str], rank: int) -> list[str]:
    """The translation of each text that came out on this rank of the beam."""
    import torch

    tokenizer, model = loaded
    inputs = tokenizer(texts, return_tensors="pt", padding=True, truncation=True).to(model.device)
    beams = max(BEAMS, rank)
    with torch.inference_mode():
        output = model.generate(**inputs, num_beams=beams, num_return_sequences=rank, do_sample=False)
    return tokenizer.batch_decode(output[rank - 1 :: rank], skip_special_tokens=True)  # type: ignore[no-any-return]


def model_identity(directory: str) -> list[str]:
    """What a model is: the names and contents of its files."""
    return [
        f"{path.name} {content_hash(path)}" for path in sorted(Path(directory).glob("*")) if path.is_file()
    ]
