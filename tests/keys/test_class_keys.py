"""The keys of model classes that a user brings."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from recbole_fmrlrec.errors import UsageError
from recbole_fmrlrec.keys.class_keys import class_keys, keys_in
from tests import toy

MODEL = """
from recbole.model.sequential_recommender.sasrec import SASRec
from own_parts import Head

class Toy(SASRec):
    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.width = config["toy_width"]
        if "toy_depth" in config:
            self.depth = self.config["toy_depth"]
        self.head = Head(config)
"""
PARTS = """
class Head:
    def __init__(self, cfg):
        self.heads = cfg["toy_heads"]
"""


@pytest.fixture
def toy_class(tmp_path: Path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "own_parts.py").write_text(PARTS)
    (tmp_path / "own_model.py").write_text(MODEL)
    yield importlib.import_module("own_model").Toy
    for name in ("own_model", "own_parts"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize(
    ("source", "keys"),
    [
        ('a = config["x"]; b = self.config["y"]; c = other["z"]', {"x", "y"}),
        ('a = config.get("x", "w"); b = "y" in self.config', {"x", "y"}),
        ('a = final_config_dict["x"]', {"x"}),
        ('for n in ("p", "q"): setattr(self, n, config[n])', {"p", "q"}),
        ('c = config; a = c["x"]', {"x"}),
    ],
)
def test_keys_in_a_source(source: str, keys: set[str]) -> None:
    assert keys_in(source) == keys


def test_its_own_its_parts_and_its_bases(toy_class) -> None:
    keys = class_keys(toy_class)
    assert {"toy_width", "toy_depth", "toy_heads", "n_heads", "loss_type"} <= keys
    assert "toy_widht" not in keys


def test_a_class_without_a_source_may_have_any_key() -> None:
    space: dict[str, object] = {"__name__": "nowhere"}
    exec("class Typed: pass", space)
    assert class_keys(space["Typed"]) is None


def test_a_mistyped_key_is_refused_with_the_nearest(toy_class, tmp_path, monkeypatch) -> None:
    from recbole_fmrlrec.config.config import Config

    monkeypatch.chdir(tmp_path)
    toy.write_toy(tmp_path)
    base = {"data_path": str(tmp_path), "use_gpu": False, "loss_type": "CE"}
    assert Config(toy_class, "toy", config_dict={**base, "toy_width": 3})["toy_width"] == 3
    with pytest.raises(UsageError, match=r"unknown key `toy_widht`.* nearest .*toy_width"):
        Config(toy_class, "toy", config_dict={**base, "toy_widht": 3})
