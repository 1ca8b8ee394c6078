"""A page that shows which words made a model say what it says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from launcher.report.markup import escaped
from launcher.runs.verb_results import Explanation, Word

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 1.1rem/2 system-ui, sans-serif; max-width: 50rem; margin: 2rem auto; padding: 0 1rem; }}
h1 {{ font-size: 1.2rem; }} h2 {{ font-size: 1rem; margin-bottom: 0; }}
p {{ margin: 0.3rem 0; }} .note {{ opacity: 0.75; font-size: 0.9rem; line-height: 1.4; }}
span.word {{ padding: 0.15em 0.2em; border-radius: 0.2em; }}
</style>
<h1>{title}</h1>
{body}
<p class="note">Green words speak for the label, red words against it; the stronger the colour, the larger their part in the logit
(point at a word to see it). Integrated gradients from the text with every word masked, Sundararajan et al., 2017.</p>
</html>
"""


def page(title: str, explanations: Sequence[Explanation]) -> str:
    """A complete HTML document, with nothing to fetch."""
    return PAGE.format(title=escaped(title), body="\n".join(map(_section, explanations)))


def headline(explanation: Explanation) -> str:
    """What was predicted, and how far from the masked text that is."""
    said = explanation.label if explanation.label is not None else f"{explanation.logit:.4f}"
    chance = "" if explanation.probability is None else f" ({explanation.probability:.3f})"
    masked, logit = explanation.masked_logit, explanation.logit
    return f"{said}{chance}: logit {masked:+.3f} with every word masked, {logit:+.3f} as it is"


def strengths(words: Sequence[Word]) -> list[float]:
    """Scores from -1 to 1, the largest being one of both."""
    largest = max((abs(word.score) for word in words), default=0.0) or 1.0
    return [word.score / largest for word in words]


def _section(explanation: Explanation) -> str:
    return f"<h2>{escaped(headline(explanation))}</h2>\n<p>{' '.join(_spans(explanation.words))}</p>"


def spans(words: Sequence[Word]) -> str:
    """The words as HTML, each as strongly coloured as it counts."""
    return " ".join(_spans(words)).replace("</p><p>", "<br>")


def _spans(words: Sequence[Word]) -> Iterator[str]:
    part = 0
    for word, strength in zip(words, strengths(words), strict=True):
        if word.part != part:
            part = word.part
            yield "</p><p>"
        colour = "34, 139, 34" if strength > 0 else "200, 30, 30"
        style = f"background: rgba({colour}, {abs(strength) * 0.8:.2f})"
        yield f'<span class="word" style="{style}" title="{word.score:+.4f}">{escaped(word.text)}</span>'
