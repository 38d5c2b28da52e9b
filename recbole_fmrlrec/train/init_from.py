"""The key ``init_from``: a training that begins with the weights of another one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from recbole_fmrlrec.console import say
from recbole_fmrlrec.errors import RunError, UsageError
from recbole_fmrlrec.files.checkpoint import load_checkpoint
from recbole_fmrlrec.model_api.protocols import ReadsCodes
from recbole_fmrlrec.train.row_places import COLUMNS, Misfit, row_places
from recbole_fmrlrec.train.typed_settings import RunSettings
from recbole_fmrlrec.train.vocabulary import KINDS, from_text, match, same_columns, vocabulary_of

_ALL = {*KINDS, COLUMNS}


def load_weights(model: Any, settings: RunSettings, config: Any, dataset: Any) -> None:
    """Take over the weights of the checkpoint ``init_from`` that fit by name and shape.

    Vectors of items, users and values of columns belong to a dataset: they are left out where the
    checkpoint is of another one, or of one that had others or another order. What fits, and what
    does not, is said.

    Args:
        config: that the model was made by.
        dataset: likewise.

    Raises:
        UsageError: there is no such checkpoint, or nothing in it fits.
    """
    assert settings.init_from is not None
    file = Path(settings.init_from)
    try:
        saved = load_checkpoint(file)
    except RunError as error:
        raise UsageError(f"init_from: {error}") from error
    weights = saved.get("state_dict")
    if not isinstance(weights, dict):
        raise UsageError(f"init_from: {file} holds no weights; give the best.pth of a run")
    own = model.state_dict()
    foreign = _foreign(model, settings, config, dataset, saved)
    fits, left = {}, []
    for name, value in own.items():
        reason = _misfit(value, weights.get(name)) or foreign.get(name)
        if reason:
            left.append(f"{name} ({reason})")
        else:
            fits[name] = weights[name]
    if not fits:
        raise UsageError(
            f"init_from: nothing in {file} fits {settings.model} as it is configured: "
            f"{', '.join(left[:5])}{' ...' if len(left) > 5 else ''}"
        )
    model.load_state_dict(fits, strict=False)
    say(f"init_from: {len(fits)} of {len(own)} tensors taken from {file}")
    if left:
        say(f"init_from: left at their initial values: {', '.join(left)}")


def _misfit(own: Tensor, saved: Any) -> str | None:
    """Why a tensor cannot be taken over; None if it can."""
    if saved is None:
        return "not in the checkpoint"
    if own.shape != saved.shape:
        return f"{list(saved.shape)} there, {list(own.shape)} here"
    return None


def _foreign(
    model: Any, settings: RunSettings, config: Any, dataset: Any, saved: dict[str, Any]
) -> dict[str, str]:
    """Tensors of a checkpoint that mean something else here, with the reason."""
    found: dict[str, str] = {}
    same = _same_kinds(settings, dataset, saved)
    if same != _ALL:
        try:
            places = row_places(model, config, dataset)
        except Misfit as why:
            raise UsageError(f"init_from: {why}") from None
        weights = saved["state_dict"]
        for name, own in model.state_dict().items():
            numbers = own.ndim > 0 and not own.is_floating_point()
            if numbers and not torch.equal(own.cpu(), weights.get(name, own).cpu()):
                found[name] = "numbers of another dataset"
            elif not {axis.kind for axis in places.get(name, ())} <= same:
                found[name] = "belongs to another dataset"
    if isinstance(model, ReadsCodes):
        for name in model.tensors_of_other_codes(saved.get("features")):
            found[name] = "of other codes"
    return found


def _same_kinds(settings: RunSettings, dataset: Any, saved: dict[str, Any]) -> set[str]:
    """The kinds of rows that are what they were; earlier versions kept the dataset's name alone."""
    if saved.get("config", {}).get("dataset") != settings.dataset:
        return set()
    stored = from_text(saved.get("vocabulary"))
    if stored is None:
        return {*_ALL}
    matches = match(stored, vocabulary_of(dataset))
    same = {kind for kind, found in matches.items() if found.is_same}
    if "columns" not in saved or same_columns(saved["columns"], dataset):
        same.add(COLUMNS)
    return same
