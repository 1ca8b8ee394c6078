"""Whether a model and a data set of the hub can be loaded at all, as far as this machine can know."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launcher import paths
from launcher.data_source import name_and_config
from launcher.planning.model_config import cached_model, data_cache, hub_cache

COPY_AGAIN = "copy or download the model again, as a whole"
WEIGHTS = ("model.safetensors", "pytorch_model.bin")
"""Names of whole weights; of those in several files there is an index."""
TOKENIZERS = (
    "tokenizer.json",
    "vocab.txt",
    "vocab.json",
    "sentencepiece.bpe.model",
    "spm.model",
    "spiece.model",
    "tokenizer.model",
)
"""Any of these makes a tokenizer."""
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?", re.ASCII)
PAGE = re.compile(r"https?://(?:www\.)?huggingface\.co/([^/?#]+/[^/?#]+|[^/?#]+)")
SMALL_JSON = 1 << 20
LONGEST_HEADER = 100 << 20
"""Bytes; what safetensors itself allows."""
LFS_POINTER = b"version https://git-lfs"
ADAPTER = "adapter_config.json"
UNMERGEABLE = frozenset(
    {"PROMPT_TUNING", "MULTITASK_PROMPT_TUNING", "P_TUNING", "PREFIX_TUNING", "CPT", "CARTRIDGE"}
    | {"ADAPTION_PROMPT", "XLORA", "POLY"}
)
"""Kinds of adapters, as peft calls them, that are more than a change of weights: there is nothing to merge."""
NO_MODELS = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
NO_DATA = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE")
"""Variables that keep models, and data, from being fetched."""
CACHES = ("HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_DATASETS_CACHE", "XDG_CACHE_HOME")


@dataclass(frozen=True)
class Fault:
    """Why a model can't be loaded, and what to do."""

    message: str
    remedy: str


def model_faults(name: str, *, weights: bool) -> list[Fault]:
    """Why a model can't be loaded, by its name or by what its directory holds."""
    if (fault := _name_fault(name)) is not None:
        return [fault]
    return list(_directory_faults(Path(name), weights=weights)) if paths.is_dir(name) else []


def adapter_alone(settings: object, directory: Path) -> Fault:
    """Why an adapter can't be started from, with what its adapter_config.json holds."""
    base = settings.get("base_model_name_or_path") if isinstance(settings, dict) else None
    message = f"holds an adapter of {base} and no model" if base else "holds an adapter and no model"
    if kind := _unmergeable(settings):
        remedy = f"give the model itself{f', {base}' if base else ''}: no training can start from what it has learnt"
        return Fault(f"{message}; it is a {kind}, which can't be merged into one", remedy)
    if paths.is_file(directory.parent / "config.json"):
        return Fault(message, f"give {directory.parent}, where it is merged")
    return Fault(
        message,
        "merge it by peft: PeftModel.from_pretrained(model, ADAPTER).merge_and_unload().save_pretrained(DIR); "
        "put the tokenizer there, and give DIR",
    )


def adapter_beside(settings: object) -> Fault:
    """Why a model can't be started from that an adapter lies beside, with what its adapter_config.json holds."""
    merge = "" if _unmergeable(settings) else "merge it into the model, or "
    remedy = f"{merge}take adapter_config.json away to train the model without it"
    return Fault("holds an adapter beside the model", remedy)


def _unmergeable(settings: object) -> str | None:
    """The kind of an adapter that weights can't take in; None for every other."""
    kind = settings.get("peft_type") if isinstance(settings, dict) else None
    return kind if isinstance(kind, str) and kind in UNMERGEABLE else None


def cache_faults(name: str, revision: str, *, weights: bool, forbidden: str) -> list[Fault]:
    """What the cache lacks of a model of the hub, which `forbidden`, a variable, keeps a job from asking."""
    if paths.is_dir(name):
        return []
    cached = cached_model(name, revision)
    if cached is None or not any(paths.is_file(cached / file) for file in ("config.json", ADAPTER)):
        return [_not_cached(hub_cache(), forbidden)]
    return list(_directory_faults(cached, weights=weights))


def data_faults(source: str, forbidden: str) -> list[Fault]:
    """Whether nothing of a data set of the hub is cached."""
    name, _ = name_and_config(source)
    prepared = data_cache() / name.lower().replace("/", "___")
    downloaded = hub_cache() / ("datasets--" + name.replace("/", "--"))
    if any(paths.exists(place) for place in (name, prepared, downloaded)):
        return []
    return [_not_cached(data_cache(), forbidden)]


def _not_cached(cache: Path, forbidden: str) -> Fault:
    remedy = f"run launch prefetch where there is a network, unset {forbidden}, or give a directory"
    return Fault(f"is not in {cache}, and {forbidden} forbids to ask the hub", remedy)


def _name_fault(name: str) -> Fault | None:
    """What is wrong with a name that is neither a directory here nor an id that the hub could have."""
    if paths.is_dir(name):
        return None
    if page := PAGE.match(name):
        return Fault("is the address of a page", f"give the id: {page[1]}")
    if not Path(name).is_absolute():
        if Path(name).name in ("config.json", *WEIGHTS, *TOKENIZERS) and Path(name).parent != Path():
            return Fault(
                "looks like a file, which isn't there", f"give the model's directory: {Path(name).parent}"
            )
        if HUB_ID.fullmatch(name) and "--" not in name and ".." not in name:
            return None
        return Fault(
            "is neither a directory here nor an id of the hub", "give a directory, or an id such as org/name"
        )
    if not paths.exists(name):
        return Fault("no such directory", "give a hub id or a directory with a config.json")
    if paths.is_file(Path(name).parent / "config.json"):
        return Fault("is a file", f"give the directory that it is in: {Path(name).parent}")
    return Fault("is a file", "give a directory with a config.json; an archive has to be unpacked first")


def _directory_faults(directory: Path, *, weights: bool) -> Iterator[Fault]:
    """What a directory in the format of Hugging Face lacks: a configuration, weights where they are needed, a tokenizer."""
    has_config = paths.is_file(directory / "config.json")
    if paths.is_file(directory / ADAPTER):
        if not has_config or _weights_file(directory) is None:
            yield adapter_alone(small_json(directory / ADAPTER), directory)
            return
        yield adapter_beside(small_json(directory / ADAPTER))
    if not has_config:
        yield _without_config(directory)
        return
    for name in ("config.json", "tokenizer.json"):
        if paths.is_file(directory / name) and not _is_object(directory / name):
            yield Fault(f"has a damaged {name}", COPY_AGAIN)
    if weights and (fault := _weights_fault(directory)) is not None:
        yield fault
    if not any(paths.is_file(directory / name) for name in TOKENIZERS):
        yield Fault("has no tokenizer", f"put one beside the model: {', '.join(TOKENIZERS[:3])}, or the like")


def _without_config(directory: Path) -> Fault:
    """Of sentence-transformers' directories those of old versions have the encoder in a folder, and some have none."""
    modules = small_json(directory / "modules.json")
    for module in modules if isinstance(modules, list) else ():
        path = str(module.get("path")) if isinstance(module, dict) else ""
        if path and paths.is_file(directory / path / "config.json") and "Transformer" in path:
            return Fault(f"has the encoder in {path}", f"give {directory / path}")
    for old in sorted(directory.glob("*_config.json")):
        settings = small_json(old)
        if isinstance(settings, dict) and "hidden_size" in settings:  # as they were published before 2020
            return Fault(
                f"has {old.name} in place of config.json", "rename it, and let it say its model_type"
            )
    return Fault("has no config.json", "give a directory in the format of Hugging Face")


def small_json(path: Path) -> Any:
    """What a small JSON file holds; None where there is none, or none that can be read."""
    try:
        return json.loads(beginning(path))
    except (ValueError, RecursionError):
        return None


def beginning(path: Path) -> str:
    """The first megabyte of a text; nothing where there is no file, or none that can be read."""
    if not paths.is_file(path):
        return ""
    try:
        with path.open("rb") as file:
            return file.read(SMALL_JSON).decode("utf-8", "replace")
    except OSError:
        return ""


def _weights_file(directory: Path) -> Path | None:
    """The file of whole weights, or the index of those in several."""
    files = (directory / each for name in WEIGHTS for each in (name, f"{name}.index.json"))
    return next(filter(paths.is_file, files), None)


def _weights_fault(directory: Path) -> Fault | None:
    found = _weights_file(directory)
    if found is not None:
        files = _shards(found) if found.suffix == ".json" else [found.name]
        faults = (_file_fault(directory / file) for file in files)
        return next((fault for fault in faults if fault is not None), None)
    patterns = ("tf_model.h5", "flax_model.msgpack", "*.ckpt.index")
    others = [path.name for pattern in patterns for path in directory.glob(pattern)]
    kind = f"no weights for PyTorch, but {others[0]}" if others else "no weights"
    return Fault(f"has {kind}", f"give a directory with {' or '.join(WEIGHTS)}")


def _file_fault(path: Path) -> Fault | None:
    """Whether a file of weights is missing, empty, or no more than Git's note of where it is."""
    if not paths.is_file(path):
        return Fault(f"lacks {path.name}, which its index names", COPY_AGAIN)
    if path.stat().st_size == 0:
        return Fault(f"has an empty {path.name}", COPY_AGAIN)
    with path.open("rb") as file:
        if file.read(len(LFS_POINTER)) == LFS_POINTER:
            return Fault(f"has a pointer of Git LFS in place of {path.name}", "run git lfs pull there")
    if not _is_whole(path):
        return Fault(f"has a damaged {path.name}", COPY_AGAIN)
    return None


def _is_object(path: Path) -> bool:
    """Whether a file may be a JSON object: large ones, such as vocabularies, are told by how they begin and end."""
    try:
        if path.stat().st_size <= SMALL_JSON:
            return isinstance(json.loads(path.read_bytes()), dict)
        with path.open("rb") as file:
            begins = file.read(100).lstrip().startswith(b"{")
            file.seek(-100, 2)
            return begins and file.read().rstrip().endswith(b"}")
    except (OSError, ValueError, RecursionError):
        return False


def _is_whole(path: Path) -> bool:
    """Whether a file of weights has its end, as far as its beginning says where that is."""
    if path.suffix == ".safetensors":
        return _is_whole_safetensors(path)
    with path.open("rb") as file:
        is_zip = file.read(4) == b"PK\x03\x04"  # what torch writes since 1.6; before, a pickle
    return not is_zip or zipfile.is_zipfile(path)


def _is_whole_safetensors(path: Path) -> bool:
    """Whether it is as long as its header says: eight bytes with the header's length, JSON, numbers."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > min(size, LONGEST_HEADER):
            return False
        header = file.read(length)
    try:
        ends = [
            entry["data_offsets"][1] for name, entry in json.loads(header).items() if name != "__metadata__"
        ]
        return bool(8 + length + max(ends, default=0) == size)
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
        return False


def _shards(index: Path) -> list[str]:
    try:
        files = json.loads(index.read_bytes())["weight_map"]
        return sorted(set(files.values()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return []  # transformers says what is wrong with it


def offline(environ: Mapping[str, str], elsewhere: Mapping[str, str], names: Sequence[str]) -> str | None:
    """Which of the variables forbids the hub, where the cache looked into here is that of the nodes.

    `elsewhere` is what is set on the nodes besides; where that moves the cache, nobody here knows what is in it.
    """
    if any(name in elsewhere for name in CACHES):
        return None
    set_to_true = ("1", "ON", "YES", "TRUE")
    values = {**environ, **elsewhere}
    return next((name for name in names if values.get(name, "").upper() in set_to_true), None)


def fetching_remedy(environ: Mapping[str, str], names: Sequence[str]) -> str:
    """How a thing of the hub that neither the cache nor the hub gives can be had; holds for `launch prefetch` too."""
    elsewhere = "run launch prefetch on a machine with a network, with the HF_HOME that is read here"
    by = offline(environ, {}, names)
    return f"unset {by}, which forbids to ask the hub, or {elsewhere}" if by else elsewhere
