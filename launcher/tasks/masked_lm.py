"""Words hidden in a text and guessed, for cloze tests and new domains."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from launcher.errors import Conflict
from launcher.tasks.shared import snippets
from launcher.tasks.shared.base import TaskSpec
from launcher.tasks.shared.rows import shown
from launcher.tasks.shared.sample import Guess, Said, Sample


class MaskedLM(TaskSpec):
    metric = "perplexity"
    called = ("AutoModelForMaskedLM", "fill-mask", "mlm")
    metrics = ("perplexity", "accuracy")
    lower_is_better = frozenset({"perplexity"})
    reads = "selected"
    fixed_shape = False
    labelled = False
    classes = False
    head_outputs = None
    texts = (1,)
    probes = True
    pipeline_tag = "fill-mask"
    outputs = ("prediction", "probabilities", "candidates")

    @classmethod
    def guess(cls, sample: Sample) -> Guess | None:
        text = sample.said_texts(*sample.given_label)
        if text is None:
            return None
        names = [text.value] if isinstance(text.value, str) else text.value
        name = max(names, key=lambda name: column.characters if (column := sample.named(name)) else 0)
        why = (
            "There are texts, and nothing that could be their label: a model can get used to their language."
        )
        said = (
            text.why
            if name == text.value
            else f"{shown(name)} holds the longest texts, of {', '.join(names)}."
        )
        return Guess(0.3, why, {"data.text": Said(name, said)})

    def conflicts(self) -> Iterator[Conflict]:
        if self.recipe.lora.train_embeddings:
            yield Conflict(
                ("lora.train_embeddings", "task"),
                "the embeddings are tied to the head of this task",
                "leave it out",
            )

    @property
    def guessed(self) -> float:
        return self.recipe.mlm.probability

    @property
    def cuts_windows(self) -> bool:
        return True

    def sample_texts(self) -> tuple[str, ...]:
        return ("The capital of France is [MASK].",)

    def told(self, found: Mapping[str, Any]) -> str:
        """Says of a text in which nothing is hidden that there is nothing to guess."""
        nothing = f"{found['prediction']}   (no [MASK] in it: nothing to guess)"
        return super().told(found) if found["candidates"] else nothing

    def snippet(self, model: str) -> str:
        (text,) = self.sample_texts()
        told = snippets.literal(text).replace("[MASK]", "{use.tokenizer.mask_token}")
        return snippets.piped("fill-mask", model, (text,)).replace(snippets.literal(text), f"f{told}")


SPEC = MaskedLM
