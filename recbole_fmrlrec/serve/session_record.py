"""A session as JSON: what the store keeps, what an export gives, and what an import takes."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from recbole_fmrlrec.rules import is_whole
from recbole_fmrlrec.serve.refused import Refused

FORMAT = 1
_ARRAYS = ("state", "hidden")
#: What every reader of JSON takes as an integer.
_MOST = 2**53


def record_of(
    served: Mapping[str, Any], history: Sequence[str], state: Mapping[str, Any]
) -> dict[str, Any]:
    """The record of a session.

    Args:
        served: model, size and version.
        history: the latest events that are kept, the oldest first.
        state: what `Sessions.state_dict` gave.
    """
    arrays = {
        name: base64.b64encode(np.ascontiguousarray(state[name], "<f4").tobytes()).decode("ascii")
        for name in _ARRAYS
    }
    return {
        "format": FORMAT,
        **served,
        "parameters": state["model"],
        "events": state["events"],
        "history": list(history),
        **arrays,
    }


def state_of(record: Mapping[str, Any], like: Mapping[str, Any]) -> dict[str, Any]:
    """What `Sessions.load_state_dict` takes.

    Args:
        like: the state of another session of the model, for the shapes.

    Raises:
        Refused: the arrays are not those of this model (422).
    """
    state: dict[str, Any] = {"model": record["parameters"], "events": record["events"]}
    for name in _ARRAYS:
        try:
            numbers = np.frombuffer(base64.b64decode(record[name], validate=True), "<f4")
            state[name] = numbers.reshape(like[name].shape).copy()
        except (ValueError, TypeError, binascii.Error):
            raise Refused(422, f"the session's {name} is not that of this model") from None
    return {**state, "seen": None}


def check_record(record: object) -> dict[str, Any]:
    """A record whose fields have the right types.

    Raises:
        Refused: it is none (422).
    """
    texts = ("model", "version", "parameters", "state", "hidden")
    kinds = {"history": list, **dict.fromkeys(texts, str)}
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise Refused(422, f"not an exported session of format {FORMAT}")
    for name, kind in kinds.items():
        if not isinstance(record.get(name), kind):
            raise Refused(422, f"the session's {name} is missing or of another type")
    for name in ("size", "events"):
        if not is_whole(record.get(name)) or not 0 <= record[name] <= _MOST:
            raise Refused(422, f"the session's {name} must be an integer from 0 to {_MOST}")
    if not all(isinstance(item, str) for item in record["history"]):
        raise Refused(422, "the session's history must be a list of item ids")
    return record


def to_bytes(record: Mapping[str, Any]) -> bytes:
    """For a store."""
    return json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode()


def from_bytes(stored: bytes) -> dict[str, Any]:
    """From a store.

    Raises:
        Refused: it is damaged (410).
    """
    try:
        return check_record(json.loads(stored))
    except (ValueError, RecursionError, Refused):
        raise Refused(410, "the stored session is damaged; begin a new one") from None
