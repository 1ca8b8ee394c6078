"""What becomes of each field that people have set elsewhere: TrainingArguments, the example scripts, peft and accelerate."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launcher import tasks
from launcher.drafts.trainer_script import Computed
from launcher.loading.other_names import EXPLANATIONS, PLANNED, PUSHED, called_here
from launcher.tasks.shared.metric_names import metric_called

Fields = Mapping[str, Any]
"""Name as it is called there -> plain value."""


@dataclass(frozen=True)
class Taken:
    """What a field became: keys with their values, perhaps none, and a sentence where it isn't the same thing."""

    keys: Mapping[str, Any]
    why: str = ""


Rule = Callable[[Any, Fields], Taken]
UNSET = (None, False, "", 0, -1, "no", "none", "NO", "NONE")
SCHEDULES = {
    **{name: name for name in ("linear", "cosine", "constant", "polynomial", "inverse_sqrt")},
    "constant_with_warmup": "constant",
    "reduce_lr_on_plateau": "plateau",
}
OPTIMIZERS = {"adamw": "adamw", "adafactor": "adafactor", "sgd": "sgd", "rmsprop": "rmsprop"}
ODD_OPTIMIZERS = ("bit", "anyprecision", "galore", "lion", "apollo", "schedule_free", "paged", "ademamix")
GLUE = {
    "cola": "sentence",
    "mnli": ["premise", "hypothesis"],
    "mrpc": ["sentence1", "sentence2"],
    "qnli": ["question", "sentence"],
    "qqp": ["question1", "question2"],
    "rte": ["sentence1", "sentence2"],
    "sst2": "sentence",
    "stsb": ["sentence1", "sentence2"],
    "wnli": ["sentence1", "sentence2"],
}
"""The columns of each set of GLUE."""
SHARDING = {"FULL_SHARD": 3, "1": 3, "HYBRID_SHARD": 3, "SHARD_GRAD_OP": 2, "2": 2, "NO_SHARD": 0, "3": 0}
PREFIXES = {
    "per_device_eval_": "evaluation lays out examples by tokens",
    "output_dir": "each run has a directory of its own in runs_dir",
    "logging_dir": "each run has a directory of its own in runs_dir",
    "compute_environment": "nodes, gpus and cluster say where",
    "main_training_function": "the job script starts training",
    "zero3_init_flag": "encoders are small enough to be loaded before they are sharded",
    "downcast_bf16": "there is no TPU",
    "logging_": "every step is recorded in metrics.jsonl",
    "log_": "every step is recorded in metrics.jsonl",
    "dataloader_": "the loader needs no settings: data are tokenised once and laid out by tokens",
    "hub_": PUSHED,
    "ddp_": PLANNED,
    "fsdp": "zero.stage shards",
    "deepspeed_": "the plan renders DeepSpeed's configuration",
    "tpu_": "there is no TPU",
    "machine_rank": "the job script knows it",
    "main_process": "the job script finds address and port",
    "rdzv_": "the job script finds address and port",
    "same_network": "the job script finds address and port",
    "prediction_": "launch predict writes predictions",
    "eval_": "evaluation lays out examples by tokens, and all of them are evaluated",
    "skip_memory": "memory is measured in any case",
    "overwrite_": "no run is ever overwritten",
    "save_": "checkpoints are whole, verified, and in the run's directory",
}
"""What to say of fields that begin so and have no rule."""


def _same(key: str) -> Rule:
    return lambda value, _: Taken({key: value})


def _set_once(key: str, wanted: Any, why: str = "") -> Rule:
    """A switch that stands for one value of a key where it is on."""
    return lambda value, _: Taken({key: wanted} if value else {}, why if value else "is off")


def _batch(value: Any, fields: Fields) -> Taken:
    more = int(fields.get("gradient_accumulation_steps") or 1)
    ranks = int(fields.get("num_processes") or 1)
    why = f"{value} on each of {ranks} {'process' if ranks == 1 else 'processes'}, {more} accumulated; it stays so on more GPUs"
    return Taken({"batch.global": value * more * ranks}, why)


def _warmup(_: Any, fields: Fields) -> Taken:
    steps, share = fields.get("warmup_steps") or 0, fields.get("warmup_ratio") or 0.0
    return Taken({"train.warmup": int(steps) if steps >= 1 else float(steps or share)})


def _schedule(value: Any, _: Fields) -> Taken:
    name = str(value).rpartition(".")[2].lower()
    known = SCHEDULES.get(name)
    return (
        Taken({"train.schedule": known})
        if known
        else Taken({}, f"there is no schedule {name}; linear is the default")
    )


def _optimizer(value: Any, _: Fields) -> Taken:
    name = str(value).rpartition(".")[2].lower()
    known = next((ours for theirs, ours in OPTIMIZERS.items() if name.startswith(theirs)), None)
    odd = any(word in name for word in ODD_OPTIMIZERS)
    return (
        Taken({"train.optimizer": known})
        if known and not odd
        else Taken({}, f"there is no {name}; adamw is the default")
    )


def _clip(value: Any, _: Fields) -> Taken:
    return Taken({"train.clip": float(value) if value else None})


def _every(key: str, steps: str, strategies: tuple[str, ...]) -> Rule:
    def rule(_: Any, fields: Fields) -> Taken:
        found = next(
            (fields[name] for name in strategies if fields.get(name)), "steps" if fields.get(steps) else "no"
        )
        strategy = str(found).rpartition(".")[2].lower()
        if strategy == "steps" and isinstance(fields.get(steps), Computed):
            return Taken({}, f"{steps} is worked out by the script: give {key}")
        every = fields.get(steps) or 500
        if strategy == "steps" and isinstance(every, float) and every < 1:
            return Taken({}, "a share of all steps is not understood: give a number of steps")
        return Taken({key: {"epoch": "epoch", "steps": int(every)}.get(strategy)})

    return rule


def _metric(value: Any, _: Fields) -> Taken:
    name = metric_called(str(value))
    known = {metric for task in tasks.names() for metric in (*tasks.named(task).metrics, "loss")}
    return (
        Taken({"eval.metric": name})
        if name in known
        else Taken({}, f"there is no metric {name}: the task's own chooses")
    )


def _report_to(value: Any, _: Fields) -> Taken:
    names = [value] if isinstance(value, str) else list(value or ())
    if "wandb" in names or "all" in names:
        return Taken({"tracking.wandb.mode": "auto"})
    return Taken({"tracking.wandb.mode": "disabled"}, "metrics.jsonl has every step all the same")


def _glue(value: Any, _: Fields) -> Taken:
    name = str(value).lower().replace("-", "")
    if name not in GLUE:
        return Taken({}, "is no set of GLUE: give data.source or data.train")
    task = tasks.called(name) or tasks.called("AutoModelForSequenceClassification")
    matched = {"data.validation_split": "validation_matched"} if name == "mnli" else {}
    return Taken(
        {
            "task": task,
            "data.source": f"nyu-mll/glue:{name}",
            "data.text": GLUE[name],
            "data.label": "label",
            **matched,
        }
    )


def _source(value: Any, fields: Fields) -> Taken:
    config = fields.get("dataset_config_name")
    if str(value).rpartition("/")[2] == "glue" and config:
        return _glue(config, fields)
    return Taken(
        {"data.source": f"{value}:{config}" if config else value}, "data.text and data.label name its columns"
    )


def _task(value: Any, _: Fields) -> Taken:
    found = tasks.called(str(value).rpartition(".")[2])
    return Taken({"task": found}) if found else Taken({}, "is no task of ours")


def _distributed(value: Any, fields: Fields) -> Taken:
    kind = str(value).rpartition(".")[2].upper()
    if kind == "DEEPSPEED":
        return Taken({"zero.stage": int(fields.get("zero_stage") or 2)})
    if kind == "FSDP":
        strategy = str(fields.get("fsdp_sharding_strategy", "FULL_SHARD")).upper()
        return Taken({"zero.stage": SHARDING.get(strategy, 3)}, "ZeRO shards what FSDP shards")
    return Taken({}, "follows from nodes and gpus")


def _processes(value: Any, fields: Fields) -> Taken:
    machines = int(fields.get("num_machines") or 1)
    return Taken(
        {"gpus": max(1, int(value) // machines)}, "ranks on each node; batch.global is the same on any number"
    )


def _fsdp(value: Any, _: Fields) -> Taken:
    text = " ".join(value) if isinstance(value, list) else str(value or "")
    if not text:
        return Taken({}, "is off")
    stage = 3 if "full_shard" in text or text == "True" else 2
    return Taken({"zero.stage": stage}, "ZeRO shards what FSDP shards")


def _zero(value: Any, _: Fields) -> Taken:
    stage = value.get("zero_optimization", {}).get("stage") if isinstance(value, dict) else None
    if stage in (0, 1, 2, 3):
        return Taken({"zero.stage": stage}, "the rest of DeepSpeed's configuration is rendered by the plan")
    return Taken({"zero.stage": 2}, "its file was not read: zero.stage says how much is sharded")


def _precision(value: Any, _: Fields) -> Taken:
    name = str(value).lower()
    return Taken({"precision": {"no": "fp32"}.get(name, name)} if name in ("no", "fp16", "bf16") else {}, "")


def _limit(value: Any, _: Fields) -> Taken:
    return Taken(
        {"train.max_steps": value} if value and value > 0 else {}, "" if value and value > 0 else "is off"
    )


def _lora(value: Any, _: Fields) -> Taken:
    return Taken({"tuning": "lora", "lora.r": value})


def _targets(value: Any, _: Fields) -> Taken:
    return Taken({"lora.targets": [value] if isinstance(value, str) else list(value or ())} if value else {})


def _wandb_name(value: Any, fields: Fields) -> Taken:
    named = value and value != fields.get("output_dir")
    return Taken({"tracking.wandb.name": value} if named else {}, "" if named else "is the directory's name")


RULES: Mapping[str, Rule] = {
    "learning_rate": _same("train.lr"),
    "num_train_epochs": lambda value, _: Taken({"train.epochs": float(value)}),
    "max_steps": _limit,
    "warmup_steps": _warmup,
    "warmup_ratio": _warmup,
    "weight_decay": _same("train.weight_decay"),
    "adam_beta1": _same("train.beta1"),
    "adam_beta2": _same("train.beta2"),
    "adam_epsilon": _same("train.epsilon"),
    "max_grad_norm": _clip,
    "gradient_clipping": _clip,
    "lr_scheduler_type": _schedule,
    "optim": _optimizer,
    "label_smoothing_factor": _same("train.loss.label_smoothing"),
    "per_device_train_batch_size": _batch,
    "gradient_accumulation_steps": lambda *_: Taken({}, "is in batch.global"),
    "seed": _same("seed"),
    "bf16": _set_once("precision", "bf16"),
    "fp16": _set_once("precision", "fp16"),
    "mixed_precision": _precision,
    "gradient_checkpointing": _set_once("model.gradient_checkpointing", True),
    "full_determinism": _set_once("deterministic", True),
    "torch_compile": _set_once("train.compile", "auto", "CUDA graphs or torch.compile, whichever works"),
    "use_cpu": _set_once("device", "cpu"),
    "no_cuda": _set_once("device", "cpu"),
    "eval_strategy": _every("eval.every", "eval_steps", ("eval_strategy", "evaluation_strategy")),
    "evaluation_strategy": _every("eval.every", "eval_steps", ("eval_strategy", "evaluation_strategy")),
    "eval_steps": _every("eval.every", "eval_steps", ("eval_strategy", "evaluation_strategy")),
    "save_strategy": _every("checkpoint.every", "save_steps", ("save_strategy",)),
    "save_steps": _every("checkpoint.every", "save_steps", ("save_strategy",)),
    "save_total_limit": _same("checkpoint.keep"),
    "metric_for_best_model": _metric,
    "report_to": _report_to,
    "run_name": _wandb_name,
    "early_stopping_patience": _same("train.early_stopping.patience"),
    "early_stopping_threshold": _same("train.early_stopping.min_delta"),
    "model_name_or_path": _same("model.name"),
    "model_revision": _same("model.revision"),
    "task_name": _glue,
    "task_type": _task,
    "model_class": _task,
    "problem_type": _task,
    "dataset_name": _source,
    "dataset_config_name": lambda *_: Taken({}, "is in data.source"),
    "train_file": _same("data.train"),
    "validation_file": _same("data.validation"),
    "test_file": _same("data.test"),
    "text_column_name": _same("data.text"),
    "label_column_name": _same("data.label"),
    "max_seq_length": _same("data.max_length"),
    "doc_stride": _same("data.stride"),
    "max_train_samples": _same("data.limit"),
    "version_2_with_negative": _set_once("qa.unanswerable", True),
    "mlm_probability": _same("mlm.probability"),
    "r": _lora,
    "lora_alpha": lambda value, _: Taken({"lora.alpha": float(value)}),
    "lora_dropout": _same("lora.dropout"),
    "target_modules": _targets,
    "use_rslora": _set_once("lora.rslora", True),
    "use_dora": _set_once("lora.dora", True),
    "num_machines": _same("nodes"),
    "num_processes": _processes,
    "distributed_type": _distributed,
    "zero_stage": lambda *_: Taken({}, "is in zero.stage"),
    "offload_optimizer_device": lambda value, _: Taken({"zero.offload": value}),
    "fsdp": _fsdp,
    "fsdp_sharding_strategy": lambda *_: Taken({}, "is in zero.stage"),
    "deepspeed": _zero,
}
"""Field -> what becomes of it."""


def become(name: str, value: Any, fields: Fields) -> Taken | None:
    """What becomes of a field; None for one that says nothing, being off or empty."""
    rule = RULES.get(name)
    if rule is None:
        return None if _is_unset(value) else Taken({}, _reason(name))
    if _is_unset(value) and name not in (
        "max_grad_norm",
        "report_to",
        "weight_decay",
        "mixed_precision",
        "warmup_ratio",
    ):
        return None
    try:
        return rule(value, fields)
    except (TypeError, ValueError, AttributeError):
        return Taken({}, "has a value that can't be understood")


def _is_unset(value: Any) -> bool:
    return value in UNSET or (isinstance(value, list | dict) and not value)


def _reason(name: str) -> str:
    """Why a field without a rule isn't taken over."""
    prefixed = next((text for prefix, text in PREFIXES.items() if name.startswith(prefix)), None)
    explained = next((text for text, names in EXPLANATIONS.items() if name in names), None)
    return prefixed or explained or called_here(name) or "has no counterpart"


def is_file(value: Any) -> bool:
    """Whether a value names a file of data rather than a data set."""
    return isinstance(value, str) and Path(value).suffix != ""
