"""Points of a space, drawn by optuna: all at once where they don't depend on results, else one after the other.

The n-th draw has a seed of its own, made from the space and n: an interrupted search draws what it would have drawn.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from launcher.errors import UserError
from launcher.sweeps.space import Choice, Domain, Value, described

if TYPE_CHECKING:
    import optuna

Point = dict[str, Value]
JOURNAL = "optuna.journal"
STUDY = "sweep"


def draw(space: Mapping[str, Domain], count: int) -> list[Point]:
    """`count` points, the first of them the same for any count. Raises UserError without optuna."""
    module = _optuna()
    study = module.create_study()
    drawn = []
    for number in range(count):
        study.sampler = module.samplers.RandomSampler(seed=_seed(space, number))
        drawn.append(study.ask(_distributions(space)).params)
    return drawn


class Study:
    """A search that learns from results. What it asked for and was told is in a journal in the sweep's directory, which
    optuna's own tools read too; a journal that is gone begins anew, and finds the runs that are there."""

    def __init__(self, directory: Path, space: Mapping[str, Domain], *, higher_is_better: bool) -> None:
        module = _optuna()
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        self._optuna = module
        self._space = space
        self._study = module.create_study(
            storage=JournalStorage(JournalFileBackend(str(directory / JOURNAL))),
            study_name=STUDY,
            direction="maximize" if higher_is_better else "minimize",
            load_if_exists=True,
        )
        self._drop_half_asked()

    def asked(self) -> dict[int, Point]:
        """Every point asked for so far, by its number."""
        return {trial.number: trial.params for trial in self._trials() if trial.state.name != "FAIL"}

    def open(self) -> dict[int, Point]:
        """Those whose result the search has not been told."""
        return {trial.number: trial.params for trial in self._trials() if trial.state.name == "RUNNING"}

    def ask(self) -> Point:
        """The next point, by what is known until now; a point that is being trained counts as a bad one."""
        sampler = self._optuna.samplers.TPESampler
        self._study.sampler = sampler(seed=_seed(self._space, len(self._trials())), constant_liar=True)
        point: Point = self._study.ask(_distributions(self._space)).params
        return point

    def count(self) -> int:
        """How many points were asked for, those that could not be trained included."""
        return sum(trial.params.keys() == self._space.keys() for trial in self._trials())

    def tell(self, number: int, value: float | None) -> None:
        """What the training of a point has reached; None where there can't be one."""
        if value is None:
            self._study.tell(number, state=self._optuna.trial.TrialState.FAIL)
        else:
            self._study.tell(number, value)

    def _drop_half_asked(self) -> None:
        """A command that was killed while it asked leaves a trial without all of its values: it was never trained."""
        for number, point in self.open().items():
            if point.keys() != self._space.keys():
                self.tell(number, None)

    def _trials(self) -> list[optuna.trial.FrozenTrial]:
        trials: list[optuna.trial.FrozenTrial] = self._study.get_trials(deepcopy=False)
        return trials


def _distributions(space: Mapping[str, Domain]) -> dict[str, Any]:
    return {key: _distribution(domain) for key, domain in space.items()}


def _distribution(domain: Domain) -> Any:
    from optuna import distributions

    if isinstance(domain, Choice):
        return distributions.CategoricalDistribution(domain.values)
    if domain.is_whole:
        return distributions.IntDistribution(int(domain.low), int(domain.high), log=domain.is_log)
    return distributions.FloatDistribution(domain.low, domain.high, log=domain.is_log)


def _seed(space: Mapping[str, Domain], number: int) -> int:
    text = json.dumps([described(space), number])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


def _optuna() -> Any:
    try:
        import optuna
    except ImportError:
        remedy = "pip install 'launch-encoders[search]'"
        raise UserError("needs the package optuna", field="--search", remedy=remedy) from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna
