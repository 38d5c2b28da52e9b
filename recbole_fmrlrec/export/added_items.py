"""Items of another dataset folder, as new items of an exported model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dataset_tools.features import Features, align_features, read_features
from recbole_fmrlrec.deploy.description import Modality
from recbole_fmrlrec.errors import UsageError
from recbole_fmrlrec.export.open_checkpoint import Trained, read_titles

# Encoders that are fitted on one catalogue: their columns mean something else in another.
FITTED = ("tfidf-svd",)


@dataclass(frozen=True)
class NewItems:
    """New items: ids, titles, and a matrix ``(n, width)`` for each modality."""

    ids: list[str]
    titles: list[str | None]
    features: dict[str, np.ndarray]


def modalities_of(trained: Trained) -> tuple[Modality, ...]:
    """The item features of a model, in their order; none for a model of ids only."""
    info = trained.model.feature_info
    return tuple(
        Modality(name, info["widths"][name], encoder)
        for name, encoder in info.get("encoders", {}).items()
    )


def read_catalogue(folder: Path, trained: Trained, same_encoder: bool = False) -> NewItems:
    """The items of ``folder`` that the training did not have.

    Args:
        folder: a dataset folder with ``features/``, or that folder of features itself.
        trained: the model they are added to.
        same_encoder: take the user's word that the features come from the encoder of the
            training, whatever the manifests call it.

    Raises:
        UsageError: no features, a modality missing, of another width or encoder, or no new item.
        dataset_tools.errors.FeatureError: a feature file is damaged.
    """
    modalities = modalities_of(trained)
    if not modalities:
        raise UsageError("--catalogue: a model of ids alone has no vector for a new item")
    store = folder / "features" if (folder / "features").is_dir() else folder
    if not store.is_dir():
        raise UsageError(f"--catalogue: there is no folder {store.absolute()}")
    known, found = set(trained.ids), {}
    for modality in modalities:
        features = read_features(store, modality.name)
        _check(features, modality, same_encoder)
        found[modality.name] = features
    every = next(iter(found.values())).items
    ids = [item for item in every if item not in known]
    if not ids:
        raise UsageError(
            f"--catalogue: the model was trained with all {len(every)} items of {store}"
        )
    matrices = {name: align_features(features, ids)[0] for name, features in found.items()}
    titles = read_titles(store.parent / f"{store.parent.name}.item", ids)
    return NewItems(ids, titles, matrices)


def _check(features: Features, modality: Modality, same_encoder: bool) -> None:
    width, encoder = features.matrix.shape[1], str(features.manifest["encoder"])
    if width != modality.width:
        raise UsageError(
            f"--catalogue: {features.path} is {width} wide, the model's {modality.name} features "
            f"are {modality.width}"
        )
    if same_encoder:
        return
    if encoder != modality.encoder or encoder in FITTED:
        raise UsageError(
            f"--catalogue: {features.path} was made by {encoder!r}, the model's {modality.name} "
            f"features by {modality.encoder!r}"
            + (", which is fitted to each catalogue separately" if encoder in FITTED else "")
            + ": the columns of another encoder mean something else. Encode both with the same "
            "encoder, or pass --same_encoder if they were"
        )
