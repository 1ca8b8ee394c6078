"""An error planted in each part of the engine: the probe names it, and the way that is taken does without it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from launcher.engine.choice import Wish, choose
from launcher.engine.findings import Finding, Taken
from launcher.train.model import precision as formats
from launcher.train.packed import attention, dropout, in_place
from launcher.train.packed.packing import PackedCollate, Packing
from launcher.train.probe import probe as probing
from launcher.train.probe import timing
from launcher.train.probe.families import tiny_plan, tiny_subject
from launcher.train.probe.kernels import Tried, try_captured, try_compiled
from launcher.train.probe.probe import Plans, probe
from launcher.train.probe.subject import Subject
from launcher.train.process.ranks import Ranks
from launcher.train.tasks import Task

CPU = torch.device("cpu")
NOTHING_ELSE = Plans()
Patch = pytest.MonkeyPatch
Body = Callable[[], tuple[torch.Tensor, torch.Tensor]]


def tried(
    subject: Subject, plans: Plans = NOTHING_ELSE, **wish: Any
) -> tuple[dict[str, str], Taken, Finding]:
    """What is wrong by name, and what a long training would do."""
    finding = probe(subject, {"device": "here"}, plans)
    layout = "padded" if subject.packed is None else "packed"
    settings = {"kernels": "none", "passes": 10**6, **wish}
    taken = choose(finding, Wish(layout, **settings), "here")
    return {part.name: part.text for part in finding.parts if part.state == "wrong"}, taken, finding


def bert_in(precision: str = "fp32") -> Subject:
    return tiny_subject("bert", precision, CPU)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("family", ["bert", "distilbert", "modernbert", "deberta-v2"])
def test_an_engine_without_an_error_is_found_right(family: str, precision: str) -> None:
    subject = tiny_subject(family, precision, CPU)
    wrong, taken, _ = tried(subject, by_time=False)
    assert wrong == {}
    assert taken.layout == ("padded" if subject.packed is None else "packed")
    assert not taken.is_fallback


def test_a_probe_leaves_no_trace() -> None:
    """Neither in the generator, nor in weights, gradients or the mode of a module."""
    subject = bert_in()
    subject.model.train()
    subject.model.classifier.weight.grad = torch.ones_like(subject.model.classifier.weight)
    state, weights = torch.get_rng_state(), {n: p.clone() for n, p in subject.model.named_parameters()}
    tried(subject)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(p, weights[n]) for n, p in subject.model.named_parameters())
    grads = [n for n, p in subject.model.named_parameters() if p.grad is not None]
    assert grads == ["classifier.weight"]
    assert all(module.training for module in subject.model.modules())


class TwiceTheLoss:
    """A task whose loss counts packed micro-batches twice."""

    def __init__(self, task: Task) -> None:
        self._task = task

    def __getattr__(self, name: str) -> Any:
        return getattr(self._task, name)

    def loss_sum(self, output: Any, batch: Any) -> torch.Tensor:
        return self._task.loss_sum(output, batch) * (2 if "lengths" in batch.inputs else 1)


def test_a_gradient_off_by_a_factor() -> None:
    subject = bert_in()
    wrong, taken, _ = tried(dataclasses.replace(subject, task=TwiceTheLoss(subject.task)))
    assert wrong == {"gradients": "the packed gradient is 2 times the padded one"}
    assert taken.layout == "padded"
    assert taken.is_fallback


def test_a_wrong_derivative_of_attention(monkeypatch: Patch) -> None:
    def wrong(gradient: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        return gradient * weights

    monkeypatch.setattr(attention, "softmax_derivative", wrong)
    found, taken, _ = tried(bert_in())
    assert list(found) == ["gradients"]
    assert "from padded in fp32" in found["gradients"]
    assert taken.layout == "padded"


def test_attention_that_crosses_examples(monkeypatch: Patch) -> None:
    def crossing(query: Any, key: Any, value: Any, packing: Packing, **options: Any) -> torch.Tensor:
        if not options["first_only"]:
            everything = torch.tensor([packing.tokens])
            packing = Packing(everything, torch.tensor([0, packing.tokens], dtype=torch.int32))
        return attention.attend(query, key, value, packing, **options)

    monkeypatch.setattr(in_place, "attend", crossing)
    wrong, taken, _ = tried(bert_in())
    assert wrong["attention"] == "5 outputs of other examples change with the text of one"
    assert taken.layout == "padded"
    assert "attention: 5 outputs" in taken.why


@dataclasses.dataclass(frozen=True)
class GoingOn(PackedCollate):
    """Position ids that count on from one example to the next."""

    def __call__(self, *args: Any) -> Any:
        batch = super().__call__(*args)
        ids = batch.inputs["position_ids"]
        batch.inputs["position_ids"] = torch.arange(ids.shape[1])[None] + self.first_position
        return batch


@dataclasses.dataclass(frozen=True)
class ShiftedLabels(PackedCollate):
    """Each example has the label of its neighbour."""

    def __call__(self, *args: Any) -> Any:
        batch = super().__call__(*args)
        return dataclasses.replace(batch, labels=batch.labels.roll(1))


def collated(kind: type[PackedCollate]) -> Subject:
    subject = bert_in()
    assert subject.packed is not None
    return dataclasses.replace(subject, packed=kind(**vars(subject.packed)))


def test_positions_that_are_not_restarted() -> None:
    wrong, taken, _ = tried(collated(GoingOn))
    assert wrong["positions"].endswith("tokens are at another position")
    assert taken.layout == "padded"


def test_labels_of_other_examples() -> None:
    wrong, taken, _ = tried(collated(ShiftedLabels))
    assert wrong["labels"] == "6 labels stand at other examples than in the data"
    assert taken.layout == "padded"


def test_outputs_of_other_rows(monkeypatch: Patch) -> None:
    def last_first(self: Packing, hidden: torch.Tensor) -> torch.Tensor:
        return hidden.index_select(1, self.first_rows.roll(1))

    monkeypatch.setattr(Packing, "first", last_first)
    wrong, taken, _ = tried(bert_in())
    assert "rows" in wrong
    assert taken.layout == "padded"


def test_dropout_at_half_its_rate(monkeypatch: Patch) -> None:
    real = dropout.dropped_levels
    monkeypatch.setattr(dropout, "dropped_levels", lambda p: real(p / 2))
    wrong, taken, _ = tried(bert_in())
    assert wrong["rate of hidden dropout"].startswith(("drops 4.9", "drops 5.0"))
    assert wrong["rate of attention dropout"].endswith("where 10.00% are wanted")
    assert (taken.layout, taken.dropout) == ("padded", "stock")


def with_masks(monkeypatch: Patch, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
    real = dropout.keep_mask

    def changed(shape: Any, *args: Any) -> torch.Tensor:
        return change(real(shape, *args))

    monkeypatch.setattr(dropout, "keep_mask", changed)
    monkeypatch.setattr(attention, "keep_mask", changed)


def test_dropout_that_is_the_same_in_two_rows(monkeypatch: Patch) -> None:
    with_masks(monkeypatch, lambda mask: mask[:1].expand_as(mask).clone())
    wrong, taken, _ = tried(bert_in())
    assert wrong["independence of hidden dropout"].startswith("masks of two rows agree in 100.0%")
    assert wrong["independence of attention dropout"].startswith("masks of two rows agree in 100.0%")
    assert (taken.layout, taken.dropout) == ("padded", "stock")


def test_dropout_that_is_the_same_in_two_steps(monkeypatch: Patch) -> None:
    real = dropout.keep_mask

    def seeded(shape: Any, p: float, dtype: Any, device: Any, _generator: Any = None) -> torch.Tensor:
        return real(shape, p, dtype, device, torch.Generator().manual_seed(0))

    monkeypatch.setattr(dropout, "keep_mask", seeded)
    monkeypatch.setattr(attention, "keep_mask", seeded)
    wrong, taken, _ = tried(bert_in())
    assert wrong["independence of hidden dropout"].startswith("masks of two draws agree in 100.0%")
    assert wrong["dropout of steps"] == "two steps drop the same"
    assert (taken.layout, taken.dropout) == ("padded", "stock")


def test_a_step_in_another_number_format(monkeypatch: Patch) -> None:
    monkeypatch.setitem(formats.AUTOCAST_DTYPES, "bf16", torch.float16)
    wrong, taken, _ = tried(bert_in("bf16"))
    assert wrong["precision"] == "products are in float16, and precision=bf16"
    assert taken.is_fallback


def test_a_packed_path_that_loses_digits_in_half_precision_alone(monkeypatch: Patch) -> None:
    def coarse(hidden: torch.Tensor) -> torch.Tensor:
        return hidden.to(torch.bfloat16).mul(4).round().div(4) if torch.is_autocast_enabled("cpu") else hidden

    monkeypatch.setattr(in_place, "cast_once", coarse)
    wrong, taken, _ = tried(bert_in("bf16"))
    assert list(wrong) == ["gradients in bf16"]
    assert taken.layout == "padded"


def test_padding_that_is_read() -> None:
    class Unmasked(torch.nn.Module):
        """An encoder that overlooks its mask."""

        def __init__(self, model: Any) -> None:
            super().__init__()
            self.model = model

        def forward(self, **inputs: Any) -> Any:
            inputs.pop("attention_mask", None)
            return self.model(**inputs)

    subject = dataclasses.replace(bert_in(), packed=None)  # as of a family that has no packed path
    assert tried(subject)[0] == {}
    wrong, taken, _ = tried(dataclasses.replace(subject, model=Unmasked(subject.model)))
    assert "change with what stands in the padding" in wrong["padding"]
    assert taken.is_fallback  # there is no other way: it is said
    assert "padding" in taken.why


def stale(base: Any) -> None:
    """Stands in for torch.compile, and remembers the first output of all."""
    ordinary, kept = base.forward, {}

    def forward(**inputs: Any) -> Any:
        key = tuple(inputs["input_ids"].shape), base.training
        if key not in kept:
            kept[key] = inputs
        return ordinary(**kept[key])

    base.forward = forward


def test_a_compiled_step_that_repeats_the_batch_before() -> None:
    plans = Plans("inductor", lambda subject: try_compiled(subject, "packed", stale))
    wrong, taken, _ = tried(bert_in(), plans, kernels="inductor")
    assert "steps (inductor)" in wrong
    assert (taken.layout, taken.kernels) == ("packed", "none")
    assert taken.is_fallback


class Repeating:
    """Stands in for CUDA graphs: a recorded step is done again by calling it."""

    def warm(self, body: Body) -> tuple[torch.Tensor, torch.Tensor]:
        return body()

    def record(self, body: Body) -> Body:
        return body

    def discard(self) -> None:
        """Nothing was kept."""


class Stale(Repeating):
    """A graph that reads the micro-batch of its capture."""

    def record(self, body: Body) -> Body:
        found = body()
        return lambda: found


class Refusing(Repeating):
    """A step that can't be captured."""

    def record(self, _body: Body) -> Body:
        raise RuntimeError("operation not permitted when stream is capturing")


def captured(recorder: Repeating) -> tuple[dict[str, str], Taken, Finding]:
    def trial(subject: Subject) -> Tried:
        return try_captured(subject, tiny_plan(subject), Ranks(0, 0, 1, CPU), recorder)

    return tried(bert_in(), Plans("graph", trial), kernels="graph", by_time=False)


def test_a_captured_step_that_is_right() -> None:
    wrong, taken, finding = captured(Repeating())
    assert wrong == {}
    assert taken.kernels == "graph"
    assert finding.timing("packed", "graph") is not None


def test_a_captured_step_that_repeats_the_batch_before() -> None:
    wrong, taken, _ = captured(Stale())
    assert wrong["steps (graph)"] == "a step gives the values of the micro-batch before it"
    assert (taken.layout, taken.kernels) == ("packed", "none")
    assert "a step gives the values" in taken.why


def test_a_step_that_cannot_be_captured() -> None:
    wrong, taken, _ = captured(Refusing())
    assert "operation not permitted" in wrong["steps (graph)"]
    assert taken.kernels == "none"


def test_a_way_whose_time_is_lied(monkeypatch: Patch) -> None:
    real = timing.seconds_of
    monkeypatch.setattr(timing, "seconds_of", lambda action, device: real(action, device) / 10)
    wrong, taken, _ = tried(bert_in())
    assert "a second clock" in wrong["time of packed"]
    assert taken.layout == "packed"  # by what was planned, since no figure can be believed
    assert taken.is_fallback


def test_a_way_that_does_nothing_is_faster_than_its_arithmetic(monkeypatch: Patch) -> None:
    real = probing.pass_over
    monkeypatch.setattr(
        probing, "pass_over", lambda subject, layout: None if layout == "padded" else real(subject, layout)
    )
    wrong, taken, _ = tried(bert_in())
    assert "its arithmetic alone takes" in wrong["time of padded"]
    assert taken.layout == "packed"


def test_a_part_that_raises(monkeypatch: Patch) -> None:
    def broken(*_: Any, **__: Any) -> torch.Tensor:
        raise NotImplementedError("no kernel for this device")

    monkeypatch.setattr(in_place, "attend", broken)
    wrong, taken, _ = tried(bert_in())
    assert wrong["layouts"] == "raises NotImplementedError: no kernel for this device"
    assert taken.layout == "padded"


def test_examples_are_those_of_the_data() -> None:
    """The probe's own split of a few examples is what is in the whole one."""
    subject = bert_in()
    few = subject.first(3)
    assert [len(few.split), *few.split.lengths] == [3, *subject.split.lengths[:3]]
    assert np.array_equal(few.split.ids, subject.split.ids[: few.split.offsets[-1]])
