"""The class, message and remedy of an exception that ends an attempt."""

from __future__ import annotations

import os
import re
import traceback
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import torch

from launcher.errors import LauncherError, RunFailed
from launcher.runs import address_limit
from launcher.runs.directory import LOSS_FILE
from launcher.runs.failure_classes import (
    FREE_SPACE,
    FULL,
    MEMORY,
    STORAGE,
    UNKNOWN,
    of_storage,
    storage_remedy,
)
from launcher.runs.results import Error
from launcher.train.process.lost_connections import ThisRank, lost_connection

LONGEST_MESSAGE = 1000
"""Characters of an unexpected error that result.json keeps; the rank's log has it all."""
OUT_OF_MEMORY = (
    "can't allocate memory",
    "CUDA error: out of memory",
    "CUDA driver error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "'out of memory'",  # NCCL: Cuda failure 2 'out of memory'
)
BROKEN_NODE = (
    "uncorrectable ECC",
    "fallen off the bus",
    "CUDA-capable device(s) is/are busy or unavailable",
    "no CUDA-capable device",
    "NVLink",
)
REFUSED_BY_KERNEL = "device-side assert"
"""What CUDA says, some operations later, where a kernel was given an index beyond its table."""
LOST_CONNECTION = (
    "Connection closed by peer",
    "Connection reset by peer",
    "Connection refused",
    "Connection timed out",
    "No route to host",
    "Broken pipe",
    "Network is unreachable",
    "remote process exited or there was a network error",
    "NCCL communicator was aborted",
    "Socket Timeout",
    "connectFullMesh failed",
)
SURROUNDINGS = {
    r"shared memory segment \S*/dev/shm": (
        "NCCL finds no room in /dev/shm, where ranks of a node share memory",
        "give its container more (docker run --shm-size=8g or --ipc=host; 64 MB are the default); df /dev/shm says what it has",
    ),
    r"ibv_\w+ failed with error Cannot allocate memory": (
        "InfiniBand can't hold its memory: the limit on locked memory is too small for it",
        "have the site lift it for jobs (ulimit -l; PropagateResourceLimitsExcept=MEMLOCK in slurm.conf)",
    ),
}
"""What NCCL says where the machine or the container gives it too little: what that is, and what helps."""
MISTAKES = (
    TypeError,
    AttributeError,
    NameError,
    ImportError,
    SyntaxError,
    LookupError,
    NotImplementedError,
    AssertionError,
)
"""What a program gets wrong in the same way each time. Not ValueError, which libraries raise for many other reasons."""


def describe_failure(error: BaseException, hosts: Mapping[int, str] = MappingProxyType({})) -> Error:
    """Class, message and remedy of an exception for result.json; `hosts` are the nodes of ranks."""
    words = _words(error)
    narrow = None if _is_out_of_memory(error, words) else address_limit.too_small(words)
    if narrow is not None:
        return Error("launch", f"the training {narrow}", address_limit.REMEDY)
    if isinstance(error, RunFailed):
        return Error(error.error_class, error.message, error.remedy, error.rank, error.host)
    if isinstance(error, LauncherError):
        return Error("data", str(error))
    if isinstance(error, OSError) and error.errno in FULL:
        return Error("disk", str(error), FREE_SPACE)
    if _is_out_of_memory(error, words):
        remedy = (
            "lower batch.micro or batch.tokens (batch.global stays), or model.gradient_checkpointing=true"
        )
        limit = address_limit.allowed()
        remedy += f"; {limit}" if limit else ""
        first = (words.splitlines() or [type(error).__name__])[0]
        return Error(MEMORY, first[:LONGEST_MESSAGE], remedy)
    for said, (message, remedy) in SURROUNDINGS.items():
        if isinstance(error, RuntimeError) and re.search(said, words):
            return Error("launch", message, f"{remedy}; then launch resume")
    kind = _unexpected_class(error, words)
    if kind == "network":
        return lost_connection(error, words, ThisRank.from_torchrun(hosts))
    message = f"{type(error).__name__}{f': {words}' if words else _place(error)}"
    return Error(kind, message[:LONGEST_MESSAGE], _remedy(error, kind, words))


def _words(error: BaseException) -> str:
    """What an exception says; others' exceptions may fail at that, too."""
    try:
        return str(error).strip()
    except Exception as another:  # noqa: BLE001
        return f"its words can't be read: __str__ raised {type(another).__name__}"


def _place(error: BaseException) -> str:
    """Where an exception without a word was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    return (
        f", without a word, in {frames[-1].name} ({frames[-1].filename}:{frames[-1].lineno})"
        if frames
        else ""
    )


def _unexpected_class(error: BaseException, text: str) -> str:
    if of_storage(error):
        return STORAGE
    if isinstance(error, RuntimeError) and any(words in text for words in BROKEN_NODE):
        return "node"
    is_connection = isinstance(error, ConnectionError | torch.distributed.DistNetworkError)
    if is_connection or (isinstance(error, RuntimeError) and any(words in text for words in LOST_CONNECTION)):
        return "network"
    is_code = isinstance(error, MISTAKES) or _own_loss(error) or REFUSED_BY_KERNEL in text
    return "code" if is_code else UNKNOWN


def _remedy(error: BaseException, kind: str, words: str) -> str:
    match kind:
        case "storage":
            return storage_remedy(error)
        case "code" if (loss := _own_loss(error)) is not None:
            return f"mend {loss}, then launch resume {loss.parent.name} --accept-changes; {in_the_log()}"
        case "code" if REFUSED_BY_KERNEL in words:
            return f"a GPU tells of it late: with device=cpu the traceback ends where it was; {in_the_log()}"
        case _:
            return in_the_log()


def in_the_log() -> str:
    """Where more of what happened to this rank is to be found."""
    return f"logs/rank_{os.environ.get('RANK', '0')}.log holds the traceback"


def _own_loss(error: BaseException) -> Path | None:
    """The run's copy of the user's own loss, where that raised it."""
    frames = traceback.extract_tb(error.__traceback__)
    named = [frame.filename for frame in frames[-3:] if frame.filename.endswith(f"/{LOSS_FILE}")]
    return Path(named[-1]) if named else None


def _is_out_of_memory(error: BaseException, text: str) -> bool:
    """torch has an error of its own for its allocator on a GPU; main memory, CUDA and its libraries only have words."""
    said = isinstance(error, RuntimeError) and any(words in text for words in OUT_OF_MEMORY)
    return said or isinstance(error, torch.OutOfMemoryError | MemoryError)
