"""`launch data`: what is known about a recipe's data without a node."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path

import click

from launcher.cli import options


@click.command("data")
@options.assignments
@options.as_json
@options.examples("""
    launch data recipe=bert-cls data.train=train.csv data.text=sentence
""")
def data_command(assignments: tuple[str, ...], as_json: bool) -> None:
    """Examine the data of a recipe: rows of each split, columns, labels, and every mistake found."""
    from launcher import datacheck, loading
    from launcher.cli.output import human_count, show, show_json

    loaded = loading.load(assignments, environ=os.environ, cwd=Path.cwd())
    facts = datacheck.check_data(loaded.recipe)
    if as_json:
        show_json(asdict(facts))
        return
    if loaded.recipe.data.source is not None:
        show(f"source      {loaded.recipe.data.source}: only a node can look into it")
        return
    for split in ("train", "validation", "test"):
        count = getattr(facts, f"{split}_examples")
        show(f"{split:<12}{'none' if count is None else f'{human_count(count)} examples'}")
    show(f"columns     {', '.join(facts.columns)}")
    if facts.labels is not None:
        show(f"labels      {facts.labels}")
    if facts.mean_chars is not None:
        show(f"length      {facts.mean_chars:.0f} characters in the mean")
    for note in facts.notes:
        show(f"note        {note}")
