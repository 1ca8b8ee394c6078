"""What a run has come to, in words that someone new to it understands."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from launcher.cli.progress import metric_items
from launcher.figures import human_bytes, human_count, human_milliseconds, human_number, human_seconds
from launcher.runs.directory import RunDir
from launcher.runs.events import Tracked, last_events
from launcher.runs.results import Compression, Error, Result
from launcher.runs.run_plan import RunPlan
from launcher.runs.wandb_parts import has_unsent

WIDTH = 12
MOST_FILES = 3
"""Names of data files in a line, where there are some more."""
WORTH_TELLING = 0.1
"""Share of the time that other work held the cores for."""


def summary(run: RunDir, plan: RunPlan, result: Result) -> str:
    """Several lines on how the run ended, what there is now and what to do next."""
    match result.status:
        case "completed":
            lines = _completed(run, plan, result)
        case "stopped":
            lines = _stopped(run, result)
        case "cancelled":
            lines = _cancelled(run, result)
        case _:
            lines = _failed(run, result)
    return "\n".join(lines)


def _completed(run: RunDir, plan: RunPlan, result: Result) -> Iterator[str]:
    yield f"{run.run_id} is trained: {human_count(result.steps)} steps in {human_seconds(result.wall_s)}"
    yield row("trained", trained(plan))
    if step := _step_time(result):
        yield row("a step", step)
    best = result.best
    if best is not None:
        value = human_number(best.value)
        yield row("best", f"{best.metric} {value} on the validation data (step {best.step})")
    if result.test:
        yield row("test", metrics_text(result.test))
    for name, metrics in (result.extra or {}).items():
        error = metrics.get("error")
        yield row(name, f"not evaluated: {error}" if error else metrics_text(metrics))
    if result.compression:
        yield row("compressed", compression_text(result.compression, best.metric if best else None))
    yield row("model", shown(run.model) + "   (plain Hugging Face)")
    yield row("metrics", shown(run.metrics))
    yield from _dashboard(run, plan, result)
    yield "What to try next:"
    yield f"  launch predict {_reference(run)} {_example_text(run)}"
    yield f"  launch eval {_reference(run)} FILE"


def _step_time(result: Result) -> str | None:
    """The measured step beside the predicted one."""
    if result.measured is None or result.measured.step_s is None:
        return None
    seconds = result.measured.step_s
    predicted = None if result.predicted is None else result.predicted.step_s
    told = "" if predicted is None else f"predicted {human_milliseconds(predicted)}, "
    waited = result.measured.waited or 0.0
    why = f" (other work held the cores for {waited:.0%} of the time)" if waited > WORTH_TELLING else ""
    return f"{told}measured {human_milliseconds(seconds)}{why}"


def _stopped(run: RunDir, result: Result) -> Iterator[str]:
    yield f"{run.run_id} has saved its state and stopped{_at_step(result)}"
    yield row("continue", f"launch resume {_reference(run)}")
    yield row("metrics", shown(run.metrics))


def _cancelled(run: RunDir, result: Result) -> Iterator[str]:
    yield f"{run.run_id} was cancelled{_at_step(result)}"
    yield row("continue", f"launch resume {_reference(run)}   (from its newest checkpoint)")


def _failed(run: RunDir, result: Result) -> Iterator[str]:
    yield f"{run.run_id} failed{_at_step(result)}"
    yield from cause(result.error)
    yield row("logs", f"launch logs {_reference(run)}")
    if owed_to_the_recipe(result):
        yield row("try again", f"{changed(run)}   (a new run; resume would keep every value)")
    else:
        yield row("continue", f"launch resume {_reference(run)}   (once the cause is mended)")


def owed_to_the_recipe(result: Result | None) -> bool:
    """Whether a run failed for a cause that comes again with the same values, which are all that resuming has."""
    return result is not None and result.error is not None and result.error.kind in ("diverged", "recipe")


def changed(run: RunDir) -> str:
    """The command for a new run of the same recipe with another value."""
    fresh = " run_id=null" if run.read_plan().recipe.run_id else ""
    return f"launch recipe={shlex.quote(shown(run.recipe))}{fresh} KEY=VALUE"


def cause(error: Error | None) -> Iterator[str]:
    """Why a run failed, and what to do about it."""
    if not error:
        yield row("cause", "unknown: it was killed before it could say")
        return
    message = error.message.strip().replace("\n", "\n" + " " * (WIDTH + 2))
    yield row("cause", f"{error.kind}{f' ({error.place})' if error.place else ''}: {message}")
    if error.remedy:
        yield row("remedy", error.remedy)


def trained(plan: RunPlan) -> str:
    """What is trained on what, in one line."""
    recipe = plan.recipe
    tuning = "" if recipe.tuning == "full" else f" with {recipe.tuning.upper()} adapters"
    source = recipe.data.train or recipe.data.source or ()
    files = [source] if isinstance(source, str) else source
    names = [shown(Path(file)) if recipe.data.train else file for file in files]
    more = [f"{len(names) - MOST_FILES} more files"] if len(names) > MOST_FILES + 1 else []
    named = " + ".join([*names[:MOST_FILES], *more] if more else names)
    count = plan.steps.train_examples
    examples = f"{human_count(count)} examples of " if count else ""
    return f"{recipe.model.told}{tuning} for {recipe.task}, on {examples}{named}"


def compression_text(compression: Compression, metric: str | None) -> str:
    """Size, latency and metric before and after, on one line."""
    before, after = compression.before, compression.after
    parts = [
        f"{human_bytes(before.bytes)} -> {human_bytes(after.bytes)}",
        f"{before.latency_ms:.1f} -> {after.latency_ms:.1f} ms a text",
    ]
    if after.nonzero < 0.99 * after.parameters:
        parts.append(f"{1 - after.nonzero / after.parameters:.0%} of all weights are zero")
    if metric is not None and metric in before.metrics and metric in after.metrics:
        values = (human_number(side.metrics[metric]) for side in (before, after))
        parts.append(f"{metric} {' -> '.join(values)}")
    return "   ".join(parts)


def metrics_text(metrics: Mapping[str, Any]) -> str:
    """Metrics on one line."""
    return "  ".join(f"{name} {human_number(value)}" for name, value in metric_items(metrics))


def shown(path: Path) -> str:
    """A path as short as it can be said from here."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative


def _dashboard(run: RunDir, plan: RunPlan, result: Result) -> Iterator[str]:
    if plan.recipe.tracking.wandb.mode == "disabled":
        yield row("dashboard", "none: tracking.wandb.mode=disabled")
    elif has_unsent(run):
        yield row("dashboard", f"W&B, not sent yet: launch sync {run.run_id} sends it")
    elif page := (result.tracking and result.tracking.url) or wandb_page(run):
        yield row("dashboard", page)


def wandb_page(run: RunDir) -> str | None:
    """Address of the run's page at W&B, as the training said it, or None."""
    pages = (event.url for event in reversed(last_events(run.events)) if isinstance(event, Tracked))
    return next(pages, None)


def _example_text(run: RunDir) -> str:
    from launcher import tasks
    from launcher.runs.planned_recipe import planned_recipe

    recipe = planned_recipe(run)
    return " ".join(f'--text "{text}"' for text in tasks.of(recipe).sample_texts())


def _reference(run: RunDir) -> str:
    """How to name the run from here: its id where the runs are in the usual place, its path elsewhere."""
    usual = Path(os.environ.get("LAUNCH_RUNS_DIR") or "runs").resolve()
    return run.run_id if run.path.parent == usual else shlex.quote(shown(run.path))


def _at_step(result: Result) -> str:
    step = result.steps
    return f" after step {step}" if step else ""


def row(name: str, text: str) -> str:
    """A line of what is said about a run, after its name."""
    return f"  {name:<{WIDTH}}{text}"
