"""What goes wrong with a deployed model."""

from __future__ import annotations


class DeployError(Exception):
    """A deployed model, or what is asked of it, cannot be used; the message says what and why."""
