"""Features of two trainings: whether the same encoder made them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dataset_tools.encoders.tfidf import TFIDF_NAME
from recbole_fmrlrec.errors import UsageError
from recbole_fmrlrec.train.parent import Parent

#: What a manifest says of an encoder beside its name; old records do not have it.
DETAILS = ("revision", "pooling", "template")


def check_encoders(now: Mapping[str, Any], parent: Parent) -> None:
    """Refuse features whose columns mean something else than in the parent's training.

    Args:
        now: ``feature_info`` of the new model.

    Raises:
        UsageError: other modalities, another encoder, or one that is fitted to each catalogue.
    """
    mine = now.get("encoders", {})
    if not mine:
        return
    before = parent.features
    theirs = before.get("encoders")
    if theirs is None:
        raise UsageError(
            f"{parent.key}: {parent.file} does not say which encoder made the features that it was "
            "trained on, and there is no result.json beside it that does"
        )
    if list(theirs) != list(mine):
        raise UsageError(
            f"{parent.key}: {parent.file} was trained on features {_listed(theirs)}, and here are "
            f"{_listed(mine)}; give --modalities=[{','.join(theirs)}], or make what is missing"
        )
    fitted = [name for name in mine if mine[name] == theirs[name] == TFIDF_NAME]
    if fitted and before.get("corpus") != now.get("corpus"):
        raise UsageError(
            f"{parent.key}: the {fitted[0]} features are by {TFIDF_NAME}, both here and where "
            f"{parent.file} was trained, and it is fitted to each catalogue separately: its "
            "columns mean "
            "something else here. Train on features of a pretrained encoder (`python -m "
            "dataset_tools encode-text --help`) to go on with new items"
        )
    for name in mine:
        there, here = _described(before, name), _described(now, name)
        if any(there[key] != here[key] for key in there.keys() & here.keys()):
            raise UsageError(
                f"{parent.key}: the {name} features here are by {_shown(here)}, those that "
                f"{parent.file} was trained on by {_shown(there)}: the columns of another encoder "
                "mean something else. Encode both catalogues with the same one"
            )


def _listed(encoders: Mapping[str, str]) -> str:
    return " and ".join(encoders)


def _described(info: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Encoder, width and what else is on record of a modality."""
    details = info.get("made_by", {}).get(name, {})
    known = {"encoder": info["encoders"][name], "width": info.get("widths", {}).get(name)}
    return known | {key: details[key] for key in DETAILS if key in details}


def _shown(described: Mapping[str, Any]) -> str:
    more = ", ".join(
        f"{key} {value!r}" if key == "template" else f"{key} {value}"
        for key, value in described.items()
        if key != "encoder" and value is not None
    )
    return f"{described['encoder']} ({more})"
