"""Linear-chain conditional random fields (Lafferty, McCallum and Pereira, 2001), in float32, batched over sentences.

A sequence of tags scores the sum of its words' emissions and of the steps from each tag to the next, the first from the
beginning of the sentence, the last to its end. `steps` are (L + 2, L): from tag i to tag j, then those from the
beginning, then those to the end. With steps of 0 the words are independent of each other: softmax over each word's emissions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from launcher.train.tokens.mover import Mover

FORBIDDEN = -1e4
"""Score of a step that isn't allowed: its probability is 0 in float32, and gradients stay finite."""


class Transitions(torch.nn.Module):
    """The steps' scores as parameters; 0 at first, so that training begins with independent words."""

    def __init__(self, labels: int) -> None:
        super().__init__()
        self.steps = torch.nn.Parameter(torch.zeros(labels + 2, labels))

    def forward(self, logits: torch.Tensor) -> torch.Tensor:
        """(L + 2, L) float32 copy of the steps, on the device of `logits`."""
        return self.steps.to(logits.device, torch.float32, copy=True)


@dataclass(frozen=True)
class Sentences:
    """Emissions of s sentences of at most w words, padded on the right."""

    emissions: torch.Tensor
    """(s, w, L) float32."""
    real: torch.Tensor
    """(s, w) where there is a word; a sentence may have none."""
    lengths: torch.Tensor
    """(s,) words."""

    @classmethod
    def of(cls, rows: torch.Tensor, lengths: NDArray[np.int64]) -> tuple[Sentences, torch.Tensor]:
        """Lay out the words' emissions (n, L), sentence after sentence, of which `lengths` (s,) has the words.

        Also returns the words' places (n,) among s * w.
        """
        move = Mover(rows.device)
        real = np.arange(max(int(lengths.max(initial=0)), 1)) < lengths[:, None]
        places = move(np.flatnonzero(real))
        emissions = rows.new_zeros(real.size, rows.shape[-1]).index_copy(0, places, rows)
        return cls(emissions.view(*real.shape, -1), move(real), move(lengths)), places

    def lay_out(self, values: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        """(n,) values of the words -> (s, w), 0 in the padding."""
        return values.new_zeros(self.real.numel()).index_copy(0, places, values).view(self.real.shape)


def log_partition(sentences: Sentences, steps: torch.Tensor) -> torch.Tensor:
    """(s,) log of the summed exp(score) of all sequences of tags; 0 for a sentence without words."""
    alpha = _forward(sentences, steps)[-1]
    return torch.logsumexp(alpha + steps[-1], dim=-1) * sentences.real[:, 0]


def score(sentences: Sentences, tags: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
    """(s,) scores of the sequences `tags` (s, w)."""
    real = sentences.real
    emitted = sentences.emissions.gather(-1, tags[..., None])[..., 0]
    taken = steps[tags[:, :-1], tags[:, 1:]]
    last = tags.gather(1, (sentences.lengths - 1).clamp(min=0)[:, None])[:, 0]
    inner = (emitted * real).sum(-1) + (taken * real[:, 1:]).sum(-1)
    return inner + (steps[-2][tags[:, 0]] + steps[-1][last]) * real[:, 0]


def best_tags(sentences: Sentences, steps: torch.Tensor) -> torch.Tensor:
    """(s, w) the highest scoring sequence of each sentence (Viterbi, 1967); anything in the padding."""
    alpha = steps[-2] + sentences.emissions[:, 0]
    pointers = []
    for word in range(1, sentences.real.shape[1]):
        best, pointer = (alpha[:, :, None] + steps[:-2]).max(dim=1)
        here = sentences.real[:, word, None]
        alpha = torch.where(here, best + sentences.emissions[:, word], alpha)
        # Behind the end of a sentence each tag points at itself.
        pointers.append(torch.where(here, pointer, torch.arange(len(steps) - 2, device=steps.device)))
    found = [(alpha + steps[-1]).argmax(dim=-1)]
    for pointer in reversed(pointers):
        found.append(pointer.gather(1, found[-1][:, None])[:, 0])
    return torch.stack(found[::-1], dim=1)


def marginals(sentences: Sentences, steps: torch.Tensor) -> torch.Tensor:
    """(s, w, L) probability of each word's tags over all sequences (forward-backward); anything in the padding."""
    alphas = torch.stack(_forward(sentences, steps), dim=1)
    beta = steps[-1].expand(len(alphas), -1)
    betas, backward = [beta], steps[:-2].double().exp().T
    for word in range(sentences.real.shape[1] - 1, 0, -1):
        onward = _summed(sentences.emissions[:, word] + beta, backward)
        beta = torch.where(sentences.real[:, word, None], onward, beta)
        betas.append(beta)
    return torch.softmax(alphas + torch.stack(betas[::-1], dim=1), dim=-1)


def _forward(sentences: Sentences, steps: torch.Tensor) -> list[torch.Tensor]:
    """For each word (s, L) log of the summed exp(score) of all beginnings that end in a tag there."""
    alphas, forward = [steps[-2] + sentences.emissions[:, 0]], steps[:-2].double().exp()
    for word in range(1, sentences.real.shape[1]):
        onward = _summed(alphas[-1], forward)
        here = sentences.real[:, word, None]
        alphas.append(torch.where(here, onward + sentences.emissions[:, word], alphas[-1]))
    return alphas


def _summed(scores: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
    """(s, L) log of exp(scores) (s, L) @ factors (L, L), in the type of `scores`.

    The product of matrices takes the room of its result, where a logsumexp takes (s, L, L). What is more than some 700 below
    the highest score has no part in a float64, and none in a probability.
    """
    highest = scores.detach().amax(dim=-1, keepdim=True)
    sums = (scores - highest).double().exp() @ factors
    return (sums.clamp(min=torch.finfo(sums.dtype).tiny).log() + highest).to(scores.dtype)


def forbid(steps: torch.Tensor, legal: NDArray[np.bool_]) -> torch.Tensor:
    """The steps, those that aren't `legal` (L + 2, L) put out of reach."""
    return steps.masked_fill(Mover(steps.device)(~legal), FORBIDDEN)
