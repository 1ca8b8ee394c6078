"""Tags and entities: what each scheme allows, which entities tags make, and how others' habits are read."""

from __future__ import annotations

from itertools import product

import pytest

from launcher.tasks.shared.tagging import (
    Entity,
    Scheme,
    complete,
    entities,
    follows,
    misfit,
    rewritten,
    scheme_of,
    strict_entities,
)


@pytest.mark.parametrize(
    ("names", "scheme"),
    [
        (["O", "B-PER", "I-PER"], "bio"),
        (["O", "I-PER", "I-LOC"], "bio"),
        (["O", "B-PER", "I-PER", "E-PER", "S-PER"], "bioes"),
        (["S-PER", "O"], "bioes"),
        (["NN", "VB", "O"], "none"),
        (["O"], "none"),
        (["O", "B-PER", "PER"], "none"),
    ],
)
def test_the_scheme_is_read_off_the_tags(names: list[str], scheme: Scheme) -> None:
    assert scheme_of(names) == scheme


def test_a_scheme_that_does_not_fit_names_the_tag() -> None:
    assert misfit(["O", "B-PER", "E-PER"], "bio") == "E-PER"
    assert misfit(["O", "NN"], "bioes") == "NN"
    assert misfit(["O", "NN"], "none") is None


def test_every_type_gets_all_the_tags_it_may_need() -> None:
    assert complete(("I-PER", "O"), "bio") == ("B-PER", "I-PER", "O")
    assert complete(("O", "S-X"), "bioes") == ("B-X", "E-X", "I-X", "O", "S-X")
    assert complete(("O", "B-PER", "I-PER"), "bio") == (
        "O",
        "B-PER",
        "I-PER",
    )  # in the order they were given in
    assert complete(("NN", "VB"), "none") == ("NN", "VB")


@pytest.mark.parametrize("scheme", ["bio", "bioes"])
def test_a_sequence_is_legal_where_the_scheme_writes_its_entities_just_so(scheme: Scheme) -> None:
    names = complete(("B-X", "B-Y") if scheme == "bio" else ("S-X", "S-Y"), scheme)
    for tags in product(names, repeat=3):
        steps = zip((None, *tags), (*tags, None), strict=True)
        legal = all(follows(before, after, scheme) for before, after in steps)
        assert legal == (rewritten(tags, scheme) == list(tags)), tags


def test_entities_of_both_schemes() -> None:
    found = [Entity("PER", 0, 2), Entity("LOC", 2, 3), Entity("LOC", 4, 5)]
    assert entities(["B-PER", "I-PER", "B-LOC", "O", "B-LOC"], "bio") == found
    assert entities(["B-PER", "E-PER", "S-LOC", "O", "S-LOC"], "bioes") == found
    assert entities(["NN", "O", "NN"], "none") == [Entity("NN", 0, 1), Entity("NN", 2, 3)]


def test_an_entity_that_never_began_counts_leniently_alone() -> None:
    tags = ["I-PER", "I-PER", "O", "B-LOC", "I-PER"]
    assert entities(tags, "bio") == [Entity("PER", 0, 2), Entity("LOC", 3, 4), Entity("PER", 4, 5)]
    assert strict_entities(tags, "bio") == [Entity("LOC", 3, 4)]
    assert strict_entities(["B-PER", "O", "B-PER", "I-PER"], "bioes") == []


def test_iob1_is_rewritten_with_a_b_on_every_entity() -> None:
    assert rewritten(["I-PER", "I-PER", "O", "I-LOC", "B-LOC"], "bio") == [
        "B-PER",
        "I-PER",
        "O",
        "B-LOC",
        "B-LOC",
    ]
