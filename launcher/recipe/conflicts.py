"""Contradictions within a recipe, whatever the task, the machine or the data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from launcher.errors import Conflict
from launcher.recipe.optimizers import OPTIMIZERS
from launcher.recipe.recipe import Recipe


def conflicts(recipe: Recipe) -> Iterator[Conflict]:
    """Every contradiction within the recipe itself, whatever the machine or the data."""
    yield from _model_conflicts(recipe)
    yield from _data_conflicts(recipe)
    yield from _subset_conflicts(recipe)
    yield from _augment_conflicts(recipe)
    yield from _masking_conflicts(recipe)
    yield from _batch_conflicts(recipe)
    yield from _optimizer_conflicts(recipe)
    yield from _regularisation_conflicts(recipe)
    yield from _adapter_conflicts(recipe)
    yield from _pruning_conflicts(recipe)
    yield from _sharding_conflicts(recipe)
    yield from _zero_conflicts(recipe)
    yield from _compression_conflicts(recipe)


def _model_conflicts(recipe: Recipe) -> Iterator[Conflict]:
    model, fresh = recipe.model, recipe.model.init == "scratch" and recipe.init_from is None
    if model.name is None and model.init == "pretrained" and recipe.init_from is None:
        yield Conflict(
            ("model.name", "model.init"),
            "is needed with model.init=pretrained",
            "give a hub id or a directory, start from a run with init_from=RUN, or set model.init=scratch",
        )
    if fresh and model.name is None and model.scratch.hidden % model.scratch.heads:
        yield Conflict(
            ("model.scratch.heads", "model.scratch.hidden"),
            f"does not divide model.scratch.hidden={model.scratch.hidden}",
            "choose a number of heads that divides the hidden width",
        )
    if recipe.tuning == "lora" and fresh:
        yield Conflict(
            ("tuning", "model.init"),
            "adapters on random weights can't learn",
            "use tuning=full with model.init=scratch, or give a pretrained model.name",
        )
    if recipe.precision == "fp16" and recipe.device == "cpu":
        yield Conflict(
            ("precision", "device"), "fp16 needs a GPU", "use precision=bf16 or precision=fp32 on the CPU"
        )


def _data_conflicts(recipe: Recipe) -> Iterator[Conflict]:
    data = recipe.data
    least = 3 if isinstance(data.text, str) or len(data.text) == 1 else 4
    if data.max_length is not None and data.max_length < least:
        text = f"leaves no room for a text beside {least - 1} special tokens"
        yield Conflict(("data.max_length", "data.text"), text, "give more: the longest texts are cut to it")
    for key in ("text", "label", "choices", "negatives", "labels", "columns"):
        names = getattr(data, key)
        twice = (
            []
            if isinstance(names, str)
            else [name for name, count in Counter(names or ()).items() if count > 1]
        )
        if twice:
            yield Conflict((f"data.{key}",), f"names {twice[0]} more than once", "name each thing once")
    if data.source is None and data.train is None:
        yield Conflict(
            ("data.train", "data.source"), "no data given", "give data.train=FILE or data.source=HUB_ID"
        )
    if data.source is not None and data.train is not None:
        yield Conflict(
            ("data.train", "data.source"), "both a file and a hub data set are given", "leave one of them out"
        )
    if data.source is not None and "://" in data.source:
        text = "give the id of the data set, as its page has it: org/name, or org/name:config"
        yield Conflict(("data.source",), "is the address of a page", text)
    if data.columns is not None and data.header and not data.holds_columns_of_words:
        yield Conflict(
            ("data.columns", "data.header"),
            "names the columns of files without a header line",
            "add data.header=false, or leave data.columns out",
        )
    if data.split is not None:
        if data.validation is not None:
            yield Conflict(
                ("data.split", "data.validation"),
                "splits data.train, but data.validation is given too",
                "leave one of them out",
            )
        if sum(data.split) > 1 + 1e-9 or min(data.split[:2]) == 0:
            yield Conflict(
                ("data.split",),
                "fractions must be above 0 for train and validation and add up to at most 1",
                "for example data.split=[0.8,0.1,0.1]",
            )


def _masking_conflicts(recipe: Recipe) -> Iterator[Conflict]:
    mlm = recipe.mlm
    if mlm.mask + mlm.random > 1 + 1e-9:
        yield Conflict(
            ("mlm.random", "mlm.mask"),
            f"adds up with mlm.mask={mlm.mask} to more than 1",
            "they are shares of the hidden tokens: for example mlm.mask=0.8 mlm.random=0.1",
        )
    if mlm.segmenter is not None and not mlm.whole_word:
        yield Conflict(
            ("mlm.segmenter", "mlm.whole_word"), "is used only by mlm.whole_word", "add mlm.whole_word=true"
        )


def _subset_conflicts(recipe: Recipe) -> Iterator[Conflict]:
    data = recipe.data
    validation = "data.validation" if data.source is None else "data.validation_split"
    given = data.validation if data.source is None else data.validation_split
    if data.folds is not None and (data.split is not None or given is not None):
        other = "data.split" if data.split is not None else validation
        yield Conflict(
            ("data.folds", other), f"validates on a fold, but {other} is given too", f"{other}=null"
        )
    if data.folds is not None and data.fold >= data.folds:
        remedy = f"use data.fold=0 to data.fold={data.folds - 1}"
        yield Conflict(("data.fold", "data.folds"), f"there are {data.folds} folds", remedy)
    if data.folds is None and data.fold:
        yield Conflict(
            ("data.fold", "data.folds"), "is a number of data.folds", "add data.folds=5, or leave it out"
        )
    if data.group is not None and data.folds is None and given is not None:
        text = f"keeps groups together when training data are cut, but {validation} is given"
        yield Conflict(("data.group", validation), text, "leave it out")
    if data.shots is not None and data.limit is not None:
        yield Conflict(("data.shots", "data.limit"), "both say how many examples", "leave one of them out")


def _augment_conflicts(recipe: Recipe) -> Iterator[Conflict]:
    augment = recipe.data.augment
    key = "data.augment."
    given = augment.synonym_file is not None
    for name in ("synonyms", "insert"):
        if getattr(augment, name) and not given and not augment.wordnet:
            text = "needs to know synonyms"
            yield Conflict((f"{key}{name}",), text, f"add {key}synonym_file=FILE or {key}wordnet=true")
    if given and augment.wordnet:
        yield Conflict((f"{key}wordnet", f"{key}synonym_file"), "both give synonyms", "leave one of them out")
    if (given or augment.wordnet) and not (augment.synonyms or augment.insert):
        name = f"{key}synonym_file" if given else f"{key}wordnet"
        yield Conflict((name, f"{key}synonyms"), "nothing uses its synonyms", f"add {key}synonyms=0.1")
    if augment.alike_file is not None and not augment.typos:
        yield Conflict((f"{key}alike_file", f"{key}typos"), "is used by typos alone", f"add {key}typos=0.05")


def _batch_conflicts(recipe: Recipe) -> Iterator[Conflict]:
    batch = recipe.batch
    if batch.micro is not None and batch.micro > batch.global_:
        yield Conflict(
            ("batch.micro", "batch.global"),
            f"is larger than batch.global={batch.global_}",
            f"use batch.micro={batch.global_} or less: batch.global is what makes one step",
        )
    longest = recipe.data.max_length
    if isinstance(batch.tokens, int) and longest is not None and batch.tokens < longest:
        yield Conflict(
            ("batch.tokens", "data.max_length"),
            f"is less than one example of data.max_length={longest} tokens",
            f"use batch.tokens={longest} or more",
        )
    for name in recipe.eval.extra:
        if name in ("train", "validation", "test", "probes"):
            yield Conflict(("eval.extra",), f"{name} is the name of another split", "choose another name")
        if name in ("eval", "perf", "node", "best"):
            yield Conflict(("eval.extra",), f"{name}/ is where other metrics stand", "choose another name")
    stopping = recipe.train.early_stopping
    if stopping.patience is not None and recipe.eval.every is None:
        yield Conflict(
            ("train.early_stopping.patience", "eval.every"),
            "early stopping needs evaluations during training",
            "set eval.every to a number of steps or to epoch",
        )


def _optimizer_conflicts(recipe: Recipe) -> Iterator[Conflict]:
    train, optimizer = recipe.train, OPTIMIZERS[recipe.train.optimizer]
    if train.momentum and not optimizer.takes_momentum:
        yield Conflict(
            ("train.momentum", "train.optimizer"),
            f"is not a setting of {train.optimizer}",
            "leave it out (adam, adamw and lamb have train.beta1, muon has 0.95), or use train.optimizer=sgd",
        )
    if train.nesterov and not (optimizer.takes_nesterov and train.momentum):
        yield Conflict(
            ("train.nesterov", "train.optimizer", "train.momentum"),
            "is a way of using the momentum of sgd",
            "set train.optimizer=sgd and train.momentum=0.9, or leave it out",
        )
    if train.schedule == "plateau" and recipe.eval.every is None:
        yield Conflict(
            ("train.schedule", "eval.every"),
            "plateau needs evaluations during training",
            "set eval.every to a number of steps or to epoch, or choose another schedule",
        )


def _adapter_conflicts(recipe: Recipe) -> Iterator[Conflict]:
    lora, default = recipe.lora, type(recipe.lora)()
    given = [key for key in type(lora).model_fields if getattr(lora, key) != getattr(default, key)]
    for key in given if recipe.tuning != "lora" else ():
        usual = "null" if getattr(default, key) is None else str(getattr(default, key)).lower()
        remedy = f"set tuning=lora, or leave it out (lora.{key}={usual})"
        yield Conflict((f"lora.{key}", "tuning"), "there are no adapters", remedy)
    if lora.dora and lora.init == "pissa":
        yield Conflict(("lora.init", "lora.dora"), "is not combined with DoRA", "choose one of them")
    if lora.train_embeddings and recipe.model.freeze.embeddings:
        yield Conflict(
            ("lora.train_embeddings", "model.freeze.embeddings"), "the embeddings are frozen", "leave it out"
        )


def _pruning_conflicts(recipe: Recipe) -> Iterator[Conflict]:
    model = recipe.model
    if model.reinit_layers and recipe.tuning == "lora":
        yield Conflict(
            ("model.reinit_layers", "tuning"), "adapters on random weights can't learn", "use tuning=full"
        )


def highest_stages(recipe: Recipe) -> dict[str, int]:
    """Keys in use that look at whole parameters or change which of them train, and the highest ZeRO stage that allows it."""
    train = recipe.train
    highest = {
        "train.optimizer": (True, OPTIMIZERS[train.optimizer].highest_zero),
        "train.ema": (train.ema is not None, 0),
        "prune.magnitude": (bool(recipe.prune.magnitude), 0),
        "train.unfreeze_every": (train.unfreeze_every is not None, 0),
        "lora.dora": (recipe.lora.dora, 2),
        "train.l1": (train.l1 > 0, 2),
        "train.l2": (train.l2 > 0, 2),
        "train.r_drop": (train.r_drop > 0, 2),
        "train.fgm": (train.fgm > 0, 2),
    }
    return {key: most for key, (used, most) in highest.items() if used}


def _sharding_conflicts(recipe: Recipe) -> Iterator[Conflict]:
    """Of a stage that is given; null is one that allows everything, unless offloading needs shards."""
    stage = recipe.zero.stage
    if stage is None:
        stage = 0 if recipe.zero.offload == "none" else 2
    for key, most in highest_stages(recipe).items():
        if stage > most:
            yield Conflict(
                (key, "zero.stage"),
                "doesn't work on the shards of ZeRO" + (f" stage {stage}" if most else ""),
                f"set zero.stage={most}{' or less' if most else ''}, or leave it out",
            )


def _regularisation_conflicts(recipe: Recipe) -> Iterator[Conflict]:
    train = recipe.train
    if train.r_drop and recipe.distill.teacher is not None:
        yield Conflict(
            ("train.r_drop", "distill.teacher"), "is not combined with a teacher", "leave one of them out"
        )
    if train.ema is not None and recipe.prune.magnitude:
        yield Conflict(
            ("train.ema", "prune.magnitude"),
            "averages weights from before they were held at zero",
            "leave one of them out",
        )
    if train.r_drop and train.fgm:
        yield Conflict(("train.fgm", "train.r_drop"), "is not combined with R-Drop", "choose one of them")


def _zero_conflicts(recipe: Recipe) -> Iterator[Conflict]:
    zero = recipe.zero
    if zero.offload != "none" and zero.stage == 0:
        yield Conflict(
            ("zero.offload", "zero.stage"), "needs ZeRO", "set zero.stage to 1, 2 or 3, or leave it out"
        )
    if zero.offload == "nvme" and zero.stage in (1, 2):
        yield Conflict(
            ("zero.offload", "zero.stage"), "needs ZeRO stage 3", "set zero.stage=3 or zero.offload=cpu"
        )
    if zero.offload == "nvme" and zero.nvme_path is None:
        yield Conflict(
            ("zero.nvme_path", "zero.offload"), "is needed by zero.offload=nvme", "give a local directory"
        )
    if zero.offload == "nvme" and recipe.least_nodes < recipe.most_nodes:
        yield Conflict(
            ("nodes", "zero.offload"),
            "zero.offload=nvme saves a part of the state for each rank, so their number can't change",
            f"use nodes={recipe.most_nodes}, or another zero.offload",
        )
    if zero.nvme_path is not None and zero.offload != "nvme":
        yield Conflict(
            ("zero.nvme_path", "zero.offload"), "is used only by zero.offload=nvme", "leave it out"
        )


def _compression_conflicts(recipe: Recipe) -> Iterator[Conflict]:
    prune = recipe.prune
    for key in ("heads", "ffn", "layers", "magnitude"):
        if getattr(prune, key) and recipe.init_from is None:
            message = "only a model that has been trained shows what it can do without"
            yield Conflict(
                (f"prune.{key}", "init_from"), message, "add init_from=RUN, or the model's directory"
            )
    if prune.magnitude and recipe.tuning == "lora":
        yield Conflict(
            ("prune.magnitude", "tuning"),
            "adapters leave the weights that would be pruned as they are",
            "use tuning=full",
        )
