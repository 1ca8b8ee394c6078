"""What the first attempt records, and an attempt that finds another environment."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest
from support.training import make_run, recipe

from launcher.runs.directory import RunDir
from launcher.runs.line_digests import changes
from launcher.runs.provenance import digests_of_file, environments, read_data_used, read_environment
from launcher.train.record import provenance
from launcher.train.record.provenance import record_data, record_environment


def recorded(path: Path, data: Path, train: Path) -> RunDir:
    wanted = recipe(data, data={"train": str(train)})
    run = make_run(path, wanted)
    record_data(run, wanted, "f", {"train": 3}, ("negative", "positive"))
    return run


@pytest.mark.parametrize("form", ["csv", "csv.gz", "jsonl", "json", "parquet"])
def test_the_row_that_changed_is_found_in_every_format(tmp_path: Path, tiny_data: Path, form: str) -> None:
    runs = []
    for name, second in (("one", "bad"), ("two", "worse")):
        rows = [{"text": "good", "label": "positive"}, {"text": second, "label": "negative"}] * 20
        rows[2:] = [{"text": "good", "label": "positive"}, {"text": "bad", "label": "negative"}] * 19
        file = tmp_path / f"{name}.{form}"
        csv = "text,label\n" + "".join(f"{row['text']},{row['label']}\n" for row in rows)
        if form == "parquet":
            pyarrow.parquet.write_table(pa.Table.from_pylist(rows), file)
        elif form == "csv.gz":
            file.write_bytes(gzip.compress(csv.encode(), mtime=0))
        elif form == "csv":
            file.write_text(csv)
        else:
            lines = [json.dumps(row) for row in rows]
            file.write_text("\n".join(lines) + "\n" if form == "jsonl" else json.dumps(rows))
        runs.append(recorded(tmp_path / f"run-{name}", tiny_data, file))
    found = [read_data_used(run) for run in runs]
    assert found[0] is not None
    assert found[1] is not None
    digests = [digests_of_file(run, 0, used.files[0]) for run, used in zip(runs, found, strict=True) if used]
    assert digests[0] is not None
    assert digests[1] is not None
    row = 3 if form.startswith("csv") else 2
    assert [(list(it.before), list(it.after)) for it in changes(digests[0], digests[1])] == [([row], [row])]


def test_of_a_file_that_is_too_large_only_the_whole_is_hashed(
    tmp_path: Path, tiny_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provenance, "LINES_BYTES", 10)
    used = read_data_used(recorded(tmp_path / "run", tiny_data, tiny_data / "train.csv"))
    assert used is not None
    assert used.files[0].unit is None
    assert len(used.files[0].sha256) == 64


def test_an_attempt_in_another_environment_keeps_its_own(
    tmp_path: Path, tiny_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tmp_path / "run", recipe(tiny_data))
    for number in (1, 2, 3):
        run.attempt(number).path.mkdir()
    record_environment(run, run.attempt(1))
    first = read_environment(run)
    assert first is not None
    assert f"torch=={first.packages['torch']}" in run.constraints.read_text().splitlines()
    record_environment(run, run.attempt(2))
    monkeypatch.setattr(provenance, "gpu_names", lambda: ["NVIDIA H100"])
    record_environment(run, run.attempt(3))
    assert {number: it.gpus for number, it in environments(run).items()} == {3: ("NVIDIA H100",)}
    assert read_environment(run) == first
