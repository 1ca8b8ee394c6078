"""Two final states beside each other, tensor by tensor and bit by bit; and a bit that is changed to see whether that is found."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from launcher.errors import RunFailed
from launcher.runs.directory import RunDir
from launcher.runs.drills import TensorDifference
from launcher.runs.files import write_json
from launcher.runs.manifest import MANIFEST, FileEntry, Manifest, read_manifest
from launcher.runs.records import tree_of
from launcher.runs.verb_results import StateDifference
from launcher.train.compat.plain_values import read_values
from launcher.train.step.checkpoints import OWNER, STATE, verify

Leaf = torch.Tensor | int | float | str | bool | None
UNCOMPARED = ("wall_s", OWNER)
"""Values of state.json that no two runs share."""


def compare_states(expected: RunDir, found: RunDir) -> StateDifference:
    """The models and the last checkpoints of two completed runs. Raises RunFailed where a checkpoint isn't whole."""
    same, count, largest, first = 0, 0, 0.0, None
    for file, ours, theirs in _files(expected, found):
        for name in dict.fromkeys((*ours, *theirs)):
            difference = _difference(file, name, ours.get(name, _Missing), theirs.get(name, _Missing))
            same, count = same + (difference is None), count + 1
            first = first or difference
            if difference is not None and difference.largest is not None:
                largest = max(largest, difference.largest)
    return StateDifference(same, count, largest, first)


def plant_difference(run: RunDir) -> str:
    """Change one bit of one tensor in the newest checkpoint, its manifest with it; says which."""
    checkpoint = _last_checkpoint(run)
    path = next(checkpoint.rglob("model.pt"), None) or min(checkpoint.rglob("*optim_states.pt"))
    content = read_values(path)
    leaves = [(name, leaf) for name, leaf in _leaves(content) if _is_real(leaf)]
    name, tensor = leaves[len(leaves) // 2]
    at = int(tensor.abs().argmax())
    before = float(tensor.flatten()[at])
    bits = tensor.view({2: torch.int16, 4: torch.int32, 8: torch.int64}[tensor.element_size()]).flatten()
    bits[at] ^= 1 << (8 * tensor.element_size() // 2)
    torch.save(content, path)
    sign_again(checkpoint, path)
    file = path.relative_to(run.path)
    return f"one bit of element {at} of {name} in {file}: {before!r} is {float(tensor.flatten()[at])!r}"


class _Missing:
    """Stands for what only one of the states has."""


def _files(expected: RunDir, found: RunDir) -> Iterator[tuple[str, Mapping[str, Any], Mapping[str, Any]]]:
    """(path in the run directory, the leaves of one run's file, those of the other's), the model first."""
    ours, theirs = _paths(expected), _paths(found)
    for file in dict.fromkeys((*ours, *theirs)):
        yield (
            file,
            _read(ours[file]) if file in ours else {},
            _read(theirs[file]) if file in theirs else {},
        )


def _paths(run: RunDir) -> dict[str, Path]:
    checkpoint = _last_checkpoint(run)
    problem = verify(checkpoint)
    if problem is not None:
        raise RunFailed("drill", f"{checkpoint.name} of {run.run_id} is not whole: {problem}")
    weights = sorted(run.model.rglob("*.safetensors"))
    states = sorted(path for path in checkpoint.rglob("*.pt"))
    paths = (*weights, *states, checkpoint / STATE)
    return {str(path.relative_to(run.path)): path for path in paths}


def _last_checkpoint(run: RunDir) -> Path:
    found = run.checkpoint_directories()
    if not found:
        raise RunFailed("drill", f"{run.run_id} has no checkpoint")
    return found[-1]


def _read(path: Path) -> dict[str, Any]:
    if path.suffix == ".safetensors":
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in sorted(file.keys())}
    if path.suffix == ".json":
        return {key: value for key, value in json.loads(path.read_text()).items() if key not in UNCOMPARED}
    return dict(_leaves(read_values(path)))


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Tensors and plain values, with the keys that lead to them; objects of other kinds are left out."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _leaves(item, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _leaves(item, f"{name}.{index}" if name else str(index))
    elif isinstance(value, torch.Tensor | int | float | str | bool | None):
        yield name, value


def _is_real(leaf: Any) -> bool:
    return isinstance(leaf, torch.Tensor) and leaf.is_floating_point() and leaf.numel() > 1


def _difference(file: str, name: str, ours: Any, theirs: Any) -> TensorDifference | None:
    if isinstance(ours, torch.Tensor) and isinstance(theirs, torch.Tensor):
        return _tensor_difference(file, name, ours, theirs)
    if type(ours) is type(theirs) and (ours == theirs or (ours != ours and theirs != theirs)):
        return None
    return TensorDifference(file, name, 1, message=f"{_shown(ours)} and {_shown(theirs)}")


def _tensor_difference(
    file: str, name: str, ours: torch.Tensor, theirs: torch.Tensor
) -> TensorDifference | None:
    if ours.shape != theirs.shape or ours.dtype != theirs.dtype:
        return TensorDifference(file, name, ours.numel(), message=f"{_shown(ours)} and {_shown(theirs)}")
    bytes_of = [
        tensor.contiguous().flatten().view(torch.uint8) for tensor in (ours, theirs) if tensor.numel()
    ]
    if not bytes_of or torch.equal(*bytes_of):
        return None
    other = (bytes_of[0] != bytes_of[1]).view(ours.numel(), -1).any(1)
    at = int(other.nonzero()[0])
    one, two = (_finite(float(tensor.flatten()[at])) for tensor in (ours, theirs))
    largest = _finite(float((ours.double() - theirs.double()).abs().max()))
    return TensorDifference(file, name, int(other.sum()), at, one, two, largest)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _shown(value: Any) -> str:
    if value is _Missing:
        return "nothing"
    if isinstance(value, torch.Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} {list(value.shape)}"
    return repr(value)


def sign_again(checkpoint: Path, changed: Path) -> None:
    """Let the manifest say what the file holds now."""
    import hashlib

    manifest = read_manifest(checkpoint)
    assert manifest is not None
    content = changed.read_bytes()
    entry = FileEntry(len(content), hashlib.sha256(content).hexdigest())
    files = {**manifest.files, str(changed.relative_to(checkpoint)): entry}
    write_json(checkpoint / MANIFEST, tree_of(Manifest(manifest.step, files)))
