"""What `make docs` writes: docs/cli.md from the commands, docs/keys.md and the schemas that editors read from the recipe's."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from launcher.cli.agents_reference import agents_page, llms_page
from launcher.cli.app import SECTIONS, cli
from launcher.cli.keys_reference import keys_page
from launcher.loading.json_schema import json_schema
from launcher.recipe.cluster import Cluster
from launcher.recipe.recipe import Recipe

INTRODUCTION = """\
# Command line

Made by `make docs` from the commands themselves; don't edit it by hand.

Data go to stdout, prose and progress to stderr. `--json` prints one JSON document on stdout.
RUN is a run's id, the beginning of one, or its directory.

| exit code | means |
|---|---|
| 0 | done |
| 1 | the run failed |
| 2 | a mistake in the command, recipe or data; nothing was created |
| 75 | stopped as asked, and resumable |
| 129, 130, 143 | ended by a closed terminal, by Ctrl-C or by TERM; anything half done was undone |
| 141 | nobody reads the output any more (`launch ... 2>&1 | head -1`) |

Closing the terminal, or the pipe that reads its output, ends only `launch`: a run on this machine trains on, and
`launch logs RUN -f` follows it again. Ctrl-C saves and stops it. Control and direction characters in foreign text are
shown escaped, such as `\\x1b`.
"""


def reference() -> str:
    """The whole page."""
    parent = click.Context(cli, info_name="launch", **cli.context_settings)
    parts = [INTRODUCTION, _block("launch", cli, None)]
    for section, verbs in SECTIONS.items():
        parts.append(f"## {section}\n")
        for name in verbs:
            command = cli.get_command(parent, name)
            assert command is not None
            parts.append(f"### launch {name}\n\n{_block(name, command, parent)}")
    return "\n".join(parts)


def _block(name: str, command: click.Command, parent: click.Context | None) -> str:
    context = click.Context(
        command, info_name=name, parent=parent, terminal_width=100, color=False, **command.context_settings
    )
    text = "\n".join(line.rstrip() for line in command.get_help(context).splitlines())
    return f"```\n{text}\n```\n"


def pages(root: Path) -> dict[str, str]:
    """Every file that is made from the code, by its path in the repository at `root`."""
    return {
        "docs/cli.md": reference(),
        "docs/keys.md": keys_page(),
        "docs/agents.md": agents_page(),
        "docs/llms.txt": llms_page(root),
        "recipes/recipe.schema.json": _json(json_schema(Recipe)),
        "slurm/profile.schema.json": _json(json_schema(Cluster)),
    }


def _json(value: object) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    root = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
    for name, text in pages(root).items():
        (root / name).write_text(text, encoding="utf-8")
