"""What a launch will need: memory and bytes sent, from a model's shape alone; `step_time` says how long it takes.

Everything is pure, in bytes, and an estimate: `result.json` puts the
measured figures beside it. tests/train/test_estimate_against_torch.py holds the activations to what autograd
saves, and the parameter counts to transformers.
"""

from __future__ import annotations

import math
import sys
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from launcher.families.shared.base import ModelShape, resolve_lora_targets
from launcher.recipe.optimizers import OPTIMIZERS, Optimizer

FP32 = 4
BUCKET_ELEMENTS = 50_000_000
"""Elements of DeepSpeed's reduce bucket that the estimate assumes; DeepSpeed's own default, 5e8, is 2 GB."""
DDP_BUCKET_BYTES = 25 * 2**20
CUDA_CONTEXT_BYTES = 600 * 2**20
"""CUDA context, cuBLAS and cuDNN workspaces: an assumption, rounded up from what drivers report."""
NCCL_BYTES = 300 * 2**20
"""NCCL's channels and buffers with several ranks: an assumption."""
HOST_PROCESS_BYTES = 700 * 2**20
"""A Python process with torch and transformers loaded, resident."""
SCORES_KEPT = 2**24
"""Most attention scores of a layer that are kept where positions are relative; more are computed again, in groups."""
SCORES_IN_WORK = 2**22
"""Most scores of such a group."""
EVALUATED_EXAMPLES = 256
"""Most examples of a micro-batch that is evaluated."""
EVALUATED_TOKENS = {"cpu": 2048, "cuda": 16384}
"""Most tokens of one, by kind of device: logits of 15% of 16,384 tokens over XLM-R's 250,002 words take 2.5 GB in fp32."""
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
    optimizer: Optimizer = "adamw"
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
    guessed: float = 0.0
    """Share of the tokens that the head scores each word of the vocabulary for."""


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes of one rank at the peak of a step; `host` and `disk` hold what is offloaded."""

    weights: int
    """fp32 parameters, and their 2-byte copies that autocast keeps from forward to backward."""
    gradients: int
    optimizer: int
    """Optimizer state, and DeepSpeed's own fp32 copy of the partition in ZeRO 1 and 2."""
    activations: int
    """Of a step, or of an evaluation where that computes with more."""
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
        frozen = min(setup.frozen_layers, shape.own_layers) * shape.layer_parameters
        frozen += shape.embedding_parameters if setup.frozen_embeddings else 0
    return total_parameters(shape, setup) - frozen


def idle_copies(shape: ModelShape, setup: Setup) -> int:
    """Parameters that lie idle under LoRA: of what is trained in full beside the adapters, peft keeps what it was before."""
    if setup.tuning != "lora":
        return 0
    return trainable_parameters(shape, setup) - adapter_parameters(shape, setup)


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
    head have gradients and state. `max_tokens` bounds the micro-batch too, down to one example.
    """
    weights = _weight_bytes(shape, setup) + _autocast_copies(shape, setup)
    gradients, optimizer, host, disk = _state_bytes(shape, setup)
    tokens = min(micro_batch_size * max_length, max(max_length, max_tokens or sys.maxsize))
    activations = setup.passes * activation_bytes(shape, setup, tokens=tokens, length=max_length)
    if setup.graphed:  # what graphs compute in they keep, and ordinary steps come between them
        gradients, activations = 2 * gradients, 2 * activations
    activations = max(activations, evaluation_bytes(shape, setup, max_length))
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
    total = total_parameters(shape, setup) + idle_copies(shape, setup)
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
    optimizer = optimizer_bytes(setup) * (share if stage else trained) - saved_state(shape, setup) + master
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
    return OPTIMIZERS[setup.optimizer].state_bytes + FP32 * (setup.momentum + setup.averaged)


def saved_state(shape: ModelShape, setup: Setup) -> int:
    """Bytes of optimizer state that the matrices of layers and adapters do without."""
    optimizer = OPTIMIZERS[setup.optimizer]
    if optimizer.matrix_bytes is None:
        return 0
    elements = sum(count * rows * columns for count, rows, columns in trained_matrices(shape, setup))
    return (optimizer.state_bytes - optimizer.matrix_bytes) * elements


def trained_matrices(shape: ModelShape, setup: Setup) -> list[tuple[int, int, int]]:
    """How often the layers, or their adapters, have a matrix of so many rows and columns that trains."""
    if setup.tuning == "lora":
        rank, adapted = setup.lora_r, _adapted(shape, setup)
        return [(count, rank, width) for count, *widths in adapted for width in widths]
    layers = shape.own_layers - min(setup.frozen_layers, shape.own_layers)
    return [
        (count // shape.own_layers * layers, outputs, inputs)
        for kinds in shape.linear_modules().values()
        for count, inputs, outputs in kinds
    ]


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
    # The log-softmax of the words' scores, its derivative, and that of the scores.
    words = _word_scores(shape, setup, tokens) * 3 * FP32
    return layers + embeddings + hidden_and_ids + work + words + _score_work(shape, setup, tokens, length)


def evaluation_bytes(shape: ModelShape, setup: Setup, max_length: int) -> int:
    """Bytes that the largest micro-batch of an evaluation computes with, where nothing is kept for a backward pass.

    Either a layer holds its input, sum and norm in fp32 and both sides of its activation, or the head the scores of all
    words: as computed, in fp32, and their log-softmax.
    """
    tokens = max(max_length, min(EVALUATED_EXAMPLES * max_length, EVALUATED_TOKENS[setup.device]))
    layer = tokens * (2 * _width(setup) * shape.intermediate + 3 * FP32 * shape.hidden)
    computed = 0 if setup.precision == "fp32" else _width(setup)
    return max(layer, _word_scores(shape, setup, tokens) * (computed + 2 * FP32))


def _word_scores(shape: ModelShape, setup: Setup, tokens: int) -> int:
    """Scores that the head has for the words that are guessed among these tokens."""
    return int(tokens * setup.guessed) * shape.vocab


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
    elementwise = (3 if shape.gated else shape.family.activation_tensors) * c * inner
    product = c * inner if full else 0
    masks = shape.family.dropout_masks * _mask(setup, c) * hidden
    per_token = norms + inputs + attention + elementwise + product + masks
    return (
        tokens * per_token + _adapter_bytes(shape, setup, tokens) + _score_bytes(shape, setup, tokens, length)
    )


def _adapter_bytes(shape: ModelShape, setup: Setup, tokens: int) -> int:
    """Each adapter of a layer keeps its own cast of the input, the mask of its dropout, and r values."""
    c, mask = _width(setup), _mask(setup, FP32)
    adapted = ((count // shape.own_layers, inputs) for count, inputs, _ in _adapted(shape, setup))
    return tokens * sum(count * ((c + mask) * inputs + c * setup.lora_r) for count, inputs in adapted)


def _score_bytes(shape: ModelShape, setup: Setup, tokens: int, length: int) -> int:
    """What one layer keeps of the attention scores, and of relative positions."""
    count = _score_count(shape, setup, tokens, length)
    c = _width(setup)
    if shape.relative_span:
        kept = (FP32 + _mask(setup, FP32)) * (count if count <= SCORES_KEPT else 0)
        # Query, key and value are gathered in fp32 on a CPU.
        gathered = 3 * ((FP32 if setup.device == "cpu" else c) - c)
        # Query and key share an input of their own: one more than all three have in fp32, one less than autocast's casts.
        gathered += 0 if setup.tuning == "lora" else c if c == FP32 else -c
        # A row for each distance, as embedded, normed, projected twice and laid out.
        return kept + shape.hidden * (tokens * gathered + 2 * length * (2 * c + 2 * FP32))
    # Autocast computes softmax in fp32 on a GPU only; some families do so anywhere.
    softmax = c if setup.device == "cpu" and not shape.family.softmax_in_fp32 else FP32
    dropped = c if setup.dropout or softmax != c else 0
    return count * (softmax + dropped + _mask(setup, softmax))


def _score_work(shape: ModelShape, setup: Setup, tokens: int, length: int) -> int:
    """What the backward pass of one layer's scores holds: their gradient twice, with positions that of products by distance."""
    count = _score_count(shape, setup, tokens, length)
    return 8 * min(count, SCORES_IN_WORK) * FP32 if shape.relative_span else 2 * count * FP32


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
