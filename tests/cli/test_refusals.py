"""Places that can't be read or written: one message, exit code 2, a document with --json, and never a traceback.

Root may read everything, so that what is forbidden is played: a directory that a test may not search.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.plans import new_run, plan_of, write_bare_model

from launcher.cli import execute
from launcher.cli import train_process as heavy
from launcher.planning.run_data import recipe_with_data
from launcher.runs.directory import RunDir

Refusal = Callable[..., dict[str, Any]]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory; `launch` is called in this process, which is quicker."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def refusal(capsys: pytest.CaptureFixture[str]) -> Refusal:
    """The only problem of a call, as --json has it; the message on stderr says the same."""

    def refuse(*words: str) -> dict[str, Any]:
        assert execute([*words, "--json"]) == 2
        printed = capsys.readouterr()
        document = json.loads(printed.out)
        assert document["exit_code"] == 2
        (problem,) = document["problems"]
        assert printed.err.startswith("launch: ")
        assert problem["message"] in printed.err
        return dict(problem)

    return refuse


@pytest.fixture
def noread(here: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A directory that nobody may search."""
    (here / "noread").mkdir()
    monkeypatch.chdir(here)
    real: dict[str, Callable[..., Any]] = {"stat": os.stat, "open": os.open, "access": os.access}

    def forbidden(path: object) -> bool:
        return isinstance(path, str | os.PathLike) and "/noread/" in f"{here}/{os.fspath(path)}"

    def play(name: str) -> Callable[..., Any]:
        def call(path: Any, *rest: Any, **named: Any) -> Any:
            if forbidden(path):
                raise PermissionError(errno.EACCES, "Permission denied", str(path))
            return real[name](path, *rest, **named)

        return call

    def may(path: Any, *rest: Any, **named: Any) -> bool:
        return not str(path).endswith("noread") and bool(real["access"](path, *rest, **named))

    monkeypatch.setattr("os.stat", play("stat"))
    monkeypatch.setattr("os.open", play("open"))
    monkeypatch.setattr("os.access", may)
    # On Linux these are functions of C, which don't come by os.stat.
    for name in ("exists", "isdir", "isfile"):
        known: Callable[[Any], bool] = getattr(os.path, name)
        monkeypatch.setattr(f"os.path.{name}", lambda path, known=known: not forbidden(path) and known(path))
    return "noread"


@pytest.fixture
def trained(here: Path) -> Path:
    """What the command line takes for a run with a model."""
    return trained_run(here)


def trained_run(here: Path, **recipe: Any) -> Path:
    """The same with other keys in its recipe."""
    run = new_run(plan_of({"executor": "local", **recipe}, run_dir=here / "runs" / "done"))
    write_bare_model(run.model)
    run.result.write_text('{"status": "completed"}')
    return run.path


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What the verbs that need torch were asked for; they answer nothing."""
    calls: list[list[str]] = []

    def run_verb(arguments: list[str], kind: Callable[[], Any]) -> Any:
        calls.append(list(arguments))
        return kind()

    monkeypatch.setattr(heavy, "run_verb", run_verb)
    return calls


def test_a_text_that_is_not_utf8(refusal: Refusal, trained: Path, asked: list[list[str]]) -> None:
    for verb in ("predict", "explain"):
        problem = refusal(verb, str(trained), "--text", "caf\udce9")
        assert "'--text': is not UTF-8: byte 0xe9" in problem["message"]
    assert not asked


def test_a_text_in_utf8_under_a_locale_that_is_not(trained: Path, asked: list[list[str]]) -> None:
    # The words of a command line as Python has them where LANG=C is taken at its word.
    execute(["predict", str(trained), "--text", "好 film".encode().decode("ascii", "surrogateescape")])
    assert asked[0][-2:] == ["--text", "好 film"]


# Planning and starting


def test_runs_where_no_directory_can_be_made(refusal: Refusal) -> None:
    problem = refusal("recipe=smoke", "executor=local", "run_id=mine", "runs_dir=/proc/x")
    assert problem["where"] == "/proc/x/mine"
    assert problem["message"] == "can't be made: No such file or directory"


@pytest.mark.parametrize(
    ("word", "field", "message"),
    [
        ("runs_dir={}/sub", "runs_dir", "noread can't be written"),
        ("model.name=./{}/m", "model.name", "can't be read: Permission denied"),
        ("data.train={}/t.csv", "data.train", "can't be read: Permission denied"),
    ],
)
def test_a_directory_that_may_not_be_searched(
    refusal: Refusal, noread: str, word: str, field: str, message: str
) -> None:
    others = ("executor=local", "model.init=pretrained", "model.name=bert-base-uncased")
    given = [other for other in others if not word.startswith(other.partition("=")[0])]
    problem = refusal("run", "recipe=smoke", *given, word.format(noread))
    assert problem["field"] == field
    assert problem["message"].endswith(message)


def test_a_run_and_a_recipe_of_somebody_who_lets_nobody_look(
    refusal: Refusal, here: Path, noread: str
) -> None:
    for verb in ("status", "resume", "report"):
        problem = refusal(verb, noread)
        assert (problem["where"], problem["message"]) == (noread, "can't be read: Permission denied")
    assert (
        refusal("status", "noread", "--runs-dir", str(here))["message"] == "can't be read: Permission denied"
    )
    problem = refusal("plan", f"recipe={noread}/recipe.yaml")
    assert (problem["field"], problem["message"]) == ("recipe", "can't be read: Permission denied")


def test_a_plan_needs_no_place_that_can_be_written(
    here: Path, noread: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (f"runs_dir={noread}/sub", f"data.cache_dir={noread}/tokens")
    assert execute(["plan", "recipe=smoke", "executor=local", *words]) == 0
    shown = "".join(capsys.readouterr().out.split())  # long paths are shown on several lines, and values cut
    assert shown.count(f"{here / noread}can'tbewritten") == len(words)


def test_a_cache_that_can_not_be_made(
    refusal: Refusal, here: Path, noread: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", f"{here}/{noread}/home")
    problem = refusal("recipe=smoke", "executor=local", "run_id=mine")
    assert problem["field"] == "data.cache_dir"
    assert problem["message"].endswith("noread can't be written")
    assert problem["remedy"].startswith("set data.cache_dir to a directory")
    assert not (here / "runs").exists()
    assert execute(["plan", "recipe=smoke", "executor=slurm"]) == 0, "a node may have another cache"


def test_no_place_for_a_cache(refusal: Refusal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platformdirs.user_cache_path", lambda _: Path("~/.cache/launcher"))
    problem = refusal("run", "recipe=smoke", "executor=local")
    assert problem["field"] == "data.cache_dir"
    assert problem["message"] == "the user has no home directory"
    assert execute(["plan", "recipe=smoke", "executor=local", "data.cache_dir=here"]) == 0


def test_a_machine_that_can_not_offload_to_a_disk(
    refusal: Refusal, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CC", "false")  # a compiler that finds no libaio
    words = ("recipe=smoke", "device=cpu", "gpus=1", "zero.stage=3", "zero.offload=nvme", "zero.nvme_path=.")
    problem = refusal(*words, "executor=local")
    assert problem["field"] == "zero.offload"
    assert "async_io" in problem["message"]
    assert "libaio-dev" in problem["remedy"]
    assert not (here / "runs").exists()
    assert execute(["plan", *words, "executor=slurm"]) == 0, "a node may have it"
    monkeypatch.setenv("CC", "true")
    assert execute(["plan", *words, "executor=local"]) == 0


@pytest.mark.parametrize("out", ["/proc/x", "planned" * 50])
def test_a_plan_that_can_not_be_written(refusal: Refusal, out: str) -> None:
    problem = refusal("plan", "recipe=smoke", "--out", out)
    assert problem["field"] == "--out"
    assert problem["message"].startswith("can't be written: ")


def test_a_plan_that_was_written_is_no_run(refusal: Refusal, capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["plan", "recipe=smoke", "executor=local", "--out", "planned"]) == 0
    capsys.readouterr()
    problem = refusal("resume", "planned")
    assert problem["message"] == "holds the files of a plan, of which no run was made"
    assert problem["remedy"].startswith("launch recipe=")


def test_whatever_else_the_system_refuses(refusal: Refusal, monkeypatch: pytest.MonkeyPatch) -> None:
    def find(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", "noread/x/plan.json")

    monkeypatch.setattr("launcher.runs.finding.find", find)
    problem = refusal("logs", "noread/x")
    assert (problem["where"], problem["message"]) == ("noread/x/plan.json", "Permission denied")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a device that is always full")
def test_a_full_stdout() -> None:
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "launcher", "recipes", "--json"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    said = "launch: stdout: No space left on device\n    -> free space on its disk, or make it writable\n"
    assert (done.returncode, done.stderr) == (2, said)


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("verb", ["status", "recipes", "watch x"])
def test_closed_streams_are_empty_ones(verb: str) -> None:
    command = f"exec {sys.executable} -m launcher {verb} <&- >&-"
    done = subprocess.run(["bash", "-c", command], stderr=subprocess.PIPE, text=True, check=False)
    assert "Traceback" not in done.stderr
    assert done.returncode == (2 if verb == "watch x" else 0)


@pytest.mark.parametrize("words", [["status"], ["plan", "recipe=smoke"], ["predict", "r", "--text", "a"]])
def test_a_working_directory_that_was_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert execute(words) == 2
    said = "launch: the working directory can't be used: No such file or directory\n    -> cd to one that is there\n"
    assert capsys.readouterr() == ("", said)


# Files that a verb is to write


@pytest.mark.usefixtures("trained")
@pytest.mark.parametrize("target", ["nodir/o.csv", "/proc/x.csv", "runs"])
def test_predictions_that_can_not_be_written(
    refusal: Refusal, asked: list[list[str]], here: Path, target: str
) -> None:
    (here / "t.csv").write_text("text\na\n")
    problem = refusal("predict", "done", "t.csv", "--output", target)
    assert problem["field"] == "--output"
    assert problem["message"].startswith("can't be written: ")
    assert asked == []


@pytest.mark.usefixtures("trained")
def test_predictions_do_not_take_the_place_of_their_input(
    refusal: Refusal, asked: list[list[str]], here: Path
) -> None:
    (here / "t.csv").write_text("text\na\n")
    assert refusal("predict", "done", "t.csv", "--output", "./t.csv")["message"] == "is the input itself"
    assert asked == []


@pytest.mark.parametrize(
    ("file", "output"),
    [
        ("t.txt", "t.txt.predictions.csv"),
        ("sub/t.tsv", "sub/t.tsv.predictions.csv"),
        ("t.jsonl", "t.jsonl.predictions.jsonl"),
    ],
)
def test_each_file_has_predictions_of_its_own(
    trained: Path, asked: list[list[str]], here: Path, file: str, output: str
) -> None:
    (here / "sub").mkdir()
    (here / file).write_text('{"text": "a"}\n' if file.endswith(".jsonl") else "text\na\n")
    assert execute(["predict", "done", file]) == 0
    assert asked == [["predict", str(trained), str(here / file), "--output", str(here / output)]]


@pytest.mark.usefixtures("trained")
def test_a_directory_is_not_a_file_of_texts(refusal: Refusal) -> None:
    problem = refusal("predict", "done", "runs")
    assert (problem["where"], problem["message"]) == ("runs", "is a directory, not a file")


@pytest.mark.usefixtures("trained")
@pytest.mark.parametrize(
    ("file", "remedy"), [("-", "stdin isn't read"), ("new.cvs", "did you mean new.csv?")]
)
def test_what_was_meant_by_a_file_that_is_not_there(
    refusal: Refusal, here: Path, file: str, remedy: str
) -> None:
    (here / "new.csv").write_text("text\na\n")
    assert remedy in refusal("predict", "done", file)["remedy"]


@pytest.mark.usefixtures("trained")
@pytest.mark.parametrize(
    "words", [["predict", "done", "--text", "a"], ["export", "done"], ["report", "done"]]
)
@pytest.mark.usefixtures("here")
def test_no_name_of_a_file_is_not_the_usual_one(
    asked: list[list[str]], capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    assert execute([*words, "--output", ""]) == 2
    assert "'--output': names no file or directory" in capsys.readouterr().err
    if "--text" in words:
        assert execute(["predict", "done", "--text", " "]) == 2
        assert "'--text': holds no text" in capsys.readouterr().err
    assert asked == []


@pytest.mark.usefixtures("trained")
def test_a_page_that_can_not_be_written(refusal: Refusal, asked: list[list[str]]) -> None:
    problem = refusal("explain", "done", "--text", "good", "--html", "/proc/x.html")
    assert problem["field"] == "--html"
    assert asked == []


@pytest.mark.parametrize(
    "words",
    [
        ["eval", "done"],
        ["predict", "done", "--text", "x"],
        ["export", "done", "--onnx"],
        ["explain", "done", "--text", "x"],
        ["data", "--step", "2", "done"],
        ["predict", "done", "corpus.csv", "--negatives", "2"],
    ],
    ids=lambda words: words[0] + words[2][:6] if len(words) > 2 else words[0],
)
def test_a_run_whose_recipe_is_damaged(
    refusal: Refusal, trained: Path, asked: list[list[str]], words: list[str]
) -> None:
    (trained / "recipe.yaml").write_text("task: [classification\n")
    Path("corpus.csv").write_text("text\nx\n")
    assert refusal(*words)["where"] == "done/recipe.yaml:2"
    assert asked == []


@pytest.mark.parametrize(
    "words", [["eval", "done"], ["export", "done", "--onnx"], ["data", "--step", "2", "done"]]
)
def test_a_run_whose_data_are_gone(
    refusal: Refusal, here: Path, asked: list[list[str]], words: list[str]
) -> None:
    gone = here / "gone.csv"
    trained_run(here, data={"train": str(gone)})
    problem = refusal(*words)
    assert (problem["where"], problem["message"]) == (str(gone), "no such file")
    assert asked == []


def test_only_eval_needs_the_files_of_eval_extra(
    refusal: Refusal, here: Path, asked: list[list[str]]
) -> None:
    (here / "here.csv").write_text("text,label\nx,1\n")
    gone = here / "gone.csv"
    run = trained_run(here, data={"train": str(here / "here.csv")}, eval={"extra": {"more": str(gone)}})
    assert recipe_with_data(RunDir(run)).eval.extra == {"more": str(gone)}  # export --onnx, data --step
    problem = refusal("eval", "done")
    assert (problem["where"], problem["message"]) == (str(gone), "no such file")
    assert asked == []


def test_a_label_where_there_are_none(refusal: Refusal, here: Path, asked: list[list[str]]) -> None:
    trained_run(here, task="regression")
    problem = refusal("explain", "done", "--text", "good", "--label", "LABEL_0")
    assert problem["message"] == "task=regression has no labels"
    assert asked == []


@pytest.mark.parametrize(
    "words",
    [["predict", "done", "--text", "x"], ["export", "done"], ["plan", "recipe=smoke", "init_from=done"]],
)
def test_a_run_that_was_killed_between_two_models(
    refusal: Refusal, trained: Path, asked: list[list[str]], words: list[str]
) -> None:
    (trained / "model").rename(trained / ".model.old")
    problem = refusal(*words)
    assert problem["message"].endswith("was killed while a better model took the place of the one before")
    assert problem["remedy"].startswith("launch resume done puts the one before it back")
    assert asked == []


def test_a_completed_run_whose_model_was_taken_away(refusal: Refusal, trained: Path) -> None:
    """To make room, say: it is not one that has no model yet."""
    shutil.rmtree(trained / "model")
    problem = refusal("predict", "done", "--text", "x")
    assert problem["message"].endswith("has its model no more")
    assert problem["remedy"].endswith("or train it again: launch reproduce done")


# Settings


@pytest.mark.parametrize("words", [("plan", "recipe=smoke"), ("status",)])
def test_an_empty_variable_names_no_directory_of_runs(
    refusal: Refusal, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    monkeypatch.setenv("LAUNCH_RUNS_DIR", "")
    problem = refusal(*words)
    assert (problem["where"], problem["field"]) == ("environment LAUNCH_RUNS_DIR", "runs_dir")
