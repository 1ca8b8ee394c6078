"""What a shell completes words by, through click's own mechanism: verbs, keys, values, recipes, profiles and runs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    FishComplete,
    ShellComplete,
    ZshComplete,
    add_completion_class,
    split_arg_string,
)

from launcher.cli.app import VERBS, cli

VARIABLE = "_LAUNCH_COMPLETE"
"""Set where a shell asks, by click's own name for it."""
MOST = 200
"""Runs and files that are offered."""
BASH = """\
%(complete_func)s() {
    local IFS=$'\\n' value
    COMPREPLY=()
    for value in $(env LAUNCH_LINE="${COMP_LINE:0:COMP_POINT}" LAUNCH_BREAKS="$COMP_WORDBREAKS" \\
        %(complete_var)s=bash_complete "$1" 2>/dev/null); do
        COMPREPLY+=("$value")
    done
    [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == *[=/] ]] && compopt -o nospace
    return 0
}

complete -o nosort -F %(complete_func)s %(prog_name)s
"""
"""The words of a line are cut by launch itself: to bash `key=value` is three of them."""


ZSH = """\
#compdef %(prog_name)s

%(complete_func)s() {
    local -a whole begun
    local line
    (( ! $+commands[%(prog_name)s] )) && return 1
    for line in "${(@f)$(env COMP_WORDS="${words[*]}" COMP_CWORD=$((CURRENT-1)) \\
        %(complete_var)s=zsh_complete %(prog_name)s 2>/dev/null)}"; do
        case "$line" in
            '') ;;
            *[=/]) begun+=("$line") ;;
            *) whole+=("$line") ;;
        esac
    done
    (( $#whole )) && compadd -U -V whole -a whole
    (( $#begun )) && compadd -U -V begun -S '' -a begun
}

if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    %(complete_func)s "$@"
else
    (( $+functions[compdef] )) || { autoload -Uz compinit && compinit -i }
    compdef %(complete_func)s %(prog_name)s
fi
"""
"""Nothing is put behind `key=` and `directory/`; and a zsh whose own start file doesn't switch completion on gets it by this."""


class _Completes(ShellComplete):
    """What is completed, whatever the shell."""

    def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem]:
        """Flags and verbs as click knows them, and else what the verb's words may be."""
        try:
            found = super().get_completions(args, incomplete)
            known = [item for item in found if item.type == "plain"]
            return known or [CompletionItem(word) for word in words(args, incomplete)]
        except Exception:  # noqa: BLE001 (a traceback in the middle of a command line helps nobody)
            return []


class Bash(_Completes, BashComplete):
    source_template: ClassVar[str] = BASH

    def get_completion_args(self) -> tuple[list[str], str]:
        line = os.environ["LAUNCH_LINE"]
        _, *args = split_arg_string(line)
        return (args, "") if line.endswith(" ") else (args[:-1], args[-1])

    def complete(self) -> str:
        """Without what stands before the last character at which bash breaks words: it keeps that itself."""
        args, incomplete = self.get_completion_args()
        breaks = os.environ.get("LAUNCH_BREAKS", "")
        kept = max((incomplete.rfind(mark) + 1 for mark in "=:" if mark in breaks), default=0)
        return "\n".join(item.value[kept:] for item in self.get_completions(args, incomplete))


class Zsh(_Completes, ZshComplete):
    source_template: ClassVar[str] = ZSH

    def format_completion(self, item: CompletionItem) -> str:
        return str(item.value)


class Fish(_Completes, FishComplete):
    pass


SHELLS: dict[str, type[_Completes]] = {"bash": Bash, "zsh": Zsh, "fish": Fish}


def register() -> None:
    """Let click find these."""
    for name, shell in SHELLS.items():
        add_completion_class(shell, name)


def source(shell: str) -> str:
    """The lines that a shell is told to ask by."""
    return SHELLS[shell](cli, {}, "launch", VARIABLE).source()


# Words


def words(args: Sequence[str], incomplete: str) -> list[str]:
    """What a word that begins so may be, behind these."""
    given = [word for word in args if not word.startswith("-")]
    verb = next((word for word in given if word in VERBS), None) if given and "=" not in given[0] else "run"
    if not given and "=" not in incomplete:
        return [name for name in (*VERBS, "recipe=") if name.startswith(incomplete)]
    command = cli.get_command(click.Context(cli, **cli.context_settings), verb or "run")
    metavars = (
        " ".join(str(one.metavar) for one in command.params if isinstance(one, click.Argument))
        if command
        else ""
    )
    return list(_offered(metavars, given[1:], incomplete))


def _offered(metavars: str, given: Sequence[str], incomplete: str) -> Iterator[str]:
    takes = metavars.lower()
    if "explain" in takes:
        yield from _of_recipes(given, incomplete)
    elif "=" in incomplete:
        yield from _values(incomplete) if "=" in takes else ()
    else:
        if "run" in takes:
            yield from _runs(incomplete)
        if "=" in takes:
            yield from _keys(incomplete, prefix="data." if "data.key" in takes else "")
        if "data" in takes or "file" in takes:
            yield from _paths("", incomplete)


def _of_recipes(given: Sequence[str], incomplete: str) -> Iterator[str]:
    """The words behind `launch recipes`."""
    if not given:
        yield from (word for word in ("show", "explain", "schema") if word.startswith(incomplete))
    elif given[0] == "explain":
        yield from _key_names(incomplete)
    elif given[0] == "show" and len(given) == 1:
        yield from (name for name in _recipes() if name.startswith(incomplete))
    elif given[0] == "show":
        yield from _values(incomplete) if "=" in incomplete else _keys(incomplete)


def _keys(incomplete: str, prefix: str = "") -> Iterator[str]:
    if "recipe=".startswith(incomplete) and not prefix:
        yield "recipe="
    yield from (f"{key}=" for key in _key_names(incomplete) if key.startswith(prefix))


def _key_names(incomplete: str) -> Iterator[str]:
    """Keys that begin so; as long as no section is complete, sections and keys outside of them."""
    from launcher.loading.schema import schema_of
    from launcher.recipe.recipe import Recipe

    yield from (key for key in schema_of(Recipe).leaves if key.startswith(incomplete))


def _values(incomplete: str) -> Iterator[str]:
    from launcher.loading.schema import choices_of, schema_of
    from launcher.recipe.fields import LocalPath
    from launcher.recipe.recipe import Recipe

    key, _, begun = incomplete.partition("=")
    schema = schema_of(Recipe)
    allowed = _recipes() if key == "recipe" else _profiles() if key == "cluster" else []
    if key in schema.leaves:
        allowed += choices_of(schema.leaves[key])
    yield from (f"{key}={value}" for value in allowed if value.startswith(begun))
    if key in ("recipe", "cluster", "model.name", "init_from", *schema.holding(LocalPath)):
        yield from _paths(f"{key}=", begun)


def _recipes() -> list[str]:
    from launcher.loading.named_files import names_of

    return names_of("recipes", Path.cwd())


def _profiles() -> list[str]:
    from launcher.loading.named_files import names_of
    from launcher.resources import PROFILES

    return names_of(PROFILES, Path.cwd())


def _runs(incomplete: str) -> Iterator[str]:
    """Runs and sweeps, the newest first."""
    from launcher.cli.options import resolve_runs_dir

    directory = resolve_runs_dir(None)
    entries = (
        sorted(directory.iterdir(), key=lambda entry: -entry.lstat().st_mtime) if directory.is_dir() else []
    )
    names = [entry.name for entry in entries if entry.is_dir() and _is_plain(entry.name)]
    yield from [name for name in names if name.startswith(incomplete)][:MOST]


def _paths(key: str, begun: str) -> Iterator[str]:
    """Files and directories that a path goes on with."""
    directory, _, start = begun.rpartition("/")
    base = Path(f"{directory}/" if directory or begun.startswith("/") else ".").expanduser()
    entries = sorted(base.iterdir()) if base.is_dir() else []
    shown = [entry for entry in entries if entry.name.startswith(start) and not entry.name.startswith(".")]
    for entry in [entry for entry in shown if _is_plain(entry.name)][:MOST]:
        before = begun[: len(begun) - len(start)]
        yield f"{key}{before}{entry.name}{'/' if entry.is_dir() else ''}"


def _is_plain(name: str) -> bool:
    """Whether a name can stand on a command line as it is."""
    return name.isprintable() and not set(name) & set(" \t'\"\\$`;&|<>(){}[]*?!#~")
