"""Item features for a RecBole dataset: found, made once if the catalogue has only text, aligned."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from logging import getLogger
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from dataset_tools.encoders.tfidf import (
    TFIDF_NAME,
    make_text_features,
    remake_text_features,
    texts_changed,
)
from dataset_tools.features import (
    Features,
    find_rows,
    list_modalities,
    read_features,
    read_manifest,
)
from dataset_tools.features.store_files import ITEMS_NAME
from dataset_tools.files.dataset_folder import stored_form
from dataset_tools.files.hashes import file_hash
from recbole_fmrlrec.config.typed import typed
from recbole_fmrlrec.console import say
from recbole_fmrlrec.data.feature_settings import FeatureFolders, FeatureSettings
from recbole_fmrlrec.data.mapped_features import MappedFeatures, MappedModality
from recbole_fmrlrec.errors import UsageError

if TYPE_CHECKING:
    from recbole.data.dataset import Dataset

    from recbole_fmrlrec.config.config import Config


@dataclass(frozen=True)
class ItemFeatures:
    """Concatenated unit-length features times ``feature_scale``.

    Attributes:
        matrix: ``(N+1, F)`` float32, row 0 (padding) zeros; in memory, or on disk.
        encoders: encoder by modality, in the order of concatenation.
        widths: columns of each modality, in that order.
        missing: number of items without features, by modality.
        made_by: by modality, what else its manifest says of the encoder.
        corpus: names the texts that all of them together decided every vector (TF-IDF); empty where
            an item's vector depends on that item alone.
    """

    matrix: Tensor | MappedFeatures
    encoders: dict[str, str]
    widths: dict[str, int]
    missing: dict[str, int]
    corpus: str
    made_by: dict[str, dict[str, Any]]


def load_item_features(config: Any, dataset: Dataset) -> ItemFeatures:
    """Features of every item of ``dataset`` in the order of RecBole's item ids.

    Each modality is L2-normalised, then they are concatenated. Reads ``feature_path``, else
    ``features/`` in the dataset's folder; where there is neither and the dataset has text, makes
    TF-IDF features once. What would take more than ``feature_memory_mb`` in memory stays on disk.

    Raises:
        UsageError: no features and no text, a modality that is not there, or more items without
            features than ``max_missing_features`` allows.
        dataset_tools.errors.FeatureError: a feature file is damaged.
    """
    settings = typed(FeatureSettings, config)
    folder, names = _chosen(settings)
    tokens = [str(token) for token in dataset.field2id_token[dataset.iid_field][1:]]
    found = [read_features(folder, name) for name in names]
    widths = {features.modality: features.matrix.shape[1] for features in found}
    encoders = {features.modality: str(features.manifest["encoder"]) for features in found}
    needed = 4 * (len(tokens) + 1) * sum(widths.values())
    mapped, lost = _on_disk(found, tokens, settings)
    fits = needed <= settings.feature_memory_mb * 2**20
    matrix = mapped.in_memory() if fits else mapped
    for features in found:
        name = features.modality
        limit = settings.max_missing_features
        _report_missing(name, lost[name], len(tokens), limit, folder)
        source = f"{folder}, left on disk" if isinstance(matrix, MappedFeatures) else folder
        say(f"features: {name}, {widths[name]} wide, by {encoders[name]}, from {source}")
    missing = {name: len(lost[name]) for name in names}
    return ItemFeatures(matrix, encoders, widths, missing, _corpus(found), _made_by(found))


def chosen_features(config: Any) -> tuple[Path, list[str]]:
    """The folder of the features that a configuration asks for, and its modalities in order.

    Raises:
        UsageError: as `load_item_features`.
    """
    return _chosen(typed(FeatureSettings, config))


def _chosen(settings: FeatureSettings) -> tuple[Path, list[str]]:
    folder = _feature_folder(settings)
    return folder, _chosen_modalities(settings.modalities, folder)


def features_fingerprint(config: Config, remake: bool = True) -> str:
    """A hash of the features that a run reads; empty for a model without.

    Args:
        remake: make those in the dataset's folder again that were made of its text, if that has
            changed. This is for new runs: a trained model needs the features it has seen.

    Raises:
        UsageError: as `load_item_features`, or they are of an encoder that is not at hand here.
    """
    if not config.reads_features:
        return ""
    settings = typed(FeatureSettings, config)
    folder, names = _chosen(settings)
    if remake and "text" in names and not settings.feature_path:
        _refresh_text(settings.item_file, folder)
    return _hashes(folder, names)


def all_features_fingerprint(folder: Path) -> str:
    """A hash of all features in a folder, whatever modalities a model reads."""
    hashes = _hashes(folder, list_modalities(folder))
    return hashlib.sha256(hashes.encode()).hexdigest()[:16]


def _hashes(folder: Path, names: Sequence[str]) -> str:
    files = [folder / ITEMS_NAME, *(folder / f"{name}.npy" for name in names)]
    return " ".join(_file_hash(file, file.stat().st_mtime_ns) for file in files)


@functools.cache
def _file_hash(file: Path, changed: int) -> str:
    return file_hash(file)


def find_features(config: Any) -> Path | None:
    """The folder in which a dataset has features, whatever the model; None where it has none."""
    return _first_with_features(typed(FeatureFolders, config))


def _first_with_features(folders: FeatureFolders) -> Path | None:
    both = folders.beside_data, folders.made_here
    return next((folder for folder in both if list_modalities(folder)), None)


def _corpus(found: Sequence[Features]) -> str:
    made = [one.manifest for one in found if one.manifest["encoder"] == TFIDF_NAME]
    return " ".join(f"{one.get('inputs_sha256')} {one['revision']}" for one in made)


def _made_by(found: Sequence[Features]) -> dict[str, dict[str, Any]]:
    details = "revision", "pooling", "template"
    return {one.modality: {key: one.manifest[key] for key in details} for one in found}


def _on_disk(
    found: Sequence[Features], tokens: Sequence[str], settings: FeatureSettings
) -> tuple[MappedFeatures, dict[str, list[str]]]:
    parts, lost = [], {}
    for features in found:
        rows, lost[features.modality] = find_rows(features, tokens)
        parts.append(MappedModality.open(features.matrix, rows))
    return MappedFeatures(parts, settings.feature_scale, settings.feature_block_size), lost


def _report_missing(name: str, lost: Sequence[str], total: int, limit: float, folder: Path) -> None:
    if not lost:
        return
    examples = ", ".join(lost[:5])
    message = f"{len(lost)} of {total} items have no {name} features (for example {examples})"
    if len(lost) > limit * total:
        raise UsageError(
            f"{message} in {folder}: more than max_missing_features={limit:g} allows; encode the "
            "missing items, or raise max_missing_features"
        )
    getLogger().warning("%s; their %s features are zeros", message, name)


def _chosen_modalities(asked: str | list[str], folder: Path) -> list[str]:
    there = list_modalities(folder)
    if asked == "auto":
        return there
    names = [asked] if isinstance(asked, str) else list(asked)
    absent = [name for name in names if name not in there]
    if absent or not names:
        raise UsageError(
            f"modalities: {', '.join(absent) or 'none'} not in {folder}, which has "
            f"{', '.join(there) or 'none'}; `python -m dataset_tools --help` lists the encoders"
        )
    return names


def _feature_folder(settings: FeatureSettings) -> Path:
    """The folder with features; TF-IDF features are made where there are none yet."""
    if settings.feature_path:
        folder = Path(settings.feature_path)
        if not list_modalities(folder):
            raise UsageError(f"feature_path: no feature matrix in {folder.absolute()}")
        return folder
    found = _first_with_features(settings)
    if found is not None:
        return found
    item_file = settings.item_file
    if stored_form(item_file) is None:
        raise UsageError(
            f"no item features in {(item_file.parent / 'features').absolute()} and no text to make "
            f"them from ({item_file.name} is not there); attach features with `python -m "
            "dataset_tools convert ... --features text=FILE.npy`; fMRLRecID and SASRecM do without "
            "with --use_features=False"
        )
    _make_text_features(item_file, settings.made_here)
    return settings.made_here


def _refresh_text(item_file: Path, folder: Path) -> None:
    """Remake text features if the catalogue's text has changed; refuse what cannot be."""
    manifest_file = folder / "text.json"
    stored = stored_form(item_file)
    if stored is None or not _changed(_version(stored), _version(manifest_file)):
        return
    changed = f"{folder / 'text.npy'}: made from texts that {item_file} no longer has"
    if remake_text_features(item_file, folder):
        getLogger().warning("%s; making them again", changed)
        return
    raise UsageError(
        f"{changed}; make it again with `python -m dataset_tools encode-text {item_file.parent} "
        f"--output {folder} --overwrite`, or use it unchanged with --feature_path={folder}"
    )


def _version(file: Path) -> tuple[Path, int]:
    return file, file.stat().st_mtime_ns


@functools.lru_cache(16)  # a run asks twice, and catalogues may be large
def _changed(item_file: tuple[Path, int], manifest_file: tuple[Path, int]) -> bool:
    folder = manifest_file[0].parent
    return texts_changed(item_file[0], read_manifest(folder, manifest_file[0].stem))


def _make_text_features(item_file: Path, folder: Path) -> None:
    getLogger().warning(
        "no item features found: making TF-IDF text features from %s, once, in %s. A pretrained "
        "encoder gives better ones: `python -m dataset_tools encode-text --help`",
        item_file.name,
        folder.absolute(),
    )
    make_text_features(item_file, folder)
