"""docs/agents.md and docs/llms.txt: how a program that writes programs uses launch, made from verbs, tasks and schema."""

from __future__ import annotations

from pathlib import Path

from launcher import resources, tasks
from launcher.cli.app import SECTIONS
from launcher.errors import EXIT_FAILED, EXIT_OK, EXIT_STOPPED, EXIT_USAGE
from launcher.loading.named_files import list_recipes
from launcher.loading.schema import default_text, expected
from launcher.recipe.fields import leaves
from launcher.recipe.recipe import Recipe

SUMMARY = (
    "Fine-tunes BERT-family encoders from YAML recipes, on one machine or on many nodes of a Slurm cluster, "
    "by one command: `launch recipe=NAME key=value ...`."
)
PAGES = {
    "agents": "what a coding agent needs to know",
    "tutorial": "from nothing to a sweep on four nodes and its report",
    "start": "a first recipe from data or another tool, a profile from a cluster, completion",
    "tasks": "the ten tasks, the data each reads, its metrics and an example",
    "embeddings": "vectors of texts for search and similarity: data, losses, metrics, use",
    "data": "files, splits, cleaning, augmentation, the data doctor",
    "techniques": "optimizers, schedules, losses, regularisation, heads, freezing, LoRA",
    "cluster": "profiles, containers, nodes without internet, what differs between sites",
    "sweeps": "many runs planned together",
    "watching": "lists of many runs, the live view, making room",
    "tracking": "metrics, Weights & Biases, TensorBoard, MLflow",
    "after-training": "comparing runs, starting from one, advice, explanations, smaller models",
    "troubleshooting": "what to do, by symptom",
    "families": "which encoders can be trained, and what works with each",
    "health": "bad nodes, ranks that hang or are slow",
    "failures": "classes of failures, and what happens by itself",
    "keys": "every key of a recipe and of a cluster profile",
    "cli": "every verb and flag",
    "json": "what --json prints",
    "python": "the same from Python",
}
"""The pages that are needed for use, those that are needed most first, each with what it is about."""

PAGE = """\
# For coding agents

Made by `make docs` from the verbs, the tasks and the schema; don't edit it by hand. What a program, or a person in a
hurry, needs to know to use `launch`. [llms.txt](llms.txt) lists the other pages.

## The way
```
launch init train.csv --output my-recipe.yaml --json
launch plan recipe=my-recipe.yaml --json
launch recipe=my-recipe.yaml data.limit=200 train.max_steps=20 tracking.wandb.mode=disabled run_id=tried --json
launch recipe=my-recipe.yaml run_id=first --json
launch status first --json
launch eval first test.csv --json
launch predict first --text "a sentence" --json
```
1. **A recipe**: `launch init` writes one for your data, with the reason for each value; `launch recipes` lists the
   shipped ones. Never copy a recipe to change a key: override it on the command line by its full name.
2. **Plan before running**: `launch plan` starts and creates nothing, and what it prints is what runs. Read its
   `notes`.
3. **Try it small** with `data.limit` and `train.max_steps`, then whole.
4. **Poll**: on Slurm `run` returns at once; here it returns at the end, so start it in the background (it outlives
   the terminal). Poll `launch status RUN --json` until `status` is `completed`, `failed`, `stopped`, `cancelled`, or
   `unknown` (the job is gone without a result).
5. **Results** are files: `RUN/result.json` (`best`, `test`, `error`), `RUN/metrics.jsonl` (a line a step),
   `RUN/model` (plain Hugging Face).

## Rules
- `--json` on every verb that reports: one document on stdout, prose on stderr. [json.md](json.md) names the fields.
- A mistake gives exit code {usage} and `problems`: **all** of them at once, each with `where`, `field`, `value`,
  `message` and `remedy`. Fix all, then call again.
- Don't guess a key: `launch recipes explain PART --json` finds it, `launch recipes schema` is the JSON Schema.
- `batch.global` is the number of examples in an optimizer step on all GPUs together. Never lower it for lack of
  memory: micro-batches adapt by themselves.
- Never write into a run's directory. `launch resume RUN` continues a run; to change something start another run.
- The same `sweep` command again trains what is missing; you needn't keep track.
- Keys and tokens belong in the environment or ~/.netrc, never in a recipe or a command.

| exit code | means | do |
|---|---|---|
| {ok} | done | |
| {failed} | the run failed | `launch status RUN --json`: `result.error` has class, message and remedy |
| {usage} | a mistake in the command, recipe or data; nothing was created | fix what `problems` names |
| {stopped} | stopped as asked | `launch resume RUN` |
| 128 + N | ended by signal N, as by Ctrl-C (130); anything half done was undone | call again |
"""


def agents_page() -> str:
    """The whole page."""
    codes = {"ok": EXIT_OK, "failed": EXIT_FAILED, "usage": EXIT_USAGE, "stopped": EXIT_STOPPED}
    parts = [PAGE.format(**codes), "## Verbs\n", _verbs(), "## Tasks\n", _tasks(), "## Recipes\n", _recipes()]
    keys = "Key, what it takes, default; [keys.md](keys.md) has the meanings.\n"
    return "\n".join([*parts, "## Keys\n", keys, _keys()])


def _verbs() -> str:
    rows = (f"| `{name}` | {verb.summary} |" for verbs in SECTIONS.values() for name, verb in verbs.items())
    return "\n".join(["| verb | does |", "|---|---|", *rows, ""])


def _tasks() -> str:
    head = ["| `task` | text columns | label | best by | other metrics |", "|---|---|---|---|---|"]
    return "\n".join([*head, *map(_task, tasks.names()), ""])


def _task(name: str) -> str:
    spec = tasks.named(name)
    texts = " or ".join(map(str, spec.texts))
    kind = "classes" if spec.classes else "a value"
    label = "none" if not spec.labelled else f"{'several ' if spec.several else ''}{kind}"
    others = ", ".join(metric for metric in spec.metrics if metric != spec.metric)
    return f"| `{name}` | {texts} | {label} | {spec.metric} | {others} |"


def _recipes() -> str:
    shipped = resources.resource_dir("recipes")
    entries = [entry for entry in list_recipes(shipped) if entry.path.parent == shipped]
    rows = (f"| `{entry.name}` | `{entry.task}` | {entry.description} |" for entry in entries)
    return "\n".join(["| `recipe=` | task | |", "|---|---|---|", *rows, ""])


def _keys() -> str:
    rows = (f"{leaf.name}: {expected(leaf.field)}; {default_text(leaf)}" for leaf in leaves(Recipe))
    return "\n".join(["```yaml", *rows, "```", ""])


def llms_page(root: Path) -> str:
    """The list of pages as llmstxt.org describes it: a title, a summary, and links with what each page is about."""
    links = [
        f"- [{_title(root / 'docs' / f'{name}.md')}]({name}.md): {about}" for name, about in PAGES.items()
    ]
    return "\n".join(["# launch", "", f"> {SUMMARY}", "", "## Docs", "", *links, ""])


def _title(path: Path) -> str:
    with path.open(encoding="utf-8") as file:
        return file.readline().removeprefix("# ").strip()
