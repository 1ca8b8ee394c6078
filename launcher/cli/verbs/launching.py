"""`launch plan`, `run` and `resume`: see what would be done, do it, and go on with it."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from launcher.cli import options

if TYPE_CHECKING:
    from launcher.planning.prepare import Prepared
    from launcher.runs.directory import RunDir


@click.command("plan")
@options.assignments
@click.option(
    "--out",
    metavar="DIR",
    type=options.GivenPath(),
    help="Write the files that run would submit; submit nothing.",
)
@options.loss_file
@click.option("--script", is_flag=True, help="Print the job script alone.")
@click.option("--ds-config", is_flag=True, help="Print the DeepSpeed config alone.")
@options.as_json
@options.examples("""
    launch plan recipe=roberta-cls nodes=4
    launch plan recipe=roberta-large-cls nodes=64 gpus=8 zero.stage=3 --json
    launch plan recipe=roberta-cls nodes=4 --out planned/
""")
def plan_command(
    assignments: tuple[str, ...],
    out: str | None,
    loss_file: Path | None,
    script: bool,
    ds_config: bool,
    as_json: bool,
) -> None:
    """Show what run would do: ranks, batches, steps, memory, traffic, and the files it would execute."""
    from launcher.cli.output import say, show, show_json
    from launcher.cli.plan_table import plan_lines
    from launcher.planning.prepare import prepare

    prepared = prepare(assignments, os.environ, Path.cwd(), loss_file, submits=False)
    if out is not None:
        _write_out(Path(out), prepared)
        say(f"written to {out}: {', '.join(sorted(prepared.files))}; nothing was submitted")
    if as_json:
        forecast = prepared.predicted_start()
        show_json(
            {**prepared.plan.tree(), "predicted_start": None if forecast is None else forecast.starts_at}
        )
    elif script:
        show(prepared.script().rstrip("\n"))
    elif ds_config:
        show(prepared.files.get("ds_config.json", "null").rstrip("\n"))
    elif out is None:
        for heading, text in plan_lines(prepared.plan, prepared.files, prepared.predicted_start()):
            show(text, heading)


def _write_out(directory: Path, prepared: Prepared) -> None:
    from launcher.errors import UserError
    from launcher.runs.files import filled, write_text

    try:
        if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
            raise UserError("is there and not empty", where=str(directory), remedy="give a new directory")
        with filled(directory):
            for name, text in prepared.files.items():
                target = directory / name
                target.parent.mkdir(parents=True, exist_ok=True)
                write_text(target, text)
    except OSError as error:
        reason = f"can't be written: {error.strerror}"
        raise UserError(reason, None, "--out", str(directory), "give a new directory") from None


@click.command("run")
@options.assignments
@options.loss_file
@click.option("--follow", is_flag=True, help="Stream a submitted run; local runs always stream.")
@options.as_json
@options.examples("""
    launch recipe=smoke
    launch recipe=smoke seeds=3
    launch run recipe=roberta-cls nodes=4 train.lr=1e-5 --follow
    launch recipe=bert-cls data.train=train.csv data.text=sentence
""")
def run_command(assignments: tuple[str, ...], loss_file: Path | None, follow: bool, as_json: bool) -> int:
    """Train a recipe, here (executor=local) or on Slurm (the default if sbatch is on PATH).

    Prints the run's id on stdout. Ctrl-C on a local run saves and stops it, a second one kills it.
    Exit code 0: done; 1: the run failed; 2: a mistake in the command or recipe;
    75: stopped and resumable. seeds=N trains a sweep over the seeds 1 to N.
    """
    from launcher.cli.attached import Session
    from launcher.cli.output import before_the_start, say
    from launcher.planning.prepare import prepare
    from launcher.planning.wandb_agent_run import begun_by_agent
    from launcher.runs import directory as runs
    from launcher.sweeps.grid import seeds_as_values

    if (grid := seeds_as_values(assignments)) is not None:
        if follow:
            raise options.misused("--follow is for one run: leave it out, or seeds")
        from launcher.cli.sweep_run import start_sweep
        from launcher.sweeps.sweep import Setting

        return start_sweep(grid, Setting(os.environ, Path.cwd(), loss=loss_file), as_json=as_json)
    if (begun := begun_by_agent(assignments, os.environ, Path.cwd(), loss_file)) is not None:
        return _go_on(begun, follow=follow, as_json=as_json)
    with before_the_start():
        prepared = prepare(assignments, os.environ, Path.cwd(), loss_file)
        prepared.refuse_unreachable()
    for sentence in (*prepared.plan.advice, *prepared.plan.notes):
        say(sentence)
    path = Path(prepared.plan.run_dir)
    is_found_by_id = path.parent.resolve() == options.resolve_runs_dir(None).resolve()
    with (
        runs.removed_if_refused(path.parent),
        Session(prepared.plan.executor, follow=follow, as_json=as_json) as session,
    ):
        run = runs.create(path, prepared.files, shared=prepared.plan.recipe.shared)
        if not is_found_by_id:
            kept = shlex.quote(str(path.parent))
            say(f"runs are kept in {kept}: verbs find them by id after export LAUNCH_RUNS_DIR={kept}")
        return session.start(run)


def _go_on(run: RunDir, *, follow: bool, as_json: bool) -> int:
    """Do what is left of a run that is there; returns the exit code."""
    from launcher.cli.attached import Session
    from launcher.cli.output import say, show, show_json
    from launcher.errors import EXIT_OK

    result = run.read_result()
    if result is not None and result.status == "completed":
        say(f"{run.run_id} is completed: there is nothing left to do")
        show_json({"run_id": run.run_id, "result": result.tree()}) if as_json else show(run.run_id)
        return EXIT_OK
    say(f"{run.run_id} already exists, and continues")
    _check_changes(run, accept=False)
    with Session(run.read_plan().executor, follow=follow, as_json=as_json) as session:
        return session.take_up(run)


@click.command("resume")
@options.run_or_sweep
@click.argument("words", nargs=-1, metavar="[nodes=N] [gpus=N] [time=T]")
@click.option(
    "--accept-changes", is_flag=True, help="Go on although plan.json or recipe.yaml was edited by hand."
)
@click.option("--follow", is_flag=True, help="Stream a submitted run; local runs always stream.")
@options.runs_dir
@options.as_json
@options.examples("""
    launch resume smoke-20260131
    launch resume smoke-20260131 gpus=1
    launch resume smoke-20260131 time=8:00:00
""")
def resume_command(
    reference: str,
    words: tuple[str, ...],
    accept_changes: bool,
    follow: bool,
    runs_dir: Path | None,
    as_json: bool,
) -> int:
    """Continue a run that was stopped, killed or failed: the same files, as a new attempt.

    nodes=N and gpus=N change the number of ranks (not with zero.offload=nvme): batches stay the same, but not the last digits
    of losses. time=T is the time limit of its jobs from now on. For a sweep: start what is missing, as many at a time as before.
    """
    from launcher.cli.attached import Session
    from launcher.runs.finding import find

    directory = options.resolve_runs_dir(runs_dir)
    if not words and (sweep := options.sweep_meant(reference, directory)) is not None:
        from launcher.cli.sweep_run import resume_sweep

        return resume_sweep(sweep, accept_changes=accept_changes, follow=follow, as_json=as_json)
    run = find(reference, directory)
    plan = run.read_plan()
    _refuse_unstarted(run)
    _refuse_moved(run, Path(plan.run_dir))
    _check_changes(run, accept=accept_changes)
    if words:
        _refuse_completed(run)
        _replan(run, words, plan.world_size)
    kind = plan.executor
    with Session(kind, follow=follow, as_json=as_json) as session:
        _refuse_completed(run)
        return session.start(run)


def _replan(run: RunDir, words: tuple[str, ...], before: int) -> None:
    """Make the run's files those of another number of ranks, or another time."""
    from launcher.cli.output import say
    from launcher.planning.replan import refuse_active, replan
    from launcher.runs.attempt_plan import OTHER_RANKS

    refuse_active(run)
    now = replan(run, words, os.environ, Path.cwd()).world_size
    if now != before:
        say(f"from {before} to {now} ranks: {OTHER_RANKS}")


def _check_changes(run: RunDir, *, accept: bool) -> None:
    """Raises UserError where files were changed by hand, unless that is accepted."""
    from launcher.cli.output import say
    from launcher.planning.accepted_recipe import take_over
    from launcher.runs import changes

    if not accept:
        changes.refuse_changes(run)
        return
    take_over(run)
    if names := changes.accept_changes(run):
        say(f"changed by hand, and accepted: {', '.join(names)}; the differences are kept in {run.control}")


def _refuse_moved(run: RunDir, planned: Path) -> None:
    """Raises UserError where the job script would train in another directory than this one."""
    from launcher.errors import UserError

    if planned.resolve() != run.path:
        link = f"ln -s {shlex.quote(str(run.path))} {shlex.quote(str(planned))}"
        there = (
            f"launch resume {shlex.quote(str(planned))}"
            if planned.exists()
            else f"have the old place lead here: {link}"
        )
        raise UserError(
            f"was moved or copied from {planned}, where its job would train",
            where=str(run.path),
            remedy=f"{there}, or start a new run from its model: init_from={run.path}",
        )


def _refuse_unstarted(run: RunDir) -> None:
    """Raise UserError where nothing was ever started here."""
    from launcher.errors import UserError

    if not run.logs.is_dir():
        raise UserError(
            "holds the files of a plan, of which no run was made",
            where=str(run.path),
            remedy=f"launch {run.recipe_word} starts one",
        )


def _refuse_completed(run: RunDir) -> None:
    """Raise UserError where there is nothing to go on with."""
    from launcher.errors import UserError

    result = run.read_result()
    if result is not None and result.status == "completed":
        raise UserError(
            "is completed: there is nothing left to do",
            where=run.run_id,
            remedy="to train longer, start a new run with more train.epochs or train.max_steps",
        )
