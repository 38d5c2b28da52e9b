"""What goes wrong with a deployed model."""

from __future__ import annotations


class DeployError(Exception):
    """A deployed model, or what is asked of it, cannot be used; the message says what and why."""


def check_count(name: str, value: object) -> None:
    """Refuse what is no whole number of 1 or more.

    Raises:
        DeployError: it has the name and the value.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise DeployError(f"{name} must be a whole number of 1 or more, not {value!r}")
