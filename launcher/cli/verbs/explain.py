"""`launch explain`: the words behind a prediction."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from launcher.cli import options

if TYPE_CHECKING:
    from launcher.recipe.recipe import Recipe
    from launcher.runs.directory import RunDir
    from launcher.runs.verb_results import Explanation, Word


@click.command("explain")
@options.run_argument
@click.option(
    "--text",
    "texts",
    type=options.Text(),
    multiple=True,
    required=True,
    metavar="TEXT",
    help="A text; twice for a pair.",
)
@click.option("--label", metavar="LABEL", help="Explain this label; default: the one predicted.")
@click.option("--html", metavar="FILE", type=options.GivenPath(), help="Write an HTML page that shows it.")
@options.runs_dir
@options.as_json
@options.examples("""
    launch explain smoke-20260131 --text "The coffee was far from dreadful!"
    launch explain smoke-20260131 --text "Not bad" --label negative --html w.html
""")
def explain_command(
    reference: str,
    texts: tuple[str, ...],
    label: str | None,
    html: str | None,
    runs_dir: Path | None,
    as_json: bool,
) -> None:
    """Which words speak for and against a prediction (integrated gradients, added up by word)."""
    from launcher import tasks
    from launcher.cli.file_arguments import check_writable
    from launcher.cli.output import say, show_json
    from launcher.cli.train_process import run_verb
    from launcher.cli.verbs.models import trained_run
    from launcher.loading.resolve import read_recipe_file
    from launcher.report.attribution_page import page
    from launcher.runs.directory import RunDir
    from launcher.runs.files import write_text
    from launcher.runs.records import tree_of
    from launcher.runs.verb_results import Explanations

    run = trained_run(reference, runs_dir)
    directory = RunDir(run)
    recipe = read_recipe_file(directory.recipe)
    tasks.refuse_unexplained(recipe)
    tasks.of(recipe).rows_of(texts)
    if label is not None:
        _refuse_unknown(label, directory, recipe)
    if html is not None:
        check_writable(Path(html), "--html")
    words = [word for text in texts for word in ("--text", text)]
    result = run_verb(["explain", str(run), *words, *(["--label", label] if label else [])], Explanations)
    if html is not None:
        write_text(Path(html).absolute(), page(f"{run.name}: which words matter", result.explanations), 0o644)
        say(f"written to {html}")
    if as_json:
        show_json(tree_of(result))
    elif html is None:
        for explanation in result.explanations:
            show_explanation(explanation)


def _refuse_unknown(label: str, run: RunDir, recipe: Recipe) -> None:
    """Raises UserError where there are no labels, or the model's configuration lists them and this is none of them."""
    from launcher import tasks
    from launcher.errors import UserError, choices
    from launcher.runs.records import read_json

    if not tasks.of(recipe).classes:
        remedy = "leave it out: the number that is predicted is explained"
        raise UserError(f"task={recipe.task} has no labels", None, "--label", label, remedy)
    listed = (read_json(run.model / "config.json") or {}).get("id2label")
    names = [str(name) for name in listed.values()] if isinstance(listed, dict) else []
    if names and label not in names:
        raise UserError("no such label", None, "--label", label, choices(label, names))


def show_explanation(explanation: Explanation) -> None:
    """Words in colour on a terminal; elsewhere, or where NO_COLOR is set, a word and its score on each line."""
    import os

    from launcher.cli.output import on_terminal, show
    from launcher.report.attribution_page import headline

    show(headline(explanation))
    words = explanation.words
    if on_terminal("stdout") and not os.environ.get("NO_COLOR"):
        _show_coloured(words)
        return
    for word in words:
        show(f"{word.score:+.4f}  {word.text}")


def _show_coloured(words: Sequence[Word]) -> None:
    from rich.text import Text

    from launcher.cli.output import show_rich
    from launcher.report.attribution_page import strengths

    line = Text()
    for word, strength in zip(words, strengths(words), strict=True):
        depth = round(60 + 150 * abs(strength))
        colour = f"rgb(0,{depth},0)" if strength > 0 else f"rgb({depth},0,0)"
        line.append(word.text, style=f"white on {colour}" if abs(strength) > 0.1 else "")
        line.append(" ")
    show_rich([line])
