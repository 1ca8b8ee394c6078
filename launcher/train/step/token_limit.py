"""`batch.tokens=auto` on a GPU: one trial micro-batch corrects what the plan has estimated.

The global batch stays as it is; only how much of it is computed at a time changes.
"""

from __future__ import annotations

import numpy as np
import torch

from launcher.planning.plan import Plan
from launcher.train.packed.collate import Collate
from launcher.train.process.ranks import Ranks
from launcher.train.step.plain import Plain
from launcher.train.step.strategy import Strategy
from launcher.train.tasks import Task
from launcher.train.tokens.cache import TokenSplit
from launcher.train.tokens.gather import Indices

TRIAL_TOKENS = 4096
USED = 0.9
"""Share of the GPU's memory that training may fill; the rest is for fragmentation and longer examples."""
STATE_BYTES = 8
"""AdamW's two moments, of each trained parameter."""


def affordable_tokens(capacity: int, resident: int, trial_tokens: int, trial_bytes: int, longest: int) -> int:
    """Tokens that fit beside `resident` bytes, where `trial_tokens` took `trial_bytes`; at least the longest example."""
    each = max(1.0, trial_bytes / trial_tokens)
    return max(longest, int((USED * capacity - resident) / each))


def probe_tokens(
    plan: Plan, ranks: Ranks, strategy: Strategy, collate: Collate, task: Task, train: TokenSplit
) -> int | None:
    """Most tokens of a micro-batch on the rank with the least room; None where the plan's word stands.

    Every rank must call it. Only the plain strategy can throw a gradient away.
    """
    wanted = plan.recipe.batch.tokens == "auto" and ranks.device.type == "cuda"
    if not wanted or not isinstance(strategy, Plain):
        return None
    torch.cuda.empty_cache()
    free, _ = torch.cuda.mem_get_info()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    batch = collate(train, trial_examples(train))
    strategy.train_mode(True)
    strategy.backward(task.loss_sum(strategy.forward(batch.inputs), batch), 1.0, last=False)
    peak = torch.cuda.max_memory_allocated() - before
    strategy.discard()
    gradients = strategy.new_gradient_bytes()
    resident = before + gradients + STATE_BYTES * strategy.trained_elements()
    passes = 2 if plan.recipe.train.r_drop else 1
    taken = passes * (peak - gradients)
    own = affordable_tokens(free + before, resident, batch.tokens, taken, int(train.lengths.max()))
    everyone = ranks.gather(own)
    chosen: int = ranks.broadcast(min(everyone) if everyone else None)
    return chosen


def trial_examples(train: TokenSplit) -> Indices:
    """The longest examples, as many as make a trial: attention costs most where they are long."""
    order = np.argsort(-train.lengths.astype(np.int64), kind="stable")
    tokens = np.cumsum(train.lengths[order].astype(np.int64))
    return order[: int(np.searchsorted(tokens, TRIAL_TOKENS)) + 1]


def within(limit: int | None, plan: Plan, smaller: bool) -> int | None:
    """The limit of this attempt: what was found, or less where the plan was made `smaller` after one that ran out of memory."""
    planned = plan.layout.max_tokens
    if limit is None or planned is None or not smaller:
        return limit
    return min(limit, planned)


def with_tokens(plan: Plan, tokens: int | None) -> Plan:
    """The plan with another limit on the tokens of a micro-batch."""
    if tokens is None:
        return plan
    return plan.model_copy(update={"layout": plan.layout.model_copy(update={"max_tokens": tokens})})
