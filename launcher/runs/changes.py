"""Whether the files that decide a run's mathematics are still those that were rendered."""

from __future__ import annotations

import difflib

from launcher.errors import Problem, UserError
from launcher.runs.directory import COMPARED, RunDir
from launcher.runs.files import write_text
from launcher.runs.records import read_text

LINES_SHOWN = 40


def changes(run: RunDir) -> dict[str, str]:
    """Unified diff by name of each file that was changed since; none for a run that kept no copies."""
    found = {}
    for name in COMPARED:
        rendered = read_text(run.rendered / name)
        if rendered is None:
            continue
        before, after = (text.splitlines() for text in (rendered, read_text(run.path / name) or ""))
        if before != after:  # an editor's ends of lines change nothing
            lines = difflib.unified_diff(
                before, after, f"{name} as rendered", f"{name} now", lineterm="", n=1
            )
            found[name] = "\n".join(lines)
    return found


def refuse_changes(run: RunDir) -> None:
    """Raises UserError with the differences where a file was changed by hand."""
    problems = [
        Problem(
            "was changed since it was rendered: the run would go on with other mathematics\n"
            + _shortened(diff),
            where=str(run.path / name),
            remedy=f"undo it, or: launch resume {run.run_id} --accept-changes",
        )
        for name, diff in changes(run).items()
    ]
    if problems:
        raise UserError(problems)


def accept_changes(run: RunDir) -> list[str]:
    """Take the files as they are now for those that were rendered; the differences are kept in control/. Their names."""
    found = changes(run)
    if found:
        attempt = max(run.attempt_numbers(), default=0) + 1
        text = "\n".join(found.values()) + "\n"
        write_text(run.control / f"accepted_before_attempt_{attempt}.diff", text)
    for name in found:
        write_text(run.rendered / name, read_text(run.path / name) or "")
    return list(found)


def _shortened(diff: str) -> str:
    lines = diff.splitlines()
    more = [f"... {len(lines) - LINES_SHOWN} more lines"] if len(lines) > LINES_SHOWN else []
    return "\n".join([*lines[:LINES_SHOWN], *more])
