"""What steps are computed with: devices by name, their rates, and links; from datasheets, or fitted to measurements. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

OPERATIONS = 170
"""Operations that one layer issues, forward and backward: a 12-layer step issues 1,900 to 2,500 in all."""


@dataclass(frozen=True)
class Device:
    """A kind of device; peaks are dense, in floating-point operations a second."""

    memory: int
    half_flops: float
    fp32_flops: float
    bytes_per_s: float = math.inf
    """Memory bandwidth."""
    others_bytes_per_s: float = math.inf
    """Traffic in fp32 of all that is no matrix product, where that takes its time beside them and not meanwhile."""
    has_bf16: bool = True
    achievable: float = 0.4
    """Share of the peak that training reaches: an assumption near Megatron-LM's 44% for its smallest model
    (Narayanan et al. 2021, table 1)."""
    layer_launch_s: float = OPERATIONS * 12e-6
    """Host time to launch one layer's operations, forward and backward: 12 microseconds each, 24 ms for 12 layers."""
    measured: str | None = None
    """On what the rates were measured; None where they come from a datasheet alone."""


SLICE = re.compile(r"MIG|\d+G\.\d+GB|LAPTOP|MAX|MOBILE")
"""By which words the name of a part of a GPU is told, as in `A100-1g.5gb`, or of a laptop's, which has neither its rates."""
CPU = "CPU"
# Peaks and bandwidths are those of NVIDIA's datasheets and whitepapers, without sparsity and with sums in fp32. The first name
# that fits is taken: an L40S is no L40, nor is an A10G an A10.
DEVICES = {
    "B200": Device(180 * 10**9, 2250e12, 75e12, 7.7e12),
    "GH200": Device(96 * 10**9, 989e12, 67e12, 4.0e12),
    "H200": Device(141 * 10**9, 989e12, 67e12, 4.8e12),
    "H100-PCIE": Device(80 * 10**9, 756e12, 51e12, 2.0e12),
    "H100": Device(80 * 10**9, 989e12, 67e12, 3.35e12),
    "H800": Device(80 * 10**9, 989e12, 67e12, 3.35e12),
    "H20": Device(96 * 10**9, 148e12, 44e12, 4.0e12),
    "A100-80GB": Device(80 * 10**9, 312e12, 19.5e12, 2.039e12),
    "A100": Device(40 * 10**9, 312e12, 19.5e12, 1.555e12),
    "A800": Device(80 * 10**9, 312e12, 19.5e12, 2.039e12),
    "A40": Device(48 * 10**9, 149.7e12, 37.4e12, 0.696e12),
    "A30": Device(24 * 10**9, 165e12, 10.3e12, 0.933e12),
    "A10G": Device(24 * 10**9, 70e12, 35e12, 0.6e12),
    "A10": Device(24 * 10**9, 125e12, 31.2e12, 0.6e12),
    "A6000": Device(48 * 10**9, 154.8e12, 38.7e12, 0.768e12),
    "L40S": Device(48 * 10**9, 362e12, 91.6e12, 0.864e12),
    "L40": Device(48 * 10**9, 181e12, 90.5e12, 0.864e12),
    "L20": Device(48 * 10**9, 119.5e12, 59.8e12, 0.864e12),
    "L4": Device(24 * 10**9, 121e12, 30.3e12, 0.3e12),
    "RTX-5090": Device(32 * 10**9, 209.5e12, 104.8e12, 1.792e12),
    "RTX-4090": Device(24 * 10**9, 165.2e12, 82.6e12, 1.008e12),
    "RTX-3090": Device(24 * 10**9, 71e12, 35.6e12, 0.936e12),
    "V100": Device(16 * 10**9, 125e12, 15.7e12, 0.9e12, has_bf16=False),
    "T4": Device(16 * 10**9, 65e12, 8.1e12, 0.32e12, has_bf16=False),
    # One core with AVX512-BF16, between a Xeon (products at 440 GFLOP/s in bf16, 103 in fp32) and an EPYC (185, 88), and above
    # both in fp32 since the last layer is computed for few tokens. bf16 shortens nothing but products: the rest takes both the
    # same time, which on the EPYC is half of a step in bf16.
    CPU: Device(
        0,
        440e9,
        165e9,
        bytes_per_s=12e9,
        others_bytes_per_s=3.5e9,
        achievable=0.65,
        layer_launch_s=5e-3,
        measured="server cores with AVX512-BF16",
    ),
}
# One core of an EPYC that has no more than AVX2, from steps of three models on 1, 2 and 4 ranks (benchmarks/predicted.py).
PLAIN_CPU = replace(
    DEVICES[CPU],
    fp32_flops=107e9,
    others_bytes_per_s=1.6e9,
    layer_launch_s=10e-3,
    measured="server cores with AVX2",
)


def known_device(name: str) -> Device | None:
    """The device that a name such as `NVIDIA H200` or `a100` means, or None."""
    key = device_key(name)
    return None if key is None else DEVICES[key]


def device_key(name: str) -> str | None:
    """What such a device is called in the table, or None."""
    words = re.split(r"[\s_-]+", name.upper())
    if any(SLICE.fullmatch(word) for word in words):
        return None
    named = (key for key in DEVICES if all(any(_means(w, part) for w in words) for part in key.split("-")))
    return next(named, None)


def _means(word: str, part: str) -> bool:
    """Whether a word is that part of a name, whatever letters follow: a T400 is no T4, and an A1000 no A100."""
    return word.startswith(part) and not word[len(part) : len(part) + 1].isdecimal()


@dataclass(frozen=True)
class DeviceSpeed:
    """What one rank computes with: rates, and times that don't shrink with the work."""

    flops_per_s: float
    fixed_s: float = 0.0
    """Seconds of every optimizer step whatever its size: clipping, logging."""
    layer_launch_s: float = 0.0
    """Seconds of a layer in a micro-batch, forward and backward, that don't shrink with its work."""
    bytes_per_s: float = math.inf
    """Memory traffic."""
    others_bytes_per_s: float = math.inf
    """Traffic in fp32 of all that is no product; infinite where the rate was fitted to whole passes, which contain it."""
    replay_s: float = 0.0
    """Seconds from one operation of a CUDA graph to the next: an assumption."""

    @classmethod
    def of(cls, device: Device, precision: str, units: int = 1, luck: Luck | None = None) -> DeviceSpeed:
        """A device's achievable speed; `units` is the number of cores of a CPU, `luck` where in the range it is looked for."""
        share = luck or EXPECTED
        half = precision == "fp16" or (precision == "bf16" and device.has_bf16)
        peak = device.half_flops if half else device.fp32_flops
        return cls(
            min(1.0, device.achievable * share.arithmetic) * peak * units,
            layer_launch_s=device.layer_launch_s * share.launches,
            bytes_per_s=device.bytes_per_s * share.bandwidth * units,
            others_bytes_per_s=device.others_bytes_per_s * share.arithmetic * units,
            replay_s=1e-6 * share.launches,
        )


class Luck(NamedTuple):
    """How the achievable rates may turn out, as multiples of what is expected or shares of the peak: assumptions."""

    arithmetic: float
    """Multiple of the achievable share of the peak."""
    bandwidth: float
    """Share of the memory's bandwidth."""
    launches: float
    """Multiple of the time of a launch."""


EXPECTED = Luck(1.0, 0.8, 1.0)
BEST = Luck(1.5, 1.0, 0.5)
WORST = Luck(0.5, 0.5, 2.0)


@dataclass(frozen=True)
class Link:
    """A connection between ranks; between nodes of several ranks, the node's whole network bandwidth."""

    latency_s: float
    bytes_per_s: float


class Host(NamedTuple):
    """What a node updates offloaded weights with, in bytes a second."""

    bus: float
    """Between a GPU and main memory, each way."""
    memory: float
    """Of main memory, for all ranks of the node together."""
    disk: float
    """Of what zero.offload=nvme writes to, likewise."""


# Assumptions but for the peaks: PCIe 4.0, 5.0 and 3.0 with 16 lanes; an update by the cores of two sockets, twenty-four channels
# of DDR5-4800, and a few cores; one NVMe disk, four in a row, and a slow one.
HOST = Host(25e9, 120e9, 3e9)
FASTEST_HOST = Host(64e9, 920e9, 28e9)
SLOWEST_HOST = Host(10e9, 40e9, 1e9)


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
