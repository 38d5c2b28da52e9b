"""Generated shops of any size: users who move through clusters of items, and features to match."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
from tqdm import tqdm

from dataset_tools.features import write_features
from dataset_tools.files.atomic_write import replacing

NAME = "catalogue"
HEADER = ["user_id:token", "item_id:token", "timestamp:float"]
#: Items of a cluster, and the exponent by which popularity falls inside one and among clusters.
CLUSTER, ZIPF = 200, 0.8
#: Users written at a time.
BLOCK_USERS = 50_000


@dataclass(frozen=True)
class Shape:
    """What a generated dataset is made from; the same shape is the same data to the byte."""

    items: int
    users: int
    width: int
    mean_length: int = 10
    seed: int = 2024


class Features:
    """The feature matrix ``(items, width)``, made block by block when it is read.

    An item lies near the centre of its cluster; rows have length 1.
    """

    ndim = 2

    def __init__(self, shape: Shape) -> None:
        self.shape = shape.items, shape.width
        self.seed = shape.seed

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, block: slice) -> np.ndarray:
        items = np.arange(block.start, block.stop)
        random = np.random.default_rng([self.seed, 1, block.start])
        rows = random.standard_normal((len(items), self.shape[1]), dtype=np.float32)
        clusters, place = np.unique(items // CLUSTER, return_inverse=True)
        for number, cluster in enumerate(clusters):
            centre = np.random.default_rng([self.seed, 2, cluster])
            rows[place == number] += 1.5 * centre.standard_normal(self.shape[1], dtype=np.float32)
        unit: np.ndarray = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return unit


def make(folder: Path, shape: Shape) -> Path:
    """Write the dataset ``catalogue`` below ``folder`` unless it is there; returns its folder.

    Every item occurs: users begin with the items in turn, so that all are candidates.
    """
    target = folder / NAME
    stamp = target / "shape.json"
    wanted = json.dumps(asdict(shape))
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted:
        return target
    target.mkdir(parents=True, exist_ok=True)
    stamp.unlink(missing_ok=True)
    _write_interactions(target / f"{NAME}.inter", shape)
    tokens = [f"i{item}" for item in range(shape.items)]
    matrix = cast(np.ndarray, cast(Any, Features(shape)))
    for file in (target / "features").glob("*"):
        file.unlink()
    write_features(
        target / "features", "text", matrix, tokens, {"encoder": "generated", "normalised": True}
    )
    with replacing(stamp) as stream:
        stream.write(wanted)
    return target


def _write_interactions(path: Path, shape: Shape) -> None:
    with replacing(path) as stream:
        stream.write("\t".join(HEADER) + "\n")
        for table in tqdm(
            _interactions(shape), desc="users", total=-(-shape.users // BLOCK_USERS), disable=None
        ):
            table.to_csv(stream, sep="\t", header=False, index=False, lineterminator="\n")


def _interactions(shape: Shape) -> Iterator[pd.DataFrame]:
    """Tables of the users' interactions, some users each."""
    covering = -(-shape.items // shape.users)
    order = np.random.default_rng([shape.seed, 3]).permutation(shape.items)
    for start in range(0, shape.users, BLOCK_USERS):
        users = np.arange(start, min(start + BLOCK_USERS, shape.users))
        random = np.random.default_rng([shape.seed, 4, start])
        length = np.maximum(4, covering + random.poisson(shape.mean_length - 4, len(users)) + 3)
        path = np.empty((len(users), int(length.max())), dtype=np.int64)
        for step in range(path.shape[1]):
            if step < covering:
                path[:, step] = order[(users + step * shape.users) % shape.items]
            else:
                path[:, step] = _next_items(path[:, step - 1], shape.items, random)
        kept = np.arange(path.shape[1]) < length[:, None]
        first = 1_600_000_000 + random.integers(0, 10**8, len(users))
        time = first[:, None] + 3600 * np.arange(path.shape[1])
        yield pd.DataFrame(
            {
                "user": np.char.add("u", np.repeat(users, length).astype(str)),
                "item": np.char.add("i", path[kept].astype(str)),
                "time": time[kept],
            }
        )


def _next_items(last: np.ndarray, items: int, random: np.random.Generator) -> np.ndarray:
    """Half go on to the next item, most others stay in the cluster, some go to another one."""
    way = random.random(len(last))
    clusters = -(-items // CLUSTER)
    cluster = np.where(way < 0.85, last // CLUSTER, _zipf(clusters, len(last), random))
    within = cluster * CLUSTER + _zipf(CLUSTER, len(last), random)
    return np.where(way < 0.5, last + 1, within) % items


def _zipf(count: int, draws: int, random: np.random.Generator) -> np.ndarray:
    """Numbers below ``count`` whose frequency falls as ``(number + 1) ** -ZIPF``."""
    share = np.cumsum(np.arange(1, count + 1) ** -ZIPF)
    return np.searchsorted(share / share[-1], random.random(draws))
