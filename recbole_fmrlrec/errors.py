"""What goes wrong and whose fault it is: the command line turns these into exit codes."""

from __future__ import annotations

import sys


class UsageError(Exception):
    """A key, a value, a name or a file that the user gave cannot be used (exit code 2)."""


class RunError(Exception):
    """A run that was asked for correctly has failed (exit code 1)."""


#: What to say, and to do, when numbers of a training are no numbers any more.
DIVERGED = (
    "the training diverged; try a smaller learning_rate, gradients that are clipped "
    "(clip_grad_norm: {max_norm: 5}), and enable_amp: False where it is on"
)

# Defined where they are raised, in modules that stand without this one.
_ELSEWHERE = (
    ("recbole_fmrlrec.atomic_files.reader", "DataError"),
    ("dataset_tools.errors", "UsageError"),
    ("dataset_tools.errors", "FeatureError"),
)


def missing_package(error: ModuleNotFoundError) -> str:
    """What to say about a package that is not installed."""
    from dataset_tools import packages  # here, since what deploys reads this file without it

    return packages.missing_package(error)


def usage_errors() -> tuple[type[BaseException], ...]:
    """Every exception class that means wrong use, of the modules that are loaded so far."""
    found = [getattr(sys.modules.get(module), name, None) for module, name in _ELSEWHERE]
    return (UsageError, *(kind for kind in found if isinstance(kind, type)))


def plain_errors() -> tuple[type[BaseException], ...]:
    """Exception classes whose message is made for the user and needs no name before it."""
    tools = getattr(sys.modules.get("dataset_tools.errors"), "DatasetError", None)
    return (*usage_errors(), RunError, *([tools] if isinstance(tools, type) else []))
