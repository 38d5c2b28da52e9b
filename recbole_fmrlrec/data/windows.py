"""A row per user window in place of a row per prefix."""

from __future__ import annotations

from collections import Counter
from typing import Any, NamedTuple

import numpy as np
import torch
from recbole.data.dataset import Dataset, SequentialDataset
from recbole.data.interaction import Interaction
from recbole.utils import FeatureSource, FeatureType

from recbole_fmrlrec.data.benchmark_rows import ByUser, by_user, is_plain, prefix_parts
from recbole_fmrlrec.data.exact_order import ExactOrder
from recbole_fmrlrec.data.ordering import stable_order
from recbole_fmrlrec.data.prefix_rows import sequence_rows
from recbole_fmrlrec.data.stored_interactions import keep_on_disk, store, user_totals
from recbole_fmrlrec.data.time_split import sequence_parts, time_rows, with_past
from recbole_fmrlrec.data.window_rows import (
    START_TARGET,
    TARGETS,
    Fields,
    Places,
    Trained,
    WindowRows,
)
from recbole_fmrlrec.errors import DataError

LEFT_OUT = {"valid_and_test": 2, "valid_only": 1, "test_only": 1}


class Windows(NamedTuple):
    """Windows over the inputs of many users, each (W,): w covers ``length`` inputs from ``start``.

    ``fresh`` is the first position whose target is trained in w; those before it are only context.
    """

    user: np.ndarray
    start: np.ndarray
    length: np.ndarray
    fresh: np.ndarray


def make_windows(inputs: np.ndarray, width: int, mode: str = "overlap") -> Windows:
    """Cut every user's inputs into windows of at most ``width``, in order of users and of time.

    ``overlap``: windows begin half a width apart, the last one ends with the history, and every
    target is fresh in exactly one of them. ``latest``: the last ``width`` inputs only.

    Args:
        inputs: number of inputs (and of targets) of each user, (U,); 0 makes no window.
        width: MAX_ITEM_LIST_LENGTH, at least 1.
        mode: ``overlap`` or ``latest``.
    """
    last_start = np.maximum(inputs - width, 0)
    if mode == "latest":
        user = np.flatnonzero(inputs)
        start, fresh = last_start[user], np.zeros_like(user)
    else:
        stride = (width + 1) // 2
        count = np.where(inputs > 0, 1 - (-last_start // stride), 0)
        user = np.repeat(np.arange(len(inputs)), count)
        nth = np.arange(len(user)) - np.repeat(np.cumsum(count) - count, count)
        start = np.minimum(nth * stride, last_start[user])
        fresh = np.where(nth > 0, (nth - 1) * stride + width - start, 0)
    return Windows(user, start, np.minimum(inputs, width)[user], fresh)


class Histories(NamedTuple):
    """Users of two interactions or more, in the order in which RecBole's rows show them, each (U,).

    ``first`` is the row of a user's first interaction, ``total`` the number of them, ``trained``
    how many of these the training part holds, the first one included.
    """

    first: torch.Tensor
    total: torch.Tensor
    trained: torch.Tensor


class UserWindowDataset(ExactOrder, SequentialDataset):
    """Training rows are windows of users; validation and test rows are RecBole's, in its order.

    Fields of a training row, with L = MAX_ITEM_LIST_LENGTH: ``item_id_list`` (L,) inputs, padded
    on the right; ``item_length`` how many they are; ``target_id_list`` (L,) the next item at each,
    0 where it is padding or trained in another row; ``start_target`` the user's first item in the
    user's first window, else 0; ``user_id``; ``item_id`` the last target.

    Attributes:
        trained (Trained): in the training part, the interactions that RecBole's training rows
            predict, whatever the windows, and the first one of each user; counters and matrix go by
            them. Else None.
        targets, firsts (Interaction): the same in training parts that earlier versions have saved.

    Raises:
        DataError: a split that user windows are not made for.
    """

    #: Whether the interactions are mapped from a file, sorted by user and time.
    on_disk: bool = False
    trained: Trained | None = None
    targets: Interaction | None = None
    firsts: Interaction | None = None

    def _load_inter_feat(self, token: str, dataset_path: str) -> None:
        super()._load_inter_feat(token, dataset_path)
        self.on_disk = keep_on_disk(self)

    def _id_type(self) -> type:
        return np.int32 if self.on_disk else np.int64

    def build(self) -> list[Any]:
        """Split the dataset, which itself keeps the rows of the validation and the test part.

        Returns:
            The training, validation and test part.
        """
        if self.time_cuts is not None:
            self._change_feat_format()
            data, past = time_rows(self)
            train = self._training_part(data)
            return with_past([train, *sequence_parts(self, data, (), past)], past)
        if self.benchmark_filename_list is not None and is_plain(self):
            self._change_feat_format()
            data = by_user(self, self.file_size_list)
            train = self._training_part(data)
            return [train, *prefix_parts(self, data, (1, 2))]
        mode = self._leave_one_out_mode()
        self._change_feat_format()
        if not self.on_disk:
            order = stable_order(self.inter_feat[self.uid_field].numpy())
            self.inter_feat._reindex(torch.from_numpy(order))
        feat, users = self.inter_feat, self._histories(LEFT_OUT[mode])
        windows = self._window_rows(feat, users)
        valid, test = _left_out(users, mode)
        chosen, target = torch.cat([valid, test], dim=1)
        self.inter_feat = sequence_rows(self, feat, users.first[chosen], target)
        self._drop_unused_col()
        train = self.copy(windows)
        train.trained = Trained(feat, users.first, users.trained)
        split = valid.shape[1]
        return [train, self.copy(self.inter_feat[:split]), self.copy(self.inter_feat[split:])]

    def _training_part(self, data: ByUser) -> Any:
        """The windows of the interactions of the training part."""
        _, total = torch.unique_consecutive(data.feat[self.uid_field], return_counts=True)
        first = total.cumsum(0) - total
        trained = torch.zeros_like(data.first).index_add_(0, data.first, (data.part == 0).long())
        trained = trained[first]
        kept = trained > 1
        users = Histories(first[kept], total[kept], trained[kept])
        windows = self._window_rows(data.feat, users)
        train = self.copy(windows)
        train.trained = Trained(data.feat, users.first, users.trained)
        return train

    def _leave_one_out_mode(self) -> str:
        arguments = self.config["eval_args"]
        mode = dict(arguments["split"] or {}).get("LS")
        if self.benchmark_filename_list is not None:
            asked = f"benchmark_filename: {self.benchmark_filename_list}"
        elif arguments["order"] != "TO" or mode not in LEFT_OUT:
            asked = f"eval_args.order: {arguments['order']}, eval_args.split: {arguments['split']}"
        else:
            return str(mode)
        raise DataError(
            f"{asked} cannot be combined with training_windows: "
            f"{self.config['training_windows']}, which "
            "needs eval_args.order: TO, eval_args.split: {LS: valid_and_test} (or valid_only, "
            "test_only, or {time: [0.8, 0.9]}) and no lists in the files of benchmark_filename; "
            "training_windows: prefix takes RecBole's ordinary dataset of one row per prefix, "
            "which splits in other ways"
        )

    def _change_feat_format(self) -> None:
        """Make tensors of the tables, and no prefixes; declare the fields that rows will have."""
        if self.on_disk:
            stored = store(self, self.inter_feat)
            self.inter_feat = self.inter_feat.iloc[:1]  # RecBole makes tensors of all of it
            Dataset._change_feat_format(self)
            self.inter_feat = stored
        else:
            Dataset._change_feat_format(self)
        self._aug_presets()
        source = FeatureSource.INTERACTION
        self.set_field_property(TARGETS, FeatureType.TOKEN_SEQ, source, self.max_item_list_len)
        self.set_field_property(START_TARGET, FeatureType.TOKEN, source, 1)

    def _histories(self, left_out: int) -> Histories:
        """Find the users in the interactions, which are sorted by user and exact time."""
        total = user_totals(self.inter_feat[self.uid_field], self.user_num)
        first = total.cumsum(0) - total
        first, total = first[total > 1], total[total > 1]
        # RecBole sorts its rows by float32 time; a user appears there with the second interaction.
        time = self.inter_feat[self.time_field][first + 1]
        key = time if time.dim() == 1 else time[:, 0]
        shown = torch.from_numpy(np.argsort(key.numpy(), kind="stable"))
        first, total = first[shown], total[shown]
        return Histories(first, total, total - (total - 2).clamp(max=left_out))

    def _window_rows(self, feat: Interaction, users: Histories) -> Interaction:
        width = self.max_item_list_len
        mode = self.config["training_windows"] or "overlap"
        cut = make_windows((users.trained - 1).numpy(), width, mode)
        user, offset, length, fresh = (torch.from_numpy(column) for column in cut)
        places = Places(users.first[user] + offset, length, fresh, offset == 0)
        lists = self.iid_field + self.config["LIST_SUFFIX"]
        fields = Fields(self.uid_field, self.iid_field, lists, self.item_list_length_field)
        return WindowRows(feat[self.uid_field], feat[self.iid_field], places, width, fields)

    def copy(self, new_inter_feat: Interaction) -> Any:
        """The same dataset with other rows."""
        other = super().copy(new_inter_feat)
        other.trained = other.targets = other.firsts = None
        return other

    def interactions(self) -> Any:
        """This part with a row per interaction that it predicts: for samplers and counters."""
        if self.trained is not None:
            return self.copy(self.trained.targets())
        return self if self.targets is None else self.copy(self.targets)

    def counter(self, field: str) -> Any:
        """How often each token of a field occurs in the interactions that this part predicts."""
        if self.trained is not None:
            counts = self.trained.counts(field, self.num(field))
            there = np.flatnonzero(counts)
            return Counter(dict(zip(there.tolist(), counts[there].tolist(), strict=True)))
        part = self.interactions()
        return super().counter(field) if part is self else part.counter(field)

    @property
    def inter_num(self) -> int:
        """The number of interactions that this part predicts."""
        return len(self.interactions().inter_feat if self.trained is None else self.trained)

    @property
    def avg_actions_of_users(self) -> float:
        """The average number of a user's interactions."""
        return float(np.mean(list(self.user_counter.values())))

    @property
    def avg_actions_of_items(self) -> float:
        """The average number of an item's interactions."""
        return float(np.mean(list(self.item_counter.values())))

    def inter_matrix(self, form: str = "coo", value_field: str | None = None) -> Any:
        """User-item matrix, (users, items): as RecBole's, each user's first item included."""
        targets, firsts = self.targets, self.firsts
        if self.trained is not None:
            targets, firsts = self.trained.targets(), self.trained.firsts()
        if targets is None or firsts is None:
            return super().inter_matrix(form, value_field)
        both = {k: torch.cat([targets[k], firsts[k]]) for k in targets}
        pair = self.uid_field, self.iid_field
        return self._create_sparse_matrix(Interaction(both), *pair, form, value_field)


def _left_out(users: Histories, mode: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Which user and which target row each validation row and each test row has, two of (2, R)."""
    last = users.first + users.total - 1
    three, four = (torch.nonzero(users.total >= n).flatten() for n in (3, 4))
    final, none = torch.stack([three, last[three]]), torch.zeros((2, 0), dtype=torch.int64)
    if mode == "valid_only":
        return final, none
    if mode == "test_only":
        return none, final
    return torch.stack([four, last[four] - 1]), final
