"""Names that become a part of a path: what no such name may be."""

from __future__ import annotations

from recbole_fmrlrec.errors import UsageError
from recbole_fmrlrec.rules import shown

#: Bytes of a name, with room for what is put before and behind it.
MAX_BYTES = 150


def name_fault(value: object) -> str | None:
    """Why a value cannot be the name of a file or a folder, in words after "the name"; else None.

    A name stays in the folder in which it is put: it has no separator of any system and is not the
    folder itself or the one above. It has no control characters and no blanks at its ends.
    """
    if not isinstance(value, str) or not value:
        return "must be a string that is not empty"
    if "/" in value or "\\" in value:
        return "cannot have / or \\ in it: it is not a path"
    if value in (".", ".."):
        return "cannot be . or .."
    if value != value.strip() or any(ord(letter) < 32 or letter == "\x7f" for letter in value):
        return "cannot have blanks at its ends, or control characters"
    if len(value.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        return f"cannot be longer than {MAX_BYTES} bytes"
    return None


def check_name(what: str, value: object, below: str) -> None:
    """Refuse what cannot be the name of a file or folder, such as a path or an empty text.

    Args:
        what: the option or key, and its place.
        below: the folder that the name is put in, in words.

    Raises:
        UsageError: it has the name.
    """
    if fault := name_fault(value):
        raise UsageError(f"{what} = {shown(value)}: a name below {below} {fault}")
