"""`launch reproduce`: runs a run again as it was recorded, and compares the two."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from launcher.cli import options

if TYPE_CHECKING:
    from launcher.cli.reproduction import Reproduction
    from launcher.runs.directory import RunDir
    from launcher.runs.drills import Sameness


@click.command("reproduce")
@options.run_argument
@click.argument("given", nargs=-1, metavar="[KEY=VALUE]...")
@click.option(
    "--accept-differences",
    is_flag=True,
    help="Run although versions, code, data or machine differ, and see how far apart the results are.",
)
@options.runs_dir
@options.as_json
@options.examples("""
    launch reproduce bert-1
    launch reproduce bert-1 executor=local
    launch reproduce bert-1 --accept-differences
""")
def reproduce_command(
    reference: str, given: tuple[str, ...], accept_differences: bool, runs_dir: Path | None, as_json: bool
) -> int:
    """Train a completed run again from its frozen recipe, with its code, and compare losses, metrics and weights.

    If the code has changed since, the recorded commit and patch are used. Nothing starts if versions, data or the plan can't
    be what they were. Exit code 0: the same to the last bit.
    """
    from launcher.cli.output import say, show_json
    from launcher.cli.reproduction import perform, reproduction
    from launcher.errors import EXIT_FAILED, EXIT_OK, UserError
    from launcher.report.sameness import computed_alike
    from launcher.runs.finding import find

    directory = options.resolve_runs_dir(runs_dir)
    run = find(reference, directory)
    planned = reproduction(run, given, directory)
    if planned.differences and not accept_differences:
        raise UserError((*planned.differences, _acceptance(run)))
    for problem in planned.differences:
        say(f"note: {str(problem).splitlines()[0]}")
    if planned.code is not None:
        say(f"code     {planned.code}, from commit {run.read_plan().git_commit}")
    document = perform(planned, run)
    if document["exit_code"] != EXIT_OK or "run_id" not in document:
        return _ended_early(document, as_json)
    _remove_code(planned)
    again = find(str(document["run_dir"]), directory)
    findings = computed_alike(run, again)
    passed = all(finding.passed for finding in findings)
    if as_json:
        show_json(_document(run, again, planned, passed))
    else:
        _show(run, again, findings, passed)
    return EXIT_OK if passed else EXIT_FAILED


def _acceptance(run: RunDir) -> Any:
    from launcher.errors import Problem

    remedy = f"launch reproduce {run.run_id} --accept-differences shows how far apart the results are"
    lists = f"pip install --requirement {run.constraints} brings back every version"
    return Problem("it would not come out the same", run.run_id, remedy=f"{lists}; {remedy}")


def _ended_early(document: dict[str, Any], as_json: bool) -> int:
    from launcher.cli.output import say, show_json

    if as_json:
        show_json(document)
    elif run_id := document.get("run_id"):
        say(f"it did not complete: launch resume {run_id} goes on, then launch diff compares the two")
    return int(document["exit_code"])


def _remove_code(planned: Reproduction) -> None:
    """A completed run needs the code no more."""
    import contextlib
    import shutil

    if planned.code is not None:
        shutil.rmtree(planned.code, ignore_errors=True)
        with contextlib.suppress(OSError):
            planned.code.parent.rmdir()


def _document(run: RunDir, again: RunDir, planned: Reproduction, passed: bool) -> dict[str, Any]:
    from launcher.cli.output import problem_tree
    from launcher.report.difference import differences

    return {
        "passed": passed,
        "runs": [run.run_id, again.run_id],
        "accepted": [problem_tree(problem) for problem in planned.differences],
        **{section.name: section.tree() for section in differences(run, again)},
    }


def _show(run: RunDir, again: RunDir, findings: tuple[Sameness, ...], passed: bool) -> None:
    from launcher.cli.output import say, show, table
    from launcher.cli.reproduction import is_deterministic
    from launcher.cli.verbs.difference import section_text
    from launcher.report.difference import differences

    rows = [[it.what, str(it.same), str(it.count), it.difference or ""] for it in findings]
    show(table(rows, ["compared", "same", "of", "first difference"]))
    show("PASS" if passed else "FAIL")
    if passed:
        return
    if not is_deterministic(run):
        say(
            "note: without deterministic=true a GPU adds in any order, and no two runs are equal to the last bit"
        )
    for section in differences(run, again):
        if section.entries or section.notes:
            say("\n" + section_text(section, (run.run_id, again.run_id)))
