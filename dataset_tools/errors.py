"""Errors that are shown to the user without a traceback."""

from __future__ import annotations


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


class EncodingError(DatasetError):
    """The encoding could not be done as it was asked for (exit code 1)."""

    exit_code = 1


class FeatureError(DatasetError):
    """A file of the feature store is missing, damaged or does not fit the others (exit code 2)."""

    exit_code = 2
