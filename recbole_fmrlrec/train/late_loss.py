"""On a GPU the host reads losses at the end of an epoch, and looks for NaN now and then.

RecBole's loop asks for the loss of every step and whether it is NaN, as soon as it has started the
step. Either question waits until the GPU has done all it was given, so that it stands idle while
the host prepares the next step. Here both answers stay on the GPU: the sum of an epoch's losses is
made there, in float64 as on the host, so that its digits are the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

#: Steps between two looks for NaN.
LOOK_EVERY = 256


class LateLoss:
    """Mixin before RecBole's trainer, whose `_train_epoch` is given a `late` loss function."""

    _is_late = False
    _seen: Tensor | float = 0.0
    _unread = 0

    def late(self, loss_func: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """A loss function whose losses, asked for their number, give a tensor that holds it."""

        def losses(interaction: Any) -> Any:
            found = loss_func(interaction)
            for loss in found if isinstance(found, tuple) else (found,):
                value = loss.detach().double()
                # RecBole only adds up what `item` gives.
                loss.item = lambda value=value: value
            return found

        self._is_late, self._seen, self._unread = True, 0.0, 0
        return losses

    def read_late(self, losses: Any) -> Any:
        """The losses of an epoch as numbers.

        Raises:
            RunError: one of them was NaN.
        """
        self._is_late = False
        if isinstance(self._seen, Tensor):
            super()._check_nan(self._seen)  # type: ignore[misc]
        return tuple(map(float, losses)) if isinstance(losses, tuple) else float(losses)

    def _check_nan(self, loss: Tensor) -> None:
        if not self._is_late:
            super()._check_nan(loss)  # type: ignore[misc]
            return
        self._seen = self._seen + loss.detach().double()  # NaN stays NaN
        self._unread += 1
        if self._unread % LOOK_EVERY == 0:
            super()._check_nan(self._seen)  # type: ignore[misc]
