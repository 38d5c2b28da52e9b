"""Deployed models: loading, recommending, reasons, streaming sessions, retrieval, new items.

Needs torch, numpy and safetensors, and neither RecBole nor pandas nor transformers; torch is
imported when the first name is used, so that command lines answer ``--help`` at once.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from recbole_fmrlrec.deploy.errors import DeployError
    from recbole_fmrlrec.deploy.explanation import Explanation
    from recbole_fmrlrec.deploy.recommender import Recommender
    from recbole_fmrlrec.deploy.results import Reason, Recommendation, Recommendations
    from recbole_fmrlrec.deploy.session import Session, Sessions

__all__ = [
    "DeployError",
    "Explanation",
    "Reason",
    "Recommendation",
    "Recommendations",
    "Recommender",
    "Session",
    "Sessions",
]
_MODULES = {
    "DeployError": "errors",
    "Explanation": "explanation",
    "Reason": "results",
    "Recommendation": "results",
    "Recommendations": "results",
    "Recommender": "recommender",
    "Session": "session",
    "Sessions": "session",
}


def __getattr__(name: str) -> Any:
    """Import a public name from its module."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
