"""Errors that are shown to the user without a traceback."""

from __future__ import annotations


class DatasetError(Exception):
    """Something is wrong with the data; the message names thing, place and way out."""

    exit_code = 1


class UsageError(DatasetError):
    """The command was used wrongly, or given a file that cannot be read (exit code 2)."""

    exit_code = 2


class FeatureError(DatasetError):
    """A file of the feature store is missing, damaged or does not fit the others."""
