"""What serving drags in."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
HEAVY = {"recbole", "transformers", "pandas", "sklearn", "scipy", "yaml", "dataset_tools", "ray"}


def modules_after(code: str) -> set[str]:
    """Top-level modules loaded by a fresh interpreter that ran ``code``."""
    program = f"{code}\nimport sys\nprint(*sorted({{m.split('.')[0] for m in sys.modules}}))"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(done.stdout.splitlines()[-1].split())


def test_serving_needs_torch_numpy_and_safetensors_only(saved: Path) -> None:
    code = (
        "from recbole_fmrlrec.deploy import Recommender\n"
        f"rec = Recommender.load({str(saved)!r})\n"
        "assert len(rec.recommend(['i1'], k=3)) == 3\n"
        "s = rec.session(); s.update('i1'); s.top(3)\n"
        "rec.add_items(['new'], [[1.0] * 8])\n"
    )
    loaded = modules_after(code)
    assert {"torch", "numpy", "safetensors"} <= loaded
    assert not HEAVY & loaded


def test_help_needs_not_even_torch() -> None:
    for module in ("recbole_fmrlrec.cli.recommend", "recbole_fmrlrec.export.command"):
        loaded = modules_after(f"import {module} as m\nm.build_parser().format_help()")
        assert not (HEAVY | {"torch", "numpy"}) & loaded
