"""The group of verbs: each is imported when it is called, and `launch --help` imports none."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import NamedTuple

import click

from launcher import __version__
from launcher.errors import UserError, choices, nearest


class Verb(NamedTuple):
    """Where a verb's command is defined, and its line in the list of verbs."""

    module: str
    summary: str


SECTIONS: dict[str, dict[str, Verb]] = {
    "Train": {
        "run": Verb("launching", "train here, or submit to Slurm"),
        "plan": Verb("launching", "show what run would do; write its files with --out"),
        "sweep": Verb("sweep", "train a grid of values and seeds, or search for the best"),
        "init": Verb("init", "write a recipe for your data, or a profile of your cluster"),
        "recipes": Verb("recipes", "list recipes, or show one with the origin of each value"),
    },
    "Follow": {
        "status": Verb("runs", "state, step, speed, metrics, time left, and what went wrong"),
        "watch": Verb("watch", "follow runs live: curves, speed, time left; stop and resume them"),
        "logs": Verb("logs", "logs of all ranks, or of one"),
        "sync": Verb("sync", "send what was recorded offline to W&B, TensorBoard or MLflow"),
        "stop": Verb("runs", "save, then stop"),
        "cancel": Verb("runs", "kill"),
        "resume": Verb("launching", "continue a run that was stopped, killed or failed"),
    },
    "Use": {
        "eval": Verb("models", "metrics of the best model on a file"),
        "predict": Verb("models", "predictions for a file or a sentence"),
        "compare": Verb("compare", "runs side by side, best first: quality, time, speed, memory, size"),
        "diff": Verb("difference", "what differs between two runs: recipe, code, versions, data, results"),
        "report": Verb("report", "a page about runs: figures, curves, evaluations, attempts, recipe"),
        "diagnose": Verb("diagnose", "what the curves of a run say about its settings, and what to try"),
        "explain": Verb("explain", "which words speak for and against a prediction"),
        "export": Verb("models", "a plain Hugging Face directory of the best model"),
        "push": Verb("push", "upload the best model to a hub, after showing what and asking"),
    },
    "Check": {
        "doctor": Verb("doctor", "check this machine or cluster"),
        "data": Verb("data", "examine the data of a recipe"),
        "prefetch": Verb("models", "download and tokenise ahead, for nodes without internet"),
        "reproduce": Verb("reproduce", "run a run again as it was recorded, and compare the two bit by bit"),
        "drill": Verb("drill", "prove that stopping and resuming change nothing"),
        "clean": Verb("clean", "show runs that failed or are old, and delete them after asking"),
        "completion": Verb("completion", "set up completion of verbs, keys, values, recipes and runs"),
    },
}

VERBS: dict[str, Verb] = {name: verb for verbs in SECTIONS.values() for name, verb in verbs.items()}


class VerbGroup(click.Group):
    """A group whose verbs live in modules of their own; a first word containing `=` means `run`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        words = [word for word in args if not word.startswith("-")]
        if words and "=" in words[0]:
            args = ["run", *args]
        return super().parse_args(ctx, args)

    def list_commands(self, _ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, _ctx: click.Context, cmd_name: str) -> click.Command | None:
        verb = VERBS.get(cmd_name)
        if verb is None:
            return None
        module = importlib.import_module(f"launcher.cli.verbs.{verb.module}")
        command: click.Command = getattr(module, f"{cmd_name}_command")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        word = args[0]
        if word not in VERBS and not word.startswith("-"):
            raise UserError(f"no verb {word!r}", remedy=_remedy(word, args[1:]))
        return super().resolve_command(ctx, args)

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, verbs in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name, verb.summary) for name, verb in verbs.items()])


OF_OTHERS = {
    **dict.fromkeys(("ls", "list", "ps", "show", "info", "queue", "squeue"), "status"),
    **dict.fromkeys(("rm", "delete", "remove", "prune"), "clean"),
    **dict.fromkeys(("kill", "abort", "scancel"), "cancel"),
    **dict.fromkeys(("evaluate", "test", "score"), "eval"),
    **dict.fromkeys(("inference", "infer"), "predict"),
    **dict.fromkeys(("tune", "search", "hpo"), "sweep"),
    **dict.fromkeys(("preprocess", "download"), "prefetch"),
    **dict.fromkeys(("upload", "publish"), "push"),
    **dict.fromkeys(("continue", "restart", "requeue"), "resume"),
    "tail": "logs",
}
"""What other tools call a verb of ours."""


def _remedy(word: str, others: Sequence[str]) -> str:
    if word == "help":
        return "launch --help, or launch VERB --help"
    if (ours := OF_OTHERS.get(word)) is not None:
        return f"launch {ours}: {VERBS[ours].summary}"
    if nearest(word, list(VERBS)) is None:
        recipe = next((other for other in others if other.startswith("recipe=")), f"recipe={word}")
        return f"to train a recipe: launch {recipe}; {choices(word, list(VERBS))}"
    return choices(word, list(VERBS))


@click.group(
    cls=VerbGroup,
    no_args_is_help=True,
    options_metavar="",
    subcommand_metavar="[VERB] recipe=NAME|PATH [key=value ...] [--flags]",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, message="launch %(version)s")
def cli() -> None:
    """Fine-tune BERT-family encoders here or on a Slurm cluster.

    \b
    launch recipe=smoke                      train a tiny model here, nothing downloaded
    launch recipe=roberta-cls nodes=4        train on four nodes (the verb run)
    launch plan recipe=roberta-cls nodes=4   show it first, submit nothing
    launch recipes                           list what can be trained

    Any key of a recipe can be overridden: train.lr=1e-5, data.train=my.csv, data.text=[question,answer].
    RUN is a run's id, the beginning of one, or its directory.
    """
