"""`launch diagnose`: what the curves of a run say about its settings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from launcher.cli import options

if TYPE_CHECKING:
    from launcher.report.advice import Advice


@click.command("diagnose")
@options.only_argument("RUN")
@options.runs_dir
@options.as_json
@options.examples("""
    launch diagnose smoke-20260131
""")
def diagnose_command(reference: str, runs_dir: Path | None, as_json: bool) -> None:
    """Over- and underfitting, unstable or unfinished training: what shows it, the figures, the keys to try."""
    from dataclasses import asdict

    from launcher.cli.output import say, show, show_json
    from launcher.cli.progress import busy
    from launcher.report.advice import diagnose, read_history
    from launcher.runs.finding import find

    run = find(reference, options.resolve_runs_dir(runs_dir))
    with busy(f"reading {run.metrics}"):
        history = read_history(run)
        advice = diagnose(history)
    if history.doubt:
        say(f"note: {history.doubt}")
    if as_json:
        show_json({"run_id": run.run_id, "findings": [asdict(each) for each in advice]})
    elif advice:
        show("\n".join(map(_text, advice)))
    else:
        show("nothing stands out: the training loss fell and settled, and the validation data agree")


def _text(advice: Advice) -> str:
    from launcher.figures import human_number

    evidence = "  ".join(f"{name} {human_number(value)}" for name, value in advice.evidence.items())
    lines = [f"{advice.name}: {advice.message}", f"  seen    {evidence}"]
    lines += [f"  try     {item.key}={_value(item.value)}   (now {_value(item.now)})" for item in advice.keys]
    return "\n".join(lines)


def _value(value: object) -> str:
    return "null" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
