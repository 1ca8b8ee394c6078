"""`launch doctor`: is this machine or cluster ready?"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click
from click.core import ParameterSource

from launcher.cli import options
from launcher.errors import EXIT_FAILED, EXIT_OK


@click.command("doctor")
@options.runs_dir
@click.option(
    "--engine",
    "engine",
    is_flag=True,
    help="Try the engine instead: each model family, packed, padded and compiled.",
)
@click.option(
    "--cluster",
    "cluster",
    is_flag=True,
    help="Check all nodes of the cluster instead, with a job of its own.",
)
@click.option(
    "--profile",
    metavar="NAME|PATH",
    envvar="LAUNCH_CLUSTER",
    help="With --cluster: the profile; default LAUNCH_CLUSTER.",
)
@click.option("--nodes", metavar="LIST", help="With --cluster: only these, such as node[1-4],gpu7.")
@options.as_json
@options.examples("""
    launch doctor
    launch doctor --cluster --profile slurm/mine.yaml
    launch doctor --cluster --nodes node[1-2] --json
    launch doctor --engine
    launch doctor --runs-dir /shared/me/runs --json
""")
def doctor_command(
    runs_dir: Path | None,
    engine: bool,
    cluster: bool,
    profile: str | None,
    nodes: str | None,
    as_json: bool,
) -> int:
    """Check this machine or cluster: Python, packages, GPUs, Slurm, disks, caches, W&B, compiler.

    --engine trains a step of a tiny encoder of each model family in every known way, and says whether the ways agree and how
    fast they are here. Exit code 1: something that every run needs is broken, or a way computes wrongly.

    --cluster checks every free node as a job does before it trains, with a one-minute job that leaves nothing behind, and
    lists nodes that are busy, down or drained. Exit code 1: a node failed, or none could be checked.
    """
    if cluster and not engine:
        return _look_at_cluster(options.resolve_runs_dir(runs_dir), profile, nodes, as_json=as_json)
    context = click.get_current_context()
    for option in ("nodes", "profile"):
        if context.get_parameter_source(option) is ParameterSource.COMMANDLINE:
            raise options.misused(f"--{option} goes with --cluster")
    return (
        _try_engine(as_json=as_json) if engine else _look_around(options.resolve_runs_dir(runs_dir), as_json)
    )


def _look_around(runs_dir: Path, as_json: bool) -> int:
    """All checks of this machine, a line each."""
    from launcher.cli.machine_checks import Check, launch_side_checks
    from launcher.cli.output import show, show_json
    from launcher.cli.train_process import run_verb
    from launcher.errors import LauncherError
    from launcher.figures import human_number
    from launcher.runs.verb_results import TorchFacts

    checks = list(launch_side_checks(runs_dir))
    try:
        facts = run_verb(["doctor"], TorchFacts)
        text = ", ".join(f"{name} {human_number(value)}" for name, value in facts.shown().items())
        checks.append(Check("torch", "ok", text))
        if facts.untested:
            text = f"never tested with {', '.join(facts.untested)}"
            checks.append(Check("versions", "note", text, "constraints.txt has the versions that were"))
    except LauncherError as error:
        checks.append(Check("torch", "broken", str(error), "make install"))
    broken = any(check.state == "broken" for check in checks)
    if as_json:
        show_json({"ok": not broken, "checks": [asdict(check) for check in checks]})
    else:
        for check in checks:
            show(_line(asdict(check)))
        show("something is broken" if broken else "ready")
    return EXIT_FAILED if broken else EXIT_OK


def _look_at_cluster(runs_dir: Path, profile: str | None, nodes: str | None, *, as_json: bool) -> int:
    """All nodes as a table, those that fail first."""
    from launcher.cli import cluster_checks as checks
    from launcher.cli.output import say, show, show_json, table
    from launcher.executors import SCHEDULERS, executor_for
    from launcher.loading.resolve import load_cluster
    from launcher.recipe.cluster import Cluster

    site = Cluster() if profile is None else load_cluster(profile, cwd=Path.cwd())
    say("the nodes that are free are looked at by a job of a minute (Ctrl-C ends it)")
    found = checks.examine_cluster(executor_for(SCHEDULERS[0]), site, nodes, runs_dir)
    looked_at = [each for each in found if each.why is None]
    is_well = bool(looked_at) and all(each.state != "failed" for each in looked_at)
    if as_json:
        show_json({"ok": is_well, "nodes": [each.tree() for each in found]})
    else:
        show(table(list(checks.cluster_lines(found)), checks.cluster_headers()))
        for sentence in checks.reasons(found):
            show(sentence)
        failed = sum(each.state == "failed" for each in looked_at)
        show(f"{len(looked_at)} of {len(found)} nodes looked at, {failed} failed")
    return EXIT_OK if is_well else EXIT_FAILED


def _try_engine(*, as_json: bool) -> int:
    """Every family on a tiny encoder of random weights, as a table."""
    from launcher.cli.output import show, show_json
    from launcher.cli.train_process import run_verb
    from launcher.engine.table import TriedFamilies, lines
    from launcher.runs.records import tree_of

    tried = run_verb(["engine"], TriedFamilies).families
    is_right = not any(each.faults for each in tried)
    if as_json:
        show_json({"ok": is_right, "families": [tree_of(each) for each in tried]})
    else:
        device = {each.taken.device for each in tried}
        show(
            f"the engine on {', '.join(sorted(device))}: a step of tiny encoders, each way beside the others"
        )
        for line in lines(tried):
            show(line)
        show("every way is right" if is_right else "a run does without what is wrong here, and says so")
    return EXIT_OK if is_right else EXIT_FAILED


def _line(check: dict[str, str | None]) -> str:
    mark = {"ok": "ok    ", "note": "note  ", "broken": "BROKEN"}[str(check["state"])]
    remedy = f"\n{'':21}-> {check['remedy']}" if check["remedy"] else ""
    return f"{mark}  {check['name']:<11}  {check['text']}{remedy}"
