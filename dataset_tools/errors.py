"""Errors that are shown to the user without a traceback."""

from __future__ import annotations

import errno

# Faults of a path that was given, not of the machine or of this program.
_OF_THE_PATH = frozenset(
    {
        *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.EEXIST),
        *(errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP),
    }
)


class DatasetError(Exception):
    """Something is wrong with the data; the message names thing, place and way out.

    Wrong input and wrong use are one kind of fault to whoever runs the command (exit code 2).
    """

    exit_code = 2


class UsageError(DatasetError):
    """The command was used wrongly, or given a file that cannot be read (exit code 2)."""

    exit_code = 2


class DiskFullError(DatasetError):
    """There is no room for a file (exit code 1: neither the data nor the command is wrong)."""

    exit_code = 1


class MemoryLimitError(DatasetError):
    """Neither memory nor disk suffice (exit code 1)."""

    exit_code = 1


class EncodingError(DatasetError):
    """The encoding could not be done as it was asked for (exit code 1)."""

    exit_code = 1


class FeatureError(DatasetError):
    """A file of the feature store is missing, damaged or does not fit the others (exit code 2)."""

    exit_code = 2


def system_fault(error: OSError) -> DatasetError | OSError:
    """What a fault of the system says to the user: one of a path is wrong use."""
    if error.filename is None or not error.strerror:
        return error
    if error.errno in _OF_THE_PATH:
        name = str(error.filename)
        short = name if len(name) <= 200 else f"{name[:200]}..."
        return UsageError(f"{short}: {error.strerror}; choose another place, or give access to it")
    return error
