"""What a launch will need: memory, bytes sent, arithmetic and time, from a model's shape alone.

Everything is pure, in bytes, seconds and floating-point operations, and an estimate: `result.json` puts the
measured figures beside it. tests/train/test_estimate_against_torch.py holds the activations to what autograd
saves, and the parameter counts to transformers.
"""

from __future__ import annotations

import math
import sys
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

from launcher.families.shared.base import ModelShape, resolve_lora_targets

FP32 = 4
OPTIMIZER_BYTES = {"adamw": 8, "adam": 8, "lamb": 8, "rmsprop": 4, "sgd": 0, "adafactor": 0}
"""State per trained parameter, momentum aside: two fp32 moments, one, or none; Adafactor keeps sums of rows and columns."""
BUCKET_ELEMENTS = 50_000_000
"""Elements of DeepSpeed's reduce bucket that the estimate assumes; DeepSpeed's own default, 5e8, is 2 GB."""
DDP_BUCKET_BYTES = 25 * 2**20
CUDA_CONTEXT_BYTES = 600 * 2**20
"""CUDA context, cuBLAS and cuDNN workspaces: an assumption, rounded up from what drivers report."""
NCCL_BYTES = 300 * 2**20
"""NCCL's channels and buffers with several ranks: an assumption."""
HOST_PROCESS_BYTES = 700 * 2**20
"""A Python process with torch and transformers loaded, resident."""
SLACK = 0.05
"""Share of the allocator's memory that is lost to fragmentation: an assumption."""


@dataclass(frozen=True)
class Setup:
    """How a model is trained, as far as memory, traffic and time depend on it."""

    tuning: Literal["full", "lora"] = "full"
    lora_r: int = 8
    lora_targets: Sequence[str] | None = None
    """Leaf names of the adapted modules; None means the family's default."""
    world_size: int = 1
    zero_stage: int = 0
    offload: Literal["none", "cpu", "nvme"] = "none"
    precision: Literal["bf16", "fp16", "fp32"] = "bf16"
    """bf16 and fp16 are autocast over fp32 parameters under every strategy."""
    optimizer: str = "adamw"
    momentum: bool = False
    """Whether sgd or rmsprop keep a momentum."""
    dora: bool = False
    """Whether adapters have a length for each output too."""
    train_embeddings: bool = False
    """Whether the word embeddings train beside adapters."""
    frozen_embeddings: bool = False
    """Without adapters: whether the embeddings don't train."""
    frozen_layers: int = 0
    """Without adapters: how many layers don't train."""
    averaged: bool = False
    """Whether an average of the weights is kept."""
    passes: int = 1
    """Forward passes whose activations are kept until one backward pass."""
    gradient_checkpointing: bool = False
    head_parameters: int | None = None
    """Parameters outside the encoder's body, trained in full; None means a two-label classification head."""
    device: Literal["cuda", "cpu"] = "cuda"
    graphed: bool = False
    """Whether a step is launched at once, as a CUDA graph."""
    attention: Literal["flash", "eager"] = "flash"
    """Flash keeps no scores (sdpa, variable-length kernels), eager does; some families are always eager."""
    dropout: bool = True
    """Whether masks of dropout are kept."""


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes of one rank at the peak of a step; `host` and `disk` hold what is offloaded."""

    weights: int
    """fp32 parameters, and their 2-byte copies that autocast keeps from forward to backward."""
    gradients: int
    optimizer: int
    """Optimizer state, and DeepSpeed's own fp32 copy of the partition in ZeRO 1 and 2."""
    activations: int
    other: int
    """Context, communication buffers and fragmentation."""
    host: int = 0
    disk: int = 0

    @property
    def total(self) -> int:
        """Bytes on the device."""
        return self.weights + self.gradients + self.optimizer + self.activations + self.other


@dataclass(frozen=True)
class TrafficEstimate:
    """What one rank sends in an optimizer step."""

    parameters: int
    trainable_parameters: int
    bytes_per_step: int
    hops: int
    """Messages that follow one another, each of which costs the link's latency."""


def adapter_parameters(shape: ModelShape, setup: Setup) -> int:
    """Parameters of the adapters: r x (inputs + outputs) for each adapted module (Hu et al. 2021)."""
    return sum(
        count * (setup.lora_r * (inputs + outputs) + outputs * setup.dora)
        for count, inputs, outputs in _adapted(shape, setup)
    )


def head_parameters(shape: ModelShape, setup: Setup) -> int:
    """Parameters outside the encoder's body."""
    return shape.classifier_parameters(2) if setup.head_parameters is None else setup.head_parameters


def total_parameters(shape: ModelShape, setup: Setup) -> int:
    """Body, head and adapters."""
    return shape.body_parameters + head_parameters(shape, setup) + adapter_parameters(shape, setup)


def trainable_parameters(shape: ModelShape, setup: Setup) -> int:
    """Parameters that have a gradient: all that are not frozen, or adapters and head under LoRA."""
    if setup.tuning == "lora":
        frozen = shape.body_parameters
        frozen -= shape.vocab * shape.embedding_size if setup.train_embeddings else 0
    else:
        frozen = min(setup.frozen_layers, shape.layers) * shape.layer_parameters
        frozen += shape.embedding_parameters if setup.frozen_embeddings else 0
    return total_parameters(shape, setup) - frozen


def live_parameters(shape: ModelShape) -> int:
    """Parameters that ZeRO 3 gathers at a time: the embeddings or two layers, whichever is more.

    It holds where `stage3_max_live_parameters` and `stage3_max_reuse_distance` are set to this; DeepSpeed's
    default of 1e9 keeps a whole BERT-large gathered.
    """
    return max(shape.embedding_parameters, 2 * shape.layer_parameters)


def estimate_memory(
    shape: ModelShape, setup: Setup, *, micro_batch_size: int, max_length: int, max_tokens: int | None = None
) -> MemoryEstimate:
    """Peak memory of one rank for micro-batches of `micro_batch_size` examples of `max_length` tokens.

    Weights and gradients are fp32 and AdamW keeps 8 bytes: 16 bytes per parameter, as in the ZeRO paper
    (Rajbhandari et al. 2020, section 3.1), though split otherwise (there 2 + 2 + 12); other
    optimizers keep less. ZeRO 1 divides the
    optimizer state by the ranks, 2 also the gradients, 3 also the weights. Under LoRA only adapters and
    head have gradients and state. `max_tokens` bounds the micro-batch too.
    """
    weights = _weight_bytes(shape, setup) + _autocast_copies(shape, setup)
    gradients, optimizer, host, disk = _state_bytes(shape, setup)
    tokens = min(micro_batch_size * max_length, max_tokens or sys.maxsize)
    activations = setup.passes * activation_bytes(shape, setup, tokens=tokens, length=max_length)
    if setup.graphed:  # what graphs compute in they keep, and ordinary steps come between them
        gradients, activations = 2 * gradients, 2 * activations
    other = _other_bytes(setup, weights + gradients + optimizer + activations)
    return MemoryEstimate(weights, gradients, optimizer, activations, other, host, disk)


def largest_micro_batch(
    shape: ModelShape,
    setup: Setup,
    *,
    capacity: int,
    max_length: int,
    cap: int,
    max_tokens: int | None = None,
) -> int:
    """The most examples (up to `cap`) of `max_length` tokens that fit in `capacity` bytes; 0: not even one."""

    def needed(examples: int) -> int:
        return estimate_memory(
            shape, setup, micro_batch_size=examples, max_length=max_length, max_tokens=max_tokens
        ).total

    return bisect_right(range(1, cap + 1), capacity, key=needed)


def _weight_bytes(shape: ModelShape, setup: Setup) -> int:
    """fp32 parameters on the device: all, or under ZeRO 3 this rank's share and what is gathered at a time."""
    total = total_parameters(shape, setup)
    if setup.zero_stage < 3:
        return FP32 * total
    share = _share(total, setup.world_size) if setup.offload == "none" else 0
    return FP32 * (share + min(total, live_parameters(shape)))


def _state_bytes(shape: ModelShape, setup: Setup) -> tuple[int, int, int, int]:
    """Gradients and optimizer state on the device, then what is in host memory and on disk."""
    stage, offloaded = setup.zero_stage, setup.offload != "none" and setup.zero_stage > 0
    trained = trainable_parameters(shape, setup)
    share = _share(trained, setup.world_size)
    gradients = FP32 * (share if stage >= 2 else trained)
    # DeepSpeed 0.19 clones the partition in stages 1 and 2 though it is fp32 already; stage 3 shares it.
    master = FP32 * share if stage in (1, 2) or (stage == 3 and offloaded) else 0
    optimizer = optimizer_bytes(setup) * (share if stage else trained) + master
    if not offloaded:
        return gradients, optimizer, 0, 0
    staged = FP32 * share * (1 if stage == 3 else 2)  # gradients, and below stage 3 the updated weights
    moved = optimizer
    if stage == 3:
        moved += FP32 * _share(total_parameters(shape, setup), setup.world_size)
    host, disk = (staged, moved) if setup.offload == "nvme" else (staged + moved, 0)
    return (gradients if stage == 1 else 0), 0, host, disk


def optimizer_bytes(setup: Setup) -> int:
    """Bytes of optimizer state, and of an average of the weights, for each trained parameter."""
    return OPTIMIZER_BYTES[setup.optimizer] + FP32 * (setup.momentum + setup.averaged)


def activation_bytes(shape: ModelShape, setup: Setup, *, tokens: int, length: int) -> int:
    """Bytes kept for the backward pass of `tokens` tokens in examples of `length`, with one layer's work space.

    Counted operation by operation as in Korthikanti et al. 2022 (section 4), whose 34 bytes x hidden per
    token and layer hold for 16-bit norms. Here norms are fp32 and keep their inputs (4 bytes), each matrix
    keeps its input in the compute type (c bytes: 2 under autocast, else 4), and autocast casts a shared
    input once for every matrix that reads it. A BERT layer keeps 26h + 4i bytes in bf16 and 34h + 8i in fp32
    (h hidden, i intermediate), masks of dropout included; flash attention has no term in length squared.
    With checkpointing each layer keeps its fp32 input, and one layer is recomputed at a time.
    """
    layer = _layer_bytes(shape, setup, tokens, length)
    kept = 4 * shape.hidden * tokens
    layers = shape.layers * kept + layer if setup.gradient_checkpointing else shape.layers * layer
    mask = _mask(setup, FP32) * shape.hidden
    embeddings = tokens * (4 * shape.embedding_size + mask) if setup.tuning == "full" else tokens * mask
    hidden_and_ids = tokens * (4 * shape.hidden + 32)
    # Backward of the feed-forward holds the gradients at both sides of the activation and of the residual.
    work = tokens * (2 * _width(setup) * shape.intermediate + 8 * shape.hidden)
    return layers + embeddings + hidden_and_ids + work + 2 * _score_count(shape, setup, tokens, length) * FP32


def _layer_bytes(shape: ModelShape, setup: Setup, tokens: int, length: int) -> int:
    """What autograd keeps of one layer; LoRA's frozen matrices don't keep their inputs."""
    hidden, inner, c = shape.hidden, shape.intermediate, _width(setup)
    full = setup.tuning == "full"
    fused = len(shape.family.modules.attention_in) == 1
    readers = 1 if fused or c == FP32 else 3
    norms = 2 * FP32 * hidden
    inputs = (readers + 1) * c * hidden if full else 0
    # Query, key, value and the result; flash keeps a rotated query and key beside the whole fused matrix.
    attention = (6 if fused and setup.attention == "flash" else 4) * c * hidden
    elementwise = (3 if shape.gated else 1) * c * inner
    product = c * inner if full else 0
    masks = shape.family.dropout_masks * _mask(setup, c) * hidden
    per_token = norms + inputs + attention + elementwise + product + masks
    return (
        tokens * per_token + _adapter_bytes(shape, setup, tokens) + _score_bytes(shape, setup, tokens, length)
    )


def _adapter_bytes(shape: ModelShape, setup: Setup, tokens: int) -> int:
    """Each adapter of a layer keeps its own cast of the input, the mask of its dropout, and r values."""
    c, mask = _width(setup), _mask(setup, FP32)
    adapted = ((count // shape.layers, inputs) for count, inputs, _ in _adapted(shape, setup))
    return tokens * sum(count * ((c + mask) * inputs + c * setup.lora_r) for count, inputs in adapted)


def _score_bytes(shape: ModelShape, setup: Setup, tokens: int, length: int) -> int:
    """What one layer keeps of the attention scores; DeBERTa adds those of its positions."""
    c = _width(setup)
    # Autocast computes softmax in fp32 on a GPU only; some families do so anywhere.
    softmax = c if setup.device == "cpu" and not shape.family.softmax_in_fp32 else FP32
    dropped = c if setup.dropout or softmax != c else 0
    scores = _score_count(shape, setup, tokens, length) * (softmax + dropped + _mask(setup, softmax))
    if not shape.relative_span:
        return scores
    positions = 2 * shape.relative_span
    gathered = 2 * tokens * shape.heads * positions * c
    tables = 2 * -(-tokens // length) * positions * shape.hidden * c
    indices = 2 * 8 * length * length
    return scores + gathered + tables + indices + tokens * (c * shape.hidden + length)


def _score_count(shape: ModelShape, setup: Setup, tokens: int, length: int) -> int:
    eager = setup.attention == "eager" or not shape.family.has_flash_attention
    return tokens * shape.heads * length if eager else 0


def _width(setup: Setup) -> int:
    return FP32 if setup.precision == "fp32" else 2


def _mask(setup: Setup, width: int) -> int:
    """Bytes kept for each value that dropout sees: a flag on a GPU, the scaled noise on a CPU."""
    if not setup.dropout:
        return 0
    return width if setup.device == "cpu" else 1


def _autocast_copies(shape: ModelShape, setup: Setup) -> int:
    return 0 if setup.precision == "fp32" else 2 * (shape.linear_weights + head_parameters(shape, setup))


def _other_bytes(setup: Setup, own: int) -> int:
    """Fixed costs of the process on its device, DeepSpeed's bucket, and fragmentation of the rest."""
    bucket = FP32 * BUCKET_ELEMENTS if setup.zero_stage else 0
    if setup.device == "cpu":
        return HOST_PROCESS_BYTES + bucket
    return CUDA_CONTEXT_BYTES + (NCCL_BYTES if setup.world_size > 1 else 0) + bucket + int(SLACK * own)


def _adapted(shape: ModelShape, setup: Setup) -> list[tuple[int, int, int]]:
    if setup.tuning != "lora":
        return []
    modules = shape.linear_modules()
    return [kind for name in resolve_lora_targets(shape, setup.lora_targets) for kind in modules[name]]


def _share(elements: int, ranks: int) -> int:
    return -(-elements // ranks)


def estimate_traffic(shape: ModelShape, setup: Setup, *, micro_batches: int = 1) -> TrafficEstimate:
    """Bytes that each of N ranks sends in an optimizer step of `micro_batches`, everything in fp32.

    With g bytes of gradients, w bytes of parameters and f = (N - 1) / N, as in the ZeRO paper (section 7):
    plain, a ring all-reduce after the last micro-batch, 2fg; ZeRO 1, reduce-scatter and all-gather once,
    2fg; ZeRO 2 reduces after every micro-batch, fg x micro-batches + fg; ZeRO 3 gathers all parameters for
    every forward and backward, f(2w + g) x micro-batches, the frozen ones of LoRA included.
    """
    ranks, stage = setup.world_size, setup.zero_stage
    total, trained = total_parameters(shape, setup), trainable_parameters(shape, setup)
    reductions = micro_batches if stage >= 2 else 1
    gathered = 2 * micro_batches * total if stage == 3 else trained
    sent = FP32 * (reductions * trained + gathered) * (ranks - 1) // ranks
    return TrafficEstimate(total, trained, sent, _hops(shape, setup, trained, micro_batches))


def _hops(shape: ModelShape, setup: Setup, trained: int, micro_batches: int) -> int:
    """Latencies in a row: trees for all-reduce (Sanders et al. 2009, as in NCCL), rings for ZeRO's pieces."""
    ranks, stage = setup.world_size, setup.zero_stage
    if ranks == 1:
        return 0
    if stage == 0:
        return -(-FP32 * trained // DDP_BUCKET_BYTES) * 2 * math.ceil(math.log2(ranks))
    reductions = -(-trained // BUCKET_ELEMENTS) * (micro_batches if stage >= 2 else 1)
    gathers = 2 * micro_batches * (shape.layers + 1) if stage == 3 else 1
    return (reductions + gathers) * (ranks - 1)


def step_flops(shape: ModelShape, setup: Setup, *, tokens: int, mean_length: float) -> float:
    """Floating-point operations of forward and backward over `tokens` real tokens.

    `mean_length` is the mean over tokens of their example's length (sum of squares / sum). Forward is 2 per
    weight and token and 4 x hidden x length for attention, backward twice that: 6 per weight in all (Kaplan
    et al. 2020, section 2.1). LoRA skips the weight gradients of frozen matrices, which leaves 4;
    checkpointing computes the layers' forward pass again. Embeddings, norms and heads that read one token
    per example count as nothing.
    """
    attention = 4 * shape.hidden * _attention_lengths(shape, mean_length)
    adapters = adapter_parameters(shape, setup)
    weights, passes = shape.linear_weights, 3 if setup.tuning == "full" else 2
    forward = 2 * (weights + adapters) + attention
    again = forward if setup.gradient_checkpointing else 0
    return tokens * (passes * 2 * weights + 6 * adapters + 3 * attention + again)


def _attention_lengths(shape: ModelShape, mean_length: float) -> float:
    """Tokens that a token attends to, summed over the layers; DeBERTa also scores every relative position."""
    whole = shape.layers if shape.global_layers < 0 else shape.global_layers
    local = (shape.layers - whole) * min(mean_length, shape.local_window)
    return whole * mean_length + local + shape.layers * 2 * shape.relative_span


@dataclass(frozen=True)
class Device:
    """A kind of device; peaks are dense, in floating-point operations a second."""

    memory: int
    half_flops: float
    fp32_flops: float
    has_bf16: bool = True
    achievable: float = 0.4
    """Share of the peak that training reaches: an assumption near Megatron-LM's 44% for its smallest model
    (Narayanan et al. 2021, table 1)."""
    layer_launch_s: float = 2e-3
    """Host time to launch one layer's kernels, forward and backward: about 200 of 10 microseconds."""


DEVICES = {
    "H200": Device(141 * 10**9, 989e12, 67e12),  # NVIDIA H200 datasheet, SXM, without sparsity
    "H100 PCIE": Device(80 * 10**9, 756e12, 51e12),  # NVIDIA H100 datasheet, PCIe
    "H100": Device(80 * 10**9, 989e12, 67e12),  # NVIDIA H100 datasheet, SXM
    "A100": Device(40 * 10**9, 312e12, 19.5e12),  # NVIDIA A100 datasheet (the 80 GB one: give gpu_memory_gib)
    "V100": Device(16 * 10**9, 125e12, 15.7e12, has_bf16=False),  # NVIDIA V100 datasheet, SXM2, fp16
    "L40S": Device(48 * 10**9, 362e12, 91.6e12),  # NVIDIA L40S datasheet
    "T4": Device(16 * 10**9, 65e12, 8.1e12, has_bf16=False),  # NVIDIA T4 datasheet, fp16
    # One core with AVX512-BF16: best matmul 440 (bf16) and 103 GFLOP/s (fp32), BERT-base at 57% of that.
    "CPU": Device(0, 440e9, 103e9, achievable=0.57, layer_launch_s=5e-3),
}


def known_device(name: str) -> Device | None:
    """The device that a name such as `NVIDIA H200` or `a100` means, or None."""
    words = name.upper().replace("-", " ").split()
    named = (key for key in DEVICES if all(any(w.startswith(part) for w in words) for part in key.split()))
    return next((DEVICES[key] for key in named), None)


@dataclass(frozen=True)
class DeviceSpeed:
    """What one rank computes with: a rate, and times that don't shrink with the work."""

    flops_per_s: float
    fixed_s: float = 0.0
    """Seconds of every optimizer step whatever its size: the update, clipping, logging."""
    layer_launch_s: float = 0.0
    """Seconds of a layer in a micro-batch, forward and backward, that don't shrink with its work."""

    @classmethod
    def of(cls, device: Device, precision: str, units: int = 1) -> DeviceSpeed:
        """A device's achievable speed; `units` is the number of cores of a CPU."""
        peak = device.fp32_flops if precision == "fp32" else device.half_flops
        return cls(peak * device.achievable * units, layer_launch_s=device.layer_launch_s)


@dataclass(frozen=True)
class Link:
    """A connection between ranks; between nodes of several ranks, the node's whole network bandwidth."""

    latency_s: float
    bytes_per_s: float


@dataclass(frozen=True)
class Work:
    """One optimizer step's examples, over all ranks."""

    examples: int
    tokens: int
    mean_length: float
    micro_batch_size: int


@dataclass(frozen=True)
class StepTime:
    """Predicted seconds of one optimizer step."""

    compute_s: float
    exchange_s: float
    """Seconds of communication that computation doesn't hide."""
    examples: int

    @property
    def total_s(self) -> float:
        """Seconds from one step to the next."""
        return self.compute_s + self.exchange_s

    @property
    def examples_per_s(self) -> float:
        """Throughput over all ranks."""
        return self.examples / self.total_s


@dataclass(frozen=True)
class Prediction:
    """Throughput as a function of the number of nodes, for a global batch that stays the same."""

    shape: ModelShape
    setup: Setup
    """Its `world_size` is ignored."""
    work: Work
    device: DeviceSpeed
    link: Link
    gpus: int = 1
    """Ranks per node."""
    inside: Link | None = None
    """What connects the ranks of one node where there is only one; None means the same `link`."""
    overlap: float = 0.0
    """Share of the backward pass behind which communication can hide (backward is two thirds of the step)."""

    def step(self, nodes: int) -> StepTime:
        """One step on this many nodes: the slowest rank's arithmetic, then what of the exchange shows."""
        ranks, work = nodes * self.gpus, self.work
        examples = -(-work.examples // ranks)
        micro_batches = -(-examples // work.micro_batch_size)
        arithmetic = self._flops * examples / work.examples / self.device.flops_per_s
        alone = self.setup.graphed and micro_batches == 1
        launches = 0.0 if alone else micro_batches * self.shape.layers * self.device.layer_launch_s
        # A GPU computes while the host launches what comes next; a CPU does one after the other.
        busy = arithmetic + launches if self.setup.device == "cpu" else max(arithmetic, launches)
        traffic = estimate_traffic(
            self.shape, replace(self.setup, world_size=ranks), micro_batches=micro_batches
        )
        link = self.inside if self.inside and nodes == 1 else self.link
        exchange = traffic.hops * link.latency_s + traffic.bytes_per_step / link.bytes_per_s
        exposed = max(0.0, exchange - self.overlap * busy * 2 / 3)
        return StepTime(busy + self.device.fixed_s, exposed, work.examples)

    def efficiency(self, nodes: int) -> float:
        """Speed-up over one node, divided by the number of nodes."""
        return self.step(1).total_s / (nodes * self.step(nodes).total_s)

    def stops_paying(self, limit: int = 1024, least: float = 0.5) -> int | None:
        """The number of nodes at which efficiency falls under `least`; None where it holds up to `limit`."""
        worth = 1
        while worth * 2 <= limit and self.efficiency(worth * 2) >= least:
            worth *= 2
        candidates = range(worth + 1, min(worth * 2, limit) + 1)
        return next((nodes for nodes in candidates if self.efficiency(nodes) < least), None)

    @cached_property
    def _flops(self) -> float:
        work = self.work
        return step_flops(self.shape, self.setup, tokens=work.tokens, mean_length=work.mean_length)


def fit_device(points: Sequence[tuple[float, float]]) -> DeviceSpeed:
    """Speed and fixed time from measured (operations, seconds) of steps on one rank, by least squares."""
    rate, fixed = _fit([(flops, 1.0, seconds) for flops, seconds in points])
    return DeviceSpeed(1 / rate if rate else math.inf, fixed)


def fit_link(points: Sequence[tuple[int, int, float]]) -> Link:
    """Latency and bandwidth from measured (hops, bytes per rank, seconds) of exchanges, by least squares."""
    latency, slowness = _fit([(float(hops), float(sent), seconds) for hops, sent, seconds in points])
    return Link(latency, 1 / slowness if slowness else math.inf)


def _fit(rows: Sequence[tuple[float, float, float]]) -> tuple[float, float]:
    """Least squares for a x + b y = z with neither a nor b negative."""
    xx, xy, yy, xz, yz = (
        sum(row[i] * row[j] for row in rows) for i, j in ((0, 0), (0, 1), (1, 1), (0, 2), (1, 2))
    )
    determinant = xx * yy - xy * xy
    if determinant > 1e-12 * xx * yy:
        a, b = (xz * yy - yz * xy) / determinant, (yz * xx - xz * xy) / determinant
        if a >= 0 and b >= 0:
            return a, b
    only_a, only_b = (xz / xx if xx else 0.0, 0.0), (0.0, yz / yy if yy else 0.0)
    return min((only_a, only_b), key=lambda ab: sum((ab[0] * x + ab[1] * y - z) ** 2 for x, y, z in rows))
