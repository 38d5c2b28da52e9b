"""Values for a trial: Optuna's samplers, seeded by the trial's slot, and a grid by slot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler, PartialFixedSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from recbole_fmrlrec.tuning.plan import Plan
from recbole_fmrlrec.tuning.space import label
from recbole_fmrlrec.tuning.study import slot_of, without_experimental_warnings


class SlotSampler(BaseSampler):
    """Hands every trial to a sampler of its own, made from the trial's slot.

    One sampler for a whole study would start its random numbers again in each process: a
    study that is continued would repeat its first trials, and two workers would share them.

    Args:
        study: all trials; a pruner with brackets hands samplers a study with some of them only.

    Attributes:
        slot: of the trial that was begun last in this process.
    """

    def __init__(self, plan: Plan, study: optuna.Study) -> None:
        self.plan = plan
        self.study = study
        self.slot = 0
        self.points = plan.points() if plan.sampler == "grid" else []
        self.inner: BaseSampler = RandomSampler()

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Find the slot, and make the sampler of it; the objective stores the slot."""
        self.slot = slot_of(self.study, trial)
        self.inner = self._sampler(self.slot)
        self.inner.before_trial(study, trial)

    def _sampler(self, slot: int) -> BaseSampler:
        seed = (self.plan.seed * 1_000_003 + slot) % 2**32
        at_random = RandomSampler(seed=seed)
        if self.plan.sampler == "random":
            return at_random
        with without_experimental_warnings():
            if self.plan.sampler == "grid":
                # Optuna's GridSampler knows no conditions and may give two workers one point.
                point = self.points[slot] if slot < len(self.points) else {}
                fixed = {name: label(value) for name, value in point.items()}
                return PartialFixedSampler(fixed, at_random)
            return TPESampler(seed=seed, multivariate=True, group=self.plan.space.conditional)

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """As the trial's sampler has it."""
        return self.inner.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """As the trial's sampler has it."""
        return self.inner.sample_relative(study, trial, search_space)

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """As the trial's sampler has it."""
        return self.inner.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        """As the trial's sampler has it."""
        self.inner.after_trial(study, trial, state, values)


def make_pruner(settings: dict[str, Any], epochs: int) -> BasePruner:
    """Optuna's pruner of a plan; its steps are epochs.

    ``startup_trials`` finish before any is cut off (median); ``warmup_epochs`` pass in every trial.
    """
    name, warmup = settings["name"], settings.get("warmup_epochs", 0)
    if name == "median":
        return optuna.pruners.MedianPruner(settings.get("startup_trials", 5), warmup)
    if name == "halving":
        return optuna.pruners.SuccessiveHalvingPruner(min_resource=max(1, warmup))
    if name == "hyperband":
        return optuna.pruners.HyperbandPruner(min_resource=max(1, warmup), max_resource=epochs)
    return optuna.pruners.NopPruner()
