"""Every model family tried on a tiny encoder of random weights: what `launch doctor --engine` shows."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from launcher import tasks
from launcher.engine.choice import Wish, choose
from launcher.engine.table import TriedFamily
from launcher.executors import LOCAL
from launcher.families import FAMILIES, find
from launcher.families.shared.base import Family
from launcher.families.shared.names import Sizes
from launcher.planning.plan import Identity, Plan, make_plan
from launcher.planning.surroundings import DataSize, Machine
from launcher.recipe.cluster import Cluster
from launcher.recipe.recipe import Recipe
from launcher.train.compat.expected_warnings import without_expected_warnings
from launcher.train.model.unpadded import enable_packing, packed_collate
from launcher.train.packed.collate import PaddedCollate
from launcher.train.packed.dropout import use_cheap_dropout
from launcher.train.probe.agreement import key_of
from launcher.train.probe.kernels import try_captured, try_compiled
from launcher.train.probe.probe import Plans, probe
from launcher.train.probe.subject import Subject
from launcher.train.process.ranks import Ranks
from launcher.train.step.captured_steps import CudaRecorder
from launcher.train.tasks import Task, get_task
from launcher.train.tokens.cache import TokenSplit
from launcher.train.tokens.mover import Mover

SIZES = Sizes(layers=3, hidden=64, heads=4, intermediate=96, vocab=96, positions=128)
"""Small enough for a second, and large enough for every kernel: heads are 16 wide."""
LENGTHS = (9, 3, 25, 14, 40, 2, 17, 12)
PRECISIONS = {"cpu": ("fp32", "bf16"), "cuda": ("fp32", "bf16", "fp16")}
LABELS = ("no", "yes", "perhaps")
MANY = 10**6
"""Micro-batches of the training that a choice is shown for."""

Told = Callable[[str, int, int], None]
"""Told which family is tried, and how many of how many are done."""


def try_families(told: Told) -> list[TriedFamily]:
    """Each family in the precisions that trainings use here."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.set_num_threads(1)  # for such small tensors threads wait for each other longer than they compute
    wanted = [(family, precision) for family in FAMILIES for precision in PRECISIONS[device.type]]
    tried = []
    for done, (family, precision) in enumerate(wanted):
        told(f"trying {family} in {precision}", done, len(wanted))
        tried.append(try_family(family, precision, device))
    return tried


def try_family(name: str, precision: str, device: torch.device) -> TriedFamily:
    """One family, in text classification; with the kernels that a training of it would have."""
    subject = tiny_subject(name, precision, device)
    key = key_of({"family": name, "precision": precision, "sizes": "tiny"}, device)
    finding = probe(subject, key, _plans(subject, find(name)))
    wish = Wish(subject.layout, "none", MANY)
    return TriedFamily(name, precision, finding, choose(finding, wish, key["device"]))


def _plans(subject: Subject, family: Family) -> Plans:
    if subject.device.type == "cuda" and family.can_capture and subject.precision == "bf16":
        ranks, plan = Ranks(0, 0, 1, subject.device), tiny_plan(subject)
        return Plans("graph", lambda of: try_captured(of, plan, ranks, CudaRecorder(of.device)))
    if subject.device.type == "cuda":
        return Plans("inductor", lambda of: try_compiled(of, of.layout))
    return Plans()


def tiny_plan(subject: Subject) -> Plan:
    """A plan for a step of all examples of such a subject."""
    batch = {"global": len(subject.split)}
    recipe = _recipe(subject.precision, device=subject.device.type, executor=LOCAL, gpus=1, batch=batch)
    identity = Identity("tiny", "tiny", "tiny", "python", None, "")
    data = DataSize(len(subject.split))
    return make_plan(recipe, Cluster(), Machine(gpus=1), identity, None, data)


def tiny_subject(name: str, precision: str, device: torch.device) -> Subject:
    """A tiny model of a family with made-up examples."""
    task = get_task(_recipe(precision))
    model = _model(name, task).to(device)
    packs = enable_packing(model, device, task.spec.reads)
    if device.type == "cpu":
        use_cheap_dropout(model)
    config = model.config
    packed = packed_collate(task, config, device) if packs else None
    types = getattr(config, "type_vocab_size", 0) > 1
    padded = PaddedCollate(task, config.pad_token_id, 1, types, Mover(device))
    return Subject(model, model, task, packed, padded, _split(config), precision, device)


def _recipe(precision: str, **others: object) -> Recipe:
    tree = {"task": tasks.names()[0], "precision": precision, **others}
    return Recipe.model_validate_json(json.dumps(tree))


def _model(name: str, task: Task) -> Any:
    from transformers import AutoConfig, AutoModelForSequenceClassification

    family = find(name)
    sizes = replace(SIZES, types=family.sizes.types)
    special = {"bos_token_id": 2, "eos_token_id": 3, "cls_token_id": 2, "sep_token_id": 3}
    entries = {**special, **family.scratch_config(sizes), **task.head_config(LABELS)}
    entries |= {key: 0.1 for keys in (family.dropout.hidden, family.dropout.attention) for key in keys}
    # Ordinary weights are so small that attention is all but uniform: nobody would see that it goes astray.
    config = AutoConfig.for_model(name, **{**entries, "initializer_range": 0.15})
    torch.manual_seed(0)
    with without_expected_warnings():
        make: Any = AutoModelForSequenceClassification.from_config
        return make(config, dtype=torch.float32)


def _split(config: Any) -> TokenSplit:
    random = np.random.default_rng(0)
    offsets = np.concatenate([[0], np.cumsum(LENGTHS)]).astype(np.int64)
    types = np.concatenate([np.arange(n) >= n // 2 for n in LENGTHS]).astype(np.uint8)
    return TokenSplit(
        ids=random.integers(6, config.vocab_size, offsets[-1]).astype(np.int32),
        offsets=offsets,
        type_ids=types if getattr(config, "type_vocab_size", 0) > 1 else None,
        labels=np.arange(len(LENGTHS), dtype=np.int64) % len(LABELS),
    )
