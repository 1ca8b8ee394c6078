"""Steps as CUDA graphs: here, that filled-up micro-batches and repeated steps train the same model; on a GPU, the graphs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.gpu import needs_gpu
from support.training import events, losses, make_run, metrics, recipe, train_here

from launcher.families import find
from launcher.planning.compile_mode import ComputedOn, graph_obstacle, resolve_compile
from launcher.runs.directory import RunDir
from launcher.train import job as job_module
from launcher.train.packed.packing import BUCKET_STEP, Bucket
from launcher.train.step import captured_steps as graphs

Body = Callable[[], tuple[torch.Tensor, torch.Tensor]]


def norms(run: RunDir) -> list[float]:
    """Norm of the gradient in each step."""
    return [row["train/grad_norm"] for row in metrics(run) if "train/grad_norm" in row]


NO_DROPOUT = {"hidden": 0.0, "attention": 0.0}


@pytest.mark.parametrize("seed", range(20))
def test_a_bucket_holds_its_examples_and_fills_up_with_short_ones(seed: int) -> None:
    random = np.random.default_rng(seed)
    lengths = random.integers(1, 500, size=random.integers(1, 200))
    tokens = int(lengths.sum())
    bucket = Bucket.of(lengths)
    filling = bucket.filling(tokens)
    assert len(filling) == bucket.fillers
    assert tokens + filling.sum() == bucket.tokens
    assert 1 <= filling.min() <= filling.max() <= bucket.longest
    assert bucket.longest >= lengths.max()
    assert bucket.tokens - tokens <= max(2 * BUCKET_STEP, tokens / 16)


def test_buckets_are_few() -> None:
    """A batch of 32 sentences of about 13 tokens falls into one of a dozen."""
    random = np.random.default_rng(0)
    batches = [np.clip(random.poisson(13, 32), 3, 60) for _ in range(1000)]
    assert len({Bucket.of(lengths) for lengths in batches}) <= 12


class Repeating:
    """Stands in for CUDA graphs: a recorded step is done again by calling it."""

    def __init__(self, _device: torch.device) -> None:
        self.recorded = 0

    def warm(self, body: Body) -> tuple[torch.Tensor, torch.Tensor]:
        return body()

    def record(self, body: Body) -> Body:
        self.recorded += 1
        return body

    def discard(self) -> None:
        """Nothing was kept."""


class Failing(Repeating):
    """A step that can't be captured."""

    def record(self, _body: Body) -> Body:
        raise RuntimeError("operation not permitted when stream is capturing\nand more")


class Full(Repeating):
    """No memory is left for ordinary steps beside a graph."""

    def warm(self, body: Body) -> tuple[torch.Tensor, torch.Tensor]:
        if self.recorded:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return super().warm(body)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, id="classes"),
        pytest.param({"train": {"loss": {"class_weights": "balanced"}, "l2": 1e-3}}, id="weighted"),
        pytest.param({"model": {"scratch": {"family": "distilbert"}}}, id="distilbert"),
    ],
)
def test_steps_from_buckets_train_the_same_model(
    tmp_path: Path, tiny_data: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    monkeypatch.setattr(job_module, "CudaRecorder", Repeating)
    model = {**changes.get("model", {}), "dropout": NO_DROPOUT}
    wanted = recipe(tiny_data, **{**changes, "model": model})
    ordinary, graphed = make_run(tmp_path / "ordinary", wanted), make_run(tmp_path / "graphed", wanted)
    expected = train_here(ordinary, "none")
    found = train_here(graphed, "graph")
    assert found.graphs.recorder.recorded >= 1
    assert losses(graphed) == pytest.approx(losses(ordinary), rel=2e-4)
    assert norms(graphed) == pytest.approx(norms(ordinary), rel=2e-3)
    theirs = dict(expected.built.model.named_parameters())
    for name, parameter in found.built.model.named_parameters():
        torch.testing.assert_close(parameter, theirs[name], rtol=5e-3, atol=5e-4, msg=name)


def test_buckets_that_are_too_many_compute_the_same_without_a_graph(
    tmp_path: Path, tiny_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With dropout: which buckets came first, and so whether a run was resumed, makes no difference."""
    monkeypatch.setattr(job_module, "CudaRecorder", Repeating)
    wanted = recipe(tiny_data)
    all_of_them, none = make_run(tmp_path / "all", wanted), make_run(tmp_path / "none", wanted)
    assert train_here(all_of_them, "graph").graphs.recorder.recorded >= 1
    monkeypatch.setattr(graphs, "MOST_GRAPHS", 0)
    assert train_here(none, "graph").graphs.recorder.recorded == 0
    assert losses(none) == losses(all_of_them)


def test_a_step_that_cannot_be_captured_is_taken_in_the_ordinary_way(
    tmp_path: Path, tiny_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With dropout, of which the failed attempt leaves no trace."""
    monkeypatch.setattr(job_module, "CudaRecorder", Failing)
    monkeypatch.setattr(graphs, "USES_BEFORE_CAPTURE", 0)
    wanted = recipe(tiny_data, train={"max_steps": 5})
    ordinary, graphed = make_run(tmp_path / "ordinary", wanted), make_run(tmp_path / "graphed", wanted)
    train_here(ordinary, "none")
    train_here(graphed, "graph")
    (notice,) = [row["text"] for row in events(graphed, "notice") if "CUDA graphs" in row["text"]]
    assert notice.endswith("not permitted when stream is capturing")
    assert losses(graphed) == losses(ordinary)


def test_where_graphs_leave_no_memory_for_ordinary_steps_they_are_given_up(
    tmp_path: Path, tiny_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_module, "CudaRecorder", Full)
    wanted = recipe(tiny_data, model={"dropout": NO_DROPOUT})
    ordinary, graphed = make_run(tmp_path / "ordinary", wanted), make_run(tmp_path / "graphed", wanted)
    train_here(ordinary, "none")
    job = train_here(graphed, "graph")
    assert job.graphs.recorder.recorded == 1
    (notice,) = [row["text"] for row in events(graphed, "notice") if "CUDA graphs" in row["text"]]
    assert notice == "steps are not CUDA graphs any more: CUDA out of memory. Tried to allocate 2.00 GiB"
    assert losses(graphed) == pytest.approx(losses(ordinary), rel=2e-4)


@pytest.mark.parametrize(("first", "then"), [("graph", "none"), ("none", "graph")])
def test_a_checkpoint_is_taken_up_by_the_other_kind(
    tmp_path: Path, tiny_data: Path, monkeypatch: pytest.MonkeyPatch, first: str, then: str
) -> None:
    monkeypatch.setattr(job_module, "CudaRecorder", Repeating)
    wanted = recipe(
        tiny_data, model={"dropout": NO_DROPOUT}, train={"schedule": "constant"}, checkpoint={"every": 6}
    )
    whole, resumed = make_run(tmp_path / "whole", wanted), make_run(tmp_path / "resumed", wanted)
    train_here(whole, first, max_steps=12)
    train_here(resumed, first, max_steps=6)
    train_here(resumed, then, max_steps=12)
    assert losses(resumed) == pytest.approx(losses(whole), rel=2e-4)


PLACE = ComputedOn(device="cuda", world_size=1, zero_stage=0, family=find("bert"))


@pytest.mark.parametrize(
    ("changes", "place", "expected", "reason"),
    [
        ({}, PLACE, "graph", None),
        ({}, ComputedOn("cpu", 1, 0, find("bert")), "none", None),
        ({"train": {"compile": "none"}}, PLACE, "none", None),
        ({}, ComputedOn("cuda", 2, 0, find("bert")), "inductor", "several processes"),
        ({}, ComputedOn("cuda", 2, 2, find("bert")), "inductor", "DeepSpeed"),
        ({}, ComputedOn("cuda", 8, 3, find("bert")), "none", "ZeRO-3"),
        ({}, ComputedOn("cuda", 1, 0, find("modernbert")), "inductor", "modernbert"),
        ({"precision": "fp32"}, PLACE, "inductor", "fp32"),
        ({"task": "masked-lm"}, PLACE, "inductor", "masked-lm"),
        ({"model": {"gradient_checkpointing": True}}, PLACE, "none", "compute the same again"),
        ({"train": {"ema": 0.99}}, PLACE, "inductor", "train.ema"),
        ({"train": {"optimizer": "lamb"}}, PLACE, "inductor", "lamb"),
    ],
)
def test_auto_takes_the_first_that_works_and_says_why_not_a_graph(
    tiny_data: Path, changes: dict[str, Any], place: ComputedOn, expected: str, reason: str | None
) -> None:
    chosen, why = resolve_compile(recipe(tiny_data, **{"precision": "bf16", **changes}), place)
    assert chosen == expected
    assert (why is None) if reason is None else (why is not None and reason in why)


@pytest.mark.parametrize("key", ["r_drop", "fgm", "unfreeze_every"])
def test_what_a_graph_cannot_repeat_is_an_obstacle(tiny_data: Path, key: str) -> None:
    wanted = recipe(tiny_data, precision="bf16", train={key: 2})
    obstacle = graph_obstacle(wanted, PLACE)
    assert obstacle is not None
    assert f"train.{key}" in obstacle


@pytest.mark.long
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_compiled_layers_train_the_same_model(tmp_path: Path, tiny_data: Path) -> None:
    """On a CPU too, where nobody would choose them; where no compiler is found, they run as they are."""
    wanted = recipe(tiny_data, model={"dropout": NO_DROPOUT}, train={"max_steps": 6})
    ordinary, compiled = make_run(tmp_path / "ordinary", wanted), make_run(tmp_path / "compiled", wanted)
    train_here(ordinary, "none")
    job = train_here(compiled, "inductor")
    parts = [module for module in job.built.model.modules() if module._compiled_call_impl is not None]
    assert len(parts) == 3 * wanted.model.scratch.layers
    assert losses(compiled) == pytest.approx(losses(ordinary), rel=1e-4)
    saved = set(torch.load(next(compiled.path.rglob("model.pt")), weights_only=True))
    assert not [name for name in saved if "_orig_mod" in name]


@needs_gpu
@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_on_a_gpu_captured_steps_train_the_same_model(
    tmp_path: Path, tiny_data: Path, dropout: float
) -> None:
    """With dropout the draws differ, and so do the losses a little."""
    rates = {"hidden": dropout, "attention": dropout}
    wanted = recipe(
        tiny_data, device="cuda", precision="bf16", model={"dropout": rates}, train={"max_steps": 40}
    )
    ordinary, graphed = make_run(tmp_path / "ordinary", wanted), make_run(tmp_path / "graphed", wanted)
    train_here(ordinary, "none", device="cuda")
    job = train_here(graphed, "graph", device="cuda")
    assert not [row for row in events(graphed, "notice") if "CUDA graphs" in row["text"]]
    assert [bucket for bucket in job.graphs._buckets.values() if bucket.replay is not None]
    assert losses(graphed) == pytest.approx(losses(ordinary), rel=0.02 if dropout == 0.0 else 0.3)
    if dropout == 0.0:
        assert norms(graphed) == pytest.approx(norms(ordinary), rel=0.05)


@needs_gpu
def test_on_a_gpu_nothing_of_what_lay_in_memory_gets_into_a_graph(
    tmp_path: Path, tiny_data: Path, request: pytest.FixtureRequest
) -> None:
    """With `deterministic`, torch fills the memory that a kernel should write with NaN."""
    request.addfinalizer(lambda: torch.use_deterministic_algorithms(False))
    wanted = recipe(tiny_data, device="cuda", precision="bf16", deterministic=True, train={"max_steps": 20})
    graphed = make_run(tmp_path / "graphed", wanted)
    train_here(graphed, "graph", device="cuda")
    assert np.isfinite(losses(graphed)).all()
    assert np.isfinite(norms(graphed)).all()


@needs_gpu
def test_on_a_gpu_training_goes_on_after_a_capture_that_failed(
    tmp_path: Path, tiny_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With dropout, whose generator has to be let go of, and on the stream that was there before."""

    class Waiting(graphs.CudaRecorder):
        def record(self, body: Body) -> Body:
            def waits() -> tuple[torch.Tensor, torch.Tensor]:
                loss, norm = body()
                loss.item()  # no host may wait in a capture
                return loss, norm

            return super().record(waits)

    monkeypatch.setattr(job_module, "CudaRecorder", Waiting)
    wanted = recipe(tiny_data, device="cuda", precision="bf16", train={"max_steps": 20})
    run = make_run(tmp_path / "run", wanted)
    train_here(run, "graph", device="cuda")
    assert len([row for row in events(run, "notice") if "CUDA graphs any more" in row["text"]]) == 1
    assert len(losses(run)) == 20
    assert torch.cuda.current_stream() == torch.cuda.default_stream()
