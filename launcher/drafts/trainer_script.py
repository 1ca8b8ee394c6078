"""The settings in a training script, read from its source by `ast`: nothing in it is executed or imported."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from typing import Any

ARGUMENTS = ("TrainingArguments",)
"""Ends of the names of classes whose arguments are fields as they stand."""
CONFIGS = ("LoraConfig", "EarlyStoppingCallback", "Accelerator")
DATA_FILES = {
    "train": "train_file",
    "validation": "validation_file",
    "valid": "validation_file",
    "dev": "validation_file",
    "test": "test_file",
}
FORMATS = ("csv", "json", "parquet", "text")
UNKNOWN = object()


class Computed:
    """A value that the script works out when it runs."""

    def __init__(self, line: int) -> None:
        self.line = line


def fields_of(source: str) -> dict[str, Any]:
    """Field -> its value, or `Computed` where only running the script would tell. Raises SyntaxError for no Python."""
    tree = ast.parse(source)
    names = _constants(tree)
    found: dict[str, Any] = {}
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        found |= {name: value for name, value in _fields(call, names).items() if value is not UNKNOWN}
    return found


def _constants(tree: ast.AST) -> dict[str, Any]:
    """Names that are given one literal and nothing else."""
    found: dict[str, Any] = {}
    twice = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                if isinstance(target, ast.Name):
                    twice |= {target.id} & found.keys()
                    found[target.id] = _literal(node.value, {})
    return {name: value for name, value in found.items() if value is not UNKNOWN and name not in twice}


def _literal(node: ast.expr, names: Mapping[str, Any]) -> Any:
    if isinstance(node, ast.Name):
        return names.get(node.id, UNKNOWN)
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return UNKNOWN


def _fields(call: ast.Call, names: Mapping[str, Any]) -> dict[str, Any]:
    """What one call says, by the names that TrainingArguments and the example scripts have."""
    name = _name(call.func)
    keywords = {word.arg: word.value for word in call.keywords if word.arg is not None}
    first = _literal(call.args[0], names) if call.args else UNKNOWN
    if name.endswith(ARGUMENTS) or name in CONFIGS:
        return {key: _value(node, names) for key, node in keywords.items()}
    if name == "load_dataset":
        return dict(_data_set(call, keywords, names))
    if name == "set_seed" and first is not UNKNOWN:
        return {"seed": first}
    if name.endswith("from_pretrained"):
        return dict(_model(call, keywords, names))
    if {"truncation", "max_length"} & keywords.keys():
        return dict(_tokenizer(call, keywords, names))
    return {}


def _name(function: ast.expr) -> str:
    """`TrainingArguments` of `transformers.TrainingArguments`; `from_pretrained` of a class with its name before it."""
    return (
        function.attr
        if isinstance(function, ast.Attribute)
        else function.id
        if isinstance(function, ast.Name)
        else ""
    )


def _value(node: ast.expr, names: Mapping[str, Any]) -> Any:
    value = _literal(node, names)
    if value is UNKNOWN and isinstance(node, ast.Attribute):
        return (
            node.attr.lower() if node.attr.isupper() and "_" not in node.attr else node.attr
        )  # a member of an enumeration
    return Computed(node.lineno) if value is UNKNOWN else value


def _model(
    call: ast.Call, keywords: Mapping[str, ast.expr], names: Mapping[str, Any]
) -> Iterator[tuple[str, Any]]:
    owner = _name(call.func.value) if isinstance(call.func, ast.Attribute) else ""
    if not (owner.startswith("AutoModel") or owner.endswith("Model") or "For" in owner):
        return
    if call.args:
        yield "model_name_or_path", _value(call.args[0], names)
    yield "model_class", "AutoModelFor" + owner.partition("For")[2] if "For" in owner else owner
    if "problem_type" in keywords:
        yield "problem_type", _value(keywords["problem_type"], names)
    elif _literal(keywords.get("num_labels", ast.Constant(0)), names) == 1:
        yield "problem_type", "num_labels=1"


def _data_set(
    call: ast.Call, keywords: Mapping[str, ast.expr], names: Mapping[str, Any]
) -> Iterator[tuple[str, Any]]:
    given = [_value(argument, names) for argument in call.args[:2]]
    files = _value(keywords["data_files"], names) if "data_files" in keywords else None
    if isinstance(files, dict):
        yield from ((DATA_FILES[split], path) for split, path in files.items() if split in DATA_FILES)
    elif files is not None:
        yield "train_file", files
    if given and given[0] not in FORMATS:
        yield "dataset_name", given[0]
        if len(given) > 1:
            yield "dataset_config_name", given[1]


def _tokenizer(
    call: ast.Call, keywords: Mapping[str, ast.expr], names: Mapping[str, Any]
) -> Iterator[tuple[str, Any]]:
    """The columns that a tokenizer is given, and how long their texts may be."""
    slices = [_literal(node.slice, names) for node in call.args if isinstance(node, ast.Subscript)]
    columns = [column for column in slices if isinstance(column, str)]
    if columns and len(columns) <= 2:
        yield "text_column_name", columns if len(columns) == 2 else columns[0]
    if "max_length" in keywords and columns:
        yield "max_seq_length", _value(keywords["max_length"], names)
