"""Imports that RecBole 1.2.1 needs in a few functions only: scikit-learn and ray."""

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

    AUC, MAE and RMSE call one of its functions each. Placeholders import scikit-learn when they are
    called. Obsolete when RecBole imports it inside these metrics.
    """
    names = ("auc", "mean_absolute_error", "mean_squared_error")
    _import_without("recbole.evaluator.metrics", "sklearn.metrics", names)


def quick_start_without_ray() -> None:
    """``import recbole.quick_start`` fails: it imports ray, which fails or cannot be installed.

    ray 2.6.3, RecBole's pin, needs ``pkg_resources`` (setuptools < 81) and ``np.bool8`` (numpy < 2)
    and has no wheel for Python >= 3.12. Only ``objective_function`` uses it, for one call. Nothing
    in this package imports quick_start; this is for users' own scripts, which start from it as in
    RecBole's documentation. Obsolete when RecBole imports ray inside that function.
    """
    _import_without("recbole.quick_start", "ray.tune", ("report",))


def _import_without(module: str, library: str, functions: tuple[str, ...]) -> None:
    """Import ``module`` with a placeholder for ``library``, which is imported on the first call."""
    if library in sys.modules or module in sys.modules:
        return
    with _placeholder(library, {name: _when_called(library, name) for name in functions}):
        importlib.import_module(module)


@contextmanager
def _placeholder(library: str, functions: dict[str, Any]) -> Iterator[None]:
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


def when_imported(name: str, patch: Callable[[Any], None]) -> None:
    """Patch a module now if it is loaded, otherwise as soon as it is imported."""
    if name in sys.modules:
        patch(sys.modules[name])
        return
    finders = (one for one in sys.meta_path if isinstance(one, _PatchingFinder))
    finder = next((one for one in finders if one.name == name), None)
    if finder is None:
        finder = _PatchingFinder(name)
        sys.meta_path.insert(0, finder)
    finder.patches.append(patch)


class _PatchingFinder:
    """Finds one module as Python does, and patches it after its code has run."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.patches: list[Callable[[Any], None]] = []

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """The module's spec, with a loader that patches it; None for all other modules."""
        spec = importlib.machinery.PathFinder.find_spec(name, path) if name == self.name else None
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def exec_module(module: Any) -> None:
            execute(module)
            for patch in self.patches:
                patch(module)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec
