"""What BSARec and FMLP-Rec share: learned items, and a network that reads a whole row at once."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from torch import Tensor, nn

from recbole_fmrlrec.models.learned_items import LearnedItems
from recbole_fmrlrec.models.sequence_model import SequenceModel
from recbole_fmrlrec.models.settings import ModelSettings
from recbole_fmrlrec.nn.whole_row import WholeRowNetwork


class WholeRowModel(LearnedItems, SequenceModel):
    """Trains on RecBole's row per prefix, at its last position; rows are padded on the left.

    The vector of the padding, which the network reads too, is a random one that is never trained. A
    subclass gives `make_network`.

    Args:
        config: RecBole's or our Config.
        dataset: the training dataset, for its item vocabulary.

    Raises:
        ValueError: as `SequenceModel`.
    """

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        settings = ModelSettings(config, type(self).__name__)
        width, std = int(settings["hidden_size"]), float(settings["initializer_range"])
        self.item_embedding = nn.Embedding(self.n_items, width)
        nn.init.normal_(self.item_embedding.weight, std=std)
        self.network = self.make_network(settings, width, std)

    @abstractmethod
    def make_network(self, settings: ModelSettings, width: int, std: float) -> WholeRowNetwork:
        """The network over rows of vectors ``(B, L, d)``.

        Args:
            settings: the model's keys.
            width: d.
            std: standard deviation of its weights at the start.
        """

    def encode_last(self, table: Tensor, item_seq: Tensor, item_seq_len: Tensor) -> Tensor:
        """Outputs ``(B, d)`` at the last item of right-padded rows of ``table``, ``(B, L)``."""
        padding = self.item_embedding.weight[0].detach()
        return self.network.encode_last(table, padding, item_seq, item_seq_len)
