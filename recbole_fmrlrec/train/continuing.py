"""The key ``continue_from``: a training that goes on from another one, on newer data.

All weights are taken over. Rows of items and users go by their ids, wherever these stand now; rows
of new items start from their features or as the mean (`recbole_fmrlrec.train.new_rows`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from recbole_fmrlrec.console import say
from recbole_fmrlrec.errors import UsageError
from recbole_fmrlrec.train.new_rows import FeatureStart
from recbole_fmrlrec.train.parent import Parent
from recbole_fmrlrec.train.row_mapping import RowMapping, Start
from recbole_fmrlrec.train.row_places import Axis, Misfit, id_places, moved, row_places, unmatched
from recbole_fmrlrec.train.same_encoder import check_encoders
from recbole_fmrlrec.train.vocabulary import match, vocabulary_of

#: State of an optimiser that has a sign; of the rest, which are sizes of steps, new rows get the
#: mean, so that their first steps are no larger than those of others.
_SIGNED = frozenset({"exp_avg", "momentum_buffer", "grad_avg"})


@dataclass
class Continuation:
    """A model that has taken over the weights of a parent.

    Attributes:
        mapping: the rows, by item and user.
        has_rows: whether any of the model's tensors has rows of items or users; also true where
            items and users are the same as before.
        keeps_optimizer: whether the parent's optimiser goes on as well.
    """

    parent: Parent
    mapping: RowMapping
    has_rows: bool
    keeps_optimizer: bool = False

    def facts(self) -> dict[str, Any]:
        """For the record of a run: how many items and users were kept, are new, are gone.

        Nothing of a model without rows of them, which may have gone over to another catalogue.
        """
        if not self.has_rows:
            return {}
        return {
            kind: {"kept": match.kept, "new": match.new, "gone": len(match.gone)}
            for kind, match in self.mapping.matches.items()
        }

    def say(self) -> None:
        """Tell the user what was taken over."""
        name, parent = self.parent.key, self.parent.identity()
        say(f"{name}: {parent['file']}, epoch {parent['epochs']} on {parent['dataset']}")
        for kind, found in self.facts().items():
            text = ", ".join(f"{count:,} {what}" for what, count in found.items())
            say(f"{name}: {kind}: {text}")
        if not self.has_rows:
            say(f"{name}: the model has no vectors of single items or users to be matched")
            return
        if self.mapping.matches and self.mapping.matches["items"].new:
            how = "as the mean of the kept ones"
            if shares := self.mapping.explained:
                least = 100 * min(shares.values())
                how = f"from their features, which explain {least:.0f} % of the kept ones"
            say(f"{name}: vectors of new items start {how}")

    def record(self) -> dict[str, Any]:
        """What the result of a run says of its parent."""
        return {**self.parent.identity(), **self.facts(), "keeps_optimizer": self.keeps_optimizer}

    def begin(self, trainer: Any, keeps_optimizer: bool) -> None:
        """Say how the training goes on, after the optimiser has its state.

        Raises:
            UsageError: the state of the parent's optimiser is asked for and cannot be had.
        """
        self.keeps_optimizer = keeps_optimizer
        config = trainer.config
        if keeps_optimizer:
            self.load_optimizer(trainer)
        say(
            f"{self.parent.key}: at most {trainer.epochs} epochs at learning rate "
            f"{config['learning_rate']:g} ({config['lr_scheduler']}), the optimiser's state "
            + ("kept" if keeps_optimizer else "new")
        )

    @torch.no_grad()
    def load_optimizer(self, trainer: Any) -> None:
        """Give a trainer's optimiser the state of the parent's, row by row.

        Raises:
            UsageError: the parent keeps none, or it is that of another kind of optimiser.
        """
        state = self.parent.last_state()
        stored, mine = state["optimizer"], trainer.optimizer
        learner = self.parent.config.get("learner")
        if state.get("optimizer_in_turn") or learner != trainer.config["learner"]:
            raise UsageError(
                f"continue_optimizer: the state of the parent's optimiser ({learner}) does not fit "
                f"{trainer.config['learner']} of {self.parent.model}; leave continue_optimizer out"
            )
        names = {id(parameter): name for name, parameter in trainer.model.named_parameters()}
        own = [one for group in mine.param_groups for one in group["params"]]
        taken = {
            place: self._moments(names[id(own[place])], own[place], moments)
            for place, moments in stored["state"].items()
        }
        mine.load_state_dict({**mine.state_dict(), "state": taken})
        say(
            f"continue_optimizer: its state after epoch {state['epoch'] + 1}, with the weights of "
            f"epoch {self.parent.state['epoch'] + 1}; learning rate and schedule start over"
        )

    def _moments(self, name: str, parameter: Tensor, moments: dict[str, Any]) -> dict[str, Any]:
        def taken(kind: str, value: Any) -> Any:
            if not isinstance(value, Tensor) or value.ndim == 0:
                return value
            start: Start = "zero" if kind in _SIGNED else "mean"
            return self.mapping.take(name, value, parameter.shape, start)

        return {kind: taken(kind, value) for kind, value in moments.items()}


def continue_model(model: Any, dataset: Any, config: Any, parent: Parent) -> Continuation:
    """Give a new model the weights of its parent.

    Raises:
        UsageError: another encoder's features, a model whose tensors are of one catalogue, a tensor
            that does not fit, or none of the parent's items is there.
    """
    why = unmatched(config)
    if not why and config["selected_features"]:
        why = "has vectors of the values in selected_features, which have other numbers here"
    if why:
        raise UsageError(
            f"{parent.key}: {parent.model} {why}; train it on the new data from the beginning"
        )
    check_encoders(getattr(model, "feature_info", {}), parent)
    old, new = parent.state["state_dict"], model.state_dict()
    if missing := sorted(old.keys() ^ new.keys()):
        raise UsageError(
            f"{parent.key}: {parent.file} holds a {parent.model} of another shape: {missing[0]} is "
            "in only one of the two; leave the settings of the model as the parent's"
        )
    return _take_over(model, dataset, config, parent)


@torch.no_grad()
def _take_over(model: nn.Module, dataset: Any, config: Any, parent: Parent) -> Continuation:
    """Load all tensors of the parent into a model.

    Raises:
        UsageError: one does not fit; it is named, with the reason.
    """
    try:
        mapping = _mapping(model, dataset, config, parent)
        model.load_state_dict(mapping.take_all(model, parent.state["state_dict"]))
    except Misfit as why:
        raise UsageError(
            f"{parent.key}: {parent.file}: {why}; train {parent.model} on the new data from the "
            "beginning, or take over what fits with --init_from"
        ) from None
    # Where no row moves, nobody has looked for them, and there may be some.
    has_rows = bool(mapping.matches) and (mapping.is_same or bool(mapping.places))
    return Continuation(parent, mapping, has_rows)


def _mapping(model: Any, dataset: Any, config: Any, parent: Parent) -> RowMapping:
    """The rows of the parent that a model takes over.

    A checkpoint without ids is matched by its dataset, which a model without rows does not need.
    """
    places: dict[str, list[Axis]] | None = None
    if "vocabulary" not in parent.state:
        places = row_places(model, config, dataset)
        if not places:
            return RowMapping({})
    matches = match(parent.vocabulary, vocabulary_of(dataset))
    if places is None and moved(matches, config, parent.state, dataset):
        places = id_places(model, config, parent.state, dataset)
    start = FeatureStart.of(getattr(model, "features", None), matches["items"].rows)
    return RowMapping(matches, places, start)


def transferred_model(path: Path, config: Any, state: dict[str, Any], train_data: Any) -> Any:
    """The model of a checkpoint on other data than its own, in evaluation mode.

    Raises:
        UsageError: as `continue_model`.
    """
    model = config.model_class(config, train_data._dataset).to(config["device"])
    parent = Parent(path, "--dataset", state)
    continue_model(model, train_data._dataset, config, parent).say()
    return model.eval()
