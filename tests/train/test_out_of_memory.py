"""An attempt that runs out of memory is followed by one with smaller micro-batches, which compute the same."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support.training import EXAMPLES, Fault, RankServer, events, log, losses, make_run, recipe, result

from launcher import node
from launcher.recipe.recipe import Recipe
from launcher.runs.directory import RunDir
from launcher.train.session import describe_failure

STARVE = Fault("starve", "building model", 0)


@pytest.fixture
def wanted(tmp_path: Path) -> Recipe:
    """A recipe whose global batch, 64 long texts in a wide layer, takes more memory at once than a starved rank has."""
    for split in EXAMPLES:
        rows = [f"{'good bad day ' * 84},{index % 2}" for index in range(64 if split == "train" else 4)]
        (tmp_path / f"{split}.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    return recipe(
        tmp_path,
        data={"max_length": 256},
        model={"scratch": {"intermediate": 8192}, "dropout": {"hidden": 0.0, "attention": 0.0}},
        batch={"global": 64, "tokens": 10**6},
        train={"max_steps": 1},
        eval={"every": None},
    )


def attempt(run: RunDir, ranks: RankServer) -> node.Next:
    """One starved attempt between the words that the job script has with the node; what comes next."""
    started = node.begin(run, "local 1", 0, ["here"])
    assert isinstance(started, node.Start)
    [code] = ranks.attempt(run, number=started.attempt, fault=STARVE)
    return node.end(run, run.attempt(started.attempt), code)[1]


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        torch.AcceleratorError(
            "CUDA error: out of memory\nSearch for `cudaErrorMemoryAllocation' in the documentation"
        ),
        RuntimeError("CUDA driver error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("NCCL error in: NCCLUtils.cpp:77\nLast error:\nCuda failure 2 'out of memory'"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"),
        MemoryError(),
    ],
    ids=lambda error: f"{type(error).__name__} {str(error)[:40]}",
)
def test_memory_runs_out_in_many_words(error: Exception) -> None:
    assert describe_failure(error).kind == "memory"


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm`"),
        torch.AcceleratorError("CUDA error: an illegal memory access was encountered"),
        ValueError("CUDA error: out of memory"),
    ],
)
def test_other_errors_are_no_lack_of_memory(error: Exception) -> None:
    assert describe_failure(error).kind == "crashed"


def test_an_index_that_a_gpu_refuses_is_no_accident() -> None:
    """Such as a label that the user's own loss doesn't know; the same comes of it each time."""
    said = "CUDA error: device-side assert triggered\nSearch for `cudaErrorAssert' in the documentation"
    error = describe_failure(torch.AcceleratorError(said))
    assert error.kind == "code"
    assert error.remedy is not None
    assert error.remedy.startswith("a GPU tells of it late: with device=cpu the traceback ends where it was")


@pytest.mark.long
@pytest.mark.fault(23)
def test_memory_runs_out_and_the_run_completes(tmp_path: Path, wanted: Recipe, ranks: RankServer) -> None:
    run = make_run(tmp_path / "run", wanted)
    assert attempt(run, ranks) == "again", log(run)
    error = result(run)["error"]
    assert error["class"] == "memory"
    assert "allocate memory" in error["message"]
    while attempt(run, ranks) == "again":
        pass

    ended = result(run)
    assert ended["status"] == "completed", log(run)
    assert ended["micro_batch_size"] == 64 // 2 ** (ended["attempts"] - 1)
    said = [event["text"] for event in events(run, "notice")]
    assert "attempt 1 ran out of memory: micro-batches of 32 examples instead of 64" in said

    whole = ranks.complete(make_run(tmp_path / "whole", wanted))
    assert result(whole)["micro_batch_size"] == 64
    assert losses(run) == pytest.approx(losses(whole), abs=1e-5)
