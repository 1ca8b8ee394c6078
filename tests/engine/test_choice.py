"""Which way is taken after a probe: the fastest that is right, by the time of the whole training."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from launcher.engine.choice import Wish, choose, is_worth_compiling, is_worth_probing, pays_after
from launcher.engine.findings import Finding, Of, Part, Taken, Timing, digest
from launcher.engine.table import TriedFamily, lines

ORDINARY = (Timing("packed", "none", 0.010), Timing("padded", "none", 0.012))
COMPILED = Timing("packed", "inductor", 0.008, start_s=40.0)


def found(*timings: Timing, wrong: Of | None = None) -> Finding:
    parts = [Part("gradients", "packed", "right", "1e-7")]
    if wrong is not None:
        parts.append(Part("planted", wrong, "wrong", "is off"))
    return Finding({"device": "here"}, tuple(parts), timings or ORDINARY, 1.0, 0.0)


def taken(finding: Finding, layout: Any = "packed", **wish: Any) -> Taken:
    return choose(finding, Wish(layout, **{"kernels": "none", "passes": 1000, **wish}), "here")


def test_what_is_planned_is_taken_where_nothing_speaks_against_it() -> None:
    chosen = taken(found())
    assert (chosen.layout, chosen.kernels, chosen.dropout) == ("packed", "none", "cheap")
    assert chosen.why == "packed takes 10 ms, padded 12 ms, 1 checks passed"


def test_under_zero_it_is_said_that_the_step_itself_is_not_tried() -> None:
    told = "packed takes 10 ms, padded 12 ms, 1 checks passed on the model before ZeRO-2 takes it, whose own step is not tried"
    assert taken(found(), zero_stage=2).why == told


@pytest.mark.parametrize(("passes", "kernels"), [(10_000, "none"), (19_999, "none"), (400_000, "inductor")])
def test_compiling_is_taken_where_its_start_has_paid_by_the_end(passes: int, kernels: str) -> None:
    """40 s are paid back after 20,000 passes of 2 ms less each."""
    chosen = taken(found(*ORDINARY, COMPILED), passes=passes)
    assert chosen.kernels == kernels
    if kernels == "none":
        assert f"would pay after 20,000 steps; {passes:,} are left" in chosen.why


def test_what_never_pays_is_said_so() -> None:
    slower = dataclasses.replace(COMPILED, pass_s=0.011)
    assert "never pays" in taken(found(*ORDINARY, slower)).why
    assert pays_after(10.0, -1.0) is None


def test_a_small_difference_may_be_noise() -> None:
    close = (Timing("packed", "none", 0.0100), Timing("padded", "none", 0.0095))
    assert taken(found(*close)).layout == "packed"
    clear = (Timing("packed", "none", 0.0100), Timing("padded", "none", 0.0080))
    assert taken(found(*clear)).layout == "padded"
    assert taken(found(*clear), by_time=False).layout == "packed"
    assert taken(found(*clear), passes=999).layout == "packed"


def test_kernels_that_the_recipe_names_are_kept_whatever_they_cost() -> None:
    finding = found(*ORDINARY, dataclasses.replace(COMPILED, pass_s=0.02))
    assert taken(finding, kernels="inductor", may_compile=False).kernels == "inductor"
    assert taken(found(*ORDINARY, COMPILED), may_compile=False, passes=10**6).kernels == "none"


@pytest.mark.parametrize(
    ("wrong", "kernels", "expected"),
    [
        ("packed", "none", ("padded", "none", "cheap")),
        ("packed", "graph", ("padded", "none", "cheap")),
        ("graph", "graph", ("packed", "none", "cheap")),
        ("inductor", "inductor", ("packed", "none", "cheap")),
        ("dropout", "none", ("packed", "none", "stock")),
        ("times", "none", ("packed", "none", "cheap")),
        ("padded", "none", ("packed", "none", "cheap")),
    ],
)
def test_what_is_wrong_is_left_and_named(wrong: Of, kernels: Any, expected: tuple[str, ...]) -> None:
    chosen = taken(found(*ORDINARY, wrong=wrong), kernels=kernels)
    assert (chosen.layout, chosen.kernels, chosen.dropout) == expected
    assert chosen.is_fallback
    assert chosen.why == "falls back, since something is wrong here: planted: is off"


def test_a_wrong_way_is_not_taken_for_being_fast() -> None:
    fast = dataclasses.replace(COMPILED, start_s=0.0, pass_s=0.001)
    assert taken(found(*ORDINARY, fast, wrong="inductor"), passes=10**6).kernels == "none"
    quick = (Timing("packed", "none", 0.010), Timing("padded", "none", 0.001))
    assert taken(found(*quick, wrong="padded")).layout == "packed"


def test_probing_and_compiling_must_be_worth_their_while() -> None:
    assert not is_worth_probing(999)
    assert is_worth_probing(1000)
    assert not is_worth_compiling(10_000, 0.2)  # half an hour
    assert is_worth_compiling(20_000, 0.2)


def test_a_finding_is_of_all_that_its_key_names() -> None:
    key = {"device": "a", "torch": "2.13"}
    assert digest(key) == digest(dict(reversed(list(key.items()))))
    assert digest(key) != digest({**key, "torch": "2.14"})


def test_the_table_names_what_is_wrong() -> None:
    finding = found(*ORDINARY, wrong="packed")
    text = list(lines([TriedFamily("some-family", "fp32", finding, taken(finding))]))
    assert text[1].split("  ")[0] == "some-family"
    assert "1 right, 1 wrong" in text[1]
    assert text[2] == "WRONG  some-family, fp32: planted: is off"
    assert max(map(len, text)) <= 100
