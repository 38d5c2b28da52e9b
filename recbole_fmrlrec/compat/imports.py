"""What importing RecBole 1.2.1 costs: the part of :mod:`recbole_fmrlrec.compat` that saves time."""

from __future__ import annotations

import importlib
import sys
import types
from collections.abc import Callable
from typing import Any

_MODULE = "sklearn.metrics"


def sklearn_on_demand() -> None:
    """Every start takes a second and a half longer: RecBole's metrics import scikit-learn.

    AUC, MAE and RMSE call one function each of it. These are stood for by functions that import it
    when they are called. Goes when RecBole imports it there.
    """
    if _MODULE in sys.modules or "recbole.evaluator.metrics" in sys.modules:
        return
    stand_in = types.ModuleType(_MODULE)
    for name in ("auc", "mean_absolute_error", "mean_squared_error"):
        setattr(stand_in, name, _when_called(name))
    sys.modules[_MODULE] = stand_in
    try:
        importlib.import_module("recbole.evaluator.metrics")
    finally:
        del sys.modules[_MODULE]


def _when_called(name: str) -> Callable[..., Any]:
    def metric(*args: Any, **kwargs: Any) -> Any:
        return getattr(importlib.import_module(_MODULE), name)(*args, **kwargs)

    return metric
