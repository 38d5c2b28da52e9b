"""Records of public data sets: Python literals or JSON, parsed and never executed."""

from __future__ import annotations

import ast
import html
import json
import math
import re
from decimal import Decimal
from itertools import zip_longest
from typing import Any

from dataset_tools.formats.words import is_clean

_TAG = re.compile(
    r"</?(?:a|b|i|u|p|em|br|hr|li|ol|ul|td|th|tr|div|img|pre|sub|sup|big|font|span|table|tbody"
    r"|center|strong|small|h[1-6]|script|style)(?:\s[^<>]*)?/?>",
    re.IGNORECASE,
)


# Names that a table's writer leaves in a literal where Python has another word for the value.
_NAMES = {"nan": None, "NaN": None, "null": None, "inf": None, "true": True, "false": False}
_WHOLE = re.compile(r"([+-]?\d+)\.0+")
# What spreadsheets and pandas make of long numbers; people who write 1E5 themselves set no plus.
_EXPONENT = re.compile(r"[+-]?\d(\.\d+)?[eE]\+\d\d?")
# What tables write for a value that is not there.
NO_TEXT = frozenset({"", "None", "none", "nan", "NaN", "null", "NULL", "N/A"})


class _Names(ast.NodeTransformer):
    def visit_Name(self, node: ast.Name) -> ast.expr:
        return ast.Constant(_NAMES[node.id]) if node.id in _NAMES else node


def _evaluate(text: str) -> object:
    """A Python literal; nothing is executed."""
    try:
        return ast.literal_eval(text)
    except ValueError:  # a name in it
        return ast.literal_eval(_Names().visit(ast.parse(text.strip(), mode="eval")))


def parse_literal(line: str) -> dict[str, Any]:
    """One record written as a Python literal or as a JSON object.

    Raises:
        ValueError: neither of the two, or not a mapping with text keys.
    """
    try:
        record = json.loads(line) if line.startswith('{"') else _evaluate(line)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        record = _other_notation(line)
    if not isinstance(record, dict) or not all(isinstance(key, str) for key in record):
        raise ValueError("not a record with named fields")
    return record


def _other_notation(line: str) -> object:
    try:
        return _evaluate(line) if line.startswith('{"') else json.loads(line)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise ValueError("neither a Python literal nor JSON") from error


def parse_json(line: str) -> dict[str, Any]:
    """One JSON object; raises ``ValueError`` for anything else."""
    try:
        record = json.loads(line)
    except RecursionError as error:
        raise ValueError("nested too deep") from error
    if not isinstance(record, dict):
        one = "a list, not " if isinstance(record, list) else "not "
        raise ValueError(f"{one}a JSON object; one object per line is read")
    return record


def parse_container(text: str) -> object:
    """The list or mapping that a text holds, as JSON or a Python literal; else the text."""
    if not text.lstrip().startswith(("[", "{")):
        return text
    for parse in (json.loads, _evaluate):
        try:
            return parse(text)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            continue
    return text


def texts_of(value: object) -> list[str]:
    """The texts of a field in any form, cleaned, in order.

    Text, a number, a list (nested too), a mapping (its values) or any of these written as JSON
    or a Python literal inside a text. ``None``, NaN and empty texts give nothing.

    Raises:
        TypeError: true, false or another kind that holds no text is in it, or it is nested too
            deep.
    """
    try:
        return _texts(value)
    except RecursionError:
        raise TypeError("nested too deep") from None


def _texts(value: object) -> list[str]:
    if isinstance(value, str):
        inside = parse_container(value)
        return _texts(inside) if not isinstance(inside, str) else [t for t in [_plain(value)] if t]
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return []
    if isinstance(value, (list, tuple, set)):
        return [text for part in value for text in _texts(part)]
    if isinstance(value, dict):
        return [text for part in value.values() for text in _texts(part)]
    if isinstance(value, (bool, bytes)):
        raise TypeError(f"{value!r} is not text")
    return [text for text in [_plain(str(value))] if text]


def clean_text(value: object) -> str:
    """Text of a field: entities decoded (twice, as Amazon's need), HTML tags dropped, one line.

    Lists are joined with commas, nested ones too and such as are written inside a text;
    ``None``, NaN, true, false, mappings and what is nested too deep are empty.
    """
    try:
        return _joined(value)
    except RecursionError:
        return ""


def _joined(value: object) -> str:
    if isinstance(value, bytes):  # Parquet whose writer did not say that this is text
        value = value.decode("utf-8", "replace")
    if isinstance(value, str):
        value = parse_container(value)
    if isinstance(value, str):
        return _plain(value)
    if value is None or isinstance(value, (dict, bool)):
        return ""
    if isinstance(value, (list, tuple, set)):
        return ", ".join(text for text in map(_joined, value) if text)
    return "" if isinstance(value, float) and not math.isfinite(value) else _plain(str(value))


def _plain(text: str) -> str:
    if "&" in text:
        text = html.unescape(html.unescape(text))
    if "<" in text:
        text = _TAG.sub(" ", text)
    text = text.strip()
    return text if is_clean(text) else " ".join(text.split())


def plain_id(value: object) -> str:
    """An id as text, the same whichever file it stands in; empty where there is none.

    A whole number that a table keeps as a float (``100.0``, ``1.2E+12``) is that number
    (``100``, ``1200000000000``); spaces around an id are no part of it.
    """
    if value is None or isinstance(value, (list, dict)):
        return ""
    if isinstance(value, float):
        if not math.isfinite(value):
            return ""
        return str(int(value)) if value.is_integer() else str(value)
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    text = text.strip()
    if is_exponent(text):
        number = Decimal(text)
        return f"{number:f}" if number == number.to_integral_value() else text
    whole = _WHOLE.fullmatch(text) if "." in text else None
    return whole[1] if whole else text


def is_exponent(value: object) -> bool:
    """Whether an id is written as ``1.2E+12``, with no more digits than a table cared to show."""
    return isinstance(value, str) and "+" in value and bool(_EXPONENT.fullmatch(value.strip()))


def first_url(value: object, *keys: str) -> str:
    """The first text in a list, or under the first filled key of its first filled mapping.

    A mapping of lists, as Hugging Face's ``datasets`` writes a list of mappings, and either of
    them as JSON inside a text are read too.
    """
    if isinstance(value, str):
        inside = parse_container(value)
        return first_url(inside, *keys) if not isinstance(inside, str) else _url(value)
    if isinstance(value, dict):
        columns = [value[key] for key in keys or value if value.get(key)]
        if any(isinstance(column, (list, tuple)) for column in columns):
            rows = [column if isinstance(column, (list, tuple)) else [column] for column in columns]
            return first_url([list(row) for row in zip_longest(*rows)])
        return next((url for column in columns if (url := first_url(column))), "")
    if isinstance(value, (list, tuple)):
        return next((url for part in value if (url := first_url(part, *keys))), "")
    return ""


def _url(text: str) -> str:
    text = text.strip()
    return "" if text in NO_TEXT else text
