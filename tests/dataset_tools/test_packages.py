"""Packages that are not installed: every command names the one pip command, and no traceback."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest

import dataset_tools
from dataset_tools import packages
from dataset_tools.__main__ import build_parser, main
from dataset_tools.formats.atomic_files import write_table

SETUP = Path(dataset_tools.__file__).parents[1] / "setup.py"


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Play that a package is not installed, whatever has been imported before."""

    def block(package: str) -> None:
        for name in [one for one in sys.modules if one.partition(".")[0] == package]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, package, None)

    return block


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A data set of two items with pictures and TF-IDF features."""
    folder = tmp_path / "shop"
    write_table(
        folder / "shop.inter",
        ["user_id:token", "item_id:token", "timestamp:float"],
        [("u", "a", 1), ("u", "b", 2)],
    )
    rows = [("a", "red mug"), ("b", "tea pot")]
    write_table(folder / "shop.item", ["item_id:token", "title:token_seq"], rows)
    assert main(["encode-text", str(folder), "--model", "tfidf-svd"]) == 0
    (folder / "log.csv").write_text("user_id,item_id\nu,a\n")
    (folder / "images").mkdir()
    for name in ("a", "b"):
        (folder / "images" / f"{name}.png").write_bytes(b"x")
    return folder


# A command, the package that is not there, and what the message asks for.
MISSING = [
    ("encode-text {shop} --model nobody/nothing", "transformers", "encoders"),
    ("encode-text {shop} --model nobody/nothing", "sentence_transformers", "encoders"),
    ("encode-text {shop} --model tfidf-svd --overwrite", "sklearn", "scikit-learn"),
    ("encode-images {shop} --model nobody/nothing", "transformers", "encoders"),
    ("encode-images {shop} --model nobody/nothing", "PIL", "encoders"),
    ("encode-images {shop} --model colour-layout", "PIL", "encoders"),
    ("inspect {shop} --html {shop}/page.html", "PIL", "encoders"),
    ("parquet {shop}", "pyarrow", "parquet"),
    ("convert csv {shop}/log.csv {shop}/out", "duckdb", "duckdb"),
    ("neighbours {shop} --item a --html {shop}/page.html", "PIL", "encoders"),
]
# These need nothing that is optional.
ENOUGH = ["inspect {shop}", "neighbours {shop} --item a", "prepare"]


@pytest.mark.parametrize(("line", "package", "asked"), MISSING)
def test_a_missing_package_is_named_with_its_command(
    shop: Path,
    without: Callable[[str], None],
    capsys: pytest.CaptureFixture[str],
    line: str,
    package: str,
    asked: str,
) -> None:
    pytest.importorskip(package)
    without(package)
    assert main(line.format(shop=shop).split()) == 1
    said = capsys.readouterr().err
    name = packages.PIP_NAMES.get(package, package)
    target = f'"{packages.pip_name()}[{asked}]"' if asked in ("encoders", "parquet") else asked
    assert said == f"error: the package `{name}` is not installed: pip install {target}\n"


@pytest.mark.parametrize("line", ENOUGH)
def test_what_needs_no_optional_package(
    shop: Path, without: Callable[[str], None], line: str
) -> None:
    for package in ("transformers", "sentence_transformers", "PIL", "pyarrow"):
        without(package)
    assert main(line.format(shop=shop).split()) == 0


def test_every_command_is_tried() -> None:
    parser = build_parser()
    names = next(iter(parser._subparsers._group_actions)).choices  # type: ignore[union-attr]
    tried = {line.split()[0] for line, *_ in MISSING} | {line.split()[0] for line in ENOUGH}
    others = {"download"}  # another name of prepare
    assert tried | others == set(names)


def test_extras_are_those_of_setup() -> None:
    text = SETUP.read_text() if SETUP.is_file() else pytest.skip("needs a clone: no setup.py")
    section = text[text.index("EXTRAS = {") :]
    extras = dict(re.findall(r'^    "(\w+)": \[(.*)\],$', section, re.MULTILINE))
    for module, extra in packages.EXTRAS.items():
        assert extra in extras
        if module in ("transformers", "sentence_transformers", "PIL", "optuna", "faiss"):
            assert packages.PIP_NAMES.get(module, module) in extras[extra]


def test_the_command_names_the_clone_until_it_is_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def absent(_: str) -> None:
        raise metadata.PackageNotFoundError

    monkeypatch.setattr(metadata, "distribution", absent)
    assert packages.pip_name() == str(SETUP.parent)
    monkeypatch.setattr(metadata, "distribution", lambda _: object())
    assert packages.pip_name() == "recbole-fmrlrec"
