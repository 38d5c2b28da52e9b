"""A family of two small models behind a server in this process."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

from recbole_fmrlrec.deploy import Recommender
from recbole_fmrlrec.deploy.items import ItemTable
from recbole_fmrlrec.deploy.model_folder import save_model
from tests.deploy.conftest import DESCRIPTION, IMAGE, ITEMS, TEXT, features_of, lively_network
from tests.needed import modules_skipped_without

if TYPE_CHECKING:
    from fastapi.testclient import TestClient

# Not pytest.importorskip: a skip while pytest reads the conftest of a folder that is named on its
# command line ends pytest itself.
pytest_pycollect_makemodule = modules_skipped_without("fastapi", "prometheus_client", "httpx")

IDS = [f"i{row}" for row in range(1, ITEMS + 1)]


@pytest.fixture(scope="package", autouse=True)
def one_thread() -> Iterator[None]:
    """Networks this small run fastest on one thread, above all on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@torch.no_grad()
def write_model(folder: Path, size: int, seed: int = 1, ids: list[str] | None = None) -> None:
    """A random model of 60 items; every third one is of the brand "b0", "b1" or "b2"."""
    sizes = tuple(s for s in (4, 8, 16) if s <= size)
    network = lively_network(sizes=sizes)
    rows = torch.cat(list(features_of(ITEMS, seed).values()), dim=1) * DESCRIPTION.feature_scale
    table = network.item_table(torch.cat([torch.zeros(1, TEXT + IMAGE), rows]))
    titles = [f"Title {row}" if row % 2 else None for row in range(1, ITEMS + 1)]
    brands = {"brand": [(f"b{row % 3}",) for row in range(ITEMS)]}
    description = replace(
        DESCRIPTION, size=size, sizes=sizes, trained_sizes=(4, 8, 16, 32), num_items=ITEMS
    )
    save_model(folder, description, network, ItemTable(ids or IDS, titles, table, brands))


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder ``shop`` with the sizes 8 and 16; not to be changed."""
    root = tmp_path_factory.mktemp("family") / "shop"
    write_model(root / "8", 8)
    write_model(root / "16", 16)
    return root


@pytest.fixture
def family(written: Path, tmp_path: Path) -> Path:
    """A copy of it, for tests that change it."""
    shutil.copytree(written, tmp_path / "shop")
    return tmp_path / "shop"


@pytest.fixture
def model(written: Path) -> Recommender:
    """The model of size 16, asked directly."""
    return Recommender.load(written / "16")


class Clock:
    """A time that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


Start = Callable[..., "TestClient"]


@pytest.fixture
def start(written: Path, clock: Clock) -> Iterator[Start]:
    """Starts a server: settings by name, limits among them; stops it after the test."""
    from fastapi.testclient import TestClient

    from recbole_fmrlrec.serve.app import build_app
    from recbole_fmrlrec.serve.service import Service
    from recbole_fmrlrec.serve.settings import Limits, Settings

    with ExitStack() as stack:

        def begin(folder: Path = written, **changes: Any) -> TestClient:
            names = set(Limits.__dataclass_fields__)
            limits = Limits(**{name: changes.pop(name) for name in names & set(changes)})
            settings = Settings(model_dirs=(folder,), limits=limits, **changes)
            service = Service(settings, clock)
            app = build_app(service)
            return stack.enter_context(TestClient(app, raise_server_exceptions=False))

        yield begin


@pytest.fixture
def client(start: Start) -> TestClient:
    """A server with the family of two sizes."""
    return start()


def ids_of(answer: Any) -> list[str]:
    """The ids of a list, the best first."""
    assert answer.status_code in (200, 201), answer.text
    return [item["item_id"] for item in answer.json()["items"]]
