"""fMRLRec and its data, training and comparison tools as a RecBole plug-in.

Importing the package imports neither torch nor RecBole: deployment and ``--help`` stay light.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from recbole_fmrlrec.version import __version__

if TYPE_CHECKING:
    from recbole_fmrlrec.train.run import run

__all__ = ["__version__", "run"]


def __getattr__(name: str) -> Any:
    """Import ``run`` when it is first asked for."""
    if name == "run":
        from recbole_fmrlrec.train.run import run

        return run
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
