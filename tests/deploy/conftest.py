"""Small deployed models: one with random weights, one whose answers are worked out by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from recbole_fmrlrec.deploy import Recommender
from recbole_fmrlrec.deploy.description import Description, Modality
from recbole_fmrlrec.deploy.items import ItemTable
from recbole_fmrlrec.deploy.model_folder import save_model
from recbole_fmrlrec.nn.network import FMRLRecNetwork

SIZES = (4, 8, 16)
ITEMS, TEXT, IMAGE = 60, 5, 3

DESCRIPTION = Description(
    model="fMRLRec",
    size=16,
    sizes=SIZES,
    trained_sizes=(*SIZES, 32),
    num_blocks=2,
    modalities=(Modality("text", TEXT, "encoder-a"), Modality("image", IMAGE, "encoder-b")),
    feature_scale=3.0,
    uses_ids=False,
    start_trained=True,
    max_history=20,
    dataset="toy",
    num_items=ITEMS,
    trained_items=ITEMS,
    table_dtype="float32",
)


@pytest.fixture(scope="package", autouse=True)
def one_thread() -> Iterator[None]:
    """Networks this small run fastest on one thread, above all on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def lively_network(blocks: int = 2, sizes: tuple[int, ...] = SIZES) -> FMRLRecNetwork:
    """Random weights large enough that every part of the network shows in its outputs."""
    torch.manual_seed(7)
    network = FMRLRecNetwork(sizes, TEXT + IMAGE, num_blocks=blocks, r_min=0.6, r_max=0.99)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if parameter.ndim == 2:
                parameter.mul_(10)
            elif name.endswith("bias"):
                parameter.normal_(std=0.3)
    return network.eval()


def features_of(count: int, seed: int = 1) -> dict[str, Tensor]:
    """Unit-length random features by modality."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.nn.functional.normalize(torch.randn(count, width, generator=generator))
        for name, width in (("text", TEXT), ("image", IMAGE))
    }


@torch.no_grad()
def table_of(network: FMRLRecNetwork) -> Tensor:
    """``(N+1, s)`` vectors of the random items."""
    rows = torch.cat(list(features_of(ITEMS).values()), dim=1) * DESCRIPTION.feature_scale
    return network.item_table(torch.cat([torch.zeros(1, TEXT + IMAGE), rows]))


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a random model; not to be changed."""
    folder = tmp_path_factory.mktemp("random") / "16"
    network = lively_network()
    titles = [f"Title {row}" if row % 2 else None for row in range(1, ITEMS + 1)]
    ids = [f"i{row}" for row in range(1, ITEMS + 1)]
    save_model(folder, DESCRIPTION, network, ItemTable(ids, titles, table_of(network)))
    return folder


@pytest.fixture
def random_model(saved: Path) -> Recommender:
    """A random model of 60 items ``i1`` .. ``i60``, read from its folder."""
    return Recommender.load(saved)


@pytest.fixture
def echo_model(tmp_path: Path) -> Callable[..., Recommender]:
    """A model whose output is the vector of the last item, with item vectors as given.

    Every block's contribution is zero, so a score is the product of two vectors.
    """

    def make(vectors: dict[str, list[float]], start: list[float], **changes: Any) -> Recommender:
        network = FMRLRecNetwork((1, 2), 2).eval().requires_grad_(False)
        for module in network.modules():
            for parameter in module.parameters(recurse=False):
                parameter.zero_()
        rows = torch.tensor([start, *vectors.values()])
        description = replace(
            DESCRIPTION,
            size=2,
            sizes=(1, 2),
            trained_sizes=(1, 2),
            num_blocks=1,
            modalities=(Modality("text", 2, "a"),),
            num_items=len(vectors),
            trained_items=len(vectors),
            **changes,
        )
        titles = [name.upper() for name in vectors]
        save_model(tmp_path / "echo", description, network, ItemTable(list(vectors), titles, rows))
        return Recommender.load(tmp_path / "echo")

    return make
