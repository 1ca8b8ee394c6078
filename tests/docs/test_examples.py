"""What the pages show is executed: commands, Python, and a mistake with the words it gets.

A command that would need the hub, data of the reader's own, or names of runs that aren't here is held against the
commands and the schema instead; Slurm's commands are tried in tests/slurm.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

import click
import pytest
from support.shapes import write_shape

from launcher.cli.app import cli
from launcher.loading.resolve import Loaded, load
from launcher.loading.schema import schema_of
from launcher.recipe.data_formats import format_named
from launcher.recipe.recipe import Recipe
from launcher.runs.finding import find

ROOT = Path(__file__).resolve().parents[2]
MADE = ("cli.md", "keys.md")
"""Pages that are made from the code."""
WALKED = "tutorial.md"
"""The page whose commands build on each other: tests/slurm/test_tutorial_on_slurm.py walks it."""
LONG = ("after-training.md", "cloze.md", "failures.md", "tasks.md", "techniques.md")
"""Pages that train much: README's and those for a start are executed by make test, these by make test-faults."""
SMALL = ("train.max_steps=12", "executor=local", "device=cpu", "tracking.wandb.mode=disabled")
"""What keeps a training of the pages short."""
ON_RECIPES = ("run", "plan", "data", "prefetch", "drill")
ON_RUNS = ("predict", "eval", "diagnose", "explain", "status", "logs", "report")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    def commands(self) -> list[list[str]]:
        """The words of each `launch` in it; comments and what is piped away are left out."""
        text = re.sub(r"\\\n\s*", "", self.text)
        found = [shlex.split(line, comments=True) for line in text.splitlines() if line.startswith("launch ")]
        return [list(takewhile(lambda word: word not in (">", "|", "&"), words[1:])) for words in found]


def blocks() -> Iterator[Block]:
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        if path.name in MADE:
            continue
        text = path.read_text(encoding="utf-8")
        for match in re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
            yield Block(path.name, text[: match.start()].count("\n") + 1, match[1], match[2])


QUICK = {"TRACKING__WANDB__MODE": "disabled", "DEVICE": "cpu", "EXECUTOR": "local"}
COMMANDS = [block for block in blocks() if block.commands()]
PYTHON = {str(block): block for block in blocks() if block.language == "python"}


def verb_of(words: list[str]) -> tuple[str, list[str]]:
    return ("run", words) if "=" in words[0] or words[0].startswith("-") else (words[0], words[1:])


def loaded(words: list[str], directory: Path) -> Loaded:
    """The recipe that the words of a command make; one of the reader's own is a copy of one that is shipped."""
    flags = {"--loss-file", "--out"}
    plain = [
        word
        for before, word in zip(["", *words], words, strict=False)
        if "=" in word and before not in flags and not word.startswith("-")
    ]
    for name in ("my-recipe", "domain-mlm", "reviews", "best"):
        if not (directory / f"{name}.yaml").exists():
            shutil.copyfile(ROOT / "recipes" / "bert-mlm.yaml", directory / f"{name}.yaml")
    return load(plain, environ={}, cwd=directory)


@pytest.mark.parametrize("block", COMMANDS, ids=str)
def test_commands_are_as_the_command_line_takes_them(block: Block, tmp_path: Path) -> None:
    parent = click.Context(cli, info_name="launch", **cli.context_settings)
    for words in block.commands():
        if not words:
            continue
        verb, rest = verb_of(words)
        command = cli.get_command(parent, verb)
        assert command is not None, f"{block}: there is no verb {verb}"
        command.make_context(verb, list(rest), parent=parent)
        if verb in ON_RECIPES and "--step" not in rest:
            loaded(rest, tmp_path)


def reason_against(words: list[str], directory: Path, made: set[str]) -> str | None:
    """Why a command isn't executed; None where it is."""
    verb, rest = verb_of(words)
    if verb in ("plan", "recipes"):
        return None
    if verb == "init":
        pairs = zip(["", *rest], rest, strict=False)
        files = [word for before, word in pairs if "." in word and "=" not in word and before != "--output"]
        there = files and all((directory / word).is_file() for word in files)
        return None if there else "needs files of the reader's own"
    if verb in ON_RUNS or "--step" in rest:
        named = [word for word in rest if word in {"RUN", *made}]
        files = [word for word in rest if word.isupper() and word != "RUN"]
        return None if named and not files else "names a run or a file of the reader's own"
    if verb != "run":
        return "is tried elsewhere"
    recipe = loaded(rest, directory).recipe
    local = recipe.init_from in made or recipe.model.name is None
    if recipe.data.source is not None or not local:
        return "needs the hub"
    return None if Path(str(recipe.data.train)).is_file() else "needs data of the reader's own"


def launch(words: list[str], directory: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "launcher", *words], cwd=directory, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, (words, done.stderr)
    return done.stdout


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a run of the recipe that README starts with."""
    directory = tmp_path_factory.mktemp("trained")
    launch(["recipe=smoke", *SMALL, "run_id=RUN"], directory)
    return find("RUN", directory / "runs").path


EXECUTED = [
    pytest.param(block, marks=pytest.mark.long if block.page in LONG else ())
    for block in COMMANDS
    if block.page != WALKED
]


@pytest.mark.parametrize("block", EXECUTED, ids=str)
def test_commands_that_need_nothing_are_executed(block: Block, trained: Path, tmp_path: Path) -> None:
    for program in PYTHON.values():
        if name := re.match(r"# (\w+\.py)\n", program.text):
            (tmp_path / name[1]).write_text(program.text, encoding="utf-8")
    for name in ("train.csv", "dev.csv", "test.csv", "reviews.csv"):
        shutil.copyfile(write_shape("stars.csv", tmp_path), tmp_path / name)
    shutil.copyfile(ROOT / "tests" / "drafts" / "args.json", tmp_path / "args.json")
    (tmp_path / "train.py").write_text(
        'load_dataset("nyu-mll/glue", "sst2")\nAutoModelForSequenceClassification.from_pretrained("bert-base-cased")\n'
    )
    (tmp_path / "accelerate.yaml").write_text("num_machines: 2\nnum_processes: 8\nmixed_precision: bf16\n")
    made: set[str] = set()
    reasons = []
    for words in block.commands():
        if reason := reason_against(words, tmp_path, made) if words else "is the command's name":
            reasons.append(f"launch {shlex.join(words)} {reason}")
            continue
        verb, rest = verb_of(words)
        on_nodes = verb == "plan" and any(word.startswith("nodes=") for word in rest)
        extra = SMALL if verb == "run" else ("executor=slurm",) if on_nodes else ()
        launch([verb, *(str(trained) if word == "RUN" else word for word in rest), *extra], tmp_path)
        made |= {word.removeprefix("run_id=") for word in rest if word.startswith("run_id=")}
    print("\n".join(reasons))


def test_a_mistake_gets_the_words_that_readme_shows(tmp_path: Path) -> None:
    (block,) = [block for block in blocks() if block.text.startswith("$ launch ")]
    command, _, shown = block.text.partition("\n")
    done = subprocess.run(
        [sys.executable, "-m", "launcher", *shlex.split(command)[2:]],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (2, shown)


@pytest.mark.long
@pytest.mark.parametrize("name", [name for name, block in PYTHON.items() if "import launcher" in block.text])
def test_python_that_launches(name: str, tmp_path: Path) -> None:
    environment = {**os.environ, **{f"LAUNCH_{key}": value for key, value in QUICK.items()}}
    subprocess.run(
        [sys.executable, "-c", PYTHON[name].text], cwd=tmp_path, env=environment, check=True, timeout=600
    )


def test_readme_names_both_commands_of_make() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = set(re.findall(r"(?:^|`)make ([a-z-]+)", text, re.MULTILINE))
    assert {"smoke", "test"} <= named <= targets


QUESTIONS = """{"version": "1.1", "data": [{"title": "t", "paragraphs": [%s]}]}"""
PARAGRAPH = """{"context": "It was written by Mary Shelley in 1818.", "qas": [{"id": "%d", "question": "Who wrote it?",
"answers": [{"text": "Mary Shelley", "answer_start": 18}]}]}"""


@pytest.mark.long
def test_an_answer_without_a_pipeline(tmp_path: Path) -> None:
    text = QUESTIONS % ", ".join(PARAGRAPH % number for number in range(8))
    for name in ("train.json", "dev.json"):
        (tmp_path / name).write_text(text, encoding="utf-8")
    (program,) = [block for block in PYTHON.values() if block.text.startswith("# answer.py\n")]
    shape = ("model.name=null", "model.init=scratch", "model.scratch.hidden=32", "model.scratch.vocab=128")
    data = ("data.source=null", "data.train=train.json", "data.validation=dev.json", "run_id=answers")
    launch(["recipe=bert-qa", *shape, *data, *SMALL], tmp_path)
    model = tmp_path / "runs" / "answers" / "model"
    question = ("Who wrote it?", "It was written by Mary Shelley in 1818.")
    done = subprocess.run(
        [sys.executable, "-c", program.text, str(model), *question],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = launch(["predict", str(model.parent), "--text", question[0], "--text", question[1]], tmp_path)
    assert done.stdout.strip()
    assert done.stdout.strip() in question[1]
    assert told


def test_every_file_that_architecture_names_is_there() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = set(re.findall(r"\b(?:launcher|docs|tests|slurm)/[\w./-]*[\w/]", text))
    assert len(named) > 25
    assert [name for name in sorted(named) if "NAME" not in name and not (ROOT / name).exists()] == []


def test_every_verb_that_prints_json_has_a_row_that_says_what() -> None:
    page = (ROOT / "docs" / "json.md").read_text(encoding="utf-8")
    cells = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `")]
    told = {name.partition(" --")[0] for cell in cells for name in re.findall(r"`([a-z -]+)", cell)}
    parent = click.Context(cli, info_name="launch", **cli.context_settings)
    verbs = {name: cli.get_command(parent, name) for name in cli.list_commands(parent)}
    for name, verb in list(verbs.items()):
        if isinstance(verb, click.Group):
            verbs |= {f"{name} {word}": command for word, command in verb.commands.items()}
    asked = {
        name
        for name, verb in verbs.items()
        if verb is not None and any("--json" in parameter.opts for parameter in verb.params)
    }
    assert sorted(asked - {name.strip() for name in told}) == []


@pytest.mark.long
def test_json_has_the_fields_that_its_page_names(trained: Path) -> None:
    page = (ROOT / "docs" / "json.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `([^`]+)`[^|]* \| ([^|]+) \|$", page, re.MULTILINE))
    asked = {
        "plan": ["plan", "recipe=smoke"],
        "status RUN": ["status", str(trained)],
        "logs": ["logs", str(trained)],
        "recipes": ["recipes"],
        "recipes show": ["recipes", "show", "smoke"],
        "predict": ["predict", str(trained), "--text", "good"],
        "data": ["data", "recipe=smoke"],
        "diagnose": ["diagnose", str(trained)],
        "doctor": ["doctor"],
        "report": ["report", str(trained)],
        "explain": ["explain", str(trained), "--text", "good"],
        "recipes explain": ["recipes", "explain", "train.lr"],
        "data --step": ["data", "--step", "3", str(trained)],
        "sweep --plan": ["sweep", "recipe=smoke", "seed=1,2", "--plan"],
    }
    for verb, words in asked.items():
        printed = json.loads(launch([*words, "--json"], trained.parent.parent))
        told = set(re.findall(r"`(\w+)`", rows[verb].partition("each")[0].partition(": the columns")[0]))
        (first, *_) = printed if isinstance(printed, list) else [printed]
        whole = verb != "plan"
        assert told == set(first) if whole else told <= set(first), verb


def is_file(name: str) -> bool:
    """Whether a dotted name is that of a file of data or of a model."""
    return format_named(name) is not None or name.endswith(".onnx")


def test_every_key_that_a_page_names_is_one() -> None:
    """Dotted names whose first part is a section of the recipe."""
    schema = schema_of(Recipe)
    keys = {*schema.leaves, *schema.sections}
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    unknown = {
        f"{path.name}: {name}"
        for path in pages
        for name in re.findall(r"`([a-z_]+(?:\.[a-z_0-9]+)+)(?:=[^`]*)?`", path.read_text(encoding="utf-8"))
        if name.partition(".")[0] in schema.sections and name not in keys and not is_file(name)
    }
    assert not unknown
