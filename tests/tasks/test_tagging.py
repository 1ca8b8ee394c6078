"""Tags and entities: what each scheme allows, which entities tags make, and how others' habits are read."""

from __future__ import annotations

from itertools import product

import pytest

from launcher.tasks.shared.tagging import (
    BIO,
    BIOES,
    NONE,
    Entity,
    Scheme,
    complete,
    entities,
    follows,
    misfit,
    odd_tag,
    rewritten,
    scheme_of,
    strict_entities,
)


@pytest.mark.parametrize(
    ("names", "scheme"),
    [
        (["O", "B-PER", "I-PER"], BIO),
        (["O", "I-PER", "I-LOC"], BIO),
        (["O", "B-PER", "I-PER", "E-PER", "S-PER"], BIOES),
        (["S-PER", "O"], BIOES),
        (["NN", "VB", "O"], NONE),
        (["O"], NONE),
        (["O", "B-PER", "PER"], NONE),
    ],
)
def test_the_scheme_is_read_off_the_tags(names: list[str], scheme: Scheme) -> None:
    assert scheme_of(names) == scheme


@pytest.mark.parametrize(
    ("tags", "name"),
    [
        (["B-NAME", "E-NAME", "O", "B-LOC", "M-LOC", "E-LOC", "S-LOC"], "bioes"),
        (["B-NAME", "E-NAME", "O", "B-LOC", "M-LOC", "E-LOC", "W-LOC"], "bioes"),
        (["B-NAME", "L-NAME", "O", "B-LOC", "I-LOC", "L-LOC", "U-LOC"], "bioes"),
        (["B_NAME", "E_NAME", "O", "B_LOC", "M_LOC", "E_LOC", "S_LOC"], "bioes"),
        (["NAME-B", "NAME-I", "O", "LOC-B", "LOC-I", "LOC-I", "LOC-B"], "bio"),
        (["b-name", "e-name", "O", "b-loc", "m-loc", "e-loc", "s-loc"], "bioes"),
    ],
)
def test_every_way_of_writing_a_scheme_gives_the_same_entities_and_comes_back_as_it_was(
    tags: list[str], name: str
) -> None:
    scheme = scheme_of(tags)
    assert scheme.name == name
    assert scheme_of(tags, "bioes" if name == "bioes" else "bio") == scheme
    found = [(entity.type.lower(), entity.start, entity.end) for entity in entities(tags, scheme)]
    assert found == [("name", 0, 2), ("loc", 3, 6), ("loc", 6, 7)]
    assert rewritten(tags, scheme) == tags
    assert all(follows(one, two, scheme) for one, two in zip((None, *tags), (*tags, None), strict=True))


def test_tags_without_types_cut_a_sentence_into_words() -> None:
    tags = ["B", "E", "S", "B", "M", "E"]
    assert entities(tags, scheme_of(tags)) == [Entity("", 0, 2), Entity("", 2, 3), Entity("", 3, 6)]
    assert scheme_of(["S", "O"]) == NONE


@pytest.mark.parametrize("odd", ["0", "o", "LOC", "b-PER", "E-PER"])
def test_one_odd_tag_among_many_is_found(odd: str) -> None:
    counts = {"O": 200, "B-PER": 60, "I-PER": 59, "B-LOC": 60, odd: 1}
    assert odd_tag(counts, scheme_of(counts)) == (odd, BIO)


def test_tags_that_are_of_no_scheme_or_well_closed_are_not_odd() -> None:
    for counts in (
        {"NN": 30, "VB": 20, "O": 3},
        {"O": 9, "B-PER": 5, "I-PER": 2, "E-PER": 5, "S-PER": 9},
        {"O": 9, "B-PER": 1, "PER": 20},
    ):
        assert odd_tag(counts, scheme_of(counts)) is None


def test_a_scheme_that_does_not_fit_names_the_tag() -> None:
    assert misfit(["O", "B-PER", "E-PER"], BIO) == "E-PER"
    assert misfit(["O", "NN"], BIOES) == "NN"
    assert misfit(["O", "NN"], NONE) is None


def test_every_type_gets_all_the_tags_it_may_need() -> None:
    assert complete(("I-PER", "O"), BIO) == ("B-PER", "I-PER", "O")
    assert complete(("O", "S-X"), BIOES) == ("B-X", "E-X", "I-X", "O", "S-X")
    assert complete(("O", "B-PER", "I-PER"), BIO) == (
        "O",
        "B-PER",
        "I-PER",
    )  # in the order they were given in
    assert complete(("NN", "VB"), NONE) == ("NN", "VB")


@pytest.mark.parametrize("scheme", [BIO, BIOES])
def test_a_sequence_is_legal_where_the_scheme_writes_its_entities_just_so(scheme: Scheme) -> None:
    names = complete(("B-X", "B-Y") if scheme == BIO else ("S-X", "S-Y"), scheme)
    for tags in product(names, repeat=3):
        steps = zip((None, *tags), (*tags, None), strict=True)
        legal = all(follows(before, after, scheme) for before, after in steps)
        assert legal == (rewritten(tags, scheme) == list(tags)), tags


def test_entities_of_both_schemes() -> None:
    found = [Entity("PER", 0, 2), Entity("LOC", 2, 3), Entity("LOC", 4, 5)]
    assert entities(["B-PER", "I-PER", "B-LOC", "O", "B-LOC"], BIO) == found
    assert entities(["B-PER", "E-PER", "S-LOC", "O", "S-LOC"], BIOES) == found
    assert entities(["NN", "O", "NN"], NONE) == [Entity("NN", 0, 1), Entity("NN", 2, 3)]


def test_an_entity_that_never_began_counts_leniently_alone() -> None:
    tags = ["I-PER", "I-PER", "O", "B-LOC", "I-PER"]
    assert entities(tags, BIO) == [Entity("PER", 0, 2), Entity("LOC", 3, 4), Entity("PER", 4, 5)]
    assert strict_entities(tags, BIO) == [Entity("LOC", 3, 4)]
    assert strict_entities(["B-PER", "O", "B-PER", "I-PER"], BIOES) == []


def test_iob1_is_rewritten_with_a_b_on_every_entity() -> None:
    assert rewritten(["I-PER", "I-PER", "O", "I-LOC", "B-LOC"], BIO) == [
        "B-PER",
        "I-PER",
        "O",
        "B-LOC",
        "B-LOC",
    ]
