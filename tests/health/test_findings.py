"""What is found wrong with which node, from what each says of itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from support.plans import plan_of

from launcher.health import findings
from launcher.health.facts import NodeFacts
from launcher.health.findings import find
from launcher.health.gpus import Gpu
from launcher.runs.provenance import Versions
from launcher.runs.run_plan import PlannedMemory, PlannedTraffic, RunPlan, read_plan_tree

GIB = 1 << 30
WELL = NodeFacts("a", "3.12.1", "2.13.0", "0.1.0", 100 * GIB, 500 * GIB, "0a" * 32)
GPUS = tuple(Gpu(index, f"GPU-{index}", "H100", 80 * GIB, 0, 0) for index in range(2))
HOSTS = ("a", "b", "c")


def plan(device: str = "cpu") -> RunPlan:
    made = plan_of({"executor": "slurm", "nodes": 3, "gpus": 2, "device": device}, run_dir=Path("/runs/r"))
    return read_plan_tree(made.tree(), "plan.json")


def nodes(**second: object) -> dict[int, NodeFacts]:
    """Three nodes of which the second is otherwise than the others."""
    well = {number: replace(WELL, host=host) for number, host in enumerate(HOSTS)}
    return {**well, 1: replace(well[1], **second)}  # type: ignore[arg-type]


def said(facts: dict[int, NodeFacts], device: str = "cpu") -> list[tuple[str, str, str]]:
    return [(found.host, found.state, found.text) for found in find(plan(device), HOSTS, facts)]


def test_nodes_that_are_well_are_no_news() -> None:
    assert said(nodes()) == []
    assert said({number: replace(node, gpus=GPUS) for number, node in nodes().items()}, "cuda") == []


def test_where_two_nodes_differ_what_the_run_was_launched_with_decides() -> None:
    two = {0: replace(WELL, host="a", torch="2.12.0"), 1: replace(WELL, host="b")}
    assert [(found.host, found.text) for found in find(plan(), ("a", "b"), two, [WELL.versions])] == [
        ("a", "torch 2.12.0, where others have 2.13.0")
    ]


@pytest.mark.parametrize(
    "elsewhere", [[], [replace(WELL, torch="2.11.0").versions]], ids=["unknown", "a third"]
)
def test_where_two_nodes_differ_and_nobody_knows_which_is_right_both_are_named(
    elsewhere: list[Versions],
) -> None:
    two = {0: replace(WELL, host="a", torch="2.12.0"), 1: replace(WELL, host="b")}
    assert [(found.host, found.text) for found in find(plan(), ("a", "b"), two, elsewhere)] == [
        ("a", "torch 2.12.0, where others have 2.13.0, and nobody knows which is right"),
        ("b", "torch 2.13.0, where others have 2.12.0, and nobody knows which is right"),
    ]


def test_two_installations_of_one_version_with_other_code_are_told_apart() -> None:
    assert said(nodes(code="5b2f" * 16)) == [
        ("b", "failed", "launcher 0.1.0 (code 5b2f5b2f), where most nodes have 0.1.0 (code 0a0a0a0a)")
    ]


@pytest.mark.parametrize(
    ("second", "state", "text"),
    [
        ({"torch": "2.12.0"}, "failed", "torch 2.12.0, where most nodes have 2.13.0"),
        ({"torch": None}, "failed", "torch is missing, where most nodes have 2.13.0"),
        (
            {"launcher": "0.0.9"},
            "failed",
            "launcher 0.0.9 (code 0a0a0a0a), where most nodes have 0.1.0 (code 0a0a0a0a)",
        ),
        (
            {"memory_available": GIB // 4},
            "failed",
            "256.0 MiB of memory are free, and about 512.0 MiB are needed",
        ),
        ({"run_error": "/runs can't be written"}, "failed", "/runs can't be written"),
        ({"clock_offset_s": 3600.0}, "failed", "its clock is 1 h 00 min ahead of the first node's"),
        ({"clock_offset_s": -5.0}, "note", "its clock is 5 s behind the first node's"),
        ({"head_error": "no route"}, "failed", "can't reach the first node: no route"),
    ],
)
def test_a_node_that_is_otherwise_is_named_with_the_reason(
    second: dict[str, object], state: str, text: str
) -> None:
    assert said(nodes(**second)) == [("b", state, text)]


@pytest.mark.parametrize(
    ("second", "state", "text"),
    [
        ({"gpus": GPUS[:1]}, "failed", "1 of 2 GPUs answer"),
        (
            {"gpus": (), "gpu_error": "No devices were found"},
            "failed",
            "0 of 2 GPUs answer (No devices were found)",
        ),
        (
            {"gpus": (), "gpu_error": "nvidia-smi is not on PATH"},
            "note",
            "nvidia-smi is not on PATH: GPUs are not counted",
        ),
        (
            {"gpus": (GPUS[0], replace(GPUS[1], used=41 * GIB))},
            "failed",
            "GPU 1 is in use: 41.0 GiB of its memory are taken",
        ),
        (
            {"gpus": (GPUS[0], replace(GPUS[1], ecc_errors=3))},
            "failed",
            "GPU 1 has 3 memory errors that could not be corrected, since its driver was loaded",
        ),
        (
            {"gpus": (GPUS[0], replace(GPUS[1], ecc_errors=3, is_judged=True))},
            "note",
            "GPU 1 has 3 memory errors that could not be corrected, since its driver was loaded; the driver asks for nothing",
        ),
        (
            {"gpus": (GPUS[0], replace(GPUS[1], recovery="Reset"))},
            "failed",
            "GPU 1 is in an error from which the driver recovers by: Reset",
        ),
    ],
)
def test_gpus_that_are_missing_taken_or_broken_are_found(
    second: dict[str, object], state: str, text: str
) -> None:
    facts = {number: replace(node, gpus=GPUS) for number, node in nodes().items()}
    facts[1] = replace(facts[1], **second)  # type: ignore[arg-type]
    assert said(facts, "cuda") == [("b", state, text)]
    assert said(facts) == []  # a training on the CPU has no use for them


def test_a_node_that_says_nothing_is_found() -> None:
    facts = nodes()
    del facts[1]
    assert said(facts) == [("b", "failed", findings.SILENT)]


def test_where_nobody_reaches_the_first_node_it_is_to_blame() -> None:
    cut_off = {
        number: replace(node, head_error="timed out" if number else None) for number, node in nodes().items()
    }
    assert said(cut_off) == [("a", "failed", "no other node reaches it: timed out")]


def test_a_disk_that_is_too_small_for_two_checkpoints_is_no_nodes_fault() -> None:
    planned = replace(plan(), traffic=PlannedTraffic(GIB, GIB), memory=PlannedMemory())
    facts = nodes(disk_free=26 * GIB)
    text = (
        "26.0 GiB are free for the run directory, and two checkpoints and the best model take about 28.0 GiB"
    )
    assert findings.disk_problem(planned, facts) == text
    assert (
        findings.disk_problem(replace(planned, memory=PlannedMemory(optimizer=0)), facts) == text
    )  # offloaded
    adapters = replace(planned, traffic=PlannedTraffic(GIB, GIB // 100))
    assert findings.disk_problem(adapters, nodes(disk_free=5 * GIB)) is None
    assert findings.disk_problem(planned, nodes()) is None
    assert findings.disk_problem(plan(), facts) is None  # nobody knows the model's shape
