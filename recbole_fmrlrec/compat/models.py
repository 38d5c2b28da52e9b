"""What RecBole 1.2.1's models and trainers get wrong: a part of :mod:`recbole_fmrlrec.compat`."""

from __future__ import annotations

import functools
import re
from typing import Any

from recbole_fmrlrec.compat.imports import when_imported

_POP = "recbole.model.general_recommender.pop"


def interactions_of_pop() -> None:
    """Pop takes the most popular items for equally popular, and negatives for interactions.

    ``item_cnt[item] = item_cnt[item] + 1`` adds 1 to an item however often a batch has it: Pop
    counts the batches in which an item occurs, and what occurs in every batch ties. The batches of
    RecBole's default have a drawn negative for each interaction, which it counts like one. Mended
    when Pop is imported, which brings all general models with it and takes a second. Goes when
    RecBole adds up the rows whose label is 1.
    """
    when_imported(_POP, _count_every_interaction)


def _count_every_interaction(module: Any) -> None:
    begin, original = module.Pop.__init__, module.Pop.calculate_loss
    if hasattr(original, "__wrapped__"):
        return

    @functools.wraps(begin)
    def __init__(self: Any, config: Any, dataset: Any) -> None:
        begin(self, config, dataset)
        self.LABEL = config["LABEL_FIELD"]

    @functools.wraps(original)
    def calculate_loss(self: Any, interaction: Any) -> Any:
        import torch

        item, before = interaction[self.ITEM_ID], self.item_cnt.clone()
        loss = original(self, interaction)
        if self.LABEL in interaction:
            item = item[interaction[self.LABEL] > 0]
        counts = torch.bincount(item, minlength=self.n_items)
        self.item_cnt = before + counts[:, None]
        self.max_cnt = self.item_cnt.max(dim=0)[0]
        return loss

    module.Pop.__init__, module.Pop.calculate_loss = __init__, calculate_loss


def advice_on_divergence() -> None:
    """A training that diverges ends in "Training loss is nan" and no word on what to do.

    Goes when RecBole says it.
    """
    import torch
    from recbole.trainer.trainer import Trainer

    from recbole_fmrlrec.errors import DIVERGED, RunError

    def check_nan(self: Any, loss: Any) -> None:
        if torch.isnan(loss):
            raise RunError(
                f"the training loss is NaN at learning_rate {self.learning_rate:g}: {DIVERGED}"
            )

    Trainer._check_nan = check_nan


def bars_that_go_away() -> None:
    """Every epoch leaves its progress bars on the screen, and log files are full of them.

    They count epochs from 0 as well. Here they are shown on a terminal only, count from 1, and
    leave nothing behind. Goes when RecBole gives ``tqdm`` ``leave=False, disable=None``.
    """
    import recbole.trainer.trainer
    import recbole.utils.url
    from tqdm import tqdm

    class Bar(tqdm):
        """A bar on a terminal, for as long as it moves."""

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            name = kwargs.get("desc") or ""
            counted = _TRAIN.search(name)
            if counted:
                kwargs["desc"] = f"Train epoch {int(counted[1]) + 1}"
            kwargs.setdefault("disable", None)
            super().__init__(*args, **{"leave": False, **kwargs})

    for module in (recbole.trainer.trainer, recbole.utils.url):
        module.tqdm = Bar


_TRAIN = re.compile(r"Train +(\d+)")
