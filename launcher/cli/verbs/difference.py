"""`launch diff`: what differs between two runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from launcher.cli import options

if TYPE_CHECKING:
    from launcher.report.difference import Entry, Section

WIDEST = 48


@click.command("diff")
@click.argument("first", metavar="RUN")
@click.argument("second", metavar="RUN")
@options.runs_dir
@options.as_json
@options.examples("""
    launch diff bert-1 bert-2
    launch diff bert-1 bert-2 --json
""")
def diff_command(first: str, second: str, runs_dir: Path | None, as_json: bool) -> None:
    """What differs between two runs: recipe with origins, plan, code, versions, machine, data to the line, results.

    Data are compared by what each run recorded when it began, so files may have changed since.
    """
    from launcher.cli.output import show, show_json
    from launcher.report.difference import differences
    from launcher.runs.finding import find

    directory = options.resolve_runs_dir(runs_dir)
    one, two = find(first, directory), find(second, directory)
    sections = differences(one, two)
    if as_json:
        found = {section.name: section.tree() for section in sections}
        show_json({"runs": [one.run_id, two.run_id], **found})
        return
    show(f"{one.run_id} and {two.run_id}")
    for section in sections:
        show("\n" + section_text(section, (one.run_id, two.run_id)))


def section_text(section: Section, names: tuple[str, str]) -> str:
    """A section as a table and its notes."""
    from launcher.cli.output import table
    from launcher.report.difference import told

    if not section.differs:
        return f"{section.name}: the same"
    lines = [f"{section.name}:"]
    if section.entries:
        rows = [(entry.name, *map(_shown, _sides(entry))) for entry in section.entries]
        lines.append(table(rows, ("", *map(_shown, names)), indent="  "))
    lines += [f"  {note}" for note in (*section.notes, *map(told, section.findings))]
    return "\n".join(lines)


def _sides(entry: Entry) -> tuple[str, str]:
    sides = (entry.one, entry.one_from), (entry.two, entry.two_from)
    one, two = (_value(value) + (f" ({origin})" if origin else "") for value, origin in sides)
    return one, two


def _value(value: object) -> str:
    import json

    if value is None:
        return "-"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _shown(text: str) -> str:
    """The two ends of a text that is wide, where paths and versions differ."""
    if len(text) <= WIDEST:
        return text
    return f"{text[: WIDEST // 2 - 1]}…{text[-(WIDEST // 2) :]}"
