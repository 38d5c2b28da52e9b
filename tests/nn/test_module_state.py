"""What a model keeps beside its weights is no part of its `state_dict`: only weights are."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import textwrap
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import recbole_fmrlrec
from recbole_fmrlrec import compat
from recbole_fmrlrec.files.checkpoint import load_model_state, model_state
from tests import toy

compat.apply()

#: Attributes that a method other than __init__ may set, and why they cannot end in the state.
SET_LATER = {
    "_kept": "a plain object, whatever it holds",
    "network": "at_size: a network cut to the size takes the place of the whole one meanwhile",
    "size": "a number",
    "_has_codes": "a flag",
    "_outdated": "a flag",
}


def our_modules() -> list[type[nn.Module]]:
    """Every class of this package that is an `nn.Module`."""
    found = set()
    for info in pkgutil.walk_packages(recbole_fmrlrec.__path__, "recbole_fmrlrec."):
        try:
            module = importlib.import_module(info.name)
        except ModuleNotFoundError:
            continue  # an optional package
        found |= {
            kind
            for kind in vars(module).values()
            if inspect.isclass(kind)
            and issubclass(kind, nn.Module)
            and kind.__module__ == info.name
        }
    return sorted(found, key=lambda kind: kind.__qualname__)


def set_later(kind: type) -> set[str]:
    """Attributes of itself that a class sets outside its ``__init__`` and what that calls."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0]
    assert isinstance(tree, ast.ClassDef)
    methods = {n.name: n for n in tree.body if isinstance(n, ast.FunctionDef)}
    started, waiting = set(), ["__init__"]
    while waiting:
        name = waiting.pop()
        if name in methods and name not in started:
            started.add(name)
            waiting += [n.attr for n in ast.walk(methods[name]) if isinstance(n, ast.Attribute)]
    return {
        node.attr
        for name, method in methods.items()
        if name not in started
        for node in ast.walk(method)
        if isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Store)
        and isinstance(node.value, ast.Name)
        and node.value.id == "self"
    }


def test_no_module_of_ours_sets_attributes_later() -> None:
    kinds = our_modules()
    assert {"fMRLRec", "FMRLRecNetwork", "LinearRecurrence"} <= {k.__name__ for k in kinds}
    found = {kind.__name__: set_later(kind) - set(SET_LATER) for kind in kinds}
    assert {name: names for name, names in found.items() if names} == {}


@pytest.mark.parametrize("model", ["fMRLRec", "fMRLRecID", "ids alone"])
def test_the_state_of_a_trained_model_is_its_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    monkeypatch.chdir(tmp_path)
    toy.write_toy(tmp_path)
    trained, test = _trained(tmp_path, model)
    weights = dict(trained.named_parameters())
    with torch.no_grad():
        scores = trained.eval().full_sort_predict(test)
    assert list(trained.state_dict()) == list(weights)
    assert list(torch.load(tmp_path / "saved/best.pth")["state_dict"]) == list(weights)
    if model == "ids alone":  # what older versions wrote: the table of the items once more
        state = model_state(trained)
        table = weights["network.id_embedding.weight"]
        state["state_dict"]["_table"] = table
        fresh, _ = _trained(tmp_path, model, fit=False)
        load_model_state(fresh, state)
        with torch.no_grad():
            assert torch.equal(fresh.eval().full_sort_predict(test), scores)
        assert "_table" in state["state_dict"]  # the caller's own is left as it was


def _trained(root: Path, model: str, fit: bool = True) -> tuple[Any, Any]:
    from recbole_fmrlrec.config.config import Config
    from recbole_fmrlrec.data.loaders import create_dataset, data_preparation
    from recbole_fmrlrec.train.trainer import Trainer

    keys: dict[str, Any] = {}
    if model == "ids alone":
        model, keys = "fMRLRecID", {"use_features": False}
    config = Config(model, "toy", config_dict=toy.settings(root, **keys))
    loaders = data_preparation(config, create_dataset(config))
    trained = config.model_class(config, loaders[0]._dataset)
    if fit:
        Trainer(config, trained).fit(*loaders[:2], verbose=False)
    return trained, next(iter(loaders[2]))[0]
