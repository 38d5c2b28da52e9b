"""A model of one's own: a GRU over item features, trained on user windows.

    python run_recbole.py --model=examples/feature_gru.py:FeatureGRU --dataset=ml-100k
    python run_recbole.py compare examples/comparison.yaml

Its defaults are in feature_gru.yaml beside this file.
"""

import torch
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import SequentialRecommender
from torch import Tensor, nn
from torch.nn import functional

from recbole_fmrlrec.data.item_features import load_item_features
from recbole_fmrlrec.data.windows import TARGETS
from recbole_fmrlrec.model_api.protocols import FeatureModel, WindowModel


class FeatureGRU(FeatureModel, WindowModel, SequentialRecommender):
    """Item vectors projected from text and image features, a GRU, softmax over all items."""

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        loaded = load_item_features(config, dataset)
        self.feature_info = {"encoders": loaded.encoders, "missing": loaded.missing}
        self.register_buffer("features", loaded.matrix, persistent=False)
        width = config["hidden_size"]
        self.projector = nn.Linear(loaded.matrix.shape[1], width)
        self.gru = nn.GRU(width, width, batch_first=True)
        self.dropout = nn.Dropout(config["dropout_prob"])

    def item_vectors(self) -> Tensor:
        """One vector for each item, (N+1, d)."""
        return self.projector(self.features)

    def forward(self, item_seq: Tensor, table: Tensor) -> Tensor:
        """Right-padded items (B, L) to outputs (B, L, d)."""
        return self.gru(self.dropout(table[item_seq]))[0]

    def calculate_loss(self, interaction: Interaction) -> Tensor:
        """Cross-entropy of the next item: at every position of a window, at a row's last one."""
        table = self.item_vectors()
        outputs = self.forward(interaction[self.ITEM_SEQ], table)
        if TARGETS in interaction:
            targets = interaction[TARGETS]
        else:
            outputs = self.gather_indexes(outputs, interaction[self.ITEM_SEQ_LEN] - 1)
            targets = interaction[self.POS_ITEM_ID]
        valid = targets > 0
        return functional.cross_entropy(outputs[valid] @ table[1:].t(), targets[valid] - 1)

    def predict(self, interaction: Interaction) -> Tensor:
        """Scores (B,) of one item a row."""
        return self.full_sort_predict(interaction).gather(1, interaction[self.ITEM_ID][:, None])[
            :, 0
        ]

    @torch.no_grad()
    def full_sort_predict(self, interaction: Interaction) -> Tensor:
        """Scores (B, N+1) of all items."""
        table = self.item_vectors()
        outputs = self.forward(interaction[self.ITEM_SEQ], table)
        return self.gather_indexes(outputs, interaction[self.ITEM_SEQ_LEN] - 1) @ table.t()
