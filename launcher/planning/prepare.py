"""From the words of a command line to a plan and its files, with every mistake found on the way in one error."""

from __future__ import annotations

import ast
import datetime as dt
import json
import os
import secrets
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from launcher import __version__, families, paths, resources
from launcher.errors import Problem, UserError
from launcher.executors import executor_for
from launcher.executors.shared.base import Forecast
from launcher.families.shared.base import ModelShape
from launcher.families.shared.names import Sizes
from launcher.loading import resolve as loading
from launcher.loading.resolve import Loaded, RecipeMistakes
from launcher.planning import machine, model_files, render
from launcher.planning.code_state import NO_CHECKOUT, CodeState, code_state
from launcher.planning.conflicts import plan_conflicts
from launcher.planning.model_config import find_config
from launcher.planning.model_notes import model_notes, text_length
from launcher.planning.notes import evaluation_note
from launcher.planning.plan import Identity, Plan, make_plan
from launcher.planning.sharding import ASYNC_IO_REMEDY
from launcher.planning.starting_point import with_model_directories
from launcher.planning.surroundings import DataSize, Machine, resolve_executor
from launcher.reading import check as datacheck
from launcher.reading.check import DataFacts
from launcher.recipe.decides import Subject
from launcher.recipe.model import Scratch
from launcher.recipe.recipe import Recipe, leaf_values
from launcher.resources import PROFILES
from launcher.runs.directory import CODE_PATCH, LAUNCHED, ORIGINS
from launcher.runs.provenance import versions_here
from launcher.runs.records import tree_of
from launcher.secret_values import secret_values

Answer = TypeVar("Answer")
READING: tuple[Subject, ...] = ("contents", "tokens")
"""What decides how data are read."""
CACHE_REMEDY = "set data.cache_dir to a directory with room that can be written"


@dataclass(frozen=True)
class Checked:
    """A recipe in which no mistake was found, and what was learnt about it."""

    loaded: Loaded
    machine: Machine
    facts: DataFacts
    shape: ModelShape | None
    unreachable: tuple[Problem, ...] = ()
    """What a job couldn't load or write from here; a plan for another machine, or another user, is fine all the same."""


@dataclass(frozen=True)
class Learnt:
    """What recipes of one command were told of their data, with the mistakes in them, and of this machine and its scheduler."""

    facts: dict[str, tuple[DataFacts, list[Problem]]] = field(default_factory=dict)
    machines: dict[str, Machine] = field(default_factory=dict)

    def facts_of(self, recipe: Recipe, problems: list[Problem]) -> DataFacts:
        """The facts of a recipe's data, read once where they are read in the same way; mistakes are kept in `problems`."""
        # The seed only decides which rows go where.
        key = repr([recipe.deciding(subject) | {"seed": None} for subject in READING])
        if key not in self.facts:
            mistakes: list[Problem] = []
            facts = _collect(mistakes, lambda: datacheck.check_data(recipe), DataFacts())
            self.facts[key] = facts, mistakes
        facts, mistakes = self.facts[key]
        problems += mistakes
        return facts

    def machine_of(self, loaded: Loaded, submits: bool) -> Machine:
        """What planning a recipe needs to know of this machine; a scheduler is asked once."""
        recipe, cluster = loaded.recipe, loaded.cluster
        key = repr([recipe.executor, recipe.device, recipe.most_nodes, recipe.cluster, cluster, submits])
        if key not in self.machines:
            self.machines[key] = machine.observe(recipe, cluster, submits)
        return self.machines[key]


@dataclass(frozen=True)
class Prepared:
    """A plan and everything that is written for it: relative path -> text."""

    plan: Plan
    files: dict[str, str]
    unreachable: tuple[Problem, ...] = ()

    def refuse_unreachable(self) -> None:
        """Raises UserError where the job couldn't load its model or its data, or write its directory."""
        if self.unreachable:
            raise UserError(self.unreachable)

    def script(self) -> str:
        """The text of the job script."""
        return self.files[executor_for(self.plan.executor).script]

    def predicted_start(self) -> Forecast | None:
        """What the scheduler says of the job, where it is here and answers within seconds."""
        return executor_for(self.plan.executor).predicted_start(self.script())


def prepare(
    assignments: Sequence[str],
    environ: Mapping[str, str],
    cwd: Path,
    loss_file: Path | None = None,
    *,
    submits: bool = True,
) -> Prepared:
    """Everything that `run` would submit, with the user's own loss where there is a file of it.

    With submits=False it is only shown: a plan for a cluster can be made where there is none. Raises UserError with all
    mistakes; creates nothing.
    """
    chosen = () if loss_file is None else ("train.loss.name=custom",)
    return plan_files(check([*assignments, *chosen], environ, cwd, submits=submits), cwd, loss_file)


def plan_files(checked: Checked, cwd: Path, loss_file: Path | None = None) -> Prepared:
    """The plan of a recipe in which no mistake was found, and its files."""
    own_loss = None if loss_file is None else read_loss(loss_file)
    if own_loss is None and checked.loaded.recipe.train.loss.name == "custom":
        # A recipe alone must not be able to execute a file.
        remedy = "give --loss-file FILE, a Python file with a function loss(logits, labels)"
        raise UserError(
            _about("train.loss.name", checked.loaded, "is a file of yours, which is not given", remedy)
        )
    code = code_state(Path(__file__).resolve().parents[1], secret_values(os.environ))
    plan = plan_of(checked, cwd, own_loss, code)
    files = render.render(plan, templates(), loading.dump_recipe(plan.recipe), own_loss)
    given = {key: origin for key, origin in checked.loaded.origins.items() if origin != "default"}
    files[ORIGINS] = json.dumps(given, indent=2, ensure_ascii=False) + "\n"
    if code.patch is not None:
        files[CODE_PATCH] = code.patch
    if plan.nodes > 1 and plan.python == sys.executable:
        files[LAUNCHED] = json.dumps(tree_of(versions_here()), indent=2) + "\n"
    return Prepared(plan, files, checked.unreachable)


def read_loss(path: Path) -> str:
    """The text of a user's own loss. Raises UserError where it is not a Python file with a function `loss`."""
    try:
        text = path.read_text(encoding="utf-8")
        tree = ast.parse(text)
    except OSError as error:
        raise UserError(f"can't be read: {error.strerror}", field="--loss-file", value=str(path)) from None
    except (SyntaxError, ValueError) as error:
        raise UserError(f"is not Python: {error}", field="--loss-file", value=str(path)) from None
    names = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    if "loss" not in names:
        remedy = "define loss(logits, labels), which returns one number for each example"
        raise UserError("has no function named loss", field="--loss-file", value=str(path), remedy=remedy)
    return text


def check(
    assignments: Sequence[str],
    environ: Mapping[str, str],
    cwd: Path,
    learnt: Learnt | None = None,
    *,
    submits: bool = True,
) -> Checked:
    """Load a recipe and hold it against the data, the model, this machine and the cluster.

    What is learnt of data and machine is kept in `learnt`, and not read or asked again. Raises UserError with every mistake
    found. Where some words can't be loaded, the rest is checked without them.
    """
    learnt = learnt or Learnt()
    problems: list[Problem] = []
    unwritable: list[Problem] = []
    loaded, doubtful = _load(assignments, environ, cwd, problems)
    if loaded is None:
        raise UserError(problems)
    if not doubtful & {"init_from", "distill.teacher"}:
        given = loaded
        loaded = _collect(problems, lambda: with_model_directories(given, cwd), given)
    recipe = loaded.recipe
    facts, shape = DataFacts(), None
    if not any(key == "task" or key.startswith("data.") for key in doubtful):
        facts = learnt.facts_of(recipe, problems)
    if not any(key.startswith("model.") for key in doubtful):
        shape = _collect(problems, lambda: model_shape(loaded), shape)
    observed = learnt.machine_of(loaded, submits)
    if not any(problem.field == "cluster" for problem in problems):
        problems += [
            _about(conflict.fields[0], loaded, conflict.message, conflict.remedy)
            for conflict in plan_conflicts(recipe, loaded.cluster, observed, shape, facts.train_examples)
            if not doubtful.intersection(conflict.fields)
        ]
    if not doubtful.intersection(("runs_dir", "run_id")):
        problems += _place_problems(loaded, cwd)
        unwritable += _run_directory_problems(loaded, cwd)
    if not doubtful.intersection(("executor", "data.cache_dir")) and not _goes_elsewhere(recipe, observed):
        unwritable += [*_cache_problems(loaded), *_offload_problems(loaded)]
    if problems or (submits and unwritable):
        raise UserError([*problems, *unwritable])
    return Checked(loaded, observed, facts, shape, (*unwritable, *_unreachable(loaded, environ)))


def _load(
    assignments: Sequence[str], environ: Mapping[str, str], cwd: Path, problems: list[Problem]
) -> tuple[Loaded | None, frozenset[str]]:
    """What can be loaded, and the keys that have defaults in it because of mistakes, which are kept in `problems`."""
    try:
        return loading.load(assignments, environ=environ, cwd=cwd), frozenset()
    except RecipeMistakes as error:
        problems += error.problems
        return error.loaded, error.doubtful


def plan_of(checked: Checked, cwd: Path, own_loss: str | None = None, code: CodeState = NO_CHECKOUT) -> Plan:
    """The plan of a recipe in which no mistake was found."""
    recipe, cluster = checked.loaded.recipe, checked.loaded.cluster
    run_id = recipe.run_id or _new_run_id(checked.loaded.name)
    identity = Identity(
        name=checked.loaded.name,
        run_id=run_id,
        run_dir=str((cwd / recipe.runs_dir / run_id).resolve()),
        python=cluster.python or sys.executable,
        git_commit=code.commit,
        launcher_version=__version__,
    )
    size = DataSize(checked.facts.train_examples, checked.facts.mean_chars)
    plan = make_plan(recipe, cluster, checked.machine, identity, checked.shape, size, own_loss)
    missing = [str(replace(problem, where=None, remedy=None)) for problem in checked.unreachable]
    trained = None if plan.steps.total is None else plan.steps.total * plan.layout.global_batch_size
    evaluated = evaluation_note(trained, checked.facts.validation_examples, plan.throughput.examples_per_s)
    own = plan.notes if evaluated is None else (*plan.notes, evaluated)
    doubts = model_notes(recipe, None if checked.shape is None else checked.shape.vocab)
    notes = (*own, *doubts, *checked.loaded.notes, *checked.facts.notes, *missing, *code.notes)
    return plan.model_copy(update={"notes": notes})


def model_shape(loaded: Loaded) -> ModelShape | None:
    """The shape of the recipe's model, from its config.json where one is here; None where nobody knows it.

    Raises UserError where the model can't be loaded, as far as can be known here.
    """
    recipe, model = loaded.recipe, loaded.recipe.model
    if model.name is None:
        return families.shape_from_config(
            scratch_config(model.scratch, recipe.scratch_length), "model.scratch"
        )
    key = "model.name" if recipe.init_from is None else "init_from"
    if (reason := paths.refusal(model.name)) is not None:
        raise UserError(_about(key, loaded, f"can't be read: {reason}", "check its permissions"))
    faults = model_files.model_faults(model.name, weights=model.init == "pretrained")
    if faults:
        raise UserError(_about(key, loaded, fault.message, fault.remedy) for fault in faults)
    config = find_config(model.name, revision=model.revision or "main")
    shape = families.shape_of(model.name, config=config, where=f"{model.name}/config.json")
    return None if shape is None else replace(shape, text_length=text_length(recipe) or 0)


def _unreachable(loaded: Loaded, environ: Mapping[str, str]) -> Iterator[Problem]:
    """The model and the data of the hub that aren't cached where the environment forbids to ask the hub."""
    model, source = loaded.recipe.model, loaded.recipe.data.source
    elsewhere = loaded.cluster.env
    if model.name is not None and (by := model_files.offline(environ, elsewhere, model_files.NO_MODELS)):
        whole = model.init == "pretrained"
        for fault in model_files.cache_faults(
            model.name, model.revision or "main", weights=whole, forbidden=by
        ):
            yield _about("model.name", loaded, fault.message, fault.remedy)
    if source is not None and (by := model_files.offline(environ, elsewhere, model_files.NO_DATA)):
        for fault in model_files.data_faults(source, by):
            yield _about("data.source", loaded, fault.message, fault.remedy)


def scratch_config(scratch: Scratch, longest: int) -> dict[str, object]:
    """The config.json that a model made from nothing will have, as far as shapes need it."""
    sizes = Sizes(scratch.layers, scratch.hidden, scratch.heads, scratch.intermediate, scratch.vocab, longest)
    return {"model_type": scratch.family, **families.find(scratch.family).scratch_config(sizes)}


def templates() -> dict[str, str]:
    """Every template and DeepSpeed base by its file name."""
    paths = [
        *resources.resource_dir(PROFILES).glob("*.j2"),
        *resources.resource_dir("ds_configs").glob("*.json"),
    ]
    return {path.name: path.read_text(encoding="utf-8") for path in paths}


def _collect(problems: list[Problem], question: Callable[[], Answer], otherwise: Answer) -> Answer:
    """The answer, or `otherwise` where it raises mistakes, which are kept."""
    try:
        return question()
    except UserError as error:
        problems += error.problems
        return otherwise


def _about(key: str, loaded: Loaded, message: str, remedy: str | None = None) -> Problem:
    """A problem with the value of a key, said at the place where it was given."""
    origin = loaded.origins.get(key, "default")
    where = loaded.path.name if origin == "default" else origin
    return Problem(message, where, key, dict(leaf_values(loaded.recipe.tree())).get(key), remedy)


def _goes_elsewhere(recipe: Recipe, observed: Machine) -> bool:
    """Whether a scheduler decides where it runs."""
    return executor_for(resolve_executor(recipe, observed)).takes_nodes


def _place_problems(loaded: Loaded, cwd: Path) -> Iterator[Problem]:
    """Why the run directory can't be made, where that is so."""
    recipe = loaded.recipe
    parent = cwd / recipe.runs_dir
    existing = _existing(parent)
    if not paths.is_dir(existing):
        yield _about("runs_dir", loaded, f"{existing} is not a directory")
    elif recipe.run_id is not None and paths.exists(parent / recipe.run_id):
        remedy = f"launch resume {recipe.run_id}, or another run_id"
        yield _about("run_id", loaded, f"exists already in {parent}", remedy)


def _run_directory_problems(loaded: Loaded, cwd: Path) -> Iterator[Problem]:
    """Why nobody who has this user's rights can write where the runs are to lie."""
    existing = _existing(cwd / loaded.recipe.runs_dir)
    if paths.is_dir(existing) and not os.access(existing, os.W_OK | os.X_OK):
        yield _about("runs_dir", loaded, f"{existing} can't be written", "choose a directory of yours")


def _cache_problems(loaded: Loaded) -> Iterator[Problem]:
    """Why tokenised data can't be kept on this machine, where none are there yet that could be read."""
    refusal = cache_refusal(loaded.recipe.data.cache_dir)
    if refusal is not None:
        yield _about("data.cache_dir", loaded, refusal, CACHE_REMEDY)


def _offload_problems(loaded: Loaded) -> Iterator[Problem]:
    """Why this machine can't offload to a disk, where that is so."""
    if loaded.recipe.zero.offload == "nvme" and not machine.has_async_io():
        text = "needs DeepSpeed's async_io, which isn't there and can't be compiled here"
        yield _about("zero.offload", loaded, text, ASYNC_IO_REMEDY)


def cache_refusal(given: str | None) -> str | None:
    """Why tokenised data can't be kept in a `data.cache_dir`; None where they can, or some are there."""
    try:
        tokens = (paths.user_cache() if given is None else Path(given)) / "tokens"
    except RuntimeError as error:
        return str(error)
    existing = _existing(tokens)
    can_be_made = existing == tokens or os.access(existing, os.W_OK | os.X_OK)
    return None if can_be_made else f"{existing} can't be written"


def _existing(path: Path) -> Path:
    """The path itself, or the nearest one above it that there is."""
    return next(place for place in (path, *path.parents) if paths.exists(place))


def _new_run_id(name: str) -> str:
    """Readable, in the order of time, and different for runs launched in the same second."""
    now = dt.datetime.now().astimezone()
    return f"{name[:60]}-{now:%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
