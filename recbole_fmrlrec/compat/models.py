"""Faults of RecBole 1.2.1's models and trainers: a part of :mod:`recbole_fmrlrec.compat`."""

from __future__ import annotations

import functools
import re
from typing import Any

from recbole_fmrlrec.compat.imports import when_imported

_POP = "recbole.model.general_recommender.pop"


def interactions_of_pop() -> None:
    """Pop treats the most popular items as equally popular, and counts negatives as interactions.

    ``item_cnt[item] = item_cnt[item] + 1`` adds 1 to an item however often it is in a batch: Pop
    counts the batches in which an item occurs, and items that occur in every batch tie. By default
    a batch has a sampled negative for each interaction, and Pop counts these too. Patched when Pop
    is imported: importing it here would take a second, as all general models come with it.
    Obsolete when RecBole counts the rows whose label is 1.
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
    """A training that diverges ends with "Training loss is nan" and no advice.

    Obsolete when RecBole's message says what to try.
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


def clipping_of_scaled_gradients() -> None:
    """With ``enable_scaler`` gradients are clipped while they are multiplied by up to 65,536.

    ``clip_grad_norm`` then leaves next to nothing of them. Here they are clipped where the scaler
    has divided them again. Obsolete when RecBole unscales gradients before it clips them.
    """
    import recbole.trainer.trainer
    import torch

    if not hasattr(torch.amp, "GradScaler"):
        return
    clip_now = recbole.trainer.trainer.clip_grad_norm_
    working: list[Any] = []  # the scaler of the present step

    class Scaler(torch.amp.GradScaler):
        """A scaler that clips gradients in its step."""

        clip: Any = None

        def scale(self, outputs: Any) -> Any:
            working[:] = [self] if self.is_enabled() else []
            return super().scale(outputs)

        def step(self, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
            clip, self.clip = self.clip, None
            working.clear()
            if clip is not None:
                self.unscale_(optimizer)
                clip()
            return super().step(optimizer, *args, **kwargs)

    def clip_grad_norm_(parameters: Any, *args: Any, **kwargs: Any) -> Any:
        if not working:
            return clip_now(parameters, *args, **kwargs)
        working[0].clip = functools.partial(clip_now, list(parameters), *args, **kwargs)
        return None

    recbole.trainer.trainer.clip_grad_norm_ = clip_grad_norm_
    recbole.trainer.trainer.amp.GradScaler = functools.partial(Scaler, "cuda")


def batches_without_waiting() -> None:
    """On a GPU every step waits until the one before it is done: batches are copied from ordinary
    memory.

    Such a copy waits for all that the GPU was given before; one out of pinned memory does not.
    Obsolete when RecBole's loaders pin their batches.
    """
    import torch
    from recbole.data.interaction import Interaction

    from recbole_fmrlrec.nn.devices import send

    def to(self: Any, device: Any, selected_field: Any = None) -> Any:
        chosen = [selected_field] if isinstance(selected_field, str) else selected_field
        target = torch.device(device)
        return Interaction(
            {
                name: send(column, target) if chosen is None or name in chosen else column
                for name, column in self.interaction.items()
            }
        )

    Interaction.to = to


def bars_that_go_away() -> None:
    """Every epoch leaves its progress bars on the screen, and log files are full of them.

    They also count epochs from 0. Here they are shown on a terminal only, count from 1, and
    disappear when they are done. Obsolete when RecBole passes ``leave=False, disable=None`` to
    ``tqdm``.
    """
    import recbole.trainer.trainer
    import recbole.utils.url
    from tqdm import tqdm

    class Bar(tqdm):
        """A progress bar on a terminal, which disappears when it is done."""

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
