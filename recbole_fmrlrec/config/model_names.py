"""The name of a model that a user gives, whose class may have to be loaded first."""

from __future__ import annotations

from pathlib import Path

from recbole_fmrlrec import compat
from recbole_fmrlrec.model_api import outside, registry


def model_name(model: str, file: Path | None = None) -> str:
    """The name of a model given by its name, or as ``file.py:Class`` or ``package.module:Class``.

    Args:
        file: the file that says so: a path in it may begin at its folder.

    Raises:
        UsageError: the class cannot be loaded.
    """
    if outside.is_spec(model):
        compat.apply()  # before a module of the user's imports RecBole
        model = outside.beside(model, file)
    return registry.class_name(model)
