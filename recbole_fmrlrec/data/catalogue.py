"""What metrics of recommended items need beside the lists: counts of training, and features."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dataset_tools.features import find_rows, list_modalities, read_features
from recbole_fmrlrec.data.item_features import all_features_fingerprint, find_features
from recbole_fmrlrec.data.mapped_features import MappedFeatures, MappedModality
from recbole_fmrlrec.errors import DataError
from recbole_fmrlrec.evaluation.list_metric_names import is_diversity
from recbole_fmrlrec.evaluation.trainer_mixin import serves_ranks

#: Numbers of features that are held at once.
HELD = 2**24


class TrainingCatalogue:
    """The items of a dataset as its training part knows them.

    Args:
        config: of the run; it is asked when something is wanted.
        training: the training part.
    """

    def __init__(self, config: Any, training: Any) -> None:
        self._config, self._training = config, training

    def __getstate__(self) -> dict[str, Any]:
        """A saved loader takes no features along: they are read again where they are wanted."""
        return {"_config": self._config, "_training": self._training}

    @property
    def tail_ratio(self) -> float | None:
        """RecBole's key."""
        ratio: float | None = self._config["tail_ratio"]
        return ratio

    @cached_property
    def counts(self) -> np.ndarray:
        """Interactions of each item id, (N+1,) int64, as RecBole counts them for the model.

        For sequence models those are the interactions that training predicts: all but the first
        of each user.
        """
        found = np.zeros(self._training.item_num, dtype=np.int64)
        for item, count in self._training.item_counter.items():
            found[item] = count
        return found

    @cached_property
    def _features(self) -> tuple[MappedFeatures, str]:
        """All that the dataset has, and their fingerprint."""
        folder = find_features(self._config)
        if folder is None:
            raise DataError(
                f"IntraListDiversity compares features of items, and {self._config['dataset']} has "
                "none: `python -m dataset_tools encode-text --help` makes some; or leave it out "
                "of metrics"
            )
        field = self._training.iid_field
        tokens = [str(token) for token in self._training.field2id_token[field][1:]]
        fingerprint = all_features_fingerprint(folder)
        found = [read_features(folder, name) for name in list_modalities(folder)]
        features = MappedFeatures(
            [MappedModality.open(one.matrix, find_rows(one, tokens)[0]) for one in found]
        )
        return features, fingerprint

    @property
    def features_fingerprint(self) -> str:
        """Of the features that distances are by, see `all_features_fingerprint`.

        Raises:
            DataError: the dataset has no features.
        """
        return self._features[1]

    def check_features(self) -> None:
        """Refuse a dataset without features.

        Raises:
            DataError: it says how to make them.
        """
        _ = self._features

    def distances(self, items: Tensor) -> Tensor:
        """Mean of 1 - cosine over all pairs of the first j items of each list.

        An item's vector is that which models read: each modality of unit length, side by side, all
        that the dataset has. Pairs with an item that has no features are left out; where there is
        no pair, as for j = 1, it is NaN. Computed in double precision, so that lists of the same
        items have the same distance, whatever their order.

        Args:
            items: ids ``(..., k)``, 0 where a list has ended.

        Returns:
            ``(..., k)`` float32, j = 1..k.

        Raises:
            DataError: the dataset has no features.
        """
        lists = items.reshape(-1, items.shape[-1])
        out = torch.zeros(lists.shape)
        step = max(1, HELD // (max(1, lists.shape[1]) * self._features[0].shape[1]))
        for at in range(0, len(lists), step):
            out[at : at + step] = self._distances(lists[at : at + step])
        return out.view(items.shape)

    def _distances(self, lists: Tensor) -> Tensor:
        ids, place = lists.unique(return_inverse=True)
        rows = self._features[0].rows(ids.long()).double()
        length = rows.norm(dim=1, keepdim=True)
        there = (length[:, 0] > 0)[place].double()
        vectors = (rows / length.clamp(min=1e-12))[place]
        pairs = torch.triu(there[:, :, None] * there[:, None, :], diagonal=1)
        apart = (1 - vectors @ vectors.transpose(1, 2)).clamp(min=0) * pairs
        return apart.sum(1).cumsum(1) / pairs.sum(1).cumsum(1)  # 0 by 0 is NaN


def check_diversity(config: Any, loaders: Iterable[Any]) -> None:
    """Refuse IntraListDiversity where there are no lists of ours, or no features to compare.

    Args:
        loaders: of validation and test, that know their catalogue.

    Raises:
        DataError: it says which, and the way out.
    """
    if not any(map(is_diversity, config["metrics"])):
        return
    for loader in loaders:
        if not len(loader._dataset):
            continue
        if not serves_ranks(config, loader):
            raise DataError(
                "IntraListDiversity is measured where each row has one target that is ranked among "
                "all items (eval_args.mode: full, eval_args.split: {LS: valid_and_test} or {time: "
                "[0.8, 0.9]}): set eval_args so, or leave it out of metrics"
            )
        loader.catalogue.check_features()
