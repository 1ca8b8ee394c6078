"""Reads the `.wandb` files that the client writes beside a run, also while they grow or where they were torn or damaged.

The format is LevelDB's log: a 7-byte header, then blocks of 32 KiB with records of checksum, length, type and data,
where a record too long for its block continues in the next (types: 1 whole, 2 first, 3 middle, 4 last part). The checksum
is the CRC-32 of type and data; where it is wrong, nothing more of that block is believed.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HEADER_BYTES = 7
BLOCK_BYTES = 32768
RECORD = struct.Struct("<IHB")
WHOLE, FIRST, MIDDLE, LAST = 1, 2, 3, 4


def last_step(directory: Path, run_id: str) -> int:
    """The last step in the files of a run, online and offline attempts alike; -1 where there is none."""
    return max((int(row["_step"]) for row in histories(directory, run_id) if "_step" in row), default=-1)


def histories(directory: Path, run_id: str) -> Iterator[dict[str, Any]]:
    """Yield the rows logged to all files of a run, the oldest file first."""
    for file in sorted(directory.glob(f"*run-*/run-{run_id}.wandb")):
        yield from history(file)


def history(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows logged to one file, with W&B's own `_step`; those that were torn or damaged are left out."""
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    from wandb.proto import wandb_internal_pb2

    new_record: Any = wandb_internal_pb2.Record  # type: ignore[attr-defined] # made at run time
    for data in _records(path.read_bytes()):
        record = new_record()
        try:
            record.ParseFromString(data)
        except DecodeError:
            continue
        if record.WhichOneof("record_type") == "history":
            yield {
                item.key or ".".join(item.nested_key): json.loads(item.value_json)
                for item in record.history.item
            }


def _records(content: bytes) -> Iterator[bytes]:
    position, begun = HEADER_BYTES, None
    while position + RECORD.size <= len(content):
        left_in_block = BLOCK_BYTES - position % BLOCK_BYTES
        found = _part(content, position) if left_in_block >= RECORD.size else None
        if found is None:  # the end of a block, or damage: lengths can't be believed until the next block
            position += left_in_block
            begun = begun if left_in_block < RECORD.size else None
            continue
        kind, data = found
        if kind in {WHOLE, FIRST}:
            begun = data
        elif begun is not None:
            begun += data
        if kind in {WHOLE, LAST} and begun is not None:
            yield begun
            begun = None
        position += RECORD.size + len(data)


def _part(content: bytes, position: int) -> tuple[int, bytes] | None:
    """Kind and data of a record, or of a part of one; None where it isn't what was written."""
    checksum, length, kind = RECORD.unpack_from(content, position)
    start = position + RECORD.size
    data = content[start : start + length]
    is_whole = len(data) == length and kind in {WHOLE, FIRST, MIDDLE, LAST}
    return (kind, data) if is_whole and zlib.crc32(data, zlib.crc32(bytes([kind]))) == checksum else None
