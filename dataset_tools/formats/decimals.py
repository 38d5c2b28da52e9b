"""Numbers whose decimals may stand behind a comma."""

from __future__ import annotations

import re

# Numbers with a point, or a comma, before the decimals, and the other sign between thousands.
_POINT = re.compile(r"[+-]?(\d+|[1-9]\d{0,2}(,\d{3})+)(\.\d+)?")
_COMMA = re.compile(r"[+-]?(\d*|[1-9]\d{0,2}(\.\d{3})+)(,\d+)?")


def with_point(value: object, decimal: str) -> object:
    """A number as Python writes it, from one whose decimals may stand behind a comma.

    Raises:
        ValueError: it does not go with ``decimal``, or (``auto``) both readings are possible.
    """
    if not isinstance(value, str) or not ("," in value or decimal == ","):
        return value
    text = value.strip()
    readings = {}
    if _POINT.fullmatch(text):
        readings["."] = text.replace(",", "")
    if _COMMA.fullmatch(text):
        readings[","] = text.replace(".", "").replace(",", ".")
    if decimal == "auto" and len(set(readings.values())) > 1:
        raise ValueError(
            f"{value!r} could be {readings[',']} (--decimal ,) or {readings['.']} (--decimal .)"
        )
    chosen = list(readings.values()) if decimal == "auto" else [readings.get(decimal)]
    if not chosen or chosen[0] is None:
        raise ValueError(f"{value!r} is not a number with --decimal {decimal}")
    return chosen[0]
