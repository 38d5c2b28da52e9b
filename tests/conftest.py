"""Fixtures shared by the tests: tiny datasets, their configurations, data beside the project."""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

Row = tuple[Any, ...]
MakeConfig = Callable[..., Any]
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # So a shell starts what it puts into the background. Interruptions are tested here, in this
    # process and in those that it starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Tests run in as many processes as there are CPUs, which would otherwise fight for them. Read when
# torch and numpy are first imported, by the processes that tests start too.
os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
#: What tools keep in a checkout; everything else that appears there a test has left behind.
CACHES = (".hypothesis", ".pytest_cache", ".ruff_cache", ".mypy_cache", ".coverage", "__pycache__")
CACHES += (".import_linter_cache",)

# How long an example takes says how busy the machine is.
settings.register_profile("any", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any")

#: Processes of tests at most: each holds about a gigabyte, and the longest file bounds them all.
MOST_WORKERS = 4


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """A process of tests a CPU; none beside this one where a single file is asked for."""
    asked = {word.partition("::")[0] for word in config.args}
    if len(asked) == 1 and not Path(asked.pop()).is_dir():
        return 0
    return min(len(os.sched_getaffinity(0)), MOST_WORKERS)


LEAVE_ONE_OUT = {"order": "TO", "split": {"LS": "valid_and_test"}, "group_by": "user"}


@pytest.fixture(scope="session", autouse=True)
def checkout() -> Iterator[None]:
    """The tests leave nothing in the checkout: no ``saved/``, no ``dataset/``."""
    before = set(os.listdir(ROOT))
    yield
    left = sorted(set(os.listdir(ROOT)) - before - set(CACHES))
    assert not left, f"the tests have written into the checkout: {left}"


@pytest.fixture
def shared() -> Path:
    """The folder of real data and golden files beside the checkout; skips where there is none."""
    if not SHARED.is_dir():
        pytest.skip(f"no folder {SHARED}")
    return SHARED


def as_shipped(name: str) -> ModuleType:
    """A second copy of a module of RecBole, without any mend."""
    spec = importlib.util.find_spec(name)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write_table(path: Path, header: str, rows: Iterable[Row]) -> None:
    """Write an atomic file: ``header`` in words (``user_id:token item_id:token``), a row a line."""
    lines = ["\t".join(header.split()), *("\t".join(map(str, row)) for row in rows)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def reverse_rows(file: Path) -> None:
    """Turn the rows of an atomic file around, below its header."""
    header, *rows = file.read_text(encoding="utf-8").splitlines()
    file.write_text("\n".join([header, *rows[::-1], ""]), encoding="utf-8")


def write_inter(root: Path, rows: Iterable[Row], name: str = "toy") -> Path:
    """Write interactions (user, item, timestamp) as a dataset below ``root``; return its folder."""
    header = "user_id:token item_id:token timestamp:float"
    write_table(root / name / f"{name}.inter", header, rows)
    return root / name


def make_config(root: Path, model: str = "SASRec", dataset: str = "toy", **keys: Any) -> Any:
    """RecBole's own Config for a small run on the CPU, leave-one-out in order of time."""
    from recbole_fmrlrec import compat

    compat.apply()
    from recbole.config import Config

    settings: dict[str, Any] = {
        "data_path": str(root),
        "checkpoint_dir": str(root / "saved"),
        "load_col": None,
        "use_gpu": False,
        "show_progress": False,
        "epochs": 1,
        "train_batch_size": 64,
        "train_neg_sample_args": None,
        "eval_args": {**LEAVE_ONE_OUT, "mode": "full"},
        "metrics": ["Recall", "NDCG"],
        "valid_metric": "NDCG@10",
        "MAX_ITEM_LIST_LENGTH": 5,
    }
    arguments, sys.argv = sys.argv, sys.argv[:1]  # RecBole reads the command line
    try:
        return Config(model, dataset, config_dict=settings | keys)
    finally:
        sys.argv = arguments


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeConfig:
    """Make configurations of datasets below ``tmp_path``; RecBole's side files go there too."""
    monkeypatch.chdir(tmp_path)

    def make(model: str = "SASRec", dataset: str = "toy", **keys: Any) -> Any:
        return make_config(tmp_path, model, dataset, **keys)

    return make


@pytest.fixture
def rich(tmp_path: Path) -> Path:
    """A dataset of 30 users and 20 items, with missing values and a knowledge graph."""
    folder = tmp_path / "rich"
    inter = [
        (f"u{u}", f"i{(u * 7 + t * 3) % 20}", 1 + (u + t) % 5, t)
        for u in range(30)
        for t in range(6)
    ]
    write_table(
        folder / "rich.inter", "user_id:token item_id:token rating:float timestamp:float", inter
    )
    items = [
        (
            f"i{i}",
            f"w{i % 3} w{i % 4}" if i % 5 else "",
            i / 2 if i % 4 else "",
            "1 2" if i % 3 else "",
        )
        for i in range(20)
    ]
    write_table(
        folder / "rich.item", "item_id:token words:token_seq price:float v:float_seq", items
    )
    users = [(f"u{u}", 20 + u % 4 if u % 6 else "") for u in range(30)]
    write_table(folder / "rich.user", "user_id:token age:token", users)
    triples = [(f"e{i}", f"r{r}", f"e{(i * 7 + r) % 24}") for i in range(20) for r in range(3)]
    write_table(folder / "rich.kg", "head_id:token relation_id:token tail_id:token", triples)
    write_table(
        folder / "rich.link",
        "item_id:token entity_id:token",
        [(f"i{i}", f"e{i}") for i in range(20)],
    )
    for kind, count in (("ent", 24), ("rel", 3)):
        vectors = [(f"{kind[0]}{n}", " ".join(["0.5"] * 64)) for n in range(count)]
        write_table(folder / f"rich.{kind}", f"{kind}_id:token {kind}_emb:float_seq", vectors)
    return folder
