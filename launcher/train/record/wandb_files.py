"""Reads the `.wandb` files that the client writes beside a run, also while they grow or where they were torn.

The format is LevelDB's log: a 7-byte header, then blocks of 32 KiB with records of checksum, length, type and data,
where a record too long for its block continues in the next (types: 1 whole, 2 first, 3 middle, 4 last part).
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HEADER = b":W&B"
HEADER_BYTES = 7
BLOCK_BYTES = 32768
RECORD = struct.Struct("<IHB")
WHOLE, FIRST, MIDDLE, LAST = 1, 2, 3, 4


def last_step(directory: Path, run_id: str) -> int:
    """The last step in the files of a run, online and offline attempts alike; -1 where there is none."""
    return max((int(row["_step"]) for row in histories(directory, run_id) if "_step" in row), default=-1)


def histories(directory: Path, run_id: str) -> Iterator[dict[str, Any]]:
    """Yield the rows logged to all files of a run, the oldest file first."""
    for file in sorted(directory.glob(f"*run-*-{run_id}/run-{run_id}.wandb")):
        yield from history(file)


def history(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows logged to one file, with W&B's own `_step`, up to where it was torn."""
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    from wandb.proto import wandb_internal_pb2

    new_record: Any = wandb_internal_pb2.Record  # type: ignore[attr-defined] # made at run time
    for data in _records(path.read_bytes()):
        record = new_record()
        try:
            record.ParseFromString(data)
        except DecodeError:
            return
        if record.WhichOneof("record_type") == "history":
            yield {
                item.key or ".".join(item.nested_key): json.loads(item.value_json)
                for item in record.history.item
            }


def _records(content: bytes) -> Iterator[bytes]:
    if content[:4] != HEADER:
        return
    position, parts = HEADER_BYTES, b""
    while position + RECORD.size <= len(content):
        left_in_block = BLOCK_BYTES - position % BLOCK_BYTES
        if left_in_block < RECORD.size:
            position += left_in_block
            continue
        _, length, kind = RECORD.unpack_from(content, position)
        start, end = position + RECORD.size, position + RECORD.size + length
        if kind not in {WHOLE, FIRST, MIDDLE, LAST} or end > len(content):
            return
        parts = content[start:end] if kind in {WHOLE, FIRST} else parts + content[start:end]
        if kind in {WHOLE, LAST}:
            yield parts
        position = end
