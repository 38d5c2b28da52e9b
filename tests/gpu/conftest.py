"""Tests that need a GPU: ``python -m pytest -m gpu``. Without one all are skipped, in one line.

    FMRLREC_GPU_TESTS_ON=cpu python -m pytest -m gpu

rehearses them on a CPU: it shows that they run, and nothing about a GPU.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

REHEARSED = os.environ.get("FMRLREC_GPU_TESTS_ON") == "cpu"


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Where there is no GPU, keep one test in place of all, and skip it: that is one line."""
    wanted = [item for item in items if item.get_closest_marker("gpu")]
    if not wanted or REHEARSED or torch.cuda.is_available():
        return
    reason = f"there is no GPU that torch can use: none of {len(wanted)} tests was run"
    wanted[0].add_marker(pytest.mark.skip(reason=reason))
    config.hook.pytest_deselected(items=wanted[1:])
    left_out = {id(item) for item in wanted[1:]}
    items[:] = [item for item in items if id(item) not in left_out]


@pytest.fixture
def gpu() -> Iterator[torch.device]:
    """The GPU, whose float32 products are not rounded to TF32."""
    matmul = torch.backends.cuda.matmul
    before, matmul.allow_tf32 = matmul.allow_tf32, False
    yield torch.device("cpu" if REHEARSED else "cuda")
    matmul.allow_tf32 = before


@pytest.fixture
def root(rich: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a small dataset, which is the working directory."""
    monkeypatch.chdir(rich.parent)
    return rich.parent


@pytest.fixture
def cuda_only() -> None:
    """What a rehearsal cannot show."""
    if REHEARSED:
        pytest.skip("a rehearsal on a CPU cannot show this")
