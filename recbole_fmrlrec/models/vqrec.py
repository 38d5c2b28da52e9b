"""VQ-Rec: item vectors out of discrete codes of the features, a cosine as score."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from recbole_fmrlrec.data.item_codes import codes_fingerprint, kept_codes
from recbole_fmrlrec.data.item_features import chosen_features
from recbole_fmrlrec.data.mapped_features import MappedFeatures
from recbole_fmrlrec.data.window_rows import TARGETS, WindowRows
from recbole_fmrlrec.models.cosine_model import CosineModel
from recbole_fmrlrec.models.feature_input import FeatureInput
from recbole_fmrlrec.models.settings import ModelSettings
from recbole_fmrlrec.nn.code_vectors import CodeVectors
from recbole_fmrlrec.nn.devices import send


class VQRec(FeatureInput, CosineModel):
    """Features to codes by optimised product quantisation, codes to vectors, SASRec's encoder.

    Source: Hou et al., "Learning Vector-Quantized Item Representation for Transferable Sequential
    Recommenders", WWW 2023 (arXiv 2210.12316). An item's features are rotated and cut into 32
    parts, each of which is replaced by the number of the nearest of its 256 centroids; its vector
    is the mean of a learned vector for each code (`nn.code_vectors`). The score is the cosine over
    a temperature of 0.07, the loss a softmax over all items. Encoder, rates and first values are
    those of the authors' code; rotation and centroids are found from the items of the training rows
    alone, as there, and all items are coded.

    The codes are made once for a store of features (`data.item_codes`), kept beside it, and are
    part of the model's state: what evaluates or resumes a run reads them there and needs no faiss.

    What differs here:

    - Trained from scratch on the one dataset, as the authors' code does without a pretrained model.
      The paper's pre-training on other domains with half-synthetic negatives, and the permutation
      of the codes that goes with its transfer, are left out.
    - Windows, trained at every position, in place of a row for each prefix of a history; the
      encoder is causal. ``training_windows: prefix`` trains the authors' rows. See `UniSRec`.
    - The padding is no candidate of the softmax.
    - The paper reads text. Here all modalities that there are, side by side (``modalities``), each
      of unit length; where their width is no multiple of the parts it is filled up with zeros.
    - Fewer training items than centroids: fewer centroids, which is said.

    Args:
        config: RecBole's or our Config.
        dataset: the training dataset, for its items and feature files.

    Raises:
        UsageError: ``use_features`` is off; when the codes are made, faiss is not installed.
        ValueError: RecBole's negative sampling is on, ``loss_type`` is none of ours, or ``n_heads``
            does not divide ``hidden_size``.
    """

    item_codes: Tensor

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        settings = ModelSettings(config, type(self).__name__)
        self.check_features()
        self.code_shape = int(settings["code_dim"]), int(settings["code_cap"])
        self.vectors = CodeVectors(
            *self.code_shape, settings["hidden_size"], settings["initializer_range"]
        )
        self._codes_folder = chosen_features(settings)[0] / "codes"
        self._trained = self._training_items(dataset)
        self.feature_info["codes"] = codes_fingerprint(*self._made_of())
        # Rows of `vectors`; zeros until they are made, which may never be: a state may be loaded.
        empty = torch.zeros(self.n_items, self.code_shape[0], dtype=torch.int32)
        self.register_buffer("item_codes", empty)
        self._has_codes = False

    def _training_items(self, dataset: Any) -> Tensor:
        rows = dataset.inter_feat
        names = str(self.ITEM_SEQ), str(self.ITEM_ID), TARGETS
        columns = [name for name in names if name in rows]
        if isinstance(rows, WindowRows):
            return torch.nonzero(rows.counts(columns, self.n_items)).flatten()
        items = torch.cat([rows[name].flatten().cpu() for name in columns]).unique()
        return items[items > 0]

    def _load_from_state_dict(self, *args: Any) -> None:
        """The codes come with the weights."""
        super()._load_from_state_dict(*args)
        self._has_codes = bool(self.item_codes.any())

    def tensors_of_other_codes(self, info: Mapping[str, Any] | None) -> tuple[str, ...]:
        """Codes and their vectors belong together; what a checkpoint does not say is another."""
        if (info or {}).get("codes") == self.feature_info["codes"]:
            return ()
        return "item_codes", "vectors.weight"

    def _made_of(self) -> tuple[Tensor | MappedFeatures, Tensor, int, int]:
        """What decides the codes."""
        features = self.features
        assert features is not None
        matrix = features.cpu() if isinstance(features, Tensor) else features
        return matrix, self._trained, *self.code_shape

    def _make_codes(self) -> None:
        codes = kept_codes(self._codes_folder, *self._made_of())
        rows = self.vectors.rows(codes.to(self.item_codes.device))
        rows[0] = 0  # the padding has no codes
        self.item_codes.copy_(rows)
        self._has_codes = True

    def item_vectors(self, ids: Tensor | None = None) -> Tensor:
        """Vectors ``(N+1, d)`` of all items, row 0 zeros, or a row for each of ``ids``."""
        if not self._has_codes:
            self._make_codes()
        codes = self.item_codes
        vectors: Tensor = self.vectors(codes if ids is None else codes[send(ids, codes.device)])
        return vectors
