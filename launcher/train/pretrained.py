"""What is read of a pretrained model: from the disk where it is there, else from the hub; code that lies beside it never runs."""

from __future__ import annotations

import errno
import json
import os
import pickle
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from launcher.errors import RunFailed, UserError, first_line, nearest
from launcher.families import kind_of, known_names, shape_of
from launcher.planning.model_files import ADAPTER, NO_MODELS, WEIGHTS, adapter_alone, fetching_remedy
from launcher.train.compat.empty_weights import empty_weights
from launcher.train.hub import wait_for_hub

if TYPE_CHECKING:  # looking at data needs none of it, and its import takes seconds
    from transformers import PretrainedConfig

LOCAL: Mapping[str, Any] = {"local_files_only": True, "adapter_kwargs": {"local_files_only": True}}
"""To be said twice: beside a model transformers looks for an adapter, on the network unless that is forbidden by itself."""
HOW_IT_RUNS = (
    "return_dict", "use_return_dict", "torchscript", "output_attentions", "output_hidden_states",
    "chunk_size_feed_forward", "attn_implementation", "_attn_implementation",
)  # fmt: skip
"""Entries of a config.json that say how somebody ran a model, not what it is."""
CUT_SHORT = ("PytorchStreamReader", "unexpected EOF")
"""What torch says of a file of weights that is not whole."""


def load_config(name: str, revision: str | None, **head: Any) -> PretrainedConfig:
    """The configuration of a model with these entries. Raises RunFailed('model') where it can't be had, or can't be trained."""

    from transformers import PretrainedConfig

    def load(name: str, **arguments: Any) -> PretrainedConfig:
        arguments.pop("adapter_kwargs", None)
        entries, _ = PretrainedConfig.get_config_dict(name, **arguments)
        if not entries:
            raise FileNotFoundError(f"{name} has no config.json")
        _check(entries, name)
        plain = {key: value for key, value in entries.items() if key not in HOW_IT_RUNS}
        return _made(plain, name, **head)

    config: PretrainedConfig = local_first(load, name, revision)
    # transformers drops what it doesn't know, such as the labels of an order.
    for key, value in head.items():
        if not hasattr(config, key):
            setattr(config, key, value)
    return config


def read_config(name: str, **where: Any) -> PretrainedConfig:
    """The configuration of any model, trained here or not; `where` is `revision` and `local_files_only`."""
    from transformers import CONFIG_MAPPING, AutoConfig, PretrainedConfig

    entries, _ = PretrainedConfig.get_config_dict(name, **where)
    if kind_of(entries, name) in CONFIG_MAPPING:
        return _made(entries, name)
    found: PretrainedConfig = AutoConfig.from_pretrained(name, trust_remote_code=False, **where)
    return found


def _made(entries: dict[str, Any], name: str, **head: Any) -> PretrainedConfig:
    from transformers import CONFIG_MAPPING

    kind = str(kind_of(entries, name))
    found: PretrainedConfig = CONFIG_MAPPING[kind].from_dict(entries, name_or_path=name, **head)
    return found


def found_file(name: str, revision: str, file: str) -> Path | None:
    """A file of a model that was loaded: in its directory, or in the local cache of the hub; None where it has none."""
    from huggingface_hub import try_to_load_from_cache

    if Path(name).is_dir():
        path = Path(name) / file
    else:
        cached = try_to_load_from_cache(name, file, revision=revision)
        path = Path(cached) if isinstance(cached, str) else Path(os.devnull)
    return path if path.is_file() else None


def read_json(name: str, revision: str | None, file: str) -> Any:
    """What a small JSON file of a model holds; None where it has none, or none can be had."""
    from huggingface_hub import hf_hub_download, try_to_load_from_cache

    commit = revision or "main"
    path = found_file(name, commit, file)
    try:
        if (
            path is None
            and not Path(name).is_dir()
            and try_to_load_from_cache(name, file, revision=commit) is None
        ):
            wait_for_hub()
            path = Path(hf_hub_download(name, file, revision=commit))
        return None if path is None else json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None


def _check(entries: Mapping[str, Any], name: str) -> None:
    """Raises RunFailed('model') for a configuration that no family here has."""
    try:
        shape_of(name, config=entries, where=f"{name}/config.json")
    except UserError as error:
        first = error.problems[0]
        text = f"{first.where}: {first.field}={first.value}: {first.message}"
        raise RunFailed("model", text, first.remedy) from None


def local_first(load: Any, name: str, revision: str | None, **kwargs: Any) -> Any:
    """Call a `from_pretrained` on local files, and only where they are missing on the network.

    Raises RunFailed('model').
    """
    # Else transformers asks a service on the network, behind our back, to convert whatever isn't in safetensors.
    os.environ.setdefault("DISABLE_SAFETENSORS_CONVERSION", "1")
    arguments = {**kwargs, **({"revision": revision} if revision else {})}
    try:
        with empty_weights():
            return load(name, **LOCAL, **arguments)
    except Exception as error:
        if (refusal := _of_its_files(name, error)) is not None:
            raise refusal from None
        if not isinstance(error, OSError):
            raise
        if Path(name).is_dir():
            raise RunFailed("model", f"{name}: {first_line(error)}") from None
    try:
        wait_for_hub()
        return load(name, **arguments)
    except Exception as error:
        refusal = _of_its_files(name, error)
        if refusal is None and isinstance(error, OSError):
            refusal = _not_to_be_had(name, revision, error)
        if refusal is None:
            raise
        raise refusal from None


def _of_its_files(name: str, error: Exception) -> RunFailed | None:
    """The failure of a model whose files are here and can't be used; None for another error."""
    from safetensors import SafetensorError

    is_cut = isinstance(error, RuntimeError) and any(words in str(error) for words in CUT_SHORT)
    is_cut = is_cut or (
        isinstance(error, OSError) and error.errno == errno.EINVAL
    )  # a file mapped past its end
    if is_cut or isinstance(error, EOFError | pickle.UnpicklingError):
        return RunFailed(
            "model",
            f"{name}: its file of weights is damaged, or holds other things than weights",
            "copy or download it again; or load it where you trust it, and save it with save_pretrained",
        )
    if isinstance(error, ValueError | ImportError | SafetensorError):
        return RunFailed("model", f"{name}: {first_line(error)}")
    return None


def _not_to_be_had(name: str, revision: str | None, error: BaseException) -> RunFailed:
    """The failure of a model that is neither here nor on the hub, with what helps."""
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    kinds = [type(each) for each in _chain(error)]
    if any(issubclass(kind, GatedRepoError) for kind in kinds):
        text = f"{name} is given out on request, and this account has no access to it"
        return RunFailed(
            "model", text, "ask for access on its page of the hub, and set HF_TOKEN where it is loaded"
        )
    if any(issubclass(kind, RevisionNotFoundError) for kind in kinds):
        return RunFailed(
            "model", f"{name} has no revision {revision}", "check model.revision: a branch, tag or commit"
        )
    if any(issubclass(kind, RepositoryNotFoundError) for kind in kinds):
        without_owner = (known for known in known_names() if known.endswith(f"/{name}"))
        guess = next(without_owner, None) or nearest(name, known_names())
        remedy = "check model.name; a private model needs HF_TOKEN where it is loaded"
        remedy = f"did you mean {guess}? Else {remedy}" if guess else remedy
        return RunFailed("model", f"the hub has no model {name}, or doesn't show it to this account", remedy)
    adapter = read_json(name, revision, ADAPTER) if isinstance(error, FileNotFoundError) else None
    if adapter is not None:
        fault = adapter_alone(adapter, Path(name))
        return RunFailed("model", f"{name} {fault.message}", fault.remedy)
    if isinstance(error, FileNotFoundError) or "does not appear to have a file" in str(error):
        remedy = f"give a model of transformers, with config.json and {' or '.join(WEIGHTS)}"
        return RunFailed("model", first_line(error), remedy)
    return RunFailed(
        "model",
        f"{name} is neither in the local hub cache nor to be had from the hub: {first_line(error)}",
        f"{fetching_remedy(os.environ, NO_MODELS)}, or give a directory as model.name",
    )


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and those that it came from."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
