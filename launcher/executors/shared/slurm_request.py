"""What the job of a plan asks of Slurm, from the recipe and the site's profile. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from launcher.recipe.cluster import Cluster
from launcher.recipe.fields import Record
from launcher.recipe.recipe import Recipe

CPUS_PER_GPU_RANK = 8


class SlurmRequest(Record):
    """What the job asks of Slurm, and how nodes are prepared."""

    partition: str | None
    account: str | None
    qos: str | None
    constraint: str | None
    reservation: str | None
    time: str | None
    gpu_option: str | None
    """The whole option, such as `--gpus-per-node=h100:8`; None asks for no GPU."""
    cpus_per_task: int
    memory: str | None
    exclusive: bool
    requeue: bool
    """Whether Slurm may put the job back; where it may not, and the recipe has it go on, another job takes its place."""
    options: tuple[str, ...] = ()
    """The profile's further options, whole, such as `--exclude=node7`."""


def slurm_request(recipe: Recipe, cluster: Cluster, device: str, gpus: int) -> SlurmRequest:
    """The request for one job."""
    option = None
    if device == "cuda":
        kind = f"{cluster.gpu_type}:" if cluster.gpu_type else ""
        option = (
            f"--gres=gpu:{kind}{gpus}" if cluster.gpu_request == "gres" else f"--gpus-per-node={kind}{gpus}"
        )
    return SlurmRequest(
        partition=cluster.partition,
        account=cluster.account,
        qos=cluster.qos,
        constraint=cluster.constraint,
        reservation=cluster.reservation,
        time=recipe.time,
        gpu_option=option,
        cpus_per_task=cluster.cpus_per_task or (gpus * CPUS_PER_GPU_RANK if device == "cuda" else gpus),
        memory=cluster.memory,
        exclusive=cluster.exclusive,
        requeue=recipe.requeue and cluster.requeue,
        options=tuple(_sbatch_options(cluster)),
    )


def _sbatch_options(cluster: Cluster) -> Iterator[str]:
    """The profile's further options of sbatch; one that is false is left out."""
    for name, value in sorted(cluster.sbatch.items()):
        if value is True:
            yield f"--{name}"
        elif value is not False:
            yield f"--{name}={value}"
