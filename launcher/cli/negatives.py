"""`launch predict --negatives`: hard negatives of a corpus, for the queries that a run was trained on."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from launcher.cli.file_arguments import existing, output_words


@dataclass(frozen=True)
class Asked:
    """What is asked of negatives."""

    count: int
    margin: float | None
    labelled: bool
    output: str | None

    def words(self) -> list[str]:
        """The same for the verb."""
        margin = [] if self.margin is None else ["--margin", str(self.margin)]
        return ["--count", str(self.count), *margin, *(["--labelled"] if self.labelled else [])]


def find_negatives(run: Path, corpus: str, words: list[str], asked: Asked, as_json: bool) -> None:
    """Have negatives found and say how many. Raises UserError where the task has none, or the corpus can't be read."""
    from launcher import tasks
    from launcher.cli.output import say, show, show_json
    from launcher.cli.train_process import run_verb, write_recipe
    from launcher.errors import UserError
    from launcher.loading.resolve import dump_recipe
    from launcher.planning.given_data import recipe_for
    from launcher.planning.run_data import recipe_with_data
    from launcher.reading.corpus import documents
    from launcher.runs.directory import RunDir
    from launcher.runs.records import tree_of
    from launcher.runs.verb_results import Negatives

    recipe = recipe_with_data(RunDir(run))
    tasks.refuse_without_negatives(recipe)
    if asked.labelled and not tasks.of(recipe).label_columns:
        raise UserError(f"--labelled: task={recipe.task} learns no label here", remedy="leave it out")
    file = existing(corpus)
    read_as = recipe_for(recipe, Path(corpus), words, Path.cwd())
    documents(Path(corpus).absolute(), read_as)  # what is wrong with it is told before the model is loaded
    output = output_words(corpus, asked.output, "negatives")
    with tempfile.TemporaryDirectory(prefix="launch-recipe-") as directory:
        how = ["--recipe", str(write_recipe(Path(directory), dump_recipe(read_as)))]
        result = run_verb(["negatives", str(run), *file, *asked.words(), *output, *how], Negatives)
    if as_json:
        show_json(tree_of(result))
        return
    say(
        f"{result.negatives:,} negatives for {result.queries:,} queries, out of {result.documents:,} documents"
    )
    if result.short:
        say(f"note: {result.short:,} positives have fewer than {asked.count}: no more documents qualified")
    show(result.output)
