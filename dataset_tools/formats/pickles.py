"""Pickles from strangers, limited to text in dictionaries and lists."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any, ClassVar, NoReturn

from dataset_tools.errors import DatasetError

# That of Python: the one in C makes a table as long as any number in the file says.
_Unpickler: Any = pickle._Unpickler


class _PlainUnpickler(_Unpickler):
    """Refuses every class and function, so that loading can call nothing."""

    # Nor bytes, whose length it would take on the file's word.
    dispatch: ClassVar = {
        code: read for code, read in _Unpickler.dispatch.items() if code != pickle.BYTEARRAY8[0]
    }

    def find_class(self, module_name: str, global_name: str) -> NoReturn:
        raise pickle.UnpicklingError(f"it names {module_name}.{global_name}")

    def persistent_load(self, pid: object) -> NoReturn:
        raise pickle.UnpicklingError("it has a persistent id")


def read_plain_pickle(path: Path) -> object:
    """Read a pickle made of ``str``, ``dict`` and ``list`` only.

    Raises:
        DatasetError: anything else in it, or a damaged file.
    """
    try:
        content = _PlainUnpickler(io.BytesIO(path.read_bytes())).load()
        _check_plain(content)
    except Exception as error:  # damaged pickles raise nearly any type
        raise DatasetError(
            f"{path}: refused ({error}); it may hold only text, dictionaries and lists"
        ) from error
    return content


def _check_plain(content: object) -> None:
    seen: set[int] = set()
    waiting = [content]
    while waiting:
        part = waiting.pop()
        if isinstance(part, (dict, list)):
            if id(part) in seen:
                continue
            seen.add(id(part))
            waiting.extend([*part, *part.values()] if isinstance(part, dict) else part)
        elif not isinstance(part, str):
            raise pickle.UnpicklingError(f"it holds a {type(part).__name__}")
