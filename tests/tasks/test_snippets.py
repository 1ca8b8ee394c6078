"""The Python that a model's card shows is executed, without a line of ours, and says what `predict` says."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import pytest
from support.every_task import TASKS, recipe_of, write_rows
from support.training import RankServer, make_run

from launcher import tasks
from launcher.runs.directory import RunDir

VARIANTS: Mapping[str, tuple[str, dict[str, Any]]] = {
    **{task: (task, {}) for task in TASKS},
    "pairs": ("classification", {"data": {"text": ["text", "other"]}}),
    "CRF": ("token-classification", {"tagging": {"crf": True}}),
    "thresholds": ("multilabel", {"eval": {"tune_thresholds": True}}),
    "unanswerable": ("question-answering", {"qa": {"unanswerable": True}}),
    "questions of choices": ("multiple-choice", {"data": {"text": ["text", "other"]}}),
}
PROGRAM = """
import contextlib, io, json, sys
said = {}
for name, snippet in json.load(sys.stdin).items():
    with contextlib.redirect_stdout(io.StringIO()) as out:
        exec(compile(snippet, name, "exec"), {})
    said[name] = out.getvalue()
assert "launcher" not in sys.modules
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def runs(
    tmp_path_factory: pytest.TempPathFactory, ranks: RankServer
) -> Mapping[str, tuple[RunDir, dict[str, Any], str]]:
    """For each variant a run, what `predict` makes of its sample texts, and what its snippet printed."""
    directory = tmp_path_factory.mktemp("snippets")
    file = write_rows(directory)
    found = {}
    for name, (task, changes) in VARIANTS.items():
        wanted = recipe_of(file, task, **changes)
        run = ranks.complete(make_run(directory / name, wanted))
        spec = tasks.of(wanted)
        texts = [word for text in spec.sample_texts() for word in ("--text", text)]
        (predicted,) = ranks.verb("predict", run.path, *texts)["predictions"]
        found[name] = (run, predicted, spec.snippet(str(run.model)))
    snippets = json.dumps({name: snippet for name, (_, _, snippet) in found.items()})
    command = [sys.executable, "-P", "-c", PROGRAM]
    done = subprocess.run(
        command, input=snippets, cwd=directory, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    return {name: (run, predicted, said[name]) for name, (run, predicted, _) in found.items()}


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("name", VARIANTS)
def test_a_snippet_says_what_predict_says(
    name: str, runs: Mapping[str, tuple[RunDir, dict[str, Any], str]]
) -> None:
    _, predicted, said = runs[name]
    if VARIANTS[name][0] == "embedding":
        assert json.loads(said.splitlines()[0]) == pytest.approx(predicted["embedding"], abs=1e-5)
        return
    prediction = predicted["prediction"]
    match VARIANTS[name][0]:
        case "masked-lm":
            assert next(iter(predicted["candidates"][0])) in said
        case "token-classification" if name == "CRF":
            assert said == f"{list(zip(predicted['words'].split(), prediction, strict=True))}\n"
        case "token-classification":
            assert said.count("entity_group") == len(predicted["entities"])
        case "regression":
            assert f"{prediction:.4f}"[:5] in said
        case "ranking":
            assert f"{prediction:.3f}" in said
        case "multilabel":
            assert said == f"{prediction}\n"
        case "question-answering" | "ordinal":
            assert said == f"{prediction}\n"
        case _:
            assert prediction in said.partition("[0.")[0]
