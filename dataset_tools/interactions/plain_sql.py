"""What SQL may read of an interaction: texts that can be understood in one way only.

A row is *plain* where each of its fields is: then the SQL here gives the values that
``literals.plain_id``, ``atomic_files.clean_token``, ``dates.read_stamp`` and ``dates.read_number``
give. All other rows are left to these functions, and with them whatever there is to say of a row.

``CASE`` stands where ``AND`` and ``OR`` would do: it alone spares DuckDB the second test.
"""

from __future__ import annotations

from dataclasses import dataclass

from dataset_tools.formats.atomic_files import MISSING
from dataset_tools.formats.parquet_table import quoted_text

# Longer ids are none of a catalogue's; `clean_token` cuts them.
LONGEST_ID = 1000
_USUAL_ID = "[0-9A-Za-z_]{1,64}"
# Controls, and what Python's `strip` takes for blank, but for the space itself.
_STRANGE = r"[\x00-\x1f\x7f-\xa0\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}]"
_WHOLE_FLOAT = r"[+-]?[0-9]+\.0+"
_NUMBER = r"-?[0-9]{1,15}(?:\.[0-9]{1,15})?"
_DAY = r"(?:19|20)[0-9]{2}-(?:0[1-9]|1[0-2])-[0-3][0-9]"
_MOMENT = _DAY + r"(?:[T ](?:[01][0-9]|2[0-3]):[0-5][0-9](?::[0-5][0-9])?)?"


@dataclass(frozen=True)
class Plain:
    """Columns of the table ``raw`` as SQL over a text, and the condition that they need."""

    values: dict[str, str]
    condition: str


def plain_id(column: str, text: str) -> Plain:
    """An id; whole numbers with decimals lose these."""
    missing = ", ".join(map(quoted_text, sorted(MISSING)))
    whole = f"regexp_full_match({text}, '{_WHOLE_FLOAT}')"
    value = (
        f"CASE WHEN CASE WHEN contains({text}, '.0') THEN {whole} END "
        f"THEN split_part({text}, '.', 1) ELSE {text} END"
    )
    unusual = (
        f"{text} <> '' AND {text} = trim({text}) AND length({text}) <= {LONGEST_ID} "
        f"AND NOT regexp_matches({text}, '{_STRANGE}') "
        # Digits of other scripts, and numbers as spreadsheets abbreviate them.
        f"AND NOT (contains({text}, '.0') AND regexp_matches({text}, '[^\\x00-\\x7f]')) "
        f"AND NOT (contains({text}, '+') AND regexp_matches({text}, '[eE][+]'))"
    )
    usual = f"regexp_full_match({text}, '{_USUAL_ID}')"
    known = f"CASE WHEN {usual} THEN true ELSE {unusual} END"
    return Plain({column: value}, f"{text} NOT IN ({missing}) AND {known}")


def plain_json_id(column: str, text: str) -> Plain:
    """An id from JSON, whose text does not tell of what type it was where that matters.

    One is 0, which is no id as a number of some formats, written as -0 too.
    """
    plain = plain_id(column, text)
    other = (
        f"left({text}, 1) IN ('[', '{{') OR {text} IN ('true', 'false', '0') "
        f"OR left({text}, 2) = '-0' OR left({text}, 3) = '0.0' "
        f"OR regexp_full_match({text}, '-?[0-9.]+[eE][-+]?[0-9]+')"
    )
    return Plain(plain.values, f"{plain.condition} AND NOT ({other})")


def plain_rating(text: str) -> Plain:
    """A number of a few digits."""
    value = f"TRY_CAST(TRY_CAST({text} AS DOUBLE) AS FLOAT)"
    return Plain({"rating": value}, f"regexp_full_match({text}, '{_NUMBER}')")


def plain_stamp(text: str, dates: bool = False) -> Plain:
    """A number, or (``dates``) also a date with its year first, which counts seconds."""
    number = f"TRY_CAST({text} AS DOUBLE)"
    fraction = f"{number} <> floor({number})"
    whole = (
        f"CASE WHEN NOT contains({text}, '.') THEN TRY_CAST({text} AS BIGINT) "
        f"WHEN {fraction} THEN NULL ELSE TRY_CAST({number} AS BIGINT) END"
    )
    moment = f"CASE WHEN contains({text}, '.') AND {fraction} THEN {number} END"
    is_number = f"regexp_full_match({text}, '{_NUMBER}')"
    if not dates:
        return Plain({"stamp": whole, "moment": moment, "dated": "false"}, is_number)
    day = f"CAST(epoch(TRY_CAST({text} AS TIMESTAMP)) AS BIGINT)"
    is_date = f"(regexp_full_match({text}, '{_MOMENT}') AND {day} IS NOT NULL)"
    values = {
        "stamp": f"CASE WHEN {is_number} THEN {whole} ELSE {day} END",
        "moment": f"CASE WHEN {is_number} THEN {moment} END",
        "dated": f"NOT {is_number}",
    }
    return Plain(values, f"CASE WHEN {is_number} THEN true ELSE {is_date} END")
