"""What comes after an attempt that ran out of memory: the same plan with micro-batches of half the size.

batch.global stays, and with it the mathematics. The node does this before training starts, from plan.json as it stands.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from launcher.figures import quantity
from launcher.runs.attempt_directory import AttemptDir
from launcher.runs.directory import RunDir, read_result
from launcher.runs.failure_classes import MEMORY
from launcher.runs.records import read_json
from launcher.runs.results import Result
from launcher.runs.run_plan import RunPlan, read_plan_tree

SMALLEST = "micro-batches are of one example already: none are smaller"
NOTHING_SMALLER = (
    "lower data.max_length, set model.gradient_checkpointing=true or zero.stage=3, or take a smaller model, "
    "or ask for more memory"
)
"""What helps where micro-batches can't get smaller."""


def ran_out(result: Result | None) -> bool:
    """Whether that is the result of an attempt that ran out of memory."""
    return result is not None and result.error is not None and result.error.kind == MEMORY


def plan_of(run: RunDir, attempt: AttemptDir) -> RunPlan:
    """The plan that an attempt went by, with the limit that it found where it tried one out."""
    return read_plan_tree(plan_tree_of(run, attempt), str(attempt.plan))


def plan_tree_of(run: RunDir, attempt: AttemptDir) -> dict[str, Any]:
    """The same as it stands in its file."""
    plan = read_json(attempt.plan) or run.plan_tree()
    found = attempt.number_in(attempt.max_tokens)
    return plan if found is None else {**plan, "layout": plan["layout"] | {"max_tokens": found}}


def plan_after(run: RunDir, previous: AttemptDir) -> dict[str, Any] | None:
    """The plan of the attempt after `previous`, None where it is the run's own."""
    before = plan_tree_of(run, previous)
    if ran_out(read_result(previous.result)) and before["world_size"] == run.read_plan().world_size:
        halved = halve(before, previous.number)
        if halved is not None:
            return halved
    own = read_json(previous.plan)
    is_for_these_ranks = own is not None and own.get("world_size") == run.read_plan().world_size
    return own if is_for_these_ranks else None


def halve(tree: Mapping[str, Any], attempt: int) -> dict[str, Any] | None:
    """The plan with micro-batches of half the examples and tokens; None where they can't get smaller.

    What it had predicted of the memory no longer holds.
    """
    layout = read_plan_tree(tree, "plan.json").layout
    micro = layout.micro_batch_size
    if micro == 1:
        return None
    tokens = layout.max_tokens
    smaller = {
        "micro_batch_size": micro // 2,
        "max_tokens": tokens and max(layout.max_length, tokens // 2),
        "gradient_accumulation_steps": math.ceil(layout.examples_per_rank / (micro // 2)),
    }
    note = f"attempt {attempt} ran out of memory: micro-batches of {quantity(micro // 2, 'example')} instead of {micro}"
    return {
        **tree,
        "layout": tree["layout"] | smaller,
        "memory": tree["memory"] | {"activations": None, "total": None},
        "notes": [*tree["notes"], note],
    }
