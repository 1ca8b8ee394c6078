"""Whole optimizer steps as CUDA graphs: forward, backward, clipping and update, launched at once.

A graph repeats the very kernels on the very memory it was captured with. So micro-batches are filled up to buckets
(`packing.Bucket`), copied to where the graph of their bucket reads them, and what the host decides in a step, the learning
rate and the number of loss terms, lies on the device. Dropout still differs from step to step: a graph draws from the
generator's seed and offset at the time of its replay.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import torch

from launcher.errors import first_line
from launcher.train.compat import abandoned_capture
from launcher.train.packed.packing import PackedCollate
from launcher.train.step.plain import Plain
from launcher.train.tasks import MicroBatch, Task
from launcher.train.tokens.cache import TokenSplit
from launcher.train.tokens.gather import Indices

USES_BEFORE_CAPTURE = 2
"""Steps of a bucket that are taken in the ordinary way first: kernels are chosen there, and rare buckets never captured."""
MOST_GRAPHS = 64
"""Buckets that are captured; steps of others launch their kernels one by one, which compute the same."""
ON_THE_HOST = ("lengths", "bucket")
"""Inputs that no kernel reads."""

Key = tuple[int, ...]


@dataclass(frozen=True)
class Done:
    """What a step gives; tensors of a graph hold until its next replay."""

    loss: torch.Tensor
    """Mean over the loss terms of the global batch."""
    grad_norm: torch.Tensor
    tokens: int
    """Real tokens."""
    positions: int
    """What was computed for them: tokens, and what fills up rows."""
    skipped: bool = False
    """Whether fp16 overflowed, and the weights are what they were."""


Body = Callable[[], tuple[torch.Tensor, torch.Tensor]]


class Recorder(Protocol):
    """Turns a step into something that repeats it."""

    def warm(self, body: Body) -> tuple[torch.Tensor, torch.Tensor]:
        """Do the step once, in the ordinary way."""

    def record(self, body: Body) -> Body:
        """What repeats the step, which has not been done then. RuntimeError where it can't be recorded."""

    def discard(self) -> None:
        """Give back the memory of what was recorded, which nothing refers to any more."""


class CudaRecorder:
    """CUDA graphs that share their memory: no two of them are ever under way together."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._pool = torch.cuda.graph_pool_handle()

    def warm(self, body: Body) -> tuple[torch.Tensor, torch.Tensor]:
        current = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            outputs = body()
        current.wait_stream(self._stream)
        for output in outputs:
            output.record_stream(current)
        return outputs

    def record(self, body: Body) -> Body:
        torch.cuda.synchronize(self._device)
        torch.cuda.empty_cache()  # what steps have left behind may be too little beside what graphs keep
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.stream(self._stream):
            # Other threads, which write checkpoints, may go on using the device meanwhile.
            graph.capture_begin(pool=self._pool, capture_error_mode="thread_local")
            try:
                outputs = body()
                graph.capture_end()
            except RuntimeError:
                self._abort(graph)
                raise

        def replay() -> tuple[torch.Tensor, torch.Tensor]:
            graph.replay()
            return outputs

        return replay

    def discard(self) -> None:
        torch.cuda.synchronize(self._device)
        torch.cuda.empty_cache()

    def _abort(self, graph: torch.cuda.CUDAGraph) -> None:
        """Undo the beginning of a capture that failed: ending it fails too, before it has told allocator and generator."""
        index = torch.cuda.current_device()
        try:
            graph.capture_end()
        except RuntimeError:
            abandoned_capture.release(index, self._pool)
        fresh = torch.Generator(self._device).graphsafe_get_state()
        torch.cuda.default_generators[index].graphsafe_set_state(fresh)


@dataclass
class _Bucketed:
    """One bucket: where its micro-batch lies, and how often it has come."""

    batch: MicroBatch
    units: torch.Tensor
    uses: int = 0
    replay: Body | None = None


@dataclass
class GraphedSteps:
    """Optimizer steps of a single micro-batch on a single rank."""

    task: Task
    strategy: Plain
    collate: PackedCollate
    recorder: Recorder
    notice: Callable[[str], None]
    _buckets: dict[Key, _Bucketed] = field(default_factory=dict)
    _off: bool = False

    def __post_init__(self) -> None:
        self.collate = dataclasses.replace(self.collate, fill=True)

    def step(self, split: TokenSplit, examples: Indices, epoch: int, units: float, lr: float) -> Done | None:
        """Take the step of this global batch; None where it has to be taken in the ordinary way, and nothing is done yet."""
        if self._off:
            return None
        batch = self.collate(split, examples, epoch)
        bucketed = self._place(batch, units)
        self.strategy.set_rate(lr)
        bucketed.uses += 1

        def body() -> tuple[torch.Tensor, torch.Tensor]:
            output = self.strategy.forward(bucketed.batch.inputs)
            loss_sum = self.task.loss_sum(output, bucketed.batch)
            self.strategy.backward(loss_sum, bucketed.units, last=True)
            self.strategy.clip()
            return loss_sum.detach() / bucketed.units, self.strategy.update().grad_norm

        if bucketed.replay is None and bucketed.uses > USES_BEFORE_CAPTURE:
            try:
                bucketed.replay = self.recorder.record(body)
            except RuntimeError as error:
                self._give_up(error)
                return None
        if bucketed.replay is not None:
            return Done(*bucketed.replay(), batch.tokens, batch.positions)
        try:
            return Done(*self.recorder.warm(body), batch.tokens, batch.positions)
        except torch.OutOfMemoryError as error:  # the graphs keep what an ordinary step would have
            if not self._recorded():
                raise
            self._give_up(error)
            return None

    def forget(self) -> None:
        """Capture anew from here on: the optimizer's state has moved to other memory."""
        self._buckets.clear()
        self.recorder.discard()

    def _recorded(self) -> bool:
        return any(bucketed.replay is not None for bucketed in self._buckets.values())

    def _place(self, batch: MicroBatch, units: float) -> _Bucketed:
        """The bucket of this micro-batch, with the micro-batch in its place."""
        assert batch.labels is not None
        key: Key = (
            batch.inputs["input_ids"].shape[1],
            len(batch.labels),
            *batch.inputs["bucket"].tolist(),
        )
        found = self._buckets.get(key)
        if found is None:
            if len(self._buckets) >= MOST_GRAPHS:
                return _Bucketed(batch, torch.full((), units, device=batch.labels.device))
            # Not the collated tensors themselves: the next step's copies are made while this one is under way.
            inputs = {
                name: value if name in ON_THE_HOST else value.clone() for name, value in batch.inputs.items()
            }
            placed = dataclasses.replace(batch, inputs=inputs, labels=batch.labels.clone())
            found = _Bucketed(placed, torch.full((), units, device=batch.labels.device))
            self._buckets[key] = found
            return found
        assert found.batch.labels is not None
        for name, place in found.batch.inputs.items():
            place.copy_(batch.inputs[name], non_blocking=True)
        found.batch.labels.copy_(batch.labels, non_blocking=True)
        found.units.fill_(units)
        return found

    def _give_up(self, error: RuntimeError) -> None:
        self._off = True
        self._buckets.clear()
        self.strategy.discard()
        self.recorder.discard()
        self.notice(f"steps are not CUDA graphs any more: {first_line(error)}")
