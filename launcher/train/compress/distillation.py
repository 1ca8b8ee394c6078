"""Distillation: a task that learns from what a teacher decides beside the labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from launcher.errors import RunFailed
from launcher.loading.resolve import read_recipe_file
from launcher.recipe.recipe import Recipe
from launcher.runs.directory import RunDir
from launcher.train.compat.expected_warnings import without_expected_warnings
from launcher.train.model.precision import autocast
from launcher.train.model.unpadded import enable_packing
from launcher.train.pretrained import local_first
from launcher.train.tasks import MicroBatch, Task, extra_head, get_task
from launcher.train.tokens.cache import TokenSplit
from launcher.train.tokens.tokenizer import load_tokenizer


class Distilled(Task):
    """(1 - weight) * loss of the labels + weight * T^2 * KL(teacher || student) at temperature T (Hinton et al., 2015,
    arXiv:1503.02531), and the cosine distance of DistilBERT (Sanh et al., 2019, arXiv:1910.01108) where distill.hidden
    asks for it. Evaluation, and whoever asks before `watch` has been called, gets the loss of the labels alone.

    It comes before the task that is taught among the bases of a class: `with_teacher` makes that.
    """

    def take_teacher(self, device: torch.device) -> None:
        """Load the teacher. Raises RunFailed where there is none for this task and vocabulary."""
        name = str(self.recipe.distill.teacher)
        _check_tokenizer(self.tokenizer, name)
        teacher = _load(self, name)
        self._teacher = teacher.to(device).eval().requires_grad_(False)
        enable_packing(teacher, device, self.spec.reads)
        self._watches = False
        self._states: dict[str, torch.Tensor] = {}
        self._remember_states(teacher, "teacher")

    def fit(self, train: TokenSplit, label_names: Sequence[str]) -> None:
        super().fit(train, label_names)
        _check_task(self, self._teacher, label_names)
        names = self.names_in(self._teacher.config) if label_names else ()
        if names != tuple(label_names):
            raise RunFailed(
                "recipe",
                f"distill.teacher tells {', '.join(names)} apart, the data {', '.join(label_names)}",
                "give a teacher that was trained on the same labels",
            )

    def watch(self, student: Any) -> None:
        """Tell the task which model learns. Raises RunFailed where it can't read what the teacher reads."""
        ours, theirs = student.config, self._teacher.config
        if ours.model_type != theirs.model_type:
            raise RunFailed(
                "recipe",
                f"distill.teacher is a {theirs.model_type}, the student a {ours.model_type}",
                "give a teacher of the student's family",
            )
        if self.recipe.distill.hidden and ours.hidden_size != theirs.hidden_size:
            raise RunFailed(
                "recipe",
                f"distill.hidden compares states of one width: the teacher has {theirs.hidden_size}, "
                f"the student {ours.hidden_size}",
                "leave distill.hidden out",
            )
        self._remember_states(student, "student")
        self._watches = True

    def loss_sum(self, output: Any, batch: MicroBatch) -> torch.Tensor:
        own = super().loss_sum(output, batch)
        if not self._watches or not torch.is_grad_enabled():
            return own
        distill = self.recipe.distill
        learnt = self.taught_sum(output, self.teach(batch), batch, distill.temperature)
        loss = (1 - distill.weight) * own + distill.weight * learnt
        if distill.hidden:
            student, teacher = self._states["student"].float(), self._states["teacher"].float()
            assert student.shape == teacher.shape
            apart = 1 - functional.cosine_similarity(student, teacher)
            if batch.sequences is not None:
                apart = torch.stack([part.mean() for part in torch.split(apart, batch.sequences.tolist())])
            loss = loss + distill.hidden * apart.sum()
        return loss

    def teach(self, batch: MicroBatch) -> Any:
        """What the teacher returns."""
        with torch.no_grad(), autocast(self.recipe.precision, self._teacher.device):
            return self._teacher(**batch.inputs)

    def _remember_states(self, model: Any, name: str) -> None:
        """Keep the first token's last state of each sequence (sequences, width) when `model` is called."""

        def keep(_module: Any, _arguments: Any, output: Any) -> None:
            self._states[name] = output.last_hidden_state[:, 0]

        if self.recipe.distill.hidden:
            model.base_model.register_forward_hook(keep)


def with_teacher(recipe: Recipe, tokenizer: Any, device: torch.device) -> Distilled:
    """The recipe's task, taught. Raises RunFailed where the teacher doesn't fit."""
    plain = type(get_task(recipe, tokenizer))
    task: Distilled = type("Distilled", (Distilled, plain), {})(recipe, tokenizer)
    task.take_teacher(device)
    return task


def _load(task: Task, name: str) -> Any:
    """The teacher with all that it needs to decide."""
    import transformers

    with without_expected_warnings():
        teacher, report = local_first(
            getattr(transformers, task.auto_class).from_pretrained,
            name,
            None,
            dtype=torch.float32,
            output_loading_info=True,
        )
    path = Path(name) / extra_head.FILE
    try:
        if lacking := sorted(report["missing_keys"]):
            raise ValueError(f"it has no weights for {lacking[0]}")
        head = task.extra_head(teacher.config)
        if getattr(head, "reads_features", False) and not path.is_file():
            head = None  # a deeper head is the student's own affair
        if head is None and path.is_file():
            raise ValueError(f"it has a {extra_head.NAME}, which this recipe has no place for")
        extra_head.load(teacher, head, Path(name))
    except (ValueError, AttributeError, RuntimeError, OSError) as error:
        raise _another_task(task, error) from None
    return teacher


def _check_task(task: Task, teacher: Any, label_names: Sequence[str]) -> None:
    """Raises RunFailed where the teacher decides something else than `task`, as far as can be told."""
    wanted, config = task.head_config(label_names), teacher.config
    run = RunDir(Path(str(task.recipe.distill.teacher)).parent)
    # Whatever else is called recipe.yaml says nothing of the model beside it.
    is_run = run.recipe.is_file() and run.plan.is_file()
    other = read_recipe_file(run.recipe).task if is_run else None
    made_for = config.architectures or [type(teacher).__name__]
    usual = "single_label_classification"
    alike = (
        other in (None, task.recipe.task)
        and type(teacher).__name__ in made_for
        and config.num_labels == wanted.get("num_labels", config.num_labels)
        and (config.problem_type or usual) == (wanted.get("problem_type") or usual)
    )
    if not alike:
        told = f"of task={other}" if other else f"a {made_for[0]} with {config.num_labels} outputs"
        raise _another_task(task, f"it is {told}")


def _another_task(task: Task, why: object) -> RunFailed:
    return RunFailed(
        "recipe",
        f"distill.teacher was not trained for this task: {why}",
        f"give a run of task={task.recipe.task}, with the same tagging.crf and model.head.*",
    )


def _check_tokenizer(tokenizer: Any, teacher: str) -> None:
    if load_tokenizer(teacher, None).get_vocab() != tokenizer.get_vocab():
        raise RunFailed(
            "recipe",
            "distill.teacher has another vocabulary than the student",
            "start the student from the teacher's family, or from the teacher itself with init_from and prune.*",
        )
