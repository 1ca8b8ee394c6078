"""batch.tokens=auto: what the plan says, what a trial makes of it, and that it only changes how a batch is cut."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from support.gpu import needs_gpu
from support.training import RankServer, losses, make_run, recipe, result

from launcher.train.step.token_limit import (
    TRIAL_TOKENS,
    affordable_tokens,
    trial_examples,
    with_tokens,
    within,
)
from launcher.train.tokens.cache import TokenSplit

GIB = 2**30


def test_what_a_trial_took_is_scaled_to_the_memory_that_is_left() -> None:
    assert affordable_tokens(10 * GIB, 1 * GIB, 4096, 1 * GIB, longest=512) == 8 * 4096
    assert affordable_tokens(10 * GIB, 9 * GIB, 4096, 1 * GIB, longest=512) == 512


def test_a_trial_takes_the_longest_examples() -> None:
    lengths = np.array([3, 500, 20, 512] * 20)
    split = TokenSplit(np.zeros(lengths.sum(), np.int32), np.concatenate([[0], np.cumsum(lengths)]))
    chosen = trial_examples(split)
    assert lengths[chosen].sum() >= TRIAL_TOKENS > lengths[chosen[:-1]].sum()
    assert set(lengths[chosen]) == {512}


def test_on_a_cpu_auto_is_the_fastest_cut_and_the_losses_stay(
    tmp_path: Path, tiny_data: Path, ranks: RankServer
) -> None:
    same = {"train": {"max_steps": 4}, "model": {"dropout": {"hidden": 0.0, "attention": 0.0}}}
    auto = make_run(tmp_path / "auto", recipe(tiny_data, batch={"tokens": "auto"}, **same))
    assert auto.plan_tree()["layout"]["max_tokens"] == 4096
    small = make_run(tmp_path / "small", recipe(tiny_data, batch={"tokens": 64}, **same))
    assert losses(ranks.complete(auto)) == pytest.approx(losses(ranks.complete(small)), abs=1e-5)


def test_another_limit_changes_nothing_else_in_the_plan(tmp_path: Path, tiny_data: Path) -> None:
    from launcher.planning.plan import Plan

    run = make_run(tmp_path / "run", recipe(tiny_data))
    plan = Plan.model_validate_json(run.plan.read_text())
    changed = with_tokens(plan, 77)
    assert changed.layout.max_tokens == 77
    assert with_tokens(changed, plan.layout.max_tokens) == plan
    assert with_tokens(plan, None) is plan


def test_after_an_attempt_without_memory_half_of_what_it_had_found_is_the_most(
    tmp_path: Path, tiny_data: Path
) -> None:
    from launcher.planning.plan import Plan
    from launcher.runs import attempt_plan as smaller
    from launcher.runs.files import write_json

    run = make_run(tmp_path / "run", recipe(tiny_data, batch={"tokens": "auto"}))
    first = run.attempt(1)
    first.path.mkdir(parents=True)
    first.max_tokens.write_text("600\n")
    write_json(first.result, {"status": "failed", "error": {"class": "memory"}})
    after = smaller.plan_after(run, first)
    assert after is not None
    plan = Plan.model_validate_json(json.dumps(after))
    assert plan.layout.max_tokens == 300
    assert within(580, plan, smaller=True) == 300, "the same trial finds as much as before"
    assert within(580, plan, smaller=False) == 580


@needs_gpu
def test_on_a_gpu_a_trial_decides(tmp_path: Path, tiny_data: Path, ranks: RankServer) -> None:
    wanted = recipe(tiny_data, device="cuda", batch={"tokens": "auto"}, train={"max_steps": 3})
    run = ranks.complete(make_run(tmp_path / "run", wanted))
    assert result(run)["steps"] == 3
