"""Exceptions by which RecBole refuses a setting become a UsageError."""

from __future__ import annotations

import linecache
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from recbole_fmrlrec.errors import RunError, UsageError, usage_errors
from recbole_fmrlrec.model_api.registry import recbole_dir

#: What numpy, torch and pandas raise at values that do not fit one another.
_OF_VALUES: tuple[type[Exception], ...] = (
    *(ValueError, TypeError, AssertionError, LookupError, ArithmeticError),
    *(NotImplementedError, RuntimeError, AttributeError),
)


@contextmanager
def told_as_usage(config: Any, doing: str) -> Iterator[None]:
    """Raise UsageError for an exception in RecBole, or below it, that a key of the user's caused.

    That is: an exception that RecBole raises by a ``raise`` or ``assert`` of its own, and an error
    of values where the user has set a key that belongs to the model. Without such a key the
    defaults have failed, which is a fault of the program.

    Args:
        doing: what is being done, for the message.

    Raises:
        UsageError: it has RecBole's words, and the keys that the user set.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, (*usage_errors(), RunError)) or not _is_refusal(error, config):
            raise
        raise UsageError(_message(error, config, doing)) from error


def _is_refusal(error: Exception, config: Any) -> bool:
    if not isinstance(error, _OF_VALUES) or "out of memory" in str(error):
        return False
    return _raised_by_recbole(error) or bool(_own_keys(config))


def _raised_by_recbole(error: Exception) -> bool:
    frames = traceback.extract_tb(error.__traceback__)
    if not frames or not frames[-1].filename.startswith(str(recbole_dir())):
        return False
    line = linecache.getline(frames[-1].filename, frames[-1].lineno or 0).strip()
    return line.startswith(("raise ", "assert "))


def _own_keys(config: Any) -> list[str]:
    """The keys of the model, of its input and of its training that the user set."""
    from recbole_fmrlrec.keys.known import model_keys

    shared = {"train_neg_sample_args", "MAX_ITEM_LIST_LENGTH", "transform", "clip_grad_norm"}
    shared |= {"numerical_features", "selected_features", "discretization", "load_col"}
    return sorted(set(_given(config)) & (model_keys(config["model"]) | shared))


def _given(config: Any) -> list[str]:
    silent = {"model", "dataset", "data_path", "checkpoint_dir", "num_threads", "epochs", "state"}
    return sorted(set(getattr(config, "_given", ())) - silent)


def _message(error: Exception, config: Any, doing: str) -> str:
    theirs = _raised_by_recbole(error)
    keys = _given(config) if theirs else _own_keys(config)
    shown = ", ".join(f"{key} = {config[key]!r}" for key in keys) or "none"
    words = " ".join(str(error).split()) or "no reason given"
    if not theirs:
        words = f"{type(error).__name__}: {words}"
    return f"{doing} failed: {words}. Keys that were set and may be the cause: {shown}"
