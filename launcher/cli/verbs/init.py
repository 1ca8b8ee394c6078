"""`launch init`: a first recipe from data, a profile of a cluster, or a recipe from the settings of another tool."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from launcher.cli import options

if TYPE_CHECKING:
    from launcher.drafts.profile import ProfileDraft
    from launcher.drafts.recipe import Draft

STDOUT = "-"


@click.command("init")
@click.argument("words", nargs=-1, metavar="DATA ... [key=value ...]")
@click.option(
    "--cluster", is_flag=True, help="Write a profile of the cluster instead, by asking its scheduler."
)
@click.option(
    "--from-trainer",
    "settings",
    metavar="FILE",
    multiple=True,
    type=options.GivenPath(path_type=Path),
    help="Take over TrainingArguments (json), a script (.py, not executed) or accelerate's config (.yaml).",
)
@click.option("--no-job", is_flag=True, help="With --cluster: don't try the profile with a one-minute job.")
@click.option(
    "--output",
    metavar="FILE",
    type=options.GivenPath(),
    help="Where to write it; - is stdout. Default: NAME.yaml, here.",
)
@click.option("--force", is_flag=True, help="Overwrite an existing file.")
@options.as_json
@options.examples("""
    launch init reviews.csv
    launch init train.tsv dev.tsv test.tsv --output news.yaml
    launch init texts/ task=masked-lm --output -
    launch init --from-trainer args.json --from-trainer accelerate.yaml train.csv dev.csv
    launch init --cluster partition=gpu --output slurm/mine.yaml
""")
def init_command(
    words: tuple[str, ...],
    cluster: bool,
    settings: tuple[Path, ...],
    no_job: bool,
    output: str | None,
    force: bool,
    as_json: bool,
) -> None:
    """Write a recipe for data: files, or a folder of them. It trains without editing.

    Task, columns, labels, lengths, split, batch and a model for the language are guessed; a comment above each value gives the
    reason. State what you know as key=value, such as task=ordinal or data.label=stars.

    --from-trainer takes over the settings of another tool, and lists what became of each.

    --cluster writes a profile instead, from what the scheduler says about partitions, GPUs, limits and accounts, and tries it
    with a one-minute job.
    """
    paths = [Path(word) for word in words if "=" not in word or Path(word).exists()]
    assignments = [word for word in words if Path(word) not in paths]
    if cluster:
        _refuse_beside(paths, "--cluster")
        _profile(assignments, output, tries=not no_job, force=force, as_json=as_json)
        return
    if settings:
        _taken_over(list(settings), paths, assignments, output, force=force, as_json=as_json)
        return
    if not paths:
        raise options.misused("name a file of data, or a folder of them")
    _recipe(paths, assignments, output, force=force, as_json=as_json)


def _recipe(
    paths: list[Path], assignments: list[str], output: str | None, *, force: bool, as_json: bool
) -> None:
    from launcher.drafts.class_folders import splits_of

    target = _target(output, _name(paths[0]), force=force)
    if len(paths) == 1 and paths[0].is_dir() and splits_of(paths[0]):
        _recipe_of_folders(paths[0], assignments, target, force=force, as_json=as_json)
    else:
        _write_recipe(paths, assignments, target, as_json=as_json)


def _recipe_of_folders(
    folder: Path, assignments: list[str], target: Path | None, *, force: bool, as_json: bool
) -> None:
    """A recipe for texts in a folder for each class, which are gathered into files beside it."""
    from launcher.cli.output import say
    from launcher.drafts.class_folders import gathered
    from launcher.errors import UserError

    if target is None:
        remedy = "leave --output out, or name a file: their texts are gathered beside it"
        raise UserError("holds a folder for each class, of files of text", str(folder), remedy=remedy)
    with gathered(folder, target.parent, force=force) as files:
        _write_recipe(files, assignments, target, as_json=as_json)
    say(f"gathered from the folders: {', '.join(map(str, files))}")


def _write_recipe(data: list[Path], assignments: list[str], target: Path | None, *, as_json: bool) -> None:
    from launcher.drafts.recipe import draft_recipe

    draft = draft_recipe(data, assignments, target.parent if target else Path.cwd(), Path.cwd())
    others = {"other_tasks": [{"task": name, "why": guess.why} for name, guess in draft.rejected]}
    _give(draft, target, others, as_json=as_json)
    if target and not as_json:
        _say_what_next(draft, target)


def _taken_over(
    settings: list[Path],
    data: list[Path],
    words: list[str],
    output: str | None,
    *,
    force: bool,
    as_json: bool,
) -> None:
    from dataclasses import asdict

    from launcher.cli.output import say
    from launcher.drafts.trainer import draft_from

    target = _target(output, _name(settings[0]), force=force)
    draft, taken = draft_from(settings, data, words, target.parent if target else Path.cwd(), Path.cwd())
    others = {"fields": [asdict(fate) for fate in taken.fates], "unset": taken.unset}
    _give(draft, target, others, as_json=as_json)
    if as_json:
        return
    for fate in sorted(taken.fates, key=lambda fate: not fate.keys):
        became = f"-> {', '.join(fate.keys)}" if fate.keys else "left out"
        say(f"  {fate.field}={fate.value}  {became}" + (f": {fate.why}" if fate.why else ""))
    if taken.unset:
        say(f"  {taken.unset} more fields are off or empty, and mean nothing here")
    if target:
        say(f"launch plan recipe={target} shows what it would do")


def _refuse_beside(paths: list[Path], flag: str) -> None:
    if paths:
        raise options.misused(f"{flag} takes no file of data: {paths[0]}")


def _profile(words: list[str], output: str | None, *, tries: bool, force: bool, as_json: bool) -> None:
    import sys

    from launcher.cli.output import say
    from launcher.drafts.profile import draft_profile
    from launcher.executors import LOCAL, executor_for
    from launcher.planning.machine import scheduler_here
    from launcher.resources import PROFILES

    executor = executor_for(scheduler_here() or LOCAL)
    site = executor.site()
    target = _target(output, f"{PROFILES}/{site.name}.yaml", force=force)
    if tries:
        say("asked the scheduler; a job of a minute tries it on a node")
    python = next((word.partition("=")[2] for word in words if word.startswith("python=")), sys.executable)
    draft = draft_profile(site, words, executor.probe if tries else None, python, Path.cwd())
    others = {"tried_on": draft.node.host if draft.node else None, "trouble": draft.trouble}
    _give(draft, target, others, as_json=as_json)
    if as_json:
        return
    tried = f"tried on {draft.node.host}" if draft.node else "not tried"
    say(f"not ready yet: {draft.trouble}" if draft.trouble else tried)
    if target:
        name = target.stem if str(target.parent) == PROFILES else target
        say(f"launch plan recipe=smoke nodes=2 cluster={name} shows what would be submitted")


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
    from launcher.cli.file_arguments import check_writable
    from launcher.errors import UserError

    if output == STDOUT:
        return None
    target = Path(output or default)
    if target.is_dir() or (target.exists() and not force):
        remedy = (
            "--output FILE names another"
            if target.is_dir()
            else "--force overwrites it, --output FILE names another"
        )
        raise UserError("is there already", str(target), remedy=remedy)
    if output is not None and not target.parent.is_dir():
        raise UserError("there is no such directory", str(target.parent), remedy="make it first")
    if target.exists():
        check_writable(target, "--output")
    return target


def _give(draft: Draft | ProfileDraft, target: Path | None, others: dict[str, Any], *, as_json: bool) -> None:
    """Write the file, or print it; on stdout stands the file's path, or the document with what else it has to say."""
    from launcher.cli.output import show, show_json
    from launcher.runs.files import write_text

    if target is not None:
        target.parent.mkdir(exist_ok=True)
        write_text(target, draft.text, mode=0o644)
    if as_json:
        keys = {key: {"value": said.value, "why": said.why} for key, said in draft.keys.items()}
        text = {} if target else {"text": draft.text}
        show_json({"path": str(target) if target else None, "keys": keys, **others, **text})
    else:
        show(str(target) if target else draft.text.rstrip("\n"))


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
        "precision",
    ):
        if key in draft.keys:
            said = draft.keys[key]
            say(f"  {key:<15} {one_line(said.value)}   {said.why}")
    if "data.train" in draft.keys and (left_out := draft.keys["data.train"].why):
        say(f"  {left_out}")
    for note in draft.facts.notes:
        say(f"  note: {note}")
    for name, guess in draft.rejected[:2]:
        if guess.certainty > 0.45:
            say(f"  or task={name}: {guess.why}")
    say(f"launch plan recipe={target} shows what it would do, launch data recipe={target} examines the data")
