"""Losses of how the documents of a query are ordered.

Each takes float32 scores (n,), relevance (n,) from 0 up, and `together` (n, n), whether two documents are those of one query.
It gives (n,) terms that add up to one loss for each query, whatever the number of its documents; a query alone has the loss
that it has among others, and none where its documents are all as relevant as each other.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch.nn import functional

OrderLoss = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
MU = 10.0
"""Weight of the bound on nDCG beside LambdaRank's own weights, as in the paper."""


def listwise(scores: torch.Tensor, relevance: torch.Tensor, together: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of the softmax over a query's documents and their shares of its relevance.

    ListNet (Cao et al., 2007) with the relevance itself as the wanted distribution, as Bruch et al., 2019 (arXiv:1911.09798)
    have it: a bound on nDCG and MRR. 0 for a query whose documents are all as relevant as each other.
    """
    differ = (together & (relevance[:, None] != relevance)).any(dim=-1)
    every = torch.logsumexp(scores.masked_fill(~together, -math.inf), dim=-1)
    whole = (together * relevance).sum(dim=-1)
    return differ * relevance / whole.masked_fill(whole == 0, 1.0) * (every - scores)


def pairwise(scores: torch.Tensor, relevance: torch.Tensor, together: torch.Tensor) -> torch.Tensor:
    """RankNet (Burges et al., 2005): mean over pairs of different relevance of -log P(the better one is above)."""
    pairs = (together & (relevance[:, None] > relevance)).float()
    count = together.float() @ pairs.sum(dim=-1)
    losses = (pairs * functional.softplus(scores - scores[:, None])).sum(dim=-1)
    return losses / count.clamp(min=1.0)


def lambda_loss(scores: torch.Tensor, relevance: torch.Tensor, together: torch.Tensor) -> torch.Tensor:
    """NDCG-Loss2++ of LambdaLoss (Wang et al., 2018, doi:10.1145/3269206.3271784): a bound on 1 - nDCG.

    RankNet's pairs, each with the weight by which nDCG would change if the two documents changed places (LambdaRank; Burges,
    Ragno and Le, 2006), and MU times that by which their distance alone would change it.
    """
    with torch.no_grad():
        weights = _gain_differences(relevance, together) * _discount_differences(_places(scores, together))
        weights *= together & (relevance[:, None] > relevance)
    losses = functional.softplus(scores - scores[:, None]) / math.log(2.0)
    return (weights * losses).sum(dim=-1)


def _places(values: torch.Tensor, together: torch.Tensor) -> torch.Tensor:
    """(n,) place of each document within its query, from 1; equals stand in the order of the rows."""
    rows = torch.arange(len(values), device=values.device)
    equal = (values == values[:, None]) & (rows < rows[:, None])
    above = (values > values[:, None]) | equal
    return 1.0 + (above & together).sum(dim=-1)


def _gain_differences(relevance: torch.Tensor, together: torch.Tensor) -> torch.Tensor:
    """(n, n) how far apart two gains 2^r - 1 are, as a share of the query's best DCG."""
    # Over 2^(the highest r of the query), so that no relevance is too high for float32.
    most = (together * relevance).amax(dim=-1)
    gains = torch.exp2(relevance - most) - torch.exp2(-most)
    best = (together * (gains / torch.log2(1.0 + _places(relevance, together)))).sum(dim=-1)
    return (gains[:, None] - gains).abs() / best.masked_fill(best == 0, 1.0)[:, None]


def _discount_differences(places: torch.Tensor) -> torch.Tensor:
    """(n, n) LambdaRank's |1/D(i) - 1/D(j)|, and MU times |1/D(|i - j|) - 1/D(|i - j| + 1)|, D(i) = log2(1 + i)."""
    discounts = 1.0 / torch.log2(1.0 + places)
    distance = (places[:, None] - places).abs().clamp(min=1.0)
    apart = 1.0 / torch.log2(1.0 + distance) - 1.0 / torch.log2(2.0 + distance)
    return (discounts[:, None] - discounts).abs() + MU * apart


ORDER_LOSSES: dict[str, OrderLoss] = {"pairwise": pairwise, "listwise": listwise, "lambda": lambda_loss}
"""Values of train.loss.name that compare the documents of a query."""
