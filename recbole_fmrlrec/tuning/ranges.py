"""RecBole's range file: a line a parameter, such as ``learning_rate choice [0.01,0.001]``."""

from __future__ import annotations

import ast
import math
from pathlib import Path

from recbole_fmrlrec.errors import UsageError
from recbole_fmrlrec.rules import is_number
from recbole_fmrlrec.tuning.space import Parameter, decimal_places


def read_ranges(path: Path) -> list[Parameter]:
    """The parameters of a range file: name, kind and values with blanks between them.

    As RecBole has it (`HyperTuning._build_space_from_file`): the ends of loguniform are natural
    logarithms, quniform gives multiples of its third number. Blank lines and those that begin with
    # are skipped; RecBole skips every line of fewer than three words, a parameter whose kind or
    values were forgotten too, which is an error here. Values are read as Python literals; nothing
    is executed.

    Raises:
        UsageError: the file cannot be read, or a line of it.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the file of ranges {path}: {error}") from error
    found: dict[str, Parameter] = {}
    for index, line in enumerate(lines, start=1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        name, where = words[0], f"{path}, line {index}"
        if len(words) < 3:
            raise UsageError(
                f"{line.strip()!r} ({where}) is not `NAME KIND VALUES` such as "
                "`learning_rate choice [0.01,0.001]`; a comment begins with #"
            )
        if name in found:
            raise UsageError(f"`{name}` ({where}) is given twice")
        found[name] = _read_range(name, words[1], line.split(None, 2)[2], where)
    if not found:
        raise UsageError(f"{path} has no line such as `learning_rate choice [0.01,0.001]`")
    return list(found.values())


def _read_range(name: str, kind: str, values: str, where: str) -> Parameter:
    try:
        literal = ast.literal_eval(values.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        raise UsageError(f"{name} ({where}): {values!r} are not valid values") from None
    if not isinstance(literal, list | tuple):
        raise UsageError(f"{name} ({where}): {kind} needs values with commas between them")
    numbers = [value for value in literal if is_number(value)]
    if kind == "choice":
        plain = tuple(list(value) if isinstance(value, tuple) else value for value in literal)
        return Parameter(name, "choice", plain, where=where)
    if kind not in ("uniform", "loguniform", "quniform"):
        raise UsageError(
            f"{name} ({where}): {kind} is not a kind; known: choice, uniform, loguniform, quniform"
        )
    if len(numbers) != len(literal) or len(numbers) != (3 if kind == "quniform" else 2):
        raise UsageError(
            f"{name} ({where}): {kind} needs {'low,high,q' if kind == 'quniform' else 'low,high'}"
        )
    if kind == "quniform":
        low, high, q = numbers
        if q <= 0:
            raise UsageError(f"{name} ({where}): q must be above 0")
        numbers = [*(round(round(end / q) * q, decimal_places(q)) for end in (low, high)), q]
        kind = "int" if all(isinstance(value, int) for value in literal) else "uniform"
    elif kind == "loguniform":
        numbers = [math.exp(value) for value in numbers]
    return Parameter(name, kind, tuple(numbers), where=where)
