"""The key ``init_from``: a training that begins with the weights of another one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from recbole_fmrlrec.console import say
from recbole_fmrlrec.errors import RunError, UsageError
from recbole_fmrlrec.files.checkpoint import load_checkpoint
from recbole_fmrlrec.train.typed_settings import RunSettings


def load_weights(model: Any, settings: RunSettings) -> None:
    """Take over the weights of the checkpoint ``init_from`` that fit by name and shape.

    Vectors of items and users belong to a dataset: they are left out where the checkpoint is of
    another one. What fits, and what does not, is said.

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
    same_data = saved.get("config", {}).get("dataset") == settings.dataset
    own = model.state_dict()
    fits, left = {}, []
    for name, value in own.items():
        reason = _misfit(value, weights.get(name), model, same_data)
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


def _misfit(own: Any, saved: Any, model: Any, same_data: bool) -> str | None:
    """Why a tensor cannot be taken over; None if it can."""
    if saved is None:
        return "not in the checkpoint"
    if own.shape != saved.shape:
        return f"{list(saved.shape)} there, {list(own.shape)} here"
    of_data = {getattr(model, count, None) for count in ("n_items", "n_users")}
    if not same_data and own.ndim > 1 and own.shape[0] in of_data:
        return "belongs to another dataset"
    return None
