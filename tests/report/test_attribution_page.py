"""The page of an explanation: complete, escaped, coloured by what the words do."""

from __future__ import annotations

from launcher.report.attribution_page import headline, page, strengths
from launcher.runs.verb_results import Explanation, Word

EXPLANATION = Explanation(
    label="<bad>",
    probability=0.91,
    logit=1.5,
    masked_logit=-0.25,
    rest=0.0,
    words=(Word("not", 2.0, 0), Word("<b>", -1.0, 0), Word("here", 0.0, 1)),
)


def test_what_was_said() -> None:
    text = "<bad> (0.910): logit -0.250 with every word masked, +1.500 as it is"
    assert headline(EXPLANATION) == text


def test_the_strongest_word_is_one() -> None:
    assert strengths(EXPLANATION.words) == [1.0, -0.5, 0.0]
    assert strengths([Word("a", 0.0, 0)]) == [0.0]


def test_the_page_needs_nothing_else_and_escapes_what_users_wrote() -> None:
    html = page("a & b", [EXPLANATION])
    assert "<title>a &amp; b</title>" in html
    assert "&lt;bad&gt;" in html
    assert 'rgba(34, 139, 34, 0.80)" title="+2.0000">not</span>' in html
    assert 'rgba(200, 30, 30, 0.40)" title="-1.0000">&lt;b&gt;</span>' in html
    assert "http" not in html
    assert html.count("<p>") == 2  # the second text of a pair in a paragraph of its own
