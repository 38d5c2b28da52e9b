"""Ranks of a trained model on one part of its data, step by step, so that each can be checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from recbole_fmrlrec.compare.evaluating import evaluate_again
from recbole_fmrlrec.compare.gather import order_rows
from recbole_fmrlrec.errors import UsageError
from recbole_fmrlrec.evaluation.list_record import KeepLists, ListRecord
from recbole_fmrlrec.evaluation.protocol import BOTH
from recbole_fmrlrec.evaluation.rank_record import RankRecord

if TYPE_CHECKING:
    from recbole_fmrlrec.config.config import Config

PARTS = ("valid", "test")


@dataclass(frozen=True)
class TrainedPart:
    """The configuration of a checkpoint; data and model are read by the methods.

    Attributes:
        checkpoint: ``best.pth`` of a run.
        part: ``valid`` or ``test``.
        state: the checkpoint's content.
    """

    checkpoint: Path
    part: str
    config: Config
    state: dict[str, Any]

    @classmethod
    def open(
        cls,
        checkpoint: Path,
        part: str,
        data_path: str | None = None,
        files: Mapping[str, str] = MappingProxyType({}),
        machine: Mapping[str, str] | None = None,
        dataset: str | None = None,
        evaluation: Mapping[str, Any] = MappingProxyType({}),
    ) -> TrainedPart:
        """Read a checkpoint of our model or of RecBole's.

        Args:
            data_path: the folder that holds the dataset, where it is not where training had it.
            files: by key, files that the model reads when it is built (see `trust`).
            machine: keys of where and how it runs, as text of the command line.
            dataset: other data than that of the training.
            evaluation: keys that differ from those of the training.

        Raises:
            UsageError: a key cannot have its value; the checkpoint is missing or damaged, or says
                nothing of its model.
        """
        from recbole_fmrlrec.train.restore import saved_config

        # Any metrics of ranks will do: it is ranks that are asked for.
        watched: dict[str, Any] = {"metrics": ["NDCG"], "topk": [1], "valid_metric": "NDCG@1"}
        watched["history"] = BOTH
        config, state = saved_config(
            checkpoint, data_path, {**watched, **evaluation, **files}, machine, dataset
        )
        return cls(checkpoint, part, config, state)

    @property
    def is_elsewhere(self) -> bool:
        """Whether the data is not that of the training."""
        return bool(self.config["dataset"] != self.state["config"]["dataset"])

    @property
    def sizes(self) -> list[int]:
        """The model's nested sizes; one 0 where it has none."""
        from recbole_fmrlrec.model_api.protocols import NestedModel

        nested = issubclass(self.config.model_class, NestedModel)
        return sorted(self.config["sizes"]) if nested else [0]

    def read(self) -> PartRows:
        """Read the data.

        Raises:
            UsageError: there are no such rows, or their evaluation is not one of ranks.
        """
        from recbole_fmrlrec.compare.measure import count_interactions, describe_rows
        from recbole_fmrlrec.data.loaders import create_dataset, data_preparation
        from recbole_fmrlrec.evaluation.trainer_mixin import serves_ranks

        dataset = create_dataset(self.config)
        counts = count_interactions(dataset)
        loaders = data_preparation(self.config, dataset)
        loader = loaders[PARTS.index(self.part) + 1]
        if not loader or not len(loader._dataset):
            raise UsageError(f"--part={self.part}: the split of this training has no such rows")
        if not serves_ranks(self.config, loader):
            raise UsageError(
                f"{self.checkpoint}: it was not evaluated by ranks, which needs one target per row "
                "and eval_args.mode: full"
            )
        known = describe_rows(self.config, dataset, counts, loaders, self.part)
        return PartRows(self, loaders[0], loader, known)


@dataclass(frozen=True)
class PartRows:
    """The rows of a part.

    Attributes:
        known: what is known of each row before it is ranked, see `measure.describe_rows`.
    """

    source: TrainedPart
    train_loader: Any
    loader: Any
    known: dict[str, np.ndarray]

    def rank(self) -> tuple[RankRecord, dict[str, np.ndarray]]:
        """As `rank_and_list`, without lists."""
        return self.rank_and_list(None)[:2]

    def rank_and_list(
        self, keep: KeepLists | None
    ) -> tuple[RankRecord, dict[str, np.ndarray], ListRecord | None]:
        """The ranks of all targets at every size, and ``known`` in the order of their rows.

        Args:
            keep: the lists that are wanted, in the order of the ranks' rows; None for none.

        Raises:
            UsageError: the dataset's items or features have changed since the training.
        """
        from recbole_fmrlrec.evaluation.trainer_mixin import rank_record
        from recbole_fmrlrec.train.continuing import transferred_model
        from recbole_fmrlrec.train.restore import saved_model

        config, source = self.source.config, self.source
        rebuilt = transferred_model if source.is_elsewhere else saved_model
        model = rebuilt(source.checkpoint, config, source.state, self.train_loader)
        sizes = tuple(getattr(model, "sizes", ()))
        trainer = evaluate_again(config, model, self.loader, keep)
        record = rank_record(trainer.ranks, sizes, self.loader, trainer.masked_ranks)
        return record, _in_order_of(record, self.known), trainer.lists

    def check_features(self) -> None:
        """Refuse data without features, before anything is ranked.

        Raises:
            DataError: it says how to make them.
        """
        self.loader.catalogue.check_features()


def _in_order_of(record: RankRecord, rows: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Rows in the order of a record: that of a general model's loader goes by users."""
    mine = order_rows(rows["users"], rows["targets"])
    theirs = np.argsort(order_rows(record.users, record.targets))
    return {
        name: column if name == "item_counts" else column[mine][theirs]
        for name, column in rows.items()
    }
