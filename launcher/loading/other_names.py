"""What other tools call our keys: transformers' Trainer and its example scripts, accelerate, peft, DeepSpeed and common usage."""

from __future__ import annotations

from collections.abc import Collection

GLOBAL_BATCH = "did you mean batch.global? It counts the examples of a step on all devices together"
ACCUMULATION = "it follows from batch.global, the number of ranks and batch.micro"
EVALUATED = "did you mean eval.every? It takes epoch, or a number of steps"
SAVED = "did you mean checkpoint.every? It takes epoch, or a number of steps"
WARMED_UP = "did you mean train.warmup? It takes a share of the steps, or a number of them"
PROFILE = "it belongs into the cluster profile: cluster=FILE"
PADDED = "no padding is computed: examples are laid out by their tokens"
SAVED_BEST = "the best model is always kept; eval.metric says by what"
SEEDS = "several runs are a sweep, with or without --plan: launch sweep ... seed=1..3"
PLANNED = "the plan sets what is needed"
PUSHED = "launch push RUN uploads the model, after asking"
ALONE = (
    "a recipe is whole and takes nothing over from others: launch recipes show NAME prints one to begin with"
)
VERBS = "there are verbs for that: launch recipe=..., launch eval RUN, launch predict RUN FILE"

KEYS: dict[str, tuple[str, ...]] = {
    "train.lr": ("learning_rate", "base_lr", "max_lr", "peak_lr"),
    "train.epochs": ("num_train_epochs", "num_epochs", "n_epochs", "max_epochs", "epoch", "nb_epochs"),
    "train.max_steps": ("max_train_steps", "num_steps", "num_training_steps", "total_steps", "steps"),
    "train.schedule": ("lr_scheduler_type", "lr_scheduler", "scheduler", "scheduler_type", "lr_schedule"),
    "train.optimizer": ("optim", "optimizer_type"),
    "train.beta1": ("adam_beta1",),
    "train.beta2": ("adam_beta2",),
    "train.epsilon": ("adam_epsilon", "eps", "adam_eps"),
    "train.clip": ("max_grad_norm", "gradient_clipping", "grad_clip", "clip_grad_norm", "gradient_clip_val"),
    "train.weight_decay": ("wd", "l2_regularization"),
    "train.compile": ("torch_compile", "jit", "torchdynamo"),
    "train.loss.name": ("loss_fn", "loss_function", "loss_type", "criterion"),
    "train.loss.name=focal": ("focal_loss", "use_focal_loss"),
    "train.loss.label_smoothing": ("label_smoothing_factor", "smoothing"),
    "train.layer_decay": ("layerwise_lr_decay", "llrd", "layer_lr_decay"),
    "train.early_stopping.patience": ("early_stopping_patience", "early_stopping"),
    "train.early_stopping.min_delta": ("early_stopping_threshold",),
    "batch.micro": ("micro_batch_size", "train_micro_batch_size_per_gpu", "eval_batch_size", "per_device_eval_batch_size"),
    "batch.tokens": ("max_tokens", "tokens_per_batch"),
    "precision": ("mixed_precision", "amp", "dtype", "torch_dtype", "fp16_opt_level", "half_precision"),
    "precision=fp16": ("fp16", "half", "float16"),
    "precision=bf16": ("bf16", "bfloat16"),
    "precision=fp32": ("fp32", "tf32", "float32"),
    "device=cpu": ("use_cpu", "no_cuda"),
    "device": ("accelerator",),
    "gpus": ("n_gpu", "num_gpus", "ngpus", "gpus_per_node", "nproc_per_node", "num_processes", "n_gpus", "gpu", "devices",
             "ntasks_per_node", "gpus_per_task"),
    "nodes": ("nnodes", "num_nodes", "num_machines", "n_nodes"),
    "time": ("time_limit", "walltime", "timeout", "max_time"),
    "seed": ("data_seed", "random_seed", "random_state", "manual_seed", "seed_everything", "shuffle_seed"),
    "deterministic": ("full_determinism", "use_deterministic_algorithms"),
    "model.name": ("model_name_or_path", "model_name", "pretrained_model_name_or_path", "base_model", "checkpoint_path",
                   "pretrained", "model_path", "encoder", "tokenizer_name", "config_name"),
    "model.revision": ("model_revision",),
    "model.gradient_checkpointing": ("use_gradient_checkpointing", "activation_checkpointing"),
    "model.freeze.layers": ("num_frozen_layers", "n_freeze", "freeze_encoder", "freeze_backbone", "freeze_n_layers"),
    "model.scratch.hidden": ("hidden_size",),
    "model.scratch.layers": ("num_hidden_layers",),
    "model.scratch.heads": ("num_attention_heads",),
    "model.scratch.vocab": ("vocab_size",),
    "model.dropout.hidden": ("hidden_dropout_prob", "hidden_dropout", "dropout"),
    "model.dropout.attention": ("attention_probs_dropout_prob", "attention_dropout"),
    "model.dropout.classifier": ("classifier_dropout", "cls_dropout"),
    "data.train": ("train_file", "train_path", "train_data", "train_dataset", "train_data_file", "data_dir", "data_path",
                   "datasets"),
    "data.validation": ("validation_file", "eval_file", "dev_file", "valid_file", "eval_data_file", "eval_dataset", "dev"),
    "data.test": ("test_file", "test_path", "test_data", "test_dataset"),
    "data.source": ("dataset_name", "dataset", "dataset_config_name", "task_name"),
    "data.text": ("text_column", "text_column_name", "text_column_names", "sentence_column", "text_col"),
    "data.label": ("label_column", "label_column_name", "label_col", "target_column", "labels_column"),
    "data.labels": ("label_list", "label_names", "class_names", "classes"),
    "data.max_length": ("max_seq_length", "max_seq_len", "max_len", "seq_length", "sequence_length", "block_size",
                        "max_source_length", "model_max_length", "max_sequence_length", "seq_len", "cutoff_len", "sequence_len"),
    "data.stride": ("doc_stride",),
    "data.limit": ("max_train_samples", "max_samples"),
    "data.delimiter": ("sep", "separator"),
    "data.split": ("validation_split_percentage", "test_size", "val_size", "train_val_split", "val_set_size", "train_ratio",
                   "val_ratio", "test_ratio"),
    "data.folds": ("kfold", "k_fold", "n_splits", "n_folds", "num_folds"),
    "mlm.probability": ("mlm_probability", "mask_probability"),
    "mlm.whole_word": ("whole_word_mask", "wwm"),
    "qa.unanswerable": ("version_2_with_negative",),
    "qa.null_threshold": ("null_score_diff_threshold",),
    "qa.max_answer": ("max_answer_length",),
    "eval.metric": ("metric_for_best_model", "metric", "metric_name", "monitor"),
    "checkpoint.keep": ("save_total_limit", "checkpoints_total_limit"),
    "tuning=lora": ("lora", "peft", "use_peft", "use_lora", "peft_type", "adapter"),
    "lora.alpha": ("lora_alpha",),
    "lora.r": ("lora_r", "rank", "lora_rank", "lora_dim"),
    "lora.dropout": ("lora_dropout",),
    "lora.targets": ("target_modules", "lora_target_modules", "lora_targets", "lora_target"),
    "lora.rslora": ("use_rslora",),
    "lora.dora": ("use_dora",),
    "lora.init": ("init_lora_weights",),
    "lora.plus_ratio": ("loraplus_lr_ratio",),
    "task": ("task_type", "problem_type"),
    "zero.stage": ("deepspeed", "zero_stage", "zero_optimization", "fsdp", "sharded_ddp", "stage", "strategy"),
    "zero.offload": ("offload_optimizer_device", "offload_param_device", "cpu_offload", "offload_optimizer"),
    "zero.nvme_path": ("offload_optimizer_nvme_path",),
    "runs_dir": ("output_dir", "logging_dir", "out_dir", "save_dir", "log_dir", "project_dir"),
    "run_id": ("run_name", "experiment_name", "job_name"),
    "init_from": ("init_checkpoint", "load_from"),
    "tracking.wandb.mode=disabled": ("enabled", "disable_wandb", "wandb_disabled"),
    "tracking.wandb.mode": ("report_to", "use_wandb", "wandb", "log_with"),
    "tracking.wandb.project": ("wandb_project", "project_name"),
    "tracking.wandb.entity": ("wandb_entity",),
    "tracking.wandb.name": ("wandb_name", "wandb_run_name"),
    "distill.teacher": ("teacher_model", "teacher_name_or_path"),
}  # fmt: skip
"""Our key -> what it is called elsewhere."""

EXPLANATIONS: dict[str, tuple[str, ...]] = {
    GLOBAL_BATCH: ("batch_size", "train_batch_size", "per_device_train_batch_size", "per_gpu_train_batch_size",
                   "total_batch_size", "bs", "batch", "global_batch_size", "batchsize"),
    ACCUMULATION: ("gradient_accumulation_steps", "accumulate_grad_batches", "grad_accum", "accumulation_steps"),
    WARMED_UP: ("warmup_ratio", "warmup_steps", "num_warmup_steps", "warmup_proportion", "warmup_epochs"),
    EVALUATED: ("eval_steps", "eval_strategy", "evaluation_strategy", "evaluate_during_training", "val_check_interval"),
    SAVED: ("save_steps", "save_strategy", "checkpointing_steps", "save_every"),
    SAVED_BEST: ("load_best_model_at_end", "greater_is_better", "save_best"),
    PADDED: ("group_by_length", "pad_to_max_length", "length_column_name", "pad_to_multiple_of", "padding",
             "sample_packing", "packing"),
    ALONE: ("extends", "defaults", "inherit", "inherits", "include", "includes", "base", "_base_", "recipe"),
    "torchrun decides it: gpus=N and nodes=N say how many ranks there are": ("local_rank", "world_size", "master_addr",
                                                                           "master_port", "ntasks"),
    SEEDS: ("seeds", "num_seeds", "n_seeds"),
    VERBS: ("do_train", "do_eval", "do_predict", "do_test"),
    PROFILE: ("account", "partition", "qos", "mem", "cpus_per_task", "constraint", "exclude", "nodelist", "gres", "reservation",
              "mem_per_cpu", "mail_user", "mail_type", "comment", "licenses", "nice", "dependency", "begin"),
    PLANNED: ("ddp_backend", "ddp_timeout", "ddp_find_unused_parameters", "ddp_bucket_cap_mb", "dist_backend"),
    "every step is recorded in metrics.jsonl": ("logging_steps", "logging_strategy", "log_every", "log_interval"),
    "the loader needs no workers: data are tokenised once, before training": ("dataloader_num_workers", "num_workers",
                                                                             "preprocessing_num_workers",
                                                                             "dataloader_drop_last"),
    "continue a run with launch resume RUN": ("resume_from_checkpoint", "resume", "overwrite_output_dir"),
    "it is taken from the data": ("num_labels", "num_classes", "n_classes"),
    "modules beside the adapters are trained where the family needs it": ("modules_to_save",),
    PUSHED: ("push_to_hub", "hub_model_id", "hub_token"),
    "code of a hub repository is never executed": ("trust_remote_code",),
}  # fmt: skip
"""What to say of a name -> the names for which no single key stands."""

VALUES: dict[str, tuple[str, ...]] = {
    "cuda": ("gpu", "nvidia"),
    "fp16": ("half", "float16", "16", "16-mixed", "16-true"),
    "bf16": ("bfloat16", "bf16-mixed", "bf16-true"),
    "fp32": ("float32", "single", "full", "32", "32-true", "no", "tf32"),
    "constant": ("constant_with_warmup",),
    "cosine": ("cosine_with_restarts", "cosine_with_min_lr"),
    "plateau": ("reduce_lr_on_plateau",),
    "scratch": ("random",),
    "lora": ("peft", "qlora", "adapter", "adapters"),
    "offline": ("dryrun",),
    "disabled": ("off", "none"),
}
"""A value of ours -> what it is called elsewhere."""

IN_A_PROFILE: dict[str, tuple[str, ...]] = {
    "did you mean memory?": ("mem",),
    "did you mean cpus_per_task?": ("cpus", "cores", "cpus_per_node", "cpus_per_gpu"),
    "did you mean gpus_per_node? gpu_request and gpu_type say how they are asked for": ("gres", "n_gpu", "num_gpus"),
    "did you mean partition?": ("queue", "partitions"),
    "did you mean setup? Its lines are run on every node: [module load cuda]": ("modules", "module", "conda", "venv"),
}  # fmt: skip
"""What to say of a name in a cluster profile -> the names."""
OF_SBATCH = "options of sbatch stand in the section sbatch, by their long names: sbatch: {exclude: node7}"

REMEDIES: dict[str, str] = {
    **{name: f"did you mean {key}?" for key, names in KEYS.items() for name in names},
    **{name: text for text, names in EXPLANATIONS.items() for name in names},
}


def value_here(value: str, allowed: Collection[str]) -> str | None:
    """The one of the values allowed that other tools call so; None for a name nobody uses."""
    return next((ours for ours, names in VALUES.items() if ours in allowed and value.lower() in names), None)


def called_here(key: str) -> str | None:
    """What to write instead of another tool's name, whatever section it was put into; None for a name nobody uses."""
    return REMEDIES.get(_word(key))


def called_in_a_profile(key: str, remedy: str | None) -> str | None:
    """What to write in a cluster profile instead of this name, for which a recipe has this remedy."""
    known = (text for text, names in IN_A_PROFILE.items() if _word(key) in names)
    return next(known, OF_SBATCH if remedy == PROFILE else remedy)


def _word(key: str) -> str:
    return key.rpartition(".")[2].strip("-").replace("-", "_").lower()
