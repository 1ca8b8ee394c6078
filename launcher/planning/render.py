"""A plan and the templates -> the files of its run, as text. Pure: what is rendered is what is executed."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from launcher.executors import executor_for
from launcher.executors.shared.sbatch_lines import array_request, for_many, log_path, sbatch_quote
from launcher.planning.plan import Plan
from launcher.planning.save_time import notice_s
from launcher.runs.checkpoint_size import checkpoint_bytes

if TYPE_CHECKING:
    import jinja2

    from launcher.recipe.cluster import Cluster

Templates = Mapping[str, str]
"""Text of each template by its file name: `job.sbatch.j2` and the other .j2 in slurm/, `zero2.json` and the others in
ds_configs/."""

SMALLEST_BUCKET = 100_000
BF16: dict[str, Any] = {"enabled": True, "dtype": "bfloat16", "lower_precision_safe_modules": []}
"""Autocast over fp32 parameters, as in the plain strategy; the empty list keeps gradients in fp32 between ranks."""
FP16: dict[str, Any] = {
    "enabled": True,
    "auto_cast": True,
    "loss_scale": 0,
    "initial_scale_power": 16,
    "loss_scale_window": 1000,
    "hysteresis": 2,
    "min_loss_scale": 1,
}


def render(plan: Plan, templates: Templates, recipe_text: str, own_loss: str | None = None) -> dict[str, str]:
    """Every file of a new run directory: relative path -> text."""
    files = {"recipe.yaml": recipe_text, "plan.json": plan_text(plan)}
    if own_loss is not None:
        files["loss.py"] = own_loss
    if plan.strategy == "deepspeed":
        files["ds_config.json"] = _json(ds_config(plan, templates))
    executor = executor_for(plan.executor)
    files[executor.script] = _script(plan, templates, executor.template)
    return files


def render_array(
    name: str,
    path: str,
    scripts: Mapping[str, str],
    templates: Templates,
    template: str,
    at_once: int | None = None,
    after: str | None = None,
    each: int = 1,
) -> str:
    """The script that submits runs as one array: directory of each run -> text of its job script, all with one request.

    `path` is where the script will lie, `template` the name of its template, `at_once` how many elements may run side by
    side, `after` the job that must have ended before, `each` how many runs share an element.
    """
    requests = {tuple(for_many(array_request(text), each)) for text in scripts.values()}
    assert len(requests) == 1, requests
    (request,) = requests
    return (
        _environment(templates)
        .get_template(template)
        .render(
            name=name,
            path=path,
            directory=path.rpartition("/")[0],
            run_dirs=list(scripts),
            at_once=at_once,
            after=after,
            each=each,
            request=request,
            requeue="#SBATCH --requeue" in request,
        )
    )


def render_examination(
    cluster: Cluster,
    templates: Templates,
    directory: str,
    device: str,
    addresses: Mapping[str, str],
    port: int,
) -> str:
    """The shell lines that look at a node of `addresses`, its name -> its address; the first of them is the one that is asked."""
    python = cluster.python or sys.executable
    plan = {"cluster": cluster, "run_dir": directory, "device": device, "python": python, "gpus": 1}
    return (
        _environment(templates)
        .get_template("examine.sh.j2")
        .render(
            plan=plan,
            slurm=True,
            threads=1,
            computes_on_cores=device == "cpu",
            container=cluster.container or {"runtime": None},
            hosts=list(addresses),
            addresses=list(addresses.values()),
            port=port,
        )
    )


def examination_options(cluster: Cluster, directory: str) -> dict[str, str]:
    """Options of the job that runs it, where the profile's container is the scheduler's own business."""
    container = cluster.container
    if container is None or container.runtime != "pyxis":
        return {}
    mounts = ",".join([f"{directory}:{directory}", *container.mounts])
    return {"container-image": container.image, "container-mounts": mounts, "container-workdir": directory}


def plan_text(plan: Plan) -> str:
    """plan.json."""
    return _json(plan.tree())


def ds_config(plan: Plan, templates: Templates) -> dict[str, Any]:
    """The DeepSpeed configuration: the base of the stage and offload, with the plan's values filled in.

    The training brings its own optimizer, normalises its losses and sets the accumulation boundaries itself.
    """
    offload = plan.recipe.zero.offload
    base = f"zero{plan.zero_stage}{'' if offload == 'none' else f'_{offload}'}.json"
    config: dict[str, Any] = {
        "train_micro_batch_size_per_gpu": plan.layout.micro_batch_size,
        "gradient_accumulation_steps": plan.layout.gradient_accumulation_steps,
        "gradient_clipping": plan.recipe.train.clip or 0.0,
        **_precision(plan),
        **json.loads(templates[base]),
    }
    zero = config["zero_optimization"]
    zero["overlap_comm"] = plan.device == "cuda"
    if plan.traffic.trainable_parameters is not None:
        # Buckets are allocated whole: larger than the model they would only waste memory.
        most = max(SMALLEST_BUCKET, plan.traffic.trainable_parameters)
        for name in ("reduce_bucket_size", "allgather_bucket_size"):
            if name in zero:
                zero[name] = min(zero[name], most)
    for section in ("offload_optimizer", "offload_param"):
        if section in zero:
            zero[section]["pin_memory"] = plan.device == "cuda"
            if offload == "nvme":
                zero[section]["nvme_path"] = plan.recipe.zero.nvme_path
    return config


def _precision(plan: Plan) -> dict[str, Any]:
    if plan.precision == "bf16":
        return {"torch_autocast": BF16}
    return {"fp16": FP16} if plan.precision == "fp16" else {}


def _script(plan: Plan, templates: Templates, name: str) -> str:
    request = plan.request
    return (
        _environment(templates)
        .get_template(name)
        .render(
            plan=plan,
            slurm=request,
            container=plan.cluster.container or {"runtime": None},
            threads=max(1, request.cpus_per_task // plan.gpus) if request else None,
            # torchrun gives a rank one thread where nobody says how many: an optimizer that is offloaded takes all it can get.
            computes_on_cores=plan.device == "cpu" or plan.recipe.zero.offload != "none",
            notice_s=_notice_s(plan),
            allocated=allocated_nodes(plan),
        )
    )


def allocated_nodes(plan: Plan) -> str:
    """Nodes that a scheduler is asked for, as it takes them: a range as it stands in the recipe.

    Otherwise a job of several has the profile's spare ones, too, as far as its limit allows.
    """
    if plan.least_nodes is not None:
        return f"{plan.least_nodes}-{plan.nodes}"
    wanted = plan.nodes + (plan.cluster.spare_nodes if plan.nodes > 1 else 0)
    most = plan.cluster.limits.nodes
    return str(wanted if most is None else max(plan.nodes, min(wanted, most)))


def _environment(templates: Templates) -> jinja2.Environment:
    return _compiling(tuple(templates.items()))


@cache
def _compiling(templates: tuple[tuple[str, str], ...]) -> jinja2.Environment:
    """Compiles each of these templates once: of a sweep that took half the time of planning a trial."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.DictLoader(dict(templates)),
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # shell, not HTML: every value goes through `shell` or `sbatch`
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"shell": shlex.quote, "sbatch": sbatch_quote, "percent": log_path}
    return environment


def _notice_s(plan: Plan) -> int:
    """How long before the time limit the scheduler asks the job to stop."""
    shards = plan.world_size if plan.zero_stage else 1
    size = checkpoint_bytes(plan.traffic.trainable_parameters, plan.memory.optimizer, shards)
    return notice_s(plan.request.time if plan.request else None, plan.cluster.grace_s, size)


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
