"""``recommend --similar``: the items most like one, by the model and by the raw features."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recbole_fmrlrec.deploy.results import one_line
from recbole_fmrlrec.errors import UsageError

if TYPE_CHECKING:
    import numpy as np

    from recbole_fmrlrec.deploy.recommender import Recommender


def show_similar(recommender: Recommender, options: Any) -> None:
    """Print the item and what is like it.

    Raises:
        UsageError: the folder of features does not fit the model.
        DeployError: an unknown item, or a size that the model does not have.
    """
    item, table = options.similar, recommender.items
    found = recommender.similar(item, options.k, options.size)
    title = table.titles[table.row_of[item] - 1] or ""
    print("like:\n" + one_line(f"      {item}  {title}".rstrip()))
    print(f"\nby the model's vectors\n{'rank':>4}  {'cosine':>9}  item\n{found}")
    if options.features_dir is not None:
        features = read_features_of(recommender, options.features_dir)
        found = recommender.similar(item, options.k, features=features)
        print(f"\nby the raw features\n{'rank':>4}  {'cosine':>9}  item\n{found}")
    sys.stdout.flush()


def read_features_of(recommender: Recommender, folder: Path) -> dict[str, np.ndarray]:
    """A matrix of each modality for the items of the model, zeros where an item has none.

    Raises:
        UsageError: no folder, or another encoder or width than in training.
        dataset_tools.errors.FeatureError: a modality is missing or damaged.
    """
    from dataset_tools.features import align_features, read_features

    store = folder / "features" if (folder / "features").is_dir() else folder
    if not store.is_dir():
        raise UsageError(f"--features_dir: there is no folder {store.absolute()}")
    found = {}
    for modality in recommender.description.modalities:
        features = read_features(store, modality.name)
        encoder = str(features.manifest["encoder"])
        if encoder != modality.encoder:
            raise UsageError(
                f"--features_dir: {features.path} was made by {encoder!r}, the model's "
                f"{modality.name} features by {modality.encoder!r}"
            )
        found[modality.name] = align_features(features, recommender.items.ids)[0]
    return found
