"""What is read of a configuration to find item features and to load them, with types."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class FeatureFolders:
    """Where a dataset can have features.

    Attributes:
        data_path: the dataset's own folder.
        dataset_root: the folder of datasets, below which features are made.
    """

    dataset: str
    data_path: str
    dataset_root: str = "dataset"

    @property
    def beside_data(self) -> Path:
        """The folder of features in the dataset's folder."""
        return Path(self.data_path) / "features"

    @property
    def made_here(self) -> Path:
        """The folder of features made by a run.

        RecBole's own ml-100k lies inside the installed wheel: what we make goes to the user's side.
        """
        return Path(self.dataset_root) / self.dataset / "features"

    @property
    def item_file(self) -> Path:
        """The file with the items' texts."""
        return Path(self.data_path) / f"{self.dataset}.item"


@dataclass(frozen=True, kw_only=True)
class FeatureSettings(FeatureFolders):
    """What a model with features asks for.

    Attributes:
        modalities: ``auto`` for all that are there.
        feature_path: the folder of the features, if the user names one.
        feature_scale: the length of an item's vector in each modality.
        feature_memory_mb: features that would take more memory stay on disk.
        feature_block_size: rows read from disk at once; None for a size that fits the cache.
        max_missing_features: the share of items that may have no features.
    """

    feature_scale: float
    feature_memory_mb: int
    max_missing_features: float
    modalities: str | list[str] = "auto"
    feature_path: str | None = None
    feature_block_size: int | None = None
