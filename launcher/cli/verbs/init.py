"""`launch init`: a first recipe from data, a profile of a cluster, or a recipe from the settings of another tool."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from launcher.cli import options

if TYPE_CHECKING:
    from launcher.drafts.recipe import Draft

STDOUT = "-"


@click.command("init")
@click.argument("words", nargs=-1, metavar="DATA ... [key=value ...]")
@click.option("--output", metavar="FILE", help="Where the file goes; - is stdout. Default: NAME.yaml, here.")
@click.option("--force", is_flag=True, help="Overwrite a file that is there.")
@options.as_json
@options.examples("""
    launch init reviews.csv
    launch init train.tsv dev.tsv test.tsv --output news.yaml
    launch init texts/ task=masked-lm --output -
""")
def init_command(words: tuple[str, ...], output: str | None, force: bool, as_json: bool) -> None:
    """Make a recipe from data: files, or a folder of them. It trains without editing.

    Task, columns, labels, lengths, split, batch and a model for the language are guessed; the recipe says of each value
    why it has it. A key=value decides for yourself, such as task=ordinal or data.label=stars.
    """
    paths = [Path(word) for word in words if "=" not in word or Path(word).exists()]
    assignments = [word for word in words if Path(word) not in paths]
    if not paths:
        raise click.UsageError("name a file of data, or a folder of them", click.get_current_context())
    _recipe(paths, assignments, output, force=force, as_json=as_json)


def _recipe(
    paths: list[Path], assignments: list[str], output: str | None, *, force: bool, as_json: bool
) -> None:
    from launcher.drafts.recipe import draft_recipe

    target = _target(output, _name(paths[0]), force=force)
    draft = draft_recipe(paths, assignments, target.parent if target else Path.cwd(), Path.cwd())
    document = {
        "path": str(target) if target else None,
        "keys": {key: {"value": said.value, "why": said.why} for key, said in draft.keys.items()},
        "other_tasks": [{"task": name, "why": guess.why} for name, guess in draft.rejected],
    }
    _give(draft.text, target, document, as_json=as_json)
    if target and not as_json:
        _say_what_next(draft, target)


def _name(data: Path) -> str:
    """The name of the recipe: that of the data, without what no file name should have."""
    import re

    name = re.sub(
        r"[^A-Za-z0-9_-]+",
        "-",
        data.absolute().name.partition(".")[0] if data.is_file() else data.resolve().name,
    )
    return f"{name.strip('-') or 'recipe'}.yaml"


def _target(output: str | None, default: str, *, force: bool) -> Path | None:
    """Where the file goes; None for stdout. Raises UserError where something is there."""
    from launcher.errors import Problem, UserError

    if output == STDOUT:
        return None
    target = Path(output or default)
    if target.is_dir() or (target.exists() and not force):
        remedy = (
            "--output FILE names another"
            if target.is_dir()
            else "--force overwrites it, --output FILE names another"
        )
        raise UserError(Problem("is there already", str(target), remedy=remedy))
    if not target.parent.is_dir():
        raise UserError(Problem("there is no such directory", str(target.parent), remedy="make it first"))
    return target


def _give(text: str, target: Path | None, document: dict[str, Any], *, as_json: bool) -> None:
    """Write the file, or print it; on stdout stands the file's path, or the document."""
    from launcher.cli.output import show, show_json
    from launcher.runs.directory import write_text

    if target is not None:
        write_text(target, text)
    if as_json:
        show_json(document | ({} if target else {"text": text}))
    else:
        show(str(target) if target else text.rstrip("\n"))


def _say_what_next(draft: Draft, target: Path) -> None:
    from launcher.cli.output import say
    from launcher.drafts.commented import one_line

    for key in (
        "task",
        "data.text",
        "data.label",
        "data.split",
        "model.name",
        "data.max_length",
        "eval.metric",
    ):
        if key in draft.keys:
            said = draft.keys[key]
            say(f"  {key:<15} {one_line(said.value)}   {said.why}")
    for name, guess in draft.rejected[:2]:
        if guess.certainty > 0.45:
            say(f"  or task={name}: {guess.why}")
    say(f"launch plan recipe={target} shows what it would do, launch data recipe={target} examines the data")
