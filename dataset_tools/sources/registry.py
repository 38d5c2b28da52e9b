"""The raw formats that there are: each module beside this one with a `Source` that has a name.

A new format is one new file: nothing else lists them.
"""

from __future__ import annotations

import glob
import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from dataset_tools import sources
from dataset_tools.errors import UsageError
from dataset_tools.sources.base import Source


@cache
def known_sources() -> dict[str, type[Source]]:
    """Name -> class of every raw format, by the names of their modules.

    Raises:
        ValueError: two formats have the same name.
    """
    found: dict[str, type[Source]] = {}
    for source in _named_classes():
        if source.name in found:
            raise ValueError(f"{found[source.name]} and {source} are both called {source.name!r}")
        found[source.name] = source
    return found


def _named_classes() -> Iterator[type[Source]]:
    for file in pkgutil.iter_modules(sources.__path__):
        module = importlib.import_module(f"{sources.__name__}.{file.name}")
        for one in vars(module).values():
            ours = isinstance(one, type) and one.__module__ == module.__name__
            if ours and issubclass(one, Source) and vars(one).get("name"):
                yield one


def open_source(name: str, path: Path, options: Mapping[str, Any]) -> Source:
    """The source called ``name`` on ``path``; ``options`` may hold others than its own.

    Raises:
        UsageError: no such source or path, or the files do not fit the source.
    """
    if name not in known_sources():
        raise UsageError(f"unknown source {name!r}; known: {', '.join(known_sources())}")
    source = known_sources()[name]
    if not path.exists() and not (source.reads == "files" and glob.has_magic(str(path))):
        raise UsageError(f"{path}: no such file or folder")
    if path.is_dir() and source.reads == "file":
        raise UsageError(f"{path}: source {name} needs a file, but this is a folder")
    if not path.is_dir() and source.reads == "folder":
        raise UsageError(f"{path}: source {name} needs a folder")
    return source(path, **{key: options[key] for key in source.option_names if key in options})
