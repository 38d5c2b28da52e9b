"""Tools that turn a raw catalogue into a RecBole dataset with item features.

Nothing here knows a model, and nothing here imports RecBole. The names below are those that a
raw format of one's own, or a program that reads features, needs.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataset_tools.conversion.convert import convert
    from dataset_tools.features import Features, align_features, read_features
    from dataset_tools.interactions.interaction import Interaction
    from dataset_tools.sources.base import Source

__all__ = ["Features", "Interaction", "Source", "align_features", "convert", "read_features"]
_MODULES = {
    "Features": "features",
    "Interaction": "interactions.interaction",
    "Source": "sources.base",
    "align_features": "features",
    "convert": "conversion.convert",
    "read_features": "features",
}


def __getattr__(name: str) -> Any:
    """Import a public name from its module, when it is first asked for: ``--help`` stays quick."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
