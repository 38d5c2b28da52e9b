"""Models from outside: classes of a file, of an importable module, of an installed package.

``path/to/file.py:ClassName`` and ``package.module:ClassName`` are given where a model's name is; an
installed package makes a model known by name through the entry-point group `GROUP`. Once a class is
loaded, its name stands for it everywhere in this process.

A model's defaults are in a YAML file beside its source: ``ClassName.yaml``, or named as
the source is.
Loading a model runs its code. So only the user names one, in this command; a name that a checkpoint
or a run folder holds is looked up among those that are known, and never loaded from a place that
the file says.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import importlib.metadata
import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from recbole_fmrlrec.errors import UsageError, missing_package

#: Installed packages name their models in this entry-point group: ``Name = package.module:Name``.
GROUP = "recbole_fmrlrec.models"


@dataclass(frozen=True)
class OutsideModel:
    """A model class from outside, and where it comes from.

    Attributes:
        name: the name of the class, by which it is known here.
        spec: what names it from any folder: ``/path/file.py:Class`` or ``package.module:Class``.
        model_class: the class.
        sources: its file, and the files of its own package or folder that were loaded with it.
    """

    name: str
    spec: str
    model_class: type
    sources: tuple[Path, ...]

    @property
    def properties(self) -> Path | None:
        """The YAML file of its defaults, where there is one."""
        source = self.sources[0]
        beside = (source.with_name(f"{self.name}.yaml"), source.with_suffix(".yaml"))
        return next((file for file in beside if file.is_file()), None)

    def fingerprint(self) -> str:
        """A hash of its sources: it belongs to what a run is."""
        digest = hashlib.sha256()
        for file in self.sources:
            digest.update(file.name.encode() + b"\0" + hashlib.sha256(file.read_bytes()).digest())
        return digest.hexdigest()


_loaded: dict[str, OutsideModel] = {}


def is_spec(model: str) -> bool:
    """Whether a text names a class by its place rather than by a name."""
    return ":" in model


def beside(model: str, file: Path | None) -> str:
    """A spec as a file means it: a path that is not there may be one from the file's folder."""
    place, _, name = model.rpartition(":")
    if file is None or not place.endswith(".py") or Path(place).exists():
        return model
    there = file.parent / place
    return f"{there}:{name}" if there.is_file() else model


def specs() -> list[str]:
    """What names every model that was loaded so far, for a process that is to load them too."""
    return [model.spec for model in _loaded.values()]


def find(name: str) -> OutsideModel | None:
    """The model of a name, if it was loaded or an installed package has it."""
    if name not in _loaded and name in installed():
        load(installed()[name])
    return _loaded.get(name)


@functools.cache
def installed() -> dict[str, str]:
    """The models that installed packages register: name to spec."""
    return {point.name: point.value for point in importlib.metadata.entry_points(group=GROUP)}


def load(spec: str) -> OutsideModel:
    """Load a class and make its name known.

    Raises:
        UsageError: there is no such file, module or class, its code fails, it is not a model of
            RecBole's kind, or another model has its name.
    """
    place, _, name = spec.rpartition(":")
    if not place or not name.isidentifier():
        raise UsageError(
            f"--model={spec}: give a model from outside as path/to/file.py:ClassName or "
            "package.module:ClassName"
        )
    before = set(sys.modules)
    module = _module_of(place, spec)
    model_class = getattr(module, name, None)
    if model_class is None:
        raise UsageError(f"--model={spec}: {place} has no class {name}")
    _check_class(model_class, spec)
    file = Path(str(module.__file__)).resolve()
    own = f"{file}:{name}" if place.endswith(".py") else spec
    model = OutsideModel(name, own, model_class, _sources(file, module, before))
    known = _loaded.get(name)
    if known is not None and known.spec != own:
        raise UsageError(
            f"--model={spec}: another model is called {name} already ({known.spec}); rename one"
        )
    _loaded[name] = model
    return model


def _module_of(place: str, spec: str) -> ModuleType:
    try:
        return _file_module(Path(place)) if place.endswith(".py") else _package_module(place)
    except UsageError as error:
        raise UsageError(f"--model={spec}: {error}") from error
    except ModuleNotFoundError as error:
        raise UsageError(f"--model={spec} cannot be loaded: {missing_package(error)}") from error
    except Exception as error:
        raise UsageError(
            f"--model={spec} cannot be loaded: its code raises {type(error).__name__}: {error}"
        ) from error


def _file_module(path: Path) -> ModuleType:
    if not path.is_file():
        raise UsageError(f"there is no file {path.absolute()}")
    file = path.resolve()
    name = f"{file.stem}_{hashlib.sha256(str(file).encode()).hexdigest()[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    found = importlib.util.spec_from_file_location(name, file)
    assert found is not None and found.loader is not None  # the name ends in .py
    module = importlib.util.module_from_spec(found)
    sys.modules[name] = module  # before it runs, as Python does: dataclasses look there
    sys.path.append(str(file.parent))  # as for a script: modules beside it can be imported
    try:
        found.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _package_module(name: str) -> ModuleType:
    here = str(Path.cwd())
    if here not in sys.path and "" not in sys.path:
        sys.path.append(here)  # an installed command does not look in the current folder
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            raise UsageError(
                f"there is no module {name}; it must be installed, on PYTHONPATH or in the current "
                "folder"
            ) from error
        raise


def _check_class(model_class: object, spec: str) -> None:
    from recbole.model.abstract_recommender import AbstractRecommender

    if not isinstance(model_class, type) or not issubclass(model_class, AbstractRecommender):
        raise UsageError(
            f"--model={spec}: not a RecBole model; a model derives from a class of "
            "recbole.model.abstract_recommender such as SequentialRecommender or "
            "GeneralRecommender"
        )
    if missing := sorted(getattr(model_class, "__abstractmethods__", ())):
        raise UsageError(f"--model={spec}: the class does not define {', '.join(missing)}")


def _sources(file: Path, module: ModuleType, before: set[str]) -> tuple[Path, ...]:
    """The model's file first, then what was loaded with it from its package or folder."""
    package = module.__name__.partition(".")[0]
    beside = set()
    for name in set(sys.modules) - before:
        source = getattr(sys.modules[name], "__file__", None)
        same_package = "." in module.__name__ and name.partition(".")[0] == package
        if source and (same_package or Path(source).resolve().parent == file.parent):
            beside.add(Path(source).resolve())
    return (file, *sorted(beside - {file}))
