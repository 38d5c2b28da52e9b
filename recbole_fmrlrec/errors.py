"""What goes wrong and whose fault it is: the command line turns these into exit codes."""

from __future__ import annotations


class UsageError(Exception):
    """A key, a value, a name or a file that the user gave cannot be used (exit code 2)."""


class DataError(UsageError, ValueError):
    """A dataset that is missing, malformed or asked for in an unsupported way."""


class RunError(Exception):
    """A run that was asked for correctly has failed (exit code 1)."""


#: What to say, and what to try, when a training produces NaN or inf.
DIVERGED = (
    "the training diverged; try a smaller learning_rate, gradient clipping "
    "(clip_grad_norm: {max_norm: 5}), and enable_amp: False where it is on"
)


def missing_package(error: ModuleNotFoundError) -> str:
    """What to say about a package that is not installed."""
    from dataset_tools import packages  # here, since what deploys reads this file without it

    return packages.missing_package(error)


def usage_errors() -> tuple[type[BaseException], ...]:
    """Every exception class that means wrong use or wrong input."""
    from dataset_tools import errors as tools  # here: deployment must not need it

    return UsageError, tools.UsageError, tools.FeatureError


def plain_errors() -> tuple[type[BaseException], ...]:
    """Exception classes whose message is for the user, shown without the class's name."""
    from dataset_tools import errors as tools

    return UsageError, RunError, tools.DatasetError
