"""The best model for ONNX Runtime, as it is and with weights of 8 bits, held against PyTorch: outputs, size and latency.

The classic exporter is taken: it traces one forward pass, and needs onnx alone.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from launcher.errors import RunFailed, UserError
from launcher.recipe.recipe import Recipe
from launcher.runs.directory import RunDir
from launcher.runs.verb_results import OnnxExport, OnnxModel
from launcher.train.compat.expected_warnings import without_expected_warnings
from launcher.train.dataset.prepare import prepare
from launcher.train.packed.collate import Collate, padded_collate
from launcher.train.tasks import extra_head, get_task
from launcher.train.tokens.cache import TokenSplit
from launcher.train.tokens.tokenizer import load_tokenizer, position_limit
from launcher.train.use.evaluation import Progress
from launcher.train.use.latency import REPEATS, in_turns, timed_length

OPSET = 18
EXAMPLES = 16
"""Examples that are compared together."""
MOST_COMPARED = 2000
"""Validation examples that are compared."""
MANY = 32
"""Texts that are timed together, besides one alone."""
MASK = "attention_mask"
AT_MOST = 1e-2
"""Difference of outputs from which on a file is not the model; ONNX Runtime sums in another order, which makes 1e-5."""
Arrays = dict[str, NDArray[Any]]


class Plain(torch.nn.Module):
    """A model that takes its inputs by place and returns a tuple of tensors, as tracing wants it."""

    def __init__(
        self, model: torch.nn.Module, inputs: tuple[str, ...], outputs: tuple[str, ...] = ()
    ) -> None:
        super().__init__()
        self.model = model
        self.inputs = inputs
        self.outputs = outputs

    def forward(self, *values: torch.Tensor) -> tuple[torch.Tensor, ...]:
        found = self.model(**dict(zip(self.inputs, values, strict=True)))
        if extra_head.NAME in self.outputs:
            # A CRF's steps are constant: an output keeps its name only where it comes from the inputs.
            found[extra_head.NAME] = found[extra_head.NAME] + 0 * found["logits"].sum()
        return tuple(found[name] for name in self.outputs)


def export_onnx(run: RunDir, recipe: Recipe, directory: Path, int8: bool, progress: Progress) -> OnnxExport:
    """Write model.onnx, and model.int8.onnx where asked, into `directory`; the figures of both.

    Raises UserError where the extra is not installed, and RunFailed where model.onnx gives other outputs than the model.
    """
    refuse_missing()
    model, tokenizer, collate = _load(run, recipe)
    split = prepare(recipe, tokenizer, position_limit=position_limit(model.config)).validation
    assert split is not None  # every recipe has one
    example = _inputs(collate, split, np.arange(min(2, len(split))))
    plain = _plain(model, example)
    file = directory / "model.onnx"
    _trace(plain, example, file)
    files = [file]
    if int8:
        files.append(_quantised(file))
    compared = [_compared(plain, path, collate, split, progress) for path in files]
    if (difference := compared[0][0]) > AT_MOST:
        text = f"{file.name} gives other outputs than PyTorch, by up to {difference:.2g}"
        raise RunFailed(
            "model", text, "export without --onnx, or try other versions of torch and onnxruntime"
        )
    one = _latencies(plain, files, _texts(model, example, 1), REPEATS)
    many = _latencies(plain, files, _texts(model, example, MANY), REPEATS // 4)
    models = [
        OnnxModel(file.name, file.stat().st_size, *figures, ms, many_ms)
        for file, figures, ms, many_ms in zip(files, compared, one[1:], many[1:], strict=True)
    ]
    return OnnxExport(
        inputs=tuple(example),
        outputs=tuple(plain.outputs),
        examples=min(len(split), MOST_COMPARED),
        torch_latency_ms=one[0],
        torch_latency_many_ms=many[0],
        many=MANY,
        threads=torch.get_num_threads(),
        models=tuple(models),
    )


def refuse_missing() -> None:
    """Raises UserError where the extra is not installed."""
    try:
        import onnx  # noqa: F401  (the exporter of torch, and quantisation, look for it)
        import onnxruntime  # noqa: F401
    except ImportError as error:
        text = f"--onnx needs {error.name}, which is not installed"
        raise UserError(text, remedy="pip install 'launch-encoders[onnx]'") from None


def _load(run: RunDir, recipe: Recipe) -> tuple[Any, Any, Collate]:
    """Model, tokenizer and padding collate function: what stands in RUN/model, with a head of ours attached."""
    import transformers

    tokenizer = load_tokenizer(str(run.model), None)
    task = get_task(recipe, tokenizer)
    auto_class = getattr(transformers, task.auto_class)
    with without_expected_warnings():
        model = auto_class.from_pretrained(run.model, dtype=torch.float32, attn_implementation="eager")
    extra_head.load(model, task.extra_head(model.config), run.model)
    task.recall(model.config)
    return model.eval(), tokenizer, padded_collate(task, tokenizer, model.config, torch.device("cpu"))


def _inputs(collate: Collate, split: TokenSplit, examples: NDArray[np.int64]) -> Arrays:
    """What the model is given for these examples, the mask of padding always among it."""
    found = dict(collate(split, examples).inputs)
    mask = found.pop(MASK, torch.ones_like(found["input_ids"]))  # so that it stands last, padded or not
    return {name: value.numpy() for name, value in {**found, MASK: mask}.items()}


def _plain(model: torch.nn.Module, example: Mapping[str, Any]) -> Plain:
    with torch.inference_mode():
        output = model(**_tensors(example))
    names = [name for name, value in output.items() if isinstance(value, torch.Tensor)]
    return Plain(model, tuple(example), tuple(names)).eval()


def _trace(plain: Plain, example: Arrays, file: Path) -> None:
    axes = {
        name: {axis: f"axis_{axis}" for axis in range(value.ndim - 1)} | {value.ndim - 1: "length"}
        for name, value in example.items()
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it is the classic exporter, and what is constant in the trace
        torch.onnx.export(
            plain,
            tuple(_tensors(example).values()),
            str(file),
            dynamo=False,
            opset_version=OPSET,
            input_names=list(example),
            output_names=list(plain.outputs),
            dynamic_axes=axes,
        )


def _quantised(file: Path) -> Path:
    """The same with matrices of 8 bits, activations quantised as they come."""
    import logging

    from onnxruntime.quantization import QuantType, quantize_dynamic

    target = file.with_name("model.int8.onnx")
    logging.getLogger().setLevel(logging.ERROR)  # it advises on the root logger
    quantize_dynamic(file, target, weight_type=QuantType.QInt8)
    return target


def _session(file: Path) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    # Threads that wait would take the cores that PyTorch is timed on.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])


def _run(session: Any, inputs: Arrays) -> list[NDArray[Any]]:
    """The outputs; tracing leaves out inputs that the model does nothing with."""
    known = {entry.name for entry in session.get_inputs()}
    found: list[NDArray[Any]] = session.run(
        None, {name: value for name, value in inputs.items() if name in known}
    )
    return found


def _compared(
    plain: Plain, file: Path, collate: Collate, split: TokenSplit, progress: Progress
) -> tuple[float, float | None]:
    """The largest difference of its outputs, and the share of the same choices, as `OnnxModel` has them."""
    session, count = _session(file), min(len(split), MOST_COMPARED)
    largest, same, choices = 0.0, 0, 0
    for start in range(0, count, EXAMPLES):
        inputs = _inputs(collate, split, np.arange(start, min(start + EXAMPLES, count)))
        with torch.inference_mode():
            expected = [value.float().numpy() for value in plain(*_tensors(inputs).values())]
        for name, one, other in zip(plain.outputs, expected, _run(session, inputs), strict=True):
            left, right = _real(one, inputs[MASK]), _real(other, inputs[MASK])
            largest = max(largest, float(np.nan_to_num(np.abs(left - right).max(), nan=np.inf)))
            if name.endswith("logits") and left.shape[-1] > 1:
                same += int((left.argmax(-1) == right.argmax(-1)).sum())
                choices += left[..., 0].size
        progress(min(start + EXAMPLES, count), count)
    return largest, same / choices if choices else None


def _real(values: NDArray[Any], mask: NDArray[Any]) -> NDArray[Any]:
    """Outputs of tokens that are no padding, and all outputs of a sequence."""
    return values[mask == 1] if values.shape[: mask.ndim] == mask.shape else values


def _texts(model: Any, example: Arrays, count: int) -> Arrays:
    """Made-up texts of `timed_length` tokens with the inputs of the example."""
    shape = (count, *(1,) * (example["input_ids"].ndim - 2), timed_length(model.config))
    ids = np.random.default_rng(0).integers(0, model.config.vocab_size, shape)
    made = {"input_ids": ids, MASK: np.ones_like(ids)}
    return {name: made.get(name, np.zeros_like(ids)) for name in example}


def _torch_call(plain: Plain, text: Arrays) -> Callable[[], Any]:
    tensors = tuple(_tensors(text).values())
    return lambda: plain(*tensors)


def _onnx_call(file: Path, text: Arrays) -> Callable[[], Any]:
    session = _session(file)
    return lambda: _run(session, text)


def _latencies(plain: Plain, files: Sequence[Path], texts: Arrays, repeats: int) -> list[float]:
    """Milliseconds of the median call of PyTorch and of each file."""
    return in_turns([_torch_call(plain, texts), *(_onnx_call(path, texts) for path in files)], repeats)


def _tensors(inputs: Mapping[str, NDArray[Any]]) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(value) for name, value in inputs.items()}
