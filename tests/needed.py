"""Test modules that need packages which may not be installed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest


class Skipped(pytest.Module):
    """A test module that is skipped, and not imported."""

    reason = ""

    def collect(self) -> Iterator[pytest.Item | pytest.Collector]:
        """Skip it."""
        pytest.skip(self.reason, allow_module_level=True)


def modules_skipped_without(*packages: str) -> Callable[..., pytest.Module | None]:
    """The hook ``pytest_pycollect_makemodule`` of a folder whose tests need packages."""
    missing = [name for name in packages if find_spec(name) is None]

    def make_module(module_path: Path, parent: pytest.Collector) -> pytest.Module | None:
        if not missing:
            return None  # as usual
        module: Skipped = Skipped.from_parent(parent, path=module_path)
        module.reason = f"{missing[0]} is not installed"
        return module

    return make_module
