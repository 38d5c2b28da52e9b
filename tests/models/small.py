"""A small model on the toy dataset, with its loaders."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import torch

from recbole_fmrlrec import compat
from tests import toy

#: Of `parts_of`.
Make = Callable[..., tuple[Any, Any, Any]]


def parts_of(model: str, small: dict[str, Any], foreign: Collection[str], root: Path) -> Make:
    """Writes the toy dataset below ``root``; a call makes configuration, loaders and model.

    Args:
        model: its name.
        small: its keys.
        foreign: keys of `toy.settings` that it does not have.
        root: where the dataset and the runs are.

    Returns:
        A function that takes more keys.
    """
    toy.write_toy(root)
    compat.apply()

    def make(**keys: Any) -> tuple[Any, Any, Any]:
        from recbole_fmrlrec.config.config import Config
        from recbole_fmrlrec.data.loaders import create_dataset, data_preparation

        base = {key: value for key, value in toy.settings(root).items() if key not in foreign}
        config = Config(model, "toy", config_dict={**base, **small, **keys})
        loaders = data_preparation(config, create_dataset(config))
        torch.manual_seed(0)
        return config, loaders, config.model_class(config, loaders[0]._dataset)

    return make


def loss_and_gradients(loaders: Any, model: Any) -> tuple[torch.Tensor, list[Any]]:
    """Of the first batch, without noise and dropout."""
    loss = model.eval().calculate_loss(next(iter(loaders[0])))
    loss.backward()
    return loss, [parameter.grad for parameter in model.parameters()]
