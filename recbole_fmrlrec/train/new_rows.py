"""First values of rows that a continued training has and the one before it had not.

A new item's id vector starts as its features predict it. With the kept items i, their features f_i
and their vectors v_i, and with the means f' and v' of both over these,

    v_new = v' + W (f_new - f'),
    W     = argmin sum_i |v_i - v' - W (f_i - f')|^2 + a |W|^2,

a ridge regression. Its penalty a is chosen among powers of ten by the error on kept items that are
left out one at a time (scikit-learn's RidgeCV, in closed form). A ridge and not the nearest old
items, because it needs no number of neighbours and no measure of what is near, and because it knows
when features say nothing of the vectors: then a is large, and v_new is the mean v'.

Without features, and for users, a new row is the mean of the kept ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recbole_fmrlrec.data.mapped_features import MappedFeatures

#: Kept items that a map is fitted to, at most: enough for features a few thousand wide.
FITTED = 10_000
#: Kept items that a map needs at least.
LEAST = 10
#: Penalties tried, as shares of the features' mean variance.
SHARES = tuple(10.0**power for power in range(-4, 5))


@dataclass(frozen=True)
class FeatureStart:
    """Features of the items now, and which of these were there before.

    Attributes:
        features: ``(N+1, F)``, row 0 the padding's.
        kept: rows of kept items that have features.
        new: rows of new ones.
    """

    features: Tensor | MappedFeatures
    kept: np.ndarray
    new: np.ndarray

    @classmethod
    def of(cls, features: Any, rows: np.ndarray) -> FeatureStart | None:
        """None where there are no features, nothing new, or too few kept items.

        Args:
            features: of a model; None for one without.
            rows: as `Match.rows`.
        """
        if not isinstance(features, Tensor | MappedFeatures):
            return None
        new = np.flatnonzero(rows < 0)
        kept = np.flatnonzero(rows > 0)
        kept = kept[np.linspace(0, len(kept) - 1, min(FITTED, len(kept)), dtype=np.int64)]
        if not len(new) or len(kept) < LEAST:
            return None
        start = cls(features, kept, new)
        has = np.abs(start._rows(kept)).sum(axis=1) > 0
        return cls(features, kept[has], new) if has.sum() >= LEAST else None

    def predict(self, values: Tensor) -> tuple[Tensor, float]:
        """First values of the new rows.

        Args:
            values: ``(N+1, d)`` rows by item, those of the kept items are read.

        Returns:
            ``(n, d)``, and the share of the kept rows' variance that their features explain in
            those that were left out; items without features get the mean.
        """
        from sklearn.linear_model import RidgeCV

        given, wanted = self._rows(self.kept), values[torch.from_numpy(self.kept)].double().numpy()
        variance = float(given.var(axis=0).sum()) * len(given) / given.shape[1]
        ridge = RidgeCV(alphas=[share * max(variance, 1e-12) for share in SHARES])
        ridge.fit(given, wanted)
        spread = float(wanted.var(axis=0).mean())
        explained = 1 + float(np.mean(ridge.best_score_)) / spread if spread > 0 else 0.0
        asked = self._rows(self.new)
        found = ridge.predict(asked)
        found[np.abs(asked).sum(axis=1) == 0] = wanted.mean(axis=0)
        return torch.from_numpy(found).to(values), explained

    def _rows(self, ids: np.ndarray) -> np.ndarray:
        chosen = torch.from_numpy(ids)
        if isinstance(self.features, Tensor):
            read = self.features[chosen.to(self.features.device)].cpu()
        else:
            read = self.features.rows(chosen)
        rows: np.ndarray = read.double().numpy()
        return rows
