"""RecBole without scikit-learn until one of its functions is needed; patches upon an import."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from recbole_fmrlrec.compat.imports import when_imported

CODE = """
import sys
from recbole_fmrlrec import compat
compat.apply()
import recbole_fmrlrec.data.loaders, recbole_fmrlrec.train.trainer, recbole_fmrlrec.models.fmrlrec
from recbole_fmrlrec.config.config import Config
print("sklearn" in sys.modules, "scipy.stats" in sys.modules)
import numpy as np
from recbole.evaluator.metrics import AUC, MAE, RMSE
config = {"metric_decimal_place": 4}
predicted, true = np.array([0.1, 0.6, 0.5, 0.9]), np.array([0.0, 0.0, 1.0, 1.0])
print(*(round(float(kind(config).metric_info(predicted, true)), 4) for kind in (AUC, MAE, RMSE)))
import sklearn.metrics
print(hasattr(sklearn.metrics, "roc_auc_score"))
"""


def test_scikit_learn_is_imported_when_a_metric_needs_it() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    # Of four pairs of a positive and a negative three are in order: AUC 3/4. Errors .1 .6 .5 .1.
    assert done.stdout.splitlines() == ["False False", "0.75 0.325 0.3969", "True"]


def test_a_module_is_patched_by_all_that_ask_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "patched_twice.py").write_text("done = []\n")
    monkeypatch.syspath_prepend(tmp_path)
    before = list(sys.meta_path)
    for number in (1, 2):
        when_imported("patched_twice", lambda module, n=number: module.done.append(n))  # type: ignore[misc]
    try:
        module = importlib.import_module("patched_twice")
        when_imported("patched_twice", lambda module: module.done.append(3))  # it is there: at once
    finally:
        sys.meta_path[:] = before
        sys.modules.pop("patched_twice", None)
    assert module.done == [1, 2, 3]
