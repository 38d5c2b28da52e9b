"""What the user calls this program by, for usage lines and advice."""

from __future__ import annotations

import sys
from pathlib import Path

_SCRIPT = "run-recbole-fmrlrec"


def command_name() -> str:
    """``run-recbole-fmrlrec`` where that was called, else ``run_recbole.py``."""
    return _SCRIPT if Path(sys.argv[0]).stem == _SCRIPT else "run_recbole.py"


def usage_name() -> str:
    """The words before a command: ``python run_recbole.py``, or the installed script."""
    name = command_name()
    return name if name == _SCRIPT else f"python {name}"
