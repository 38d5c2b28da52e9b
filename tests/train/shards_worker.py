"""One process of several: gradients of a batch whose items all make together, and each for itself.

Usage: python -m tests.train.shards_worker FOLDER. Writes RANK.pt there.
"""

from __future__ import annotations

import sys
from collections import deque
from pathlib import Path
from typing import Any

import torch
from recbole.utils import init_seed
from torch import Tensor

from recbole_fmrlrec import compat, torchrun
from recbole_fmrlrec.data.dealing import Share
from recbole_fmrlrec.train.distributed import GradientExchange
from recbole_fmrlrec.train.item_shards import ItemShards
from tests import toy

MAPPED = {"feature_memory_mb": 0, "feature_block_size": 4}
BASELINE = {"hidden_size": 8, "inner_size": 16, "n_exps": 3}
#: Name, model, keys.
CASES: list[tuple[str, str, dict[str, Any]]] = [
    ("nested", "fMRLRec", {}),
    ("mapped", "fMRLRec", MAPPED),
    ("ids", "fMRLRecID", {"self_distillation": 0.3}),
    ("prefix", "fMRLRec", {"training_windows": "prefix", "self_distillation": 1.0}),
    # The last 56 dimensions are not projected: batches of a window each have few positions. Of 80
    # windows three processes leave two for the last batch, so that one of them has none.
    ("tail", "fMRLRec", {"sizes": [2, 8, 64], "train_batch_size": 1}),
    ("sasrec", "SASRecM", {**BASELINE, "use_features": True, "use_id_embedding": False}),
    ("experts", "UniSRec", BASELINE),
    ("experts-mapped", "UniSRec", {**BASELINE, **MAPPED}),
]


def parts(folder: Path, model: str, keys: dict[str, Any]) -> tuple[Any, Any]:
    """Training loader and model; the same weights in every process."""
    from recbole_fmrlrec.config.config import Config
    from recbole_fmrlrec.data.loaders import create_dataset, data_preparation

    base = toy.settings(folder, train_batch_size=1000)
    if not model.startswith("fMRLRec"):
        base = {key: value for key, value in base.items() if "dropout" not in key}
        del base["sizes"]
        keys = {
            name: value for name, value in keys.items() if model == "UniSRec" or name != "n_exps"
        }
    config = Config(model, "toy", config_dict={**base, **keys})
    init_seed(config["seed"], True)
    loader = data_preparation(config, create_dataset(config))[0]
    torch.manual_seed(0)
    return loader, config.model_class(config, loader._dataset)


def gradients(loader: Any, model: Any, shards: ItemShards | None, noisy: bool) -> dict[str, Tensor]:
    """Of all parameters, of the first batch, or of the last where there are many."""
    (batch,) = deque(loader, maxlen=1)
    model.train(noisy).zero_grad()
    model.item_shards = shards
    torch.manual_seed(5 + torchrun.rank())
    share = getattr(loader, "share", Share(1))
    exchange = GradientExchange(model, share, weighs_loss=shards is not None)
    loss = model.calculate_loss(batch)
    exchange.watch(loss)
    loss.backward()
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    return {**found, "loss": torch.tensor(exchange.loss_of_epoch())}


def main(folder: Path) -> None:
    """All cases together, and the first one with dropout both ways."""
    compat.apply()
    torchrun.start(torch.device("cpu"))
    found: dict[str, Any] = {}
    for name, model, keys in CASES:
        made = parts(folder, model, keys)
        before = torchrun.added_bytes()
        found[name] = gradients(*made, ItemShards(), noisy=False)
        found[f"{name} bytes"] = torchrun.added_bytes() - before
    for name, shards in (("alone", None), ("together", ItemShards())):
        found[name] = gradients(*parts(folder, *CASES[0][1:]), shards, noisy=True)
    torch.save(found, folder / f"{torchrun.rank()}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
