"""What the pages take from the sources: keys, faults of RecBole, rooms; and the README's length."""

from __future__ import annotations

import importlib.util
import inspect
import re
import sys
from types import ModuleType

import pytest

from recbole_fmrlrec.model_api.registry import BASELINES, OUR_MODELS
from tests.docs.snippets import ROOT


@pytest.fixture(scope="module")
def hooks() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_hooks", ROOT / "docs" / "hooks.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_keys_come_with_default_and_comment(hooks: ModuleType) -> None:
    rows = hooks.keys_table("overall.yaml").splitlines()
    assert rows[:2] == ["| key | default | meaning |", "| --- | --- | --- |"]
    assert "| `topk` | `[5, 10, 20]` | (list) The K of the metrics. |" in rows
    with pytest.raises(ValueError, match="has no key"):
        hooks.keys_table("../LICENSE")


def test_every_model_of_this_package_is_on_the_page() -> None:
    page = (ROOT / "docs" / "models-and-keys.md").read_text(encoding="utf-8")
    models = {*OUR_MODELS, *BASELINES}
    assert models <= set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE))
    assert models <= set(re.findall(r"<!-- keys: model/(\w+)\.yaml -->", page))


def test_every_fault_that_is_dealt_with_is_on_the_page(hooks: ModuleType) -> None:
    page = (ROOT / "docs" / "recbole-faults.md").read_text(encoding="utf-8")
    applied = hooks.applied_functions()
    assert set(re.findall(r"<!-- faults: (\S+) -->", page)) == set(applied)
    shown = hooks.on_page_markdown(page)
    from recbole_fmrlrec import compat

    called = re.findall(r"^    (?:\w+\.)?(\w+)\(\)", inspect.getsource(compat.apply), re.MULTILINE)
    assert called and [name for name in called if f"| `{name}` | " not in shown] == []
    assert "missing_values" in applied["pandas"]
    row = next(line for line in shown.splitlines() if line.startswith("| `missing_values` |"))
    assert "fillna(inplace=True)" in row and len(row.split(" | ")) == 3


@pytest.mark.skipif(sys.version_info < (3, 11), reason="tomllib came with Python 3.11")
@pytest.mark.parametrize(
    ("package", "order"),
    [
        ("recbole_fmrlrec", "cli compare deploy train models config compat nn errors"),
        ("dataset_tools", "commands fetch encoders features interactions formats files errors"),
    ],
)
def test_every_sub_package_is_a_room_from_the_top_down(
    hooks: ModuleType, package: str, order: str
) -> None:
    table = hooks.rooms_table(package)
    rooms = re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)
    folders = {path.parent.name for path in (ROOT / package).glob("*/__init__.py")}
    assert folders <= set(rooms)
    assert [room for room in rooms if room in order.split()] == order.split()


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) < 200
