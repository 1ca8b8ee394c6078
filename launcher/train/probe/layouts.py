"""Packed micro-batches against padded ones: gradients, examples that don't see each other, positions, rows, number formats."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from launcher.engine.findings import Of, Part
from launcher.train.model.family import family_of
from launcher.train.model.precision import autocast
from launcher.train.probe.subject import (
    DTYPES,
    Computed,
    Subject,
    compute,
    distance,
    exact_products,
    factor,
    rows_of,
)
from launcher.train.tasks import MicroBatch

EXACT = 1e-4
"""Most that two gradients in fp32 may differ, of their length: sums in another order."""
MANY_TIMES = 100.0
"""Or so many times what another order of the examples makes."""
ROUNDED = 2e-2
"""The same in half precision, against fp32."""
ALLOWED = 2.0
"""A packed gradient may be so many times as far from fp32 as the padded one of the same precision is."""
SAME_ROW = 1e-4
"""Most that an output may differ, of the largest output."""


def layout_parts(subject: Subject) -> Iterator[Part]:
    """Everything that is tried of the layouts."""
    with exact_products(subject.device):
        padded = compute(subject, subject.batch("padded"), "fp32")
        if subject.packed is None:
            yield padding(subject)
        else:
            packed = compute(subject, subject.batch("packed"), "fp32")
            yield gradients(packed, padded, rounding(subject, padded))
            yield rows(packed, padded)
            yield labels(subject)
            yield isolation(subject)
            yield positions(subject)
    yield from precision_parts(subject, padded)


def rounding(subject: Subject, padded: Computed) -> float:
    """How far the order of the examples alone moves the padded gradient: where terms cancel out, further than usual."""
    backwards = compute(subject, subject.batch("padded", subject.examples[::-1].copy()), "fp32")
    return distance(backwards.gradients, padded.gradients)


def gradients(packed: Computed, padded: Computed, noise: float = 0.0) -> Part:
    """The gradient of a micro-batch in fp32, packed against padded."""
    apart = distance(packed.gradients, padded.gradients)
    text = f"packed is {apart:.1e} from padded in fp32"
    if not apart <= max(EXACT, MANY_TIMES * noise):
        times = factor(packed.gradients, padded.gradients)
        scaled = {name: value * times for name, value in padded.gradients.items()}
        if distance(packed.gradients, scaled) <= EXACT:
            text = f"the packed gradient is {times:.3g} times the padded one"
        return Part("gradients", "packed", "wrong", text)
    return Part("gradients", "packed", "right", text)


def rows(packed: Computed, padded: Computed) -> Part:
    """Each output beside that of the same sequence or token."""
    name, found, expected = "rows", packed.rows, padded.rows
    if not len(found) and not len(expected):
        return Part(name, "packed", "not tried", "the task has no outputs of its own")
    if found.shape != expected.shape:
        text = f"packed gives {tuple(found.shape)} outputs, padded {tuple(expected.shape)}"
        return Part(name, "packed", "wrong", text)
    finite = torch.where(expected.isfinite() & found.isfinite(), found - expected, 0.0).abs().amax(-1)
    far = finite > SAME_ROW * max(1e-6, float(expected[expected.isfinite()].abs().max()))
    if not far.any():
        return Part(name, "packed", "right", f"{len(found)} outputs are those of the padded model")
    text = f"{int(far.sum())} of {len(found)} outputs are not those of the padded model"
    if _are_in_another_order(found, expected):
        text = f"{int(far.sum())} of {len(found)} outputs are those of other rows"
    return Part(name, "packed", "wrong", text)


def _are_in_another_order(found: torch.Tensor, expected: torch.Tensor) -> bool:
    """Whether every row found is some row expected."""
    nearest = torch.cdist(found[None], expected[None])[0].amin(-1)
    return bool((nearest <= 10 * SAME_ROW * float(expected.abs().max())).all())


def labels(subject: Subject) -> Part:
    """Labels and marks that the loss is given, against those of the data."""
    name, given, split = "labels", subject.batch("packed"), subject.split
    wrong = 0
    if given.labels is not None and split.labels is not None:
        expected = torch.from_numpy(np.ascontiguousarray(split.labels)).to(given.labels.device)
        same = expected.shape == given.labels.shape
        wrong += int((~_equal(given.labels, expected)).sum()) if same else len(split)
    other = subject.batch("padded")
    if given.marks is not None and other.marks is not None:
        same = given.marks.shape == other.marks.shape
        wrong += int((given.marks != other.marks).sum()) if same else len(given.marks)
    if wrong:
        return Part(name, "packed", "wrong", f"{wrong} labels stand at other examples than in the data")
    return Part(name, "packed", "right", f"those of {len(split)} examples are in their places")


def _equal(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Where two tensors hold the same; what is unknown in both, NaN, is the same."""
    return (left == right) | ((left != left) & (right != right))


def isolation(subject: Subject) -> Part:
    """Another text in one example, and nothing but its own outputs may change."""
    name, batch = "attention", subject.batch("packed")
    lengths = batch.inputs["lengths"].tolist()
    changed = int(np.argmax(lengths))
    start = sum(lengths[:changed])
    inputs = dict(batch.inputs)
    ids = inputs["input_ids"].clone()
    ids[0, start : start + lengths[changed]] = ids[0, start : start + lengths[changed]].flip(0)
    inputs["input_ids"] = ids
    before = _outputs(subject, batch, batch.inputs)
    if not len(before):
        return Part(name, "packed", "not tried", "the task has no outputs of its own")
    moved = _moved(_outputs(subject, batch, inputs), before)
    own = _rows_of_sequence(batch, changed, len(moved), start, lengths[changed])
    if own is None or len(lengths) == 1:
        return Part(name, "packed", "not tried", "there is nothing that could be told apart")
    others = moved.clone()
    others[own] = False
    if others.any():
        text = f"{int(others.sum())} outputs of other examples change with the text of one"
        return Part(name, "packed", "wrong", text)
    if not moved.any():
        return Part(name, "packed", "not tried", "its own outputs don't change either")
    return Part(name, "packed", "right", "no example sees another")


def _outputs(subject: Subject, batch: MicroBatch, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    """The outputs of a micro-batch in the run's own precision."""
    subject.model.eval()
    with torch.no_grad(), autocast(subject.precision, subject.device):
        return rows_of(subject.model(**inputs), batch)


def _moved(after: torch.Tensor, before: torch.Tensor) -> torch.Tensor:
    """(rows,) whether an output has changed."""
    both = after.isfinite() & before.isfinite()
    apart = torch.where(both, after - before, 0.0).abs().amax(-1)
    return apart > SAME_ROW * max(1e-6, float(before[before.isfinite()].abs().max()))


def _rows_of_sequence(
    batch: MicroBatch, sequence: int, count: int, start: int, length: int
) -> torch.Tensor | None:
    """Places of the outputs that belong to a sequence, or None where nobody can say."""
    sequences = len(batch.inputs["lengths"])
    if count == sequences:
        return torch.tensor([sequence])
    if batch.sequences is not None and count == len(batch.sequences):
        return torch.tensor([int(np.searchsorted(np.cumsum(batch.sequences), sequence, side="right"))])
    places = batch.inputs.get("selected")
    if places is None:
        places = torch.arange(batch.inputs["input_ids"].shape[1])
    if len(places) != count:
        return None
    places = places.cpu()
    return torch.nonzero((places >= start) & (places < start + length))[:, 0]


def positions(subject: Subject) -> Part:
    """Positions of packed tokens count anew in each sequence, from where the family's first one is."""
    name, inputs = "positions", subject.batch("packed").inputs
    config = subject.base.config
    first = family_of(config).first_position(config.pad_token_id)
    expected = torch.cat([torch.arange(first, first + n) for n in inputs["lengths"].tolist()])
    found = inputs["position_ids"].reshape(-1).cpu()
    if found.shape != expected.shape or not torch.equal(found, expected):
        wrong = int((found != expected).sum()) if found.shape == expected.shape else len(expected)
        return Part(name, "packed", "wrong", f"{wrong} of {len(expected)} tokens are at another position")
    return Part(
        name, "packed", "right", f"they start at {first} in each of {len(inputs['lengths'])} sequences"
    )


def padding(subject: Subject) -> Part:
    """Other tokens in the place of padding change nothing."""
    name, batch = "padding", subject.batch("padded")
    mask = batch.inputs.get("attention_mask")
    if mask is None or not len(_outputs(subject, batch, batch.inputs)):
        return Part(name, "padded", "not tried", "nothing is padded among examples of one length")
    ids = batch.inputs["input_ids"]
    other = torch.where(mask == 0, ids[0, 0], ids)
    after = _outputs(subject, batch, {**batch.inputs, "input_ids": other})
    wrong = int(_moved(after, _outputs(subject, batch, batch.inputs)).sum())
    if wrong:
        return Part(name, "padded", "wrong", f"{wrong} outputs change with what stands in the padding")
    return Part(name, "padded", "right", "no output depends on it")


def precision_parts(subject: Subject, exact: Computed) -> Iterator[Part]:
    """The run's precision: that it is used, and how far from fp32 it is, packed and padded."""
    precision = subject.precision
    padded = compute(subject, subject.batch("padded"), precision)
    if subject.packed is None:
        yield _number_format("padded", precision, padded)
        return
    packed = compute(subject, subject.batch("packed"), precision)
    # What is wrong with both has no other way beside it.
    yield _number_format("packed" if padded.dtype == DTYPES[precision] else "padded", precision, packed)
    if precision != "fp32":
        yield _rounding(precision, packed, padded, exact)


def _number_format(of: Of, precision: str, found: Computed) -> Part:
    kind = str(found.dtype).removeprefix("torch.")
    if found.dtype != DTYPES[precision]:
        return Part("precision", of, "wrong", f"products are in {kind}, and precision={precision}")
    return Part("precision", of, "right", f"products are in {kind}")


def _rounding(precision: str, packed: Computed, padded: Computed, exact: Computed) -> Part:
    name = f"gradients in {precision}"
    own, other = distance(packed.gradients, exact.gradients), distance(padded.gradients, exact.gradients)
    text = f"packed is {own:.1e} from fp32, padded {other:.1e}"
    wrong = not own <= max(ROUNDED, ALLOWED * other)
    return Part(name, "packed", "wrong" if wrong else "right", text)
