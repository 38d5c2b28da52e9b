"""Names to classes: our models, RecBole's, and those from outside (`outside`).

Nothing heavy is imported before a class is asked for: the names of RecBole's models are read from
its files.
"""

from __future__ import annotations

import difflib
import functools
import importlib
import importlib.util
import re
from pathlib import Path

from recbole_fmrlrec.errors import RunError, UsageError, missing_package
from recbole_fmrlrec.model_api import outside
from recbole_fmrlrec.program import command_name

OUR_MODELS = {
    "fMRLRec": "recbole_fmrlrec.models.fmrlrec",
    "fMRLRecID": "recbole_fmrlrec.models.fmrlrec",
}

#: What they are compared with and RecBole has not.
BASELINES: dict[str, str] = {
    "LRURec": "recbole_fmrlrec.models.lrurec",
    "FMLPRec": "recbole_fmrlrec.models.fmlprec",
    "SASRecM": "recbole_fmrlrec.models.sasrecm",
    "BSARec": "recbole_fmrlrec.models.bsarec",
    "gSASRec": "recbole_fmrlrec.models.gsasrec",
    "eSASRec": "recbole_fmrlrec.models.esasrec",
    "DIFF": "recbole_fmrlrec.models.diff",
    "MMSSL": "recbole_fmrlrec.models.mmssl",
    "UniSRec": "recbole_fmrlrec.models.unisrec",
    "VQRec": "recbole_fmrlrec.models.vqrec",
    "RecFormer": "recbole_fmrlrec.models.recformer",
}

#: Every model of this package: class name to module.
SHIPPED = OUR_MODELS | BASELINES


@functools.cache
def recbole_dir() -> Path:
    """The folder of the installed RecBole, found without importing it.

    Raises:
        RunError: RecBole is not installed.
    """
    spec = importlib.util.find_spec("recbole")
    if spec is None or not spec.submodule_search_locations:
        raise RunError(
            "RecBole is not installed; `pip install --no-deps recbole==1.2.1` installs it"
        )
    return Path(next(iter(spec.submodule_search_locations)))


@functools.cache
def recbole_models() -> dict[str, str]:
    """RecBole's models: class name to module.

    A model's file bears the class's name in small letters; the class is found by that, in the text.
    """
    models = {}
    for file in sorted((recbole_dir() / "model").glob("*_recommender/*.py")):
        source = file.read_text(encoding="utf-8")
        for name in re.findall(r"^class (\w+)\(", source, re.MULTILINE):
            if name.lower() == file.stem:
                models[name] = f"recbole.model.{file.parent.name}.{file.stem}"
    return models


def list_models() -> dict[str, list[str]]:
    """Every model name by kind: ours, our baselines, RecBole's kinds (``sequential`` ...)."""
    kinds: dict[str, list[str]] = {"ours": list(OUR_MODELS), "baselines": list(BASELINES)}
    if names := [*outside.installed()]:
        kinds["installed"] = names
    for name, module in recbole_models().items():
        kinds.setdefault(module.split(".")[2].removesuffix("_recommender"), []).append(name)
    return kinds


def nearest(name: str, known: list[str], count: int = 5) -> list[str]:
    """The known names most like ``name``, the likest first; capital letters do not count."""
    by_small: dict[str, list[str]] = {}
    for candidate in known:
        by_small.setdefault(candidate.lower(), []).append(candidate)
    close = difflib.get_close_matches(name.lower(), list(by_small), n=count, cutoff=0.6)
    return [candidate for small in close for candidate in by_small[small]][:count]


def class_name(model: str) -> str:
    """The name of a model that is given by its name, or by the place of its class.

    Raises:
        UsageError: the class cannot be loaded, or has the name of a model of ours or RecBole's.
    """
    if not outside.is_spec(model):
        return model
    name = outside.load(model).name
    if is_shipped(name):
        raise UsageError(f"--model={model}: there is a model {name} already; rename the class")
    return name


def check_recorded(name: str, where: str, spec: str | None) -> None:
    """Refuse a model that a stored file names and that is not known here.

    Its class is not loaded from the place that the file says: loading runs code.

    Args:
        where: the file.
        spec: what the file says of the place of its class.

    Raises:
        UsageError: it has the option that loads the class.
    """
    if spec and not is_known(name):
        raise UsageError(
            f"{where}: trained with a model from outside, {name}; if you trust its code, give "
            f"--model={spec}"
        )


def is_shipped(name: str) -> bool:
    """Whether a model of this name is ours or RecBole's: all of its keys are known."""
    return name in SHIPPED or name in recbole_models()


def is_known(name: str) -> bool:
    """Whether a model of this name is ours, RecBole's, or one from outside that was loaded."""
    return is_shipped(name) or outside.find(name) is not None


def check_model_name(name: str) -> None:
    """Refuse a name that no model has.

    Raises:
        UsageError: it names the right spelling where only capital letters differ, else near names.
    """
    if is_known(name):
        return
    known = [*SHIPPED, *recbole_models()]
    spelled = [candidate for candidate in known if candidate.lower() == name.lower()]
    if spelled:
        raise UsageError(f"unknown model `{name}`: it is spelled `{spelled[0]}`")
    ours = nearest(name, list(SHIPPED)) or list(OUR_MODELS)
    theirs = nearest(name, list(recbole_models()))
    hint = f"ours: {', '.join(ours)}"
    if theirs:
        hint += f"; near names of RecBole: {', '.join(theirs)}"
    raise UsageError(f"unknown model `{name}` ({hint}); `{command_name()} models` lists all")


def get_model_class(name: str) -> type:
    """The class of a model, ours first, then RecBole's.

    Raises:
        UsageError: there is no such model, or it needs a package that is not installed.
    """
    check_model_name(name)
    if (other := outside.find(name)) is not None:
        return other.model_class
    module = SHIPPED.get(name) or recbole_models()[name]
    try:
        found: type = getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing in ("", "recbole", "recbole_fmrlrec"):
            raise
        raise UsageError(f"the model `{name}` cannot be used: {missing_package(error)}") from error
    return found


def is_nested(name: str) -> bool:
    """Whether the model of a name has nested sizes; RecBole's are not imported for the answer.

    Raises:
        UsageError: as `get_model_class`.
    """
    from recbole_fmrlrec.model_api.protocols import NestedModel

    return name not in recbole_models() and issubclass(get_model_class(name), NestedModel)
