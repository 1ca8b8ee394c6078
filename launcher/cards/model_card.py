"""The README.md of a model directory, in the format of the hub's model cards, from what a run recorded.

It is meant for other people: directories, hosts, and keys of the site stand in none of it.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from launcher import tasks
from launcher.errors import DamagedFile
from launcher.figures import human_number, human_seconds
from launcher.recipe.recipe import Recipe, leaf_values
from launcher.runs.directory import RunDir
from launcher.runs.examination import Confusion
from launcher.runs.metrics import evaluations_of
from launcher.runs.planned_recipe import planned_recipe
from launcher.runs.provenance import read_data_used, read_environment
from launcher.runs.records import read_text
from launcher.visible import visible

NAME = "README.md"
OF_THE_SITE = (
    "run_id",
    "runs_dir",
    "description",
    "time",
    "cluster",
    "executor",
    "requeue",
    "tracking.",
    "debug.",
)
"""Keys of a recipe that say nothing of the model."""
FILES = (
    "data.train",
    "data.validation",
    "data.test",
    "data.augment.",
    "eval.extra",
    "model.name",
    "init_from",
    "distill.",
)
"""Keys whose values may be paths, of which the name alone is told."""
TYPES = {
    "mcc": "matthews_correlation",
    "macro_f1": "f1",
    "micro_f1": "f1",
    "pearson": "pearsonr",
    "spearman": "spearmanr",
}
"""What the hub calls metrics that have another name there."""
VERSIONS = ("torch", "transformers", "tokenizers", "deepspeed", "peft", "datasets")
MOST_LABELS = 30
MOST_CONFUSED = 12
"""Classes of a confusion matrix in the card."""
INTENDED = "*To be written by those who trained it: what the model is for, what it is not for, and where it is known to fail.*"


def model_card(run: RunDir, name: str = ".", repetitions: Sequence[RunDir] = ()) -> str:
    """The text of the card. `name` is where the model is: a directory, or a repository of the hub.

    `repetitions` are runs of the same recipe with other seeds; metrics are then means of all, with their spread. Raises
    DamagedFile.
    """
    recipe = planned_recipe(run)
    evaluations = _evaluations(run, recipe, repetitions)
    parts = [
        _header(run, recipe, evaluations),
        f"# {run.run_id if name == '.' else name}",
        _about(recipe),
        "## Use\n\n```python\n" + _snippet(recipe, name) + "```" + _left_out(recipe),
        f"## Intended use and limits\n\n{INTENDED}",
        "## Evaluation\n\n" + _evaluation(evaluations, 1 + len(repetitions)) + _confusions(run),
        "## Training data\n\n" + _data(run, recipe),
        "## Training\n\n" + _training(run, recipe),
    ]
    return visible("\n\n".join(part.rstrip() for part in parts)) + "\n"


def card_to_publish(run: RunDir, name: str, repetitions: Sequence[RunDir] = ()) -> str:
    """The card for a repository of that name: what its owner has written into model/README.md stays. Raises DamagedFile."""
    path = run.model / NAME
    written = read_text(path)
    if written is None or written == model_card(run):
        return model_card(run, name, repetitions)
    recipe = planned_recipe(run)
    return written.replace(_snippet(recipe, "."), _snippet(recipe, name))


Evaluations = dict[str, dict[str, list[float]]]
"""Split -> metric -> its value in each run that has one."""


def _evaluations(run: RunDir, recipe: Recipe, repetitions: Sequence[RunDir]) -> Evaluations:
    known = tasks.of(recipe).metrics_of(None)
    found: Evaluations = {}
    for one in (run, *repetitions):
        for split, metrics in _metrics(one).items():
            for metric, value in metrics.items():
                if value is not None and metric in known:
                    found.setdefault(split, {}).setdefault(metric, []).append(value)
    return found


def _metrics(run: RunDir) -> dict[str, Mapping[str, float | None]]:
    """Metrics of the best model on the validation and test data."""
    result = run.read_result()
    if result is None or result.best is None:
        return {}
    rows = evaluations_of(run)
    step = result.best.step
    validation = next((row for row in rows if row.split == "validation" and row.step == step), None)
    found = {} if validation is None else {"validation": validation.metrics()}
    return {**found, **({"test": dict(result.test)} if result.test else {})}


def _header(run: RunDir, recipe: Recipe, evaluations: Evaluations) -> str:
    """The YAML block; JSON values are YAML."""
    spec = tasks.of(recipe)
    metrics = dict.fromkeys(TYPES.get(name, name) for found in evaluations.values() for name in found)
    source = recipe.data.source
    lines = [
        "---",
        "# license: the licence of this model; the base model and the data may say which it can be",
        "# language: en",
        f"library_name: {spec.library}",
        f"pipeline_tag: {spec.pipeline_tag}",
    ]
    if (base := _base_model(recipe)) is not None:
        lines.append(f"base_model: {json.dumps(base)}")
    if _is_hub_name(source):
        lines.append(f"datasets: [{json.dumps(str(source).partition(':')[0])}]")
    if metrics:
        lines.append(f"metrics: {json.dumps([name for name in metrics if name != 'loss'])}")
        lines += ["model-index:", f"- name: {json.dumps(run.run_id)}", "  results:"]
        lines += _results(spec.pipeline_tag, _data_name(recipe), evaluations)
    return "\n".join([*lines, "---"])


def _results(tag: str, data: str, evaluations: Evaluations) -> Iterator[str]:
    for split, metrics in evaluations.items():
        known = {"name": data, "type": data, "split": split}
        yield f"  - task: {json.dumps({'type': tag})}"
        yield f"    dataset: {json.dumps(known, ensure_ascii=False)}"
        yield "    metrics:"
        for name, values in metrics.items():
            entry = {"type": TYPES.get(name, name), "name": name, "value": round(statistics.fmean(values), 6)}
            yield f"    - {json.dumps(entry)}"


def _base_model(recipe: Recipe) -> str | None:
    return (
        recipe.model.name if recipe.model.init == "pretrained" and _is_hub_name(recipe.model.name) else None
    )


def _is_hub_name(name: str | None) -> bool:
    """Whether it may be a name on the hub, and is no directory."""
    return (
        name is not None
        and name.count("/") <= 1
        and not name.startswith(("/", ".", "~"))
        and not Path(name).exists()
    )


def _data_name(recipe: Recipe) -> str:
    source = recipe.data.source
    if source is not None:
        return source if _is_hub_name(source) else Path(source).name
    train = recipe.data.train
    names = [train] if isinstance(train, str) else list(train or ())
    return Path(names[0]).name if names else "own data"


def _about(recipe: Recipe) -> str:
    base = _base_model(recipe)
    if base is not None:
        start = f"[{base}](https://huggingface.co/{base})"
    elif recipe.model.init == "pretrained":
        start = f"`{Path(str(recipe.model.name)).name}`"
    else:
        start = f"a {recipe.model.scratch.family} with random weights"
    how = "by LoRA, merged into the weights" if recipe.tuning == "lora" else "in all its weights"
    said = recipe.description.replace("<", "&lt;") + "\n\n" if recipe.description else ""
    return f"{said}{start[0].upper()}{start[1:]}, trained {how} for {recipe.task}."


def _snippet(recipe: Recipe, name: str) -> str:
    return tasks.of(recipe).snippet(name)


def _left_out(recipe: Recipe) -> str:
    """What `launch predict` does beyond the snippet."""
    beyond = []
    if recipe.model.head.layers:
        beyond.append("adds the deeper head in `launcher_head.safetensors` to the logits")
    if recipe.data.windows is not None:
        beyond.append(f"cuts long texts into windows and takes the {recipe.data.windows} of their logits")
    if tasks.of(recipe).words and recipe.tagging.constrain:
        beyond.append("allows only tags that can follow each other")
    return f"\n\n`launch predict` does more: it {', and '.join(beyond)}." if beyond else ""


def _evaluation(evaluations: Evaluations, runs: int) -> str:
    if not evaluations:
        return "Not evaluated yet."
    names = dict.fromkeys(name for metrics in evaluations.values() for name in metrics)
    lines = [f"| | {' | '.join(evaluations)} |", f"|---|{'---|' * len(evaluations)}"]
    for name in names:
        cells = [_cell(metrics.get(name, [])) for metrics in evaluations.values()]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    told = "The best model by the validation data; the test data chose nothing."
    if runs > 1:
        told += f" Mean ± standard deviation over {runs} seeds; the weights here are those of one."
    return "\n".join([*lines, "", told])


def _confusions(run: RunDir) -> str:
    """A table of each confusion matrix that is not too wide to be read."""
    try:
        found = run.read_examinations()
    except DamagedFile:
        return ""
    return "".join(
        f"\n\n{_confusion(each.split, each.confusion)}"
        for each in found
        if each.confusion is not None and 1 < len(each.confusion.names) <= MOST_CONFUSED
    )


def _confusion(split: str, found: Confusion) -> str:
    names = [f"`{_plain(name)}`" for name in found.names]
    lines = [
        f"On the {split} data, {found.of} of each class (rows) by what was predicted (columns):",
        "",
        f"| | {' | '.join(names)} |",
        f"|---|{'---|' * len(names)}",
    ]
    lines += [
        f"| {name} | {' | '.join(f'{count:,}' for count in row)} |"
        for name, row in zip(names, found.counts, strict=True)
    ]
    return "\n".join(lines)


def _cell(values: Sequence[float]) -> str:
    if not values:
        return "-"
    spread = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
    return human_number(float(statistics.fmean(values))) + spread


def _data(run: RunDir, recipe: Recipe) -> str:
    used = read_data_used(run)
    if used is None:
        return f"`{_plain(_data_name(recipe))}`."
    lines = ["| split | examples |", "|---|---|"]
    lines += [f"| {split} | {count:,} |" for split, count in used.examples.items()]
    if used.files:
        lines += ["", "| file | split | bytes | sha256 |", "|---|---|---|---|"]
        lines += [
            f"| `{_plain(Path(file.path).name)}` | {file.split} | {file.bytes:,} | `{file.sha256[:16]}...` |"
            for file in used.files
        ]
    else:
        lines += ["", f"From `{_plain(_data_name(recipe))}`."]
    if used.labels:
        more = f" and {len(used.labels) - MOST_LABELS} more" if len(used.labels) > MOST_LABELS else ""
        lines += [
            "",
            "Labels: " + ", ".join(f"`{_plain(name)}`" for name in used.labels[:MOST_LABELS]) + more + ".",
        ]
    return "\n".join(lines)


def _training(run: RunDir, recipe: Recipe) -> str:
    plan, result, where = run.read_plan(), run.read_result(), read_environment(run)
    took = "" if result is None or result.wall_s is None else f" in {human_seconds(result.wall_s)}"
    steps = "" if result is None or result.steps is None else f"{result.steps:,} steps{took} on "
    device = (
        where.machine
        if where is not None and not where.gpus
        else where.gpus[0]
        if where is not None
        else plan.device
    )
    ranks = f"{plan.world_size} x " if plan.world_size > 1 else ""
    lines = [f"{steps}{ranks}{device} ({plan.precision}, ZeRO {plan.zero_stage})."]
    if where is not None:
        found = ", ".join(f"{name} {where.packages[name]}" for name in VERSIONS if name in where.packages)
        lines += ["", f"Python {where.python}, {found}; launch {plan.launcher_version}."]
    told = [f"{key}: {_value(key, value)}" for key, value in _given(recipe)]
    return "\n".join([*lines, "", "```yaml", *told, "```"])


def _given(recipe: Recipe) -> Iterator[tuple[str, Any]]:
    """Keys that are not at their defaults, but those of the site."""
    defaults = dict(leaf_values(Recipe.model_validate({"task": recipe.task}).tree()))
    for key, value in leaf_values(recipe.tree()):
        if (key == "task" or defaults.get(key) != value) and not key.startswith(OF_THE_SITE):
            yield key, value


def _value(key: str, value: Any) -> str:
    if key == "data.cache_dir":
        return '"..."'
    if key.startswith(FILES):
        value = _without_directory(value)
    return json.dumps(value, ensure_ascii=False).replace("`", "'")


def _without_directory(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_directory(item) for item in value]
    return Path(value).name if isinstance(value, str) and not _is_hub_name(value) else value


def _plain(text: str) -> str:
    """A text within a table: no line ends, and nothing that ends a cell or a code span."""
    return " ".join(text.split()).replace("|", "\\|").replace("`", "'")
