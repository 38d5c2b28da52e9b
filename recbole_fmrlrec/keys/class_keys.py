"""The keys of a model class that a user brings: what its source reads, its bases and their YAML."""

from __future__ import annotations

import ast
import functools
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from recbole_fmrlrec.keys.known import model_keys
from recbole_fmrlrec.model_api.protocols import capability_keys
from recbole_fmrlrec.model_api.registry import is_known

#: Packages whose sources read no keys of a user's model.
_LIBRARIES = {"recbole", "recbole_fmrlrec", "dataset_tools", "torch", "numpy"}


@functools.cache
def class_keys(model_class: type) -> frozenset[str] | None:
    """The keys that a class knows beside those of all models.

    Those which its source reads, as in ``config["width"]``, and those of the models it derives
    from. Modules of the user's own that the class's module uses are read too. Where a source reads
    keys whose names are made elsewhere (``config[name]``), each text in it counts as a name.

    Returns:
        None where a source cannot be read, so that its keys cannot be known.
    """
    found: set[str] = set()
    for base in model_class.__mro__:
        if is_known(base.__name__) and _of_package(base.__module__, _LIBRARIES):
            found |= model_keys(base.__name__)
    found |= capability_keys(model_class)
    for base in model_class.__mro__:
        if base is object or _is_library(sys.modules.get(base.__module__)):
            continue
        if (keys := _keys_of_module(base.__module__)) is None:
            return None
        found |= keys
    return frozenset(found)


def _keys_of_module(name: str) -> set[str] | None:
    """Keys in the sources of a module and of the modules of the user's own that it uses."""
    found: set[str] = set()
    seen: set[str] = set()
    waiting = [name]
    while waiting:
        current = waiting.pop()
        if current in seen:
            continue
        seen.add(current)
        module = sys.modules.get(current)
        try:
            source = inspect.getsource(module) if module else ""
        except (OSError, TypeError):
            source = ""
        if module is None or not source:
            return None  # typed at a prompt, or compiled
        found |= keys_in(source)
        waiting += [used for used in _used(module) if used not in seen]
    return found


def _used(module: ModuleType) -> Iterator[str]:
    for value in vars(module).values():
        name = value.__name__ if isinstance(value, ModuleType) else _module_of(value)
        if name and name != "builtins" and not _is_library(sys.modules.get(name)):
            yield name


def _module_of(value: Any) -> str | None:
    is_code = inspect.isclass(value) or inspect.isfunction(value)
    return value.__module__ if is_code else None


def _is_library(module: ModuleType | None) -> bool:
    """Whether a module is of an installed package, of Python itself, or of this one."""
    if module is None:
        return False
    if _of_package(module.__name__, _LIBRARIES | set(sys.stdlib_module_names) - {"__main__"}):
        return True
    file = getattr(module, "__file__", None)
    return file is not None and "site-packages" in Path(file).parts


def _of_package(name: str, packages: set[str]) -> bool:
    return name.partition(".")[0] in packages


def keys_in(source: str) -> set[str]:
    """The keys that a source reads of a configuration."""
    tree = ast.parse(source)
    read = [
        node.slice
        for node in ast.walk(tree)
        if isinstance(node, ast.Subscript) and _is_config(node.value)
    ]
    read += [
        argument
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and _is_config(node.func.value)
        for argument in node.args[:1]
    ]
    read += [
        node.left
        for node in ast.walk(tree)
        if isinstance(node, ast.Compare) and any(map(_is_config, node.comparators))
    ]
    names = {text for node in read if (text := _text(node)) is not None}
    if any(_text(node) is None for node in read) or _passes_config_on(tree):
        names |= {text for node in ast.walk(tree) if (text := _text(node)) is not None}
    return names


def _is_config(node: ast.AST) -> bool:
    """``config``, ``self.config`` and the like."""
    name = node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")
    return "config" in str(name).lower() or str(name).lower() in ("cfg", "conf")


def _passes_config_on(tree: ast.AST) -> bool:
    """Whether a configuration gets another name, under which keys could be read of it."""
    return any(
        isinstance(node, ast.Assign)
        and _is_config(node.value)
        and not all(map(_is_config, node.targets))
        for node in ast.walk(tree)
    )


def _text(node: ast.AST) -> str | None:
    is_text = isinstance(node, ast.Constant) and isinstance(node.value, str)
    return str(node.value) if is_text else None  # type: ignore[attr-defined]
