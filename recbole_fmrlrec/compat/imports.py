"""What RecBole 1.2.1 imports and needs in a few functions alone: scikit-learn and ray."""

from __future__ import annotations

import importlib
import importlib.machinery
import sys
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


def sklearn_on_demand() -> None:
    """Every start takes a second and a half longer: RecBole's metrics import scikit-learn.

    AUC, MAE and RMSE call one function each of it. These are stood for by functions that import it
    when they are called. Goes when RecBole imports it there.
    """
    names = ("auc", "mean_absolute_error", "mean_squared_error")
    _import_without("recbole.evaluator.metrics", "sklearn.metrics", names)


def quick_start_without_ray() -> None:
    """``import recbole.quick_start`` fails: it imports ray, which fails or cannot be installed.

    ray 2.6.3, RecBole's pin, needs ``pkg_resources`` (setuptools < 81) and ``np.bool8`` (numpy < 2)
    and has no wheel for Python >= 3.12. Only ``objective_function`` uses it, for one call. Nothing
    here imports quick_start; this is for users' own scripts, which RecBole's documentation begins
    with it. Goes when RecBole imports ray inside that function.
    """
    _import_without("recbole.quick_start", "ray.tune", ("report",))


def _import_without(module: str, library: str, functions: tuple[str, ...]) -> None:
    """Import ``module`` while ``library`` is a stand-in, whose functions import it when called."""
    if library in sys.modules or module in sys.modules:
        return
    with _stand_in(library, {name: _when_called(library, name) for name in functions}):
        importlib.import_module(module)


@contextmanager
def _stand_in(library: str, functions: dict[str, Any]) -> Iterator[None]:
    package, _, name = library.rpartition(".")
    part = types.ModuleType(library)
    part.__dict__.update(functions)
    mine: dict[str, types.ModuleType] = {library: part}
    if package not in sys.modules:
        mine[package] = types.ModuleType(package)
        setattr(mine[package], name, part)
    sys.modules.update(mine)
    try:
        yield
    finally:
        for name in mine:
            sys.modules.pop(name, None)


def _when_called(library: str, name: str) -> Callable[..., Any]:
    def function(*args: Any, **kwargs: Any) -> Any:
        return getattr(importlib.import_module(library), name)(*args, **kwargs)

    return function


def when_imported(name: str, mend: Callable[[Any], None]) -> None:
    """Mend a module now where it is loaded, else when it will be."""
    if name in sys.modules:
        mend(sys.modules[name])
    else:
        sys.meta_path.insert(0, _Mending(name, mend))


class _Mending:
    """Finds one module as Python does, and mends it when it has run."""

    def __init__(self, name: str, mend: Callable[[Any], None]) -> None:
        self.name, self.mend = name, mend

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """The module's spec, with a loader that mends it; None for all other modules."""
        spec = importlib.machinery.PathFinder.find_spec(name, path) if name == self.name else None
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def exec_module(module: Any) -> None:
            execute(module)
            self.mend(module)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec
