"""Item features as a model holds them."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from recbole_fmrlrec.data.item_features import load_item_features
from recbole_fmrlrec.data.mapped_features import MappedFeatures
from recbole_fmrlrec.errors import UsageError
from recbole_fmrlrec.model_api.protocols import FeatureModel
from recbole_fmrlrec.models.settings import ModelSettings


class FeatureInput(FeatureModel, nn.Module):
    """Before a model's RecBole class: its item features, a buffer outside its state or on disk.

    Args:
        config: RecBole's or our Config.
        dataset: the training dataset.

    Attributes:
        features: ``(N+1, F)``, row 0 zeros; None with ``use_features: False``.
        feature_width: F; 0 without features.
    """

    features: Tensor | MappedFeatures | None

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        settings = ModelSettings(config, type(self).__name__)
        self.feature_info: dict[str, Any] = {}
        matrix: Tensor | MappedFeatures | None = None
        if settings["use_features"]:
            loaded = load_item_features(settings, dataset)
            matrix = loaded.matrix
            self.feature_info = {
                "encoders": loaded.encoders,
                "widths": loaded.widths,
                "missing": loaded.missing,
                "corpus": loaded.corpus,
                "made_by": loaded.made_by,
            }
        self.feature_width = 0 if matrix is None else int(matrix.shape[1])
        if isinstance(matrix, MappedFeatures):
            self.features = matrix
        else:
            self.register_buffer("features", matrix, persistent=False)

    def check_features(self) -> None:
        """Refuse to go on without features, in a model that makes its items of them.

        Raises:
            UsageError: ``use_features`` is off.
        """
        if self.features is None:
            raise UsageError(
                f"use_features: False: {type(self).__name__} makes item vectors from features; "
                "leave the key out"
            )
