"""The plan of one attempt where it isn't the run's: smaller micro-batches after one that ran out of memory, or fewer nodes.

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
OTHER_RANKS = (
    "the batches and their order stay; sums are rounded in another order, and dropout draws other masks"
)
"""What another number of ranks changes."""
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
    """The plan of the attempt after `previous` on all its nodes, None where it is the run's own."""
    plan, before = run.read_plan(), plan_of(run, previous)
    if before.gpus != plan.gpus or not plan.needed_nodes <= before.nodes <= plan.nodes:
        return None  # it was resumed with others
    own = read_json(previous.plan)
    if ran_out(read_result(previous.result)):
        own = halve(plan_tree_of(run, previous), previous.number) or own
    if own is None or own["layout"]["micro_batch_size"] == plan.layout.micro_batch_size:
        return None
    return own if own["nodes"] == plan.nodes else on_nodes(own, plan.nodes)


def on_nodes(tree: Mapping[str, Any], nodes: int) -> dict[str, Any]:
    """The plan on another number of nodes: micro-batches of the same size, more of them where there are fewer ranks.

    What it had predicted of a step, and of the memory where that is sharded, no longer holds.
    """
    plan = read_plan_tree(tree, "plan.json")
    world_size = nodes * plan.gpus
    per_rank = math.ceil(plan.layout.global_batch_size / world_size)
    micro = min(plan.layout.micro_batch_size, per_rank)
    spread = {
        "examples_per_rank": per_rank,
        "micro_batch_size": micro,
        "gradient_accumulation_steps": math.ceil(per_rank / micro),
    }
    return {
        **tree,
        "nodes": nodes,
        "world_size": world_size,
        "layout": tree["layout"] | spread,
        "memory": tree["memory"] | ({"optimizer": None, "total": None} if plan.zero_stage else {}),
        "throughput": {"step_s": None},
    }


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
