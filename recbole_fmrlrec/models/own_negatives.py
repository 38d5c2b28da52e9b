"""Causal models that rank a target among negatives of each position's own."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

from torch import Tensor

from recbole_fmrlrec.models.sequence_model import CausalModel
from recbole_fmrlrec.models.settings import ModelSettings
from recbole_fmrlrec.nn.history_shift import HistoryShift
from recbole_fmrlrec.nn.negatives import candidate_scores, draw_negatives
from recbole_fmrlrec.nn.products import RankedItems


class OwnNegativesModel(CausalModel):
    """A causal model with one more ``loss_type``, over ``num_negatives`` draws of each position.

    Attributes:
        own_loss: the name of that loss.
        num_candidates: the items that are drawn from, those that training knows.
        num_negatives: draws of a position, at most all candidates but one.
    """

    own_loss: ClassVar[str]

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        settings = ModelSettings(config, type(self).__name__)
        self.draws_own = settings["loss_type"] == self.own_loss
        known = self.known_items
        self.num_candidates = self.n_items - 1 if known is None else len(known)
        self.num_negatives = max(1, min(int(settings["num_negatives"]), self.num_candidates - 1))

    @abstractmethod
    def loss_of_scores(self, scores: Tensor) -> Tensor:
        """The loss of scores ``(T, 1 + k)``: a position's target, then its negatives."""

    def softmax_loss(
        self,
        hidden: Tensor,
        items: Tensor | RankedItems,
        targets: Tensor,
        shift: HistoryShift | None = None,
    ) -> Tensor:
        """The model's own loss of outputs ``(T, e)``; with ``loss_type: CE`` that of all items."""
        if not self.draws_own:
            return super().softmax_loss(hidden, items, targets, shift)
        assert isinstance(items, Tensor)
        rows = draw_negatives(len(items), self.num_negatives, targets, self.known_items)
        scores = candidate_scores(hidden, items, rows).float()
        return self.loss_of_scores(scores if shift is None else scores + shift.of(rows, 0))
