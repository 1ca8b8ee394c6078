"""Making a model smaller before it trains, and what it came to: size, latency and metric before and after."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from launcher.errors import RunFailed
from launcher.recipe.recipe import Recipe
from launcher.runs.directory import RunDir
from launcher.runs.files import write_json
from launcher.runs.records import read_json
from launcher.runs.results import Compressed, Compression
from launcher.train.compat.empty_weights import empty_weights
from launcher.train.compat.expected_warnings import without_expected_warnings
from launcher.train.compress.importance import measure
from launcher.train.compress.structural_pruning import choose, shrink
from launcher.train.dataset.prepare import Dataset
from launcher.train.model.build import BuiltModel, build_model, cpu_state, save_model
from launcher.train.model.unpadded import make_collate
from launcher.train.process.events import Events, finite
from launcher.train.process.ranks import Ranks
from launcher.train.tasks import Task, extra_head
from launcher.train.use.inference import Predictor
from launcher.train.use.latency import measure_latencies


def pruned_start(
    run: RunDir, recipe: Recipe, task: Task, dataset: Dataset, tokenizer: Any, ranks: Ranks, events: Events
) -> Recipe:
    """The recipe with the pruned model as what to start from. It is made once, by rank 0, and kept for resuming."""
    if not (run.pruned / "config.json").is_file():
        if ranks.is_main:
            events.phase("pruning")
            _prune(run, recipe, task, dataset, tokenizer, ranks.device)
        ranks.barrier()
    model = recipe.model.model_copy(update={"name": str(run.pruned), "revision": None})
    return recipe.model_copy(update={"model": model})


def _prune(
    run: RunDir, recipe: Recipe, task: Task, dataset: Dataset, tokenizer: Any, device: torch.device
) -> None:
    whole = build_model(recipe.model_copy(update={"tuning": "full"}), task, dataset.label_names, tokenizer)
    model: Any = whole.base
    model.to(device)
    head = getattr(model, extra_head.NAME, None)
    if getattr(head, "reads_features", False):
        message = "prune.heads, ffn and layers don't reach into a deeper head (model.head.layers)"
        raise RunFailed("recipe", message, "use prune.magnitude, or a head without layers")
    collate, _ = make_collate(task, tokenizer, model, device)
    random = np.random.RandomState([recipe.seed, 2])
    examples = random.permutation(len(dataset.train))[: recipe.prune.examples]
    importance = measure(model, task, collate, dataset.train, examples)
    smaller = shrink(model, choose(importance, recipe))
    extra_head.attach(smaller, head)
    save_model(BuiltModel(smaller, smaller, lora=False), cpu_state(smaller), tokenizer, run.pruned)
    predictor = Predictor.load(run, recipe, device, run.pruned)
    assert dataset.validation is not None
    write_json(run.pruned / "before_recovery.json", finite(predictor.evaluate(dataset.validation)))


def compression_report(
    run: RunDir, recipe: Recipe, dataset: Dataset, device: torch.device
) -> Compression | None:
    """What was there before and what there is now; None where nothing was compressed.

    Before: the teacher where the training only distils, otherwise the model that was pruned. The latencies are measured
    turn by turn, so that what else the machine does changes both.
    """
    prune, teacher = recipe.prune, recipe.distill.teacher
    pruned = prune.shrinks or prune.magnitude > 0
    source = recipe.model.name if pruned else teacher
    if source is None or dataset.validation is None:
        return None
    after = Predictor.load(run, recipe, device)
    before = _predictor_of(run, recipe, device, Path(source))
    models = [
        _bare_model(after.task, Path(source), device) if before is None else before.model,
        after.model,
    ]
    figures = []
    latencies = measure_latencies(models, device)
    for predictor, model, latency, path in zip(
        (before, after), models, latencies, (Path(source), run.model), strict=True
    ):
        known = predictor is not None and (
            not dataset.label_names or predictor.label_names == dataset.label_names
        )
        metrics = predictor.evaluate(dataset.validation) if predictor is not None and known else {}
        figures.append(Compressed(**_size(model, path), latency_ms=latency, metrics=metrics))
    recovery = read_json(run.pruned / "before_recovery.json") if prune.shrinks else None
    return Compression(figures[0], figures[1], recovery)


def _predictor_of(run: RunDir, recipe: Recipe, device: torch.device, directory: Path) -> Predictor | None:
    """What a model was before, or None where it was made for another task and lacks what this one decides with."""
    try:
        return Predictor.load(run, recipe, device, directory)
    except (AttributeError, KeyError, OSError, RuntimeError):
        return None


def _bare_model(task: Task, directory: Path, device: torch.device) -> Any:
    import transformers

    with without_expected_warnings(), empty_weights():
        model = getattr(transformers, task.auto_class).from_pretrained(directory, dtype=torch.float32)
    return model.to(device).eval()


def _size(model: torch.nn.Module, directory: Path) -> dict[str, int]:
    """Parameters, those that are not zero, and bytes of the weights on disk."""
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "nonzero": sum(int(torch.count_nonzero(p)) for p in model.parameters()),
        "bytes": sum(path.stat().st_size for path in directory.glob("*.safetensors")),
    }
