"""From a configuration to the three data loaders, for our models and for RecBole's."""

from __future__ import annotations

import functools
import importlib
from typing import Any

import torch
from recbole.data.dataloader import (
    FullSortEvalDataLoader,
    KnowledgeBasedDataLoader,
    NegSampleEvalDataLoader,
    TrainDataLoader,
)
from recbole.data.dataset import Dataset
from recbole.data.interaction import Interaction
from recbole.data.utils import create_samplers, get_dataloader
from recbole.sampler import KGSampler
from recbole.utils import ModelType

from recbole_fmrlrec.config import evaluation_checks
from recbole_fmrlrec.config.refusals import told_as_usage
from recbole_fmrlrec.data.batch import LaidOut, lay_out
from recbole_fmrlrec.data.catalogue import TrainingCatalogue, check_diversity
from recbole_fmrlrec.data.dealing import batches_of_all, deal
from recbole_fmrlrec.data.exact_order import in_exact_order
from recbole_fmrlrec.data.histories import sequence_histories, user_histories
from recbole_fmrlrec.data.negatives import check_negatives
from recbole_fmrlrec.data.sampled_rows import SampledRowsEvalDataLoader, has_rows_of_their_own
from recbole_fmrlrec.data.saved_data import save_dataset, save_loaders, saved_dataset, saved_parts
from recbole_fmrlrec.data.time_loaders import TimeEvalDataLoader, time_samplers
from recbole_fmrlrec.data.time_split import check_evaluated
from recbole_fmrlrec.data.trimming import TRIMMABLE
from recbole_fmrlrec.data.window_rows import WindowRows
from recbole_fmrlrec.data.windows import UserWindowDataset
from recbole_fmrlrec.errors import DataError
from recbole_fmrlrec.evaluation.dealing import DealtLoader
from recbole_fmrlrec.evaluation.history import Histories
from recbole_fmrlrec.model_api.protocols import WindowModel

__all__ = ["DataError", "create_dataset", "data_preparation", "dataset_class"]

_CLASSES = {
    ModelType.GENERAL: "Dataset",
    ModelType.SEQUENTIAL: "SequentialDataset",
    ModelType.CONTEXT: "Dataset",
    ModelType.KNOWLEDGE: "KnowledgeBasedDataset",
    ModelType.TRADITIONAL: "Dataset",
    ModelType.DECISIONTREE: "DecisionTreeDataset",  # RecBole takes Dataset, which knows no onehot
}


def dataset_class(config: Any) -> type[Dataset]:
    """Choose the dataset class of a model.

    User windows where ``training_windows`` is ``overlap`` or ``latest``; else the class that
    RecBole would take, in exact order.
    """
    if config["training_windows"] in ("overlap", "latest"):
        return UserWindowDataset
    module = importlib.import_module("recbole.data.dataset")
    own = getattr(module, config["model"] + "Dataset", None)
    return in_exact_order(own or getattr(module, _CLASSES[config["MODEL_TYPE"]]))


def create_dataset(config: Any) -> Dataset:
    """Load the dataset of a configuration, filter it and map its ids.

    RecBole's ``dataset_save_path`` names a saved dataset to take instead where it was made with the
    same settings; only a file named there is read. ``save_dataset`` saves one.

    Raises:
        DataError: it does not exist, cannot be read, or lacks a column.
    """
    chosen = dataset_class(config)
    saved: Dataset | None = saved_dataset(config, chosen)
    if saved is not None:
        return saved
    with told_as_usage(config, f"loading {config['dataset']}"):
        dataset = chosen(config)
    if config["save_dataset"]:
        save_dataset(config, dataset)
    return dataset


def data_preparation(config: Any, dataset: Dataset) -> tuple[Any, Any, Any]:
    """Split a dataset and make its training, validation and test loader.

    Returns:
        RecBole's own loaders or subclasses of them.

    Raises:
        DataError: a part that is needed has no rows, or a key asks for what the data cannot give.
    """
    _check_trimming(config)
    saved = saved_parts(config, dataset_class(config))
    if saved is not None:
        dataset._change_feat_format()
        loaders = _loaders_of(config, saved)
        _check_evaluation(config, loaders, saved[0]._dataset)
        return loaders
    evaluation_checks.check_labels(config, dataset)
    evaluation_checks.check_topk(config, dataset)
    evaluation_checks.check_clusters(config, dataset)
    evaluation_checks.check_list_names(dataset)
    with told_as_usage(config, f"splitting {config['dataset']}"):
        built = dataset.build()
        _check_parts(config, built, dataset)
        samplers = _samplers(config, dataset, built)
        loaders = (
            _train_loader(config, built[0], samplers[0], _triples(config, dataset)),
            _eval_loader("valid", config, built[1], samplers[1], built[:1]),
            _eval_loader("test", config, built[2], samplers[2], built[:2]),
        )
    _check_evaluation(config, loaders, built[0])
    if config["save_dataloaders"]:
        save_loaders(config, loaders)
    return loaders


def _check_evaluation(config: Any, loaders: tuple[Any, Any, Any], training: Any) -> None:
    """Give the evaluation what it needs of the training part, and refuse what it cannot measure."""
    check_negatives(config, loaders)
    catalogue = TrainingCatalogue(config, training)
    for loader in loaders[1:]:
        loader.catalogue = catalogue
    evaluation_checks.check_best_lists(config, loaders[1:])
    check_diversity(config, loaders[1:])


def _loaders_of(config: Any, saved: tuple[Any, Any, Any]) -> tuple[Any, Any, Any]:
    """Loaders by the settings of today from the data and the samplers of saved ones."""
    train, valid, test = saved
    sampler, triples = getattr(train, "_sampler", None), None
    if isinstance(train, KnowledgeBasedDataLoader):
        sampler, triples = train.general_dataloader._sampler, train.kg_dataloader._sampler
    return (
        _train_loader(config, train._dataset, sampler, triples),
        _eval_loader("valid", config, valid._dataset, valid._sampler, [train._dataset]),
        _eval_loader(
            "test", config, test._dataset, test._sampler, [train._dataset, valid._dataset]
        ),
    )


def _check_trimming(config: Any) -> None:
    if issubclass(config.model_class, WindowModel):  # it computes no padding either way
        return
    if config["trim_batches"] and config["model"] not in TRIMMABLE:
        raise DataError(
            f"trim_batches: True would change the results of {config['model']}; "
            f"it is for {', '.join(sorted(TRIMMABLE))}"
        )


def _check_parts(config: Any, built: list[Any], dataset: Dataset) -> None:
    split = dict(config["eval_args"]["split"] or {}).get("LS")
    filters = "".join(f"; {left}" for left in getattr(dataset, "filtered", ()))
    check_evaluated(config, built, filters)
    if len(built[0]) == 0:
        why = "no user has two interactions"
        if split is None:
            why = f"eval_args.split: {config['eval_args']['split']} leaves no training rows"
        raise DataError(f"{config['dataset']}: {why}; nothing to train on{filters}")
    if split == "valid_and_test" and not (len(built[1]) and len(built[2])):
        raise DataError(
            f"{config['dataset']}: no user has four interactions, so that validation and test with "
            f"eval_args.split: {{LS: valid_and_test}} have no rows{filters}"
        )


def _samplers(config: Any, dataset: Dataset, built: list[Any]) -> Any:
    """RecBole's samplers; they take a row for an interaction, and a window is none."""
    if isinstance(dataset, UserWindowDataset):
        _check_no_negatives(config)
    if (past := getattr(built[1], "past", None)) is not None:
        return time_samplers(config, dataset, past)
    if isinstance(dataset, UserWindowDataset) and dataset.on_disk:
        return None, None, None  # all items are ranked: nothing is drawn
    if isinstance(dataset, UserWindowDataset):
        parts = [part.interactions() for part in built]
        columns = {k: torch.cat([p.inter_feat[k] for p in parts]) for k in parts[0].inter_feat}
        return create_samplers(config, dataset.copy(Interaction(columns)), parts)
    return create_samplers(config, dataset, built)


def _check_no_negatives(config: Any) -> None:
    if config["train_neg_sample_args"]["distribution"] != "none":
        raise DataError(
            f"train_neg_sample_args: {config['train_neg_sample_args']}: user windows are "
            "trained against all items; set it to None, or training_windows to prefix"
        )


def _triples(config: Any, dataset: Dataset) -> KGSampler | None:
    """The sampler of a knowledge graph, for models that train on one."""
    if config["MODEL_TYPE"] != ModelType.KNOWLEDGE:
        return None
    negatives = config["train_neg_sample_args"]
    return KGSampler(dataset, negatives["distribution"], negatives["alpha"])


def _train_loader(config: Any, part: Any, sampler: Any, triples: KGSampler | None) -> Any:
    with batches_of_all(config):
        return deal(config, _whole_train_loader(config, part, sampler, triples))


def _whole_train_loader(config: Any, part: Any, sampler: Any, triples: KGSampler | None) -> Any:
    if isinstance(part, UserWindowDataset):
        return WindowTrainDataLoader(config, part, sampler, shuffle=config["shuffle"])
    loader = get_dataloader(config, "train")
    if triples is None:
        return loader(config, part, sampler, shuffle=config["shuffle"])
    return loader(config, part, sampler, triples, shuffle=True)


def _eval_loader(phase: str, config: Any, part: Any, sampler: Any, earlier: list[Any]) -> Any:
    loader = get_dataloader(config, phase)
    if loader is NegSampleEvalDataLoader and sampler is not None:
        kind = SampledRowsEvalDataLoader if has_rows_of_their_own(config, part) else loader
        return kind(config, part, sampler, shuffle=False)
    if loader is not FullSortEvalDataLoader:
        return loader(config, part, sampler, shuffle=False)
    if getattr(part, "past", None) is not None:
        return TimeEvalDataLoader(config, part, sampler)
    return UnmaskedFullSortEvalDataLoader(config, part, sampler, earlier)


class WindowTrainDataLoader(TrainDataLoader):
    """Batches of user windows, cut to the longest row of the batch: lists are (B, longest)."""

    def collate_fn(self, index: list[int]) -> LaidOut:
        """Make a batch of the rows ``index``, and its layout."""
        rows, picked = self._dataset.inter_feat, torch.as_tensor(index)
        lengths = self._dataset.item_list_length_field
        if isinstance(rows, WindowRows):
            cut = rows.cut(picked)
        else:  # earlier versions have saved whole rows
            batch = {field: rows[field][picked] for field in rows}
            longest = int(batch[lengths].max())
            columns = {k: v[:, :longest] if v.dim() > 1 else v for k, v in batch.items()}
            cut = Interaction(columns)
        made = self.transform(self._dataset, cut)
        items, starts = self._dataset.item_id_list_field, self.config["predict_first_item"]
        return LaidOut(made.interaction, lay_out(made, items, lengths, starts=bool(starts)))


class UnmaskedFullSortEvalDataLoader(DealtLoader, FullSortEvalDataLoader):
    """Full ranking over all items, that knows the history of every row, for every kind of model.

    RecBole leaves the history out of the ranking of general models and leaves it in for sequential
    ones; numbers of the two cannot be compared. Here batches hold no history, so that all items
    are ranked, unless ``mask_history`` is True; the evaluation takes it from `histories`.

    Args:
        earlier: the parts before this one in time.
    """

    def __init__(self, config: Any, part: Any, sampler: Any, earlier: list[Any]) -> None:
        super().__init__(config, part, sampler, shuffle=False)
        self.earlier = earlier

    @functools.cached_property
    def histories(self) -> Histories:
        """What stands before each row, in the order of the batches."""
        if self.is_sequential:
            return sequence_histories(self._dataset, self.earlier)
        return user_histories(self.uid_list, self.earlier)

    def collate_fn(self, index: list[int]) -> tuple[Any, ...]:
        """Make a batch: users or rows, no history, positives by place and by item."""
        rows, _, *positives = super().collate_fn(index)
        masked = bool(self.config["mask_history"])
        history = self.histories.of(torch.as_tensor(index), *positives) if masked else None
        return rows, history, *positives
