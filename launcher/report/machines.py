"""What the nodes of a run were busy with, over its steps: from the lines that each node writes beside the training."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from launcher.report.curves import Curve, drawn
from launcher.runs.directory import RunDir
from launcher.runs.events import Step, read_events
from launcher.runs.records import is_number, read_json_lines

KINDS = {
    "gpu_percent": "GPUs busy, percent",
    "gpu_memory_percent": "Memory of GPUs in use, percent",
    "cpu_percent": "Cores busy, percent",
    "memory_percent": "Main memory in use, percent",
}
MOST_NODES = 16


def machine_curves(run: RunDir, points: int) -> dict[str, dict[str, Curve]]:
    """Title -> node -> percents over the steps; nothing where nodes wrote nothing, as in runs of less than a minute."""
    files = sorted(run.logs.glob("node_*.jsonl"), key=lambda path: (len(path.name), path.name))[:MOST_NODES]
    if not files:
        return {}
    steps = [(event.t, event.step) for event in read_events(run.events, Step) if event.t is not None]
    times = [at for at, _ in steps]
    found: dict[str, dict[str, Curve]] = {}
    for path in files:
        lines = [(at, tree) for tree in read_json_lines(path) if is_number(at := tree.get("at"))]
        reached = [bisect_right(times, at) for at, _ in lines]
        places = [steps[count - 1][1] if count else 0 for count in reached]
        for kind, title in KINDS.items():
            values = [value if is_number(value := tree.get(kind)) else None for _, tree in lines]
            if (curve := _curve(places, values, points)) is not None:
                found.setdefault(title, {})[f"node {path.stem.removeprefix('node_')}"] = curve
    return found


def _curve(places: Sequence[int], values: Sequence[float | None], points: int) -> Curve | None:
    """Means of what was said at the same step, which a slow step or an evaluation makes several."""
    at: dict[int, list[float]] = {}
    for place, value in zip(places, values, strict=True):
        if value is not None:
            at.setdefault(place, []).append(value)
    steps = sorted(at)
    return drawn(steps, [sum(at[step]) / len(at[step]) for step in steps], points) if steps else None
