"""Which encoders share code and names, without torch: a file here is a family, named as it is; `shared` has the rest.

A shape comes from a model's config.json (`shape_from_config`) or, for usual hub ids, from what is known of it
(`known_shape`). Nothing here touches the disk or the network.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Mapping
from dataclasses import replace

from launcher.errors import UserError
from launcher.families.shared.base import Family, ModelShape
from launcher.families.shared.config_json import ConfigReader
from launcher.resources import module_names

FAMILIES = module_names("families")
"""Names of all families: the `model_type` values of config.json that can be trained."""

# The hub moved its oldest models into these organisations and answers to both names.
_ADOPTED = ("google-bert/", "FacebookAI/", "distilbert/", "albert/")


@functools.cache
def find(name: str) -> Family:
    """The family of this name, which must be one of FAMILIES."""
    module = importlib.import_module(f"launcher.families.{name.replace('-', '_')}")
    found: Family = module.FAMILY
    assert found.name == name, f"{module.__name__} calls its family {found.name}"
    return found


def known_names() -> tuple[str, ...]:
    """The hub ids whose shape is known without a config.json."""
    return tuple(name for family in FAMILIES for name in find(family).known)


def known_shape(name: str) -> ModelShape | None:
    """The shape of a usual hub id, in its short or its full spelling, or None."""
    short = next((name.removeprefix(prefix) for prefix in _ADOPTED if name.startswith(prefix)), name)
    if short != name and "/" in short:
        return None
    for family in map(find, FAMILIES):
        if short in family.known:
            return shape_from_config({"model_type": family.name, **family.known[short]}, short)
    return None


def shape_of(
    name: str, *, config: Mapping[str, object] | None, where: str = "config.json"
) -> ModelShape | None:
    """The shape of a model: from its config.json where there is one, else by name, else None (unknown)."""
    if config is None:
        return known_shape(name)
    return shape_from_config({**config, "model_type": kind_of(config, name)}, where)


def kind_of(config: Mapping[str, object], name: str) -> object:
    """The `model_type` of a config.json; of an old one without it, the longest name of a family within the model's name."""
    if config.get("model_type") is not None:
        return config["model_type"]
    short = name.rstrip("/").rpartition("/")[2].lower()
    return max((family for family in FAMILIES if family in short), key=len, default=None)


def shape_from_config(config: Mapping[str, object], where: str) -> ModelShape:
    """The shape that a parsed config.json describes; `where` names the file in messages.

    A key that is absent has transformers' default. Raises UserError for a family that can't be trained, and
    for values that describe no model, all of them at once.
    """
    name = config.get("model_type")
    if not isinstance(name, str) or name not in FAMILIES:
        message = "names no model family" if name is None else "this model family is not supported"
        if "auto_map" in config:
            message += ", and code that lies beside a model is never run"
        remedy = f"give a model of one of these: {', '.join(FAMILIES)}"
        raise UserError(message, where=where, field="model_type", value=name, remedy=remedy)
    reader = ConfigReader(config, where)
    family = find(name)
    common = _common_shape(reader, family)
    shape = family.read(reader, common)
    if shape.hidden % shape.heads:
        message = f"the hidden width {shape.hidden} is not a multiple of the number of heads"
        reader.problem(message, "num_attention_heads", shape.heads)
    if shape.max_positions < 1:
        reader.problem("leaves no usable position", "max_position_embeddings", common.position_rows)
    _refuse_other_models(reader, shape)
    if reader.problems:
        raise UserError(reader.problems)
    return shape


def _refuse_other_models(reader: ConfigReader, shape: ModelShape) -> None:
    """Remember what makes a model another one than transformers would build of this family."""
    positions = reader.config.get("position_embedding_type")
    if shape.position_rows and positions not in (None, "absolute"):
        message = "transformers has no such positions any more, and would train with others"
        reader.problem(message, "position_embedding_type", positions)
    if reader.flag("is_decoder", False):
        reader.problem("a decoder: its tokens don't see those behind them", "is_decoder", True)
    if (quantised := reader.config.get("quantization_config")) is not None:
        kind = quantised.get("quant_method") if isinstance(quantised, Mapping) else quantised
        reader.problem("quantised weights can't be trained", "quantization_config", kind)


def _common_shape(reader: ConfigReader, family: Family) -> ModelShape:
    keys, sizes = family.keys, family.sizes
    layers = reader.number(keys.layers, sizes.layers)
    hidden = reader.number(keys.hidden, sizes.hidden)
    heads = reader.number(keys.heads, sizes.heads)
    intermediate = reader.number(keys.intermediate, sizes.intermediate)
    vocab = reader.number("vocab_size", sizes.vocab)
    rows = reader.number("max_position_embeddings", sizes.positions)
    padding = reader.number("pad_token_id", family.special_tokens.pad_id, least=0)
    shape = ModelShape(
        family=family,
        layers=layers,
        hidden=hidden,
        heads=heads,
        intermediate=intermediate,
        vocab=vocab,
        max_positions=rows - family.first_position(padding),
        position_rows=rows,
        type_vocab=reader.number("type_vocab_size", sizes.types, least=1) if sizes.types else 0,
        embedding_size=hidden,
    )
    if keys.embedding is None:
        return shape
    return replace(shape, embedding_size=reader.number(keys.embedding, sizes.embedding or hidden))
