"""Records of public data sets: Python literals or JSON, parsed and never executed."""

from __future__ import annotations

import ast
import html
import json
import re
from typing import Any

_TAG = re.compile(
    r"</?(?:a|b|i|u|p|em|br|hr|li|ol|ul|td|th|tr|div|img|pre|sub|sup|big|font|span|table|tbody"
    r"|center|strong|small|h[1-6]|script|style)(?:\s[^<>]*)?/?>",
    re.IGNORECASE,
)


def parse_literal(line: str) -> dict[str, Any]:
    """One record written as a Python literal or as a JSON object.

    Raises:
        ValueError: neither of the two, or not a mapping with text keys.
    """
    try:
        record = json.loads(line) if line.startswith('{"') else ast.literal_eval(line)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        record = _other_notation(line)
    if not isinstance(record, dict) or not all(isinstance(key, str) for key in record):
        raise ValueError("not a record with named fields")
    return record


def _other_notation(line: str) -> object:
    try:
        return ast.literal_eval(line) if line.startswith('{"') else json.loads(line)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise ValueError("neither a Python literal nor JSON") from error


def parse_json(line: str) -> dict[str, Any]:
    """One JSON object; raises ``ValueError`` for anything else."""
    try:
        record = json.loads(line)
    except RecursionError as error:
        raise ValueError("nested too deep") from error
    if not isinstance(record, dict):
        raise ValueError("not a JSON object")
    return record


def clean_text(value: object) -> str:
    """Text of a field: entities decoded (twice, as Amazon's need), HTML tags dropped, one line.

    Lists are joined with commas, nested ones too; ``None`` and mappings are empty.
    """
    if value is None or isinstance(value, (dict, bool)):
        return ""
    if isinstance(value, (list, tuple, set)):
        return ", ".join(text for text in map(clean_text, value) if text)
    text = str(value)
    if "&" in text:
        text = html.unescape(html.unescape(text))
    if "<" in text:
        text = _TAG.sub(" ", text)
    return " ".join(text.split())
