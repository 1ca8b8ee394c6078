"""What a run that has ended teaches the next plan: its median step, beside the work that was planned for it. Pure."""

from __future__ import annotations

from dataclasses import replace

from launcher.engine.speeds import Point
from launcher.families.shared.base import ModelShape
from launcher.planning.estimate import Setup
from launcher.planning.layout import setup_of
from launcher.planning.plan import Plan
from launcher.planning.step_time import Planned
from launcher.planning.throughput import (
    Facts,
    planned_point,
    training_kind,
)

LEAST_STEPS = 20
"""Steps that a median must be of."""


def setup_of_plan(plan: Plan) -> Setup:
    """How a plan trains, as far as time depends on it."""
    setup = setup_of(plan.recipe, plan.world_size, plan.device)
    return replace(setup, graphed=plan.compile == "graph")


def measured_point(
    plan: Plan, shape: ModelShape, device: str, *, cores: int, tokens: float, seconds: float
) -> tuple[dict[str, str], Point] | None:
    """Kind and point of a run's steps; `tokens` is the mean length of an example, `cores` are those of a rank.

    The work is that of the length that the plan guessed, since the next plan guesses as it did.
    """
    length = plan.throughput.tokens_per_example or tokens
    facts = Facts(
        examples=plan.layout.global_batch_size,
        max_length=plan.layout.max_length,
        mean_chars=None,
        tokens_each=length,
        nodes=plan.nodes,
        gpus=plan.gpus,
        gpu_model=device if plan.device == "cuda" else None,
        cores=cores,
        cpu=device if plan.device == "cpu" else None,
    )
    setup = setup_of_plan(plan)
    kind = training_kind(shape, facts, setup)
    point = planned_point(shape, facts, Planned(setup, plan.layout.micro_batch_size), seconds)
    return None if kind is None or point is None else (kind, point)
