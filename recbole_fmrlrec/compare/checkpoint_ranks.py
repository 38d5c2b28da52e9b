"""Ranks of a trained model on one part of its data, step by step, so that each can be checked."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from recbole_fmrlrec.compare.gather import order_rows
from recbole_fmrlrec.errors import UsageError
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
    ) -> TrainedPart:
        """Read a checkpoint of our model or of RecBole's.

        Args:
            data_path: the folder that holds the dataset, where it is not where training had it.
            files: by key, files that the model reads when it is built (see `trust`).
            machine: keys of where and how it runs, as text of the command line.

        Raises:
            UsageError: a key cannot have its value; the checkpoint is missing or damaged, or says
                nothing of its model.
        """
        from recbole_fmrlrec.train.restore import saved_config

        # Any metrics of ranks will do: it is ranks that are asked for.
        watched: dict[str, Any] = {"metrics": ["NDCG"], "topk": [1], "valid_metric": "NDCG@1"}
        watched["history"] = BOTH
        config, state = saved_config(
            checkpoint, data_path, settings={**watched, **files}, machine=machine
        )
        return cls(checkpoint, part, config, state)

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
                f"{self.checkpoint}: its evaluation is not one of ranks; it needs one target a row "
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
        """The ranks of all targets at every size, and ``known`` in the order of their rows.

        Raises:
            UsageError: the dataset's items or features have changed since the training.
        """
        from recbole_fmrlrec.evaluation.trainer_mixin import rank_record
        from recbole_fmrlrec.train.restore import saved_model

        config, source = self.source.config, self.source
        model = saved_model(source.checkpoint, config, source.state, self.train_loader)
        sizes = tuple(getattr(model, "sizes", ()))
        ranks, masked_ranks = self._ranks(model)
        record = rank_record(ranks, sizes, self.loader, masked_ranks)
        return record, _in_order_of(record, self.known)

    def _ranks(self, model: Any) -> Any:
        from recbole_fmrlrec.train.tensorboard import tensorboard_in
        from recbole_fmrlrec.train.trainer import trainer_class

        config = self.source.config
        with (
            tempfile.TemporaryDirectory() as scratch
        ):  # RecBole's trainers write when they are made
            config["checkpoint_dir"] = scratch
            tensorboard_in(Path(scratch))
            trainer = trainer_class(config)(config, model)
            shown = config["show_progress"]
            trainer.evaluate(self.loader, load_best_model=False, show_progress=shown)
            trainer.tensorboard.close()
        return trainer.ranks, trainer.masked_ranks


def _in_order_of(record: RankRecord, rows: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Rows in the order of a record: that of a general model's loader goes by users."""
    mine = order_rows(rows["users"], rows["targets"])
    theirs = np.argsort(order_rows(record.users, record.targets))
    return {
        name: column if name == "item_counts" else column[mine][theirs]
        for name, column in rows.items()
    }
