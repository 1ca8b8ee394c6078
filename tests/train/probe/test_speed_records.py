"""A training teaches the next plan: its steps, and what its probe measured of the device."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from support.training import make_run, recipe, train_here

from launcher.engine import choice
from launcher.engine.machine import cpu_name
from launcher.engine.speeds import read_known
from launcher.planning.machine import observe
from launcher.planning.plan import Identity, Plan, make_plan
from launcher.planning.surroundings import DataSize
from launcher.recipe.cluster import Cluster
from launcher.recipe.recipe import Recipe
from launcher.train.probe import speed_records
from launcher.train.probe.speed_records import MeasuredSteps, keep_steps, shape_of

CPU = torch.device("cpu")


def planned(wanted: Recipe, shape: object) -> Plan:
    identity = Identity("tiny", "tiny", "/runs/tiny", sys.executable, None, "0")
    machine = observe(wanted, Cluster())
    return make_plan(wanted, Cluster(), machine, identity, shape, DataSize(97, 60.0))  # type: ignore[arg-type]


def test_the_next_plan_of_the_kind_predicts_what_was_measured(tmp_path: Path, tiny_data: Path) -> None:
    wanted = recipe(tiny_data, train={"max_steps": 3})
    job = train_here(make_run(tmp_path / "run", wanted), "none")
    shape = shape_of(job.built.base)
    before = planned(wanted, shape)
    keep_steps(before, job.built.base, CPU, MeasuredSteps(16.0, [0.9] * 5))  # too few to say anything
    keep_steps(
        before, job.built.base, CPU, MeasuredSteps(16.0, [0.9] * 29, waited=0.6)
    )  # others' work, not the device
    assert planned(wanted, shape).throughput == before.throughput
    keep_steps(before, job.built.base, CPU, MeasuredSteps(16.0, [0.2] * 28 + [9.0], waited=0.05))
    after = planned(wanted, shape)
    assert after.throughput.step_s == pytest.approx(0.2)
    assert after.throughput.measured_on == "such a device, in 1 run of this model"
    assert after.plan_id == before.plan_id


def test_a_probe_measures_rates_that_a_plan_can_use(
    tmp_path: Path, tiny_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choice, "LEAST_PASSES", 1)
    monkeypatch.setattr(speed_records, "core_time", lambda: None)  # whatever else runs beside this test
    wanted = recipe(tiny_data, train={"max_steps": 3})
    job = train_here(make_run(tmp_path / "run", wanted), "none")
    (rates,) = read_known().rates
    assert (rates.device, rates.precision, rates.ranks, rates.hidden) == (cpu_name(), "fp32", 1, 32)
    assert rates.flops_per_s > 1e6
    assert rates.bytes_per_s > 1e7
    found = planned(wanted, shape_of(job.built.base)).throughput
    assert found.measured_on == "such a device, by a probe of its engine"
