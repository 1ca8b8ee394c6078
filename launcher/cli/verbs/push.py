"""`launch push`: upload a model to a hub, after showing what would be sent."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from launcher.cli import options

if TYPE_CHECKING:
    from launcher.runs.directory import RunDir
    from launcher.runs.verb_results import Upload


@click.command("push")
@options.run_argument
@click.argument("repo", required=False, metavar="[REPO]")
@click.option("--public", is_flag=True, help="Make it public; without this a new repository is private.")
@click.option("--yes", is_flag=True, help="Upload without asking.")
@options.runs_dir
@options.as_json
@options.examples("""
    launch push smoke-20260131 me/smoke
    launch push smoke-20260131 me/smoke --yes
""")
def push_command(
    reference: str, repo: str | None, public: bool, yes: bool, runs_dir: Path | None, as_json: bool
) -> None:
    """Show what of a completed run's model would be uploaded to the hub, and upload it after asking.

    REPO is OWNER/NAME; default: the run's id under your own name. The token comes from `hf auth login` or HF_TOKEN;
    HF_ENDPOINT names another hub.
    """
    from launcher.cli.output import show, show_json
    from launcher.cli.train_process import run_verb
    from launcher.report.repetitions import repetitions
    from launcher.runs.records import tree_of
    from launcher.runs.verb_results import Upload

    run = _completed(reference, runs_dir)
    words = ["push", str(run.path), f"--repo={repo or run.run_id}", *(["--public"] if public else [])]
    words += [f"--repetition={other.path}" for other in repetitions(run)]
    plan = run_verb([*words, *(["--yes"] if yes else [])], Upload)
    if not as_json:
        _show(plan)
    if not yes and _confirmed(plan, as_json):
        plan = run_verb([*words, "--yes"], Upload)
    if as_json:
        show_json({"uploaded": plan.url is not None, **tree_of(plan)})
    elif plan.url is not None:
        show(plan.url)


def _completed(reference: str, runs_dir: Path | None) -> RunDir:
    """Raises UserError where the run has no model, or is not over: what is given away is final."""
    from launcher.cli.verbs.models import trained_run
    from launcher.errors import UserError
    from launcher.runs.directory import RunDir

    run = RunDir(trained_run(reference, runs_dir))
    result = run.read_result()
    if result is None or result.status != "completed":
        state = "is still to end" if result is None else f"is {result.status}"
        remedy = f"launch resume {run.run_id} goes on with it; launch export takes its best model so far"
        raise UserError(f"{state}: only completed runs are uploaded", where=run.run_id, remedy=remedy)
    return run


def _show(plan: Upload) -> None:
    from launcher.cli.output import say, show, table
    from launcher.figures import human_bytes

    rows = [[file.path, human_bytes(file.bytes)] for file in plan.files]
    total = human_bytes(sum(file.bytes for file in plan.files))
    show(table([*rows, ["all", total]], ("file", "size")))
    if plan.doubt:
        say(f"note: {plan.doubt}")
    say(f"-> {_where(plan)}")


def _where(plan: Upload) -> str:
    seen = "private" if plan.private else "public: everybody will see it"
    state = {True: "there already", False: "new", None: "made where there is none"}[plan.exists]
    return f"{plan.repo} on {plan.endpoint} ({seen}; {state})"


def _confirmed(plan: Upload, as_json: bool) -> bool:
    from launcher.cli.output import on_terminal, say

    if as_json or not on_terminal("stdin"):
        say("nothing was uploaded; --yes does it")
        return False
    return click.confirm(f"Upload to {plan.repo}?", err=True)
