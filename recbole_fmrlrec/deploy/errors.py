"""What goes wrong with a deployed model."""

from __future__ import annotations


class DeployError(Exception):
    """A deployed model, or what is asked of it, cannot be used; the message says what and why."""


def check_count(name: str, value: object) -> None:
    """Refuse a value that is not an integer of at least 1.

    Raises:
        DeployError: it has the name and the value.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise DeployError(f"{name} must be an integer of at least 1, not {value!r}")
