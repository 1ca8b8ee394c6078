"""The section `zero`: sharding through DeepSpeed."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from launcher.recipe.decides import Decides
from launcher.recipe.fields import LocalPath, Section


class Zero(Section):
    """ZeRO (Rajbhandari et al., 2020) through DeepSpeed."""

    decides = Decides("execution")

    stage: Annotated[int, Field(ge=0, le=3)] | None = 0
    """0: plain PyTorch; 1 shards optimizer state, 2 gradients too, 3 parameters too; null: 2, but 0 on one rank or if need be."""
    offload: Literal["none", "cpu", "nvme"] = "none"
    """Where optimizer state (and, in stage 3, parameters) is kept between uses."""
    nvme_path: LocalPath | None = None
    """Directory on a local NVMe disk for zero.offload=nvme."""
