"""RecBole's dataset classes with interactions in their exact order and one leave-one-out rule."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import recbole.data.dataset
from recbole.data.dataset import Dataset, SequentialDataset
from recbole.utils import FeatureType

from dataset_tools.files.dataset_folder import PARQUET_SUFFIX
from recbole_fmrlrec.atomic_files.parquet import is_there
from recbole_fmrlrec.data import benchmark_rows, time_split
from recbole_fmrlrec.data import column_keys as data_checks
from recbole_fmrlrec.data.interaction_filter import filter_by_inter_num, filter_by_tables
from recbole_fmrlrec.data.ordering import in_order, stable_order
from recbole_fmrlrec.data.prefix_rows import PrefixRows, prefix_rows
from recbole_fmrlrec.data.target_times import TargetTimes, target_times
from recbole_fmrlrec.data.token_codes import has_codes, remap_codes
from recbole_fmrlrec.errors import DataError

#: Leave-one-out splits with a test part: how many of a user's interactions training leaves out.
TESTED = {"valid_and_test": 2, "test_only": 1}


class ExactOrder(Dataset):
    """Mixin before a dataset class of RecBole: exact order, equal rows for all models, errors.

    RecBole makes float32 of the timestamps and sorts by that: second stamps fall into steps of 64 s
    or more, millisecond stamps into steps of two minutes, and within a step the file's order
    stays. Here the table is sorted by the exact float64 value, ties by the file's order, when ids
    are mapped (they stay RecBole's) and nothing is rescaled yet. All sorts after that are stable
    and by a rounding of the same value, so that the order within a user survives them.

    Raises:
        DataError: the dataset or a column that the configuration needs does not exist.
    """

    inter_feat: Any
    #: Where a split by time cuts the interactions.
    time_cuts: time_split.Cuts | None = None
    #: In a validation or test part of such a split, what was before each row.
    past: time_split.Past | None = None
    #: When the test targets of a leave-one-out split were, where times are dates.
    target_times: TargetTimes | None = None
    #: What each filter that was asked for has left, in words.
    filtered: tuple[str, ...] = ()

    def _load_data(self, token: str, dataset_path: str) -> None:
        data_checks.check_benchmark(self.benchmark_filename_list)
        require_files(token, Path(dataset_path), self.benchmark_filename_list)
        data_checks.check_files(self)
        super()._load_data(token, dataset_path)
        data_checks.check_columns(self)

    def _load_inter_feat(self, token: str, dataset_path: str) -> None:
        super()._load_inter_feat(token, dataset_path)
        needed = {"USER_ID_FIELD": self.uid_field, "ITEM_ID_FIELD": self.iid_field}
        if self._in_time_order():
            needed["TIME_FIELD"] = self.time_field
        present = [] if self.inter_feat is None else list(self.inter_feat)
        for key, field in needed.items():
            if field is not None and field not in present:
                raise DataError(
                    f"{Path(dataset_path, token + '.inter').absolute()} has no column {field!r}, "
                    f"which the key {key} names, or load_col leaves it out; "
                    f"the columns loaded are {', '.join(present) or 'none'}"
                )
            kind = FeatureType.FLOAT if key == "TIME_FIELD" else FeatureType.TOKEN
            if field is not None and self.field2type[field] != kind:
                raise DataError(
                    f"column {field!r} (the key {key}) of {token}.inter is of type "
                    f"{self.field2type[field].value}; it must be {field}:{kind.value}"
                )

    def _filter_by_field_value(self) -> None:
        with data_checks.counted(self, "val_interval"):
            super()._filter_by_field_value()

    def _filter_inter_by_user_or_item(self) -> None:
        """RecBole's own without its copy of all interactions."""
        with data_checks.counted(self, "filter_inter_by_user_or_item"):
            filter_by_tables(self)

    def _filter_by_inter_num(self) -> None:
        """RecBole's own without its Python loops."""
        with data_checks.counted(self, "user_inter_num_interval", "item_inter_num_interval"):
            filter_by_inter_num(self)

    def __getitem__(self, index: Any, join: bool = True) -> Any:
        """The rows of a batch, with the features of users and items unless ``join`` is False."""
        rows = self.inter_feat[index]
        if isinstance(rows, PrefixRows):
            rows = rows.cut(trim=bool(self.config["trim_batches"]))
        return self.join(rows) if join else rows

    def _remap(self, remap_list: list[Any]) -> None:
        """RecBole's own, but by codes where a column has them."""
        if has_codes(remap_list):
            remap_codes(self, remap_list, self._id_type())
        else:
            super()._remap(remap_list)

    def _id_type(self) -> type:
        """Of the ids in the columns of a Parquet file."""
        return np.int64

    def _in_time_order(self) -> bool:
        return self.config["eval_args"]["order"] == "TO" and self.benchmark_filename_list is None

    def _remove_duplication(self) -> None:
        """RecBole's own, but stable: among equal times the file's first or last pair stays."""
        keep = self.config["rm_dup_inter"]
        if keep is None:
            return
        self._check_field("uid_field", "iid_field")
        if self.time_field in self.inter_feat:
            self.inter_feat = self.inter_feat.sort_values(self.time_field, kind="stable")
        else:
            self.logger.warning(
                "rm_dup_inter follows the order of the file: no timestamps are loaded"
            )
        pair = [self.uid_field, self.iid_field]
        self.inter_feat = self.inter_feat.drop_duplicates(subset=pair, keep=keep)

    def _fill_nan(self) -> None:
        super()._fill_nan()
        if benchmark_rows.is_plain(self):
            benchmark_rows.sort_parts(self)
        if not self._in_time_order():
            return
        order = stable_order(self.inter_feat[self.time_field].to_numpy())
        self.inter_feat = in_order(self.inter_feat, order)
        del order
        times = self.inter_feat[self.time_field].to_numpy(dtype="float64")
        split = self.config["eval_args"]["split"] or {}
        if "time" in split:
            self.time_cuts = time_split.find_cuts(times, split["time"], self.dataset_name)
        elif (left_out := TESTED.get(split.get("LS", ""))) is not None:
            users = self.inter_feat[self.uid_field].to_numpy()
            self.target_times = target_times(users, times, left_out)

    def _benchmark_presets(self) -> None:
        """RecBole's own where the files hold lists, which it takes for granted."""
        if not benchmark_rows.is_plain(self):
            super()._benchmark_presets()

    def build(self) -> list[Any]:
        """Split the dataset: RecBole's own, but by time, and for plain benchmark files of lists."""
        if self.time_cuts is not None:
            return self._build_by_time()
        if not benchmark_rows.is_plain(self):
            built: list[Any] = super().build()
            return built
        self._need_plain_lists("benchmark_filename", "plain interactions of three files")
        self._change_feat_format()
        self._aug_presets()
        return benchmark_rows.prefix_parts(self, benchmark_rows.by_user(self, self.file_size_list))

    def _build_by_time(self) -> list[Any]:
        Dataset._change_feat_format(self)  # without the prefixes of sequential datasets
        if not isinstance(self, SequentialDataset):
            return time_split.plain_parts(self)
        self._need_plain_lists("eval_args.split", "a split by time")
        self._aug_presets()
        return time_split.prefix_parts(self)

    def _need_plain_lists(self, key: str, what: str) -> None:
        if vars(type(self)).get("data_augmentation") is not prefix_rows:
            raise DataError(
                f"{key}: {self.config['model']} builds its own lists, which {what} "
                f"do{'es' * what.startswith('a ')} not provide; leave the key out"
            )

    def _split_index_by_leave_one_out(self, grouped_index: Any, leave_one_num: int) -> list[Any]:
        """Leave out of every user's interactions what RecBole leaves out of its sequences.

        A sequence needs one interaction before it, so a user of n has n - 1 rows, of which RecBole
        keeps one for training. General models would have n rows, and other test users than
        sequential ones.
        """
        if isinstance(self, SequentialDataset) or not self._in_time_order():
            return super()._split_index_by_leave_one_out(grouped_index, leave_one_num)
        parts: list[list[int]] = [[] for _ in range(leave_one_num + 1)]
        for index in grouped_index:
            left_out = max(0, min(leave_one_num, len(index) - 2))
            first = len(index) - left_out
            parts[0].extend(index[:first])
            for part, row in zip(parts[len(parts) - left_out :], index[first:], strict=True):
                part.append(row)
        return parts


@functools.cache
def in_exact_order(dataset_class: type[Dataset]) -> type[Dataset]:
    """The dataset class of RecBole with :class:`ExactOrder` before it; one class for each.

    It is named ``Exact...`` and found as such in this module, so that datasets can be pickled.
    """
    body: dict[str, Any] = {"__doc__": f"{dataset_class.__name__} in exact order."}
    body["__module__"] = __name__
    augmentation = getattr(dataset_class, "data_augmentation", None)
    if augmentation is SequentialDataset.data_augmentation:  # DIEN has its own
        body["data_augmentation"] = prefix_rows
    return type(f"Exact{dataset_class.__name__}", (ExactOrder, dataset_class), body)


def __getattr__(name: str) -> type[Dataset]:
    base = getattr(recbole.data.dataset, name.removeprefix("Exact"), None)
    if name.startswith("Exact") and isinstance(base, type):
        return in_exact_order(base)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def require_files(name: str, folder: Path, parts: Sequence[str] | None = None) -> None:
    """Make sure that the interactions of a dataset are there.

    Args:
        parts: RecBole's ``benchmark_filename``: a file ``NAME.PART.inter`` for each.

    Raises:
        DataError: a file is missing; the message says how to get it.
    """
    files = [f"{name}.inter"] if parts is None else [f"{name}.{part}.inter" for part in parts]
    for file in files:
        if not is_there(folder / file):
            raise _not_found(name, folder / file)


def _not_found(name: str, path: Path) -> DataError:
    root = path.absolute().parent.parent
    files = [*root.glob("*/*.inter"), *root.glob(f"*/*.inter{PARQUET_SUFFIX}")]
    there = sorted({p.parent.name for p in files if p.name.split(".inter")[0] == p.parent.name})
    return DataError(
        f"dataset {name!r} not found: there is no file {path.absolute()}\n"
        f"Datasets in {root}: {', '.join(there) or 'none'} (ml-100k comes with RecBole).\n"
        f"Make it with `python -m dataset_tools convert SOURCE INPUT {root / name} --name {name}`, "
        f"or name the folder that holds {name}/ with --data_path."
    )
