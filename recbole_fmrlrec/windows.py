"""A row per user window in place of a row per prefix."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from recbole.data.dataset import Dataset, SequentialDataset
from recbole.data.interaction import Interaction
from recbole.utils import FeatureSource, FeatureType

from recbole_fmrlrec.exact_order import ExactOrder
from recbole_fmrlrec.tables import DataError

TARGETS = "target_id_list"
START_TARGET = "start_target"
_LEFT_OUT = {"valid_and_test": 2, "valid_only": 1, "test_only": 1}


class Windows(NamedTuple):
    """Windows over the inputs of many users, each (W,): window w covers ``length`` inputs of a user.

    ``fresh`` is the first position whose target is trained here; those before it are only context.
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
    stride = (width + 1) // 2
    count = np.where(inputs > 0, 1, 0)
    if mode == "overlap":
        count = count + -(-last_start // stride)
    user = np.repeat(np.arange(len(inputs)), count)
    nth = np.arange(len(user)) - np.repeat(np.cumsum(count) - count, count)
    if mode == "overlap":
        start = np.minimum(nth * stride, last_start[user])
        fresh = np.where(nth > 0, (nth - 1) * stride + width - start, 0)
    else:
        start, fresh = last_start[user], np.zeros_like(user)
    return Windows(user, start, np.minimum(inputs, width)[user], fresh)


def gather_rows(
    values: torch.Tensor, start: torch.Tensor, length: torch.Tensor, width: int
) -> torch.Tensor:
    """Cut rows out of a long array: (M, ...) -> (R, width, ...), right-padded with zeros.

    Row r is ``values[start[r] : start[r] + length[r]]``; start and length are (R,).
    """
    column = torch.arange(width)
    valid = column < length[:, None]
    index = torch.where(valid, start[:, None] + column, 0)
    return values[index] * valid.reshape(*valid.shape, *[1] * (values.dim() - 1))


class Histories(NamedTuple):
    """Users with two interactions or more, in the order in which RecBole's rows show them, each (U,).

    ``start`` is the row of a user's first interaction, ``count`` the number of them, ``trained``
    how many of these the training part holds, the first one included.
    """

    start: torch.Tensor
    count: torch.Tensor
    trained: torch.Tensor


class UserWindowDataset(ExactOrder, SequentialDataset):
    """Training rows are windows of users; validation and test rows are RecBole's own, in its order.

    Fields of a training row, with L = MAX_ITEM_LIST_LENGTH: ``item_id_list`` (L,) inputs, padded on
    the right; ``item_length`` how many they are; ``target_id_list`` (L,) the next item at each, 0
    where it is padding or trained in another row; ``start_target`` the user's first item in the
    user's first window, else 0; ``user_id``; ``item_id`` the last target.

    Attributes:
        targets (Interaction): in the training part, the interactions that RecBole's training rows
            predict, whatever the windows; its counters and its matrix go by them. Else None.
        firsts (Interaction): in the training part, the first interaction of those users. Else None.

    Raises:
        DataError: a split that user windows are not made for.
    """

    targets: Interaction | None = None
    firsts: Interaction | None = None

    def build(self) -> list[Any]:
        """Split the dataset.

        Returns:
            The training, validation and test part. This dataset itself keeps the rows of the latter two.
        """
        mode = self._leave_one_out_mode()
        self._change_feat_format()
        self.sort(by=self.uid_field)
        histories = self._histories(_LEFT_OUT[mode])
        feat = self.inter_feat
        trained = self._trained(feat, histories)
        windows = self._window_rows(feat, histories)
        left_out = self._left_out(histories, mode)
        self.inter_feat = self._sequence_rows(feat, histories, torch.cat(left_out, dim=1))
        self._drop_unused_col()
        valid_rows = left_out[0].shape[1]
        train = self.copy(windows)
        train.targets, train.firsts = trained
        valid, test = self.inter_feat[:valid_rows], self.inter_feat[valid_rows:]
        return [train, self.copy(valid), self.copy(test)]

    def _leave_one_out_mode(self) -> str:
        arguments = self.config["eval_args"]
        mode = dict(arguments["split"] or {}).get("LS")
        if self.benchmark_filename_list is not None:
            asked = f"benchmark_filename: {self.benchmark_filename_list}"
        elif arguments["order"] != "TO" or mode not in _LEFT_OUT:
            asked = f"eval_args.order: {arguments['order']}, eval_args.split: {arguments['split']}"
        else:
            return str(mode)
        raise DataError(
            f"{asked} does not go with training_windows: {self.config['training_windows']}, which "
            "needs eval_args.order: TO, eval_args.split: {LS: valid_and_test} (or valid_only, "
            "test_only) and no benchmark_filename; training_windows: prefix takes RecBole's ordinary "
            "dataset of one row per prefix, which splits in other ways"
        )

    def _change_feat_format(self) -> None:
        """Make tensors of the tables, and no prefixes; declare the fields that rows will have."""
        Dataset._change_feat_format(self)
        self._aug_presets()
        source = FeatureSource.INTERACTION
        self.set_field_property(TARGETS, FeatureType.TOKEN_SEQ, source, self.max_item_list_len)
        self.set_field_property(START_TARGET, FeatureType.TOKEN, source, 1)

    def _histories(self, left_out: int) -> Histories:
        """Find the users in the interactions, which are sorted by user and exact time."""
        _, count = torch.unique_consecutive(self.inter_feat[self.uid_field], return_counts=True)
        start = count.cumsum(0) - count
        start, count = start[count > 1], count[count > 1]
        # RecBole sorts its rows by float32 time; a user appears there with the second interaction.
        time = self.inter_feat[self.time_field][start + 1]
        key = time if time.dim() == 1 else time[:, 0]
        shown = torch.from_numpy(np.argsort(key.numpy(), kind="stable"))
        start, count = start[shown], count[shown]
        return Histories(start, count, count - (count - 2).clamp(max=left_out))

    def _trained(self, feat: Interaction, users: Histories) -> tuple[Interaction, Interaction]:
        per_user = users.trained - 1
        offset = torch.arange(int(per_user.sum()))
        offset = offset - torch.repeat_interleave(per_user.cumsum(0) - per_user, per_user)
        rows = torch.repeat_interleave(users.start + 1, per_user) + offset
        return _take(feat, rows), _take(feat, users.start)

    def _window_rows(self, feat: Interaction, users: Histories) -> Interaction:
        width, items = self.max_item_list_len, feat[self.iid_field]
        inputs = (users.trained - 1).numpy()
        cut = make_windows(inputs, width, self.config["training_windows"] or "overlap")
        user, offset, length, fresh = (torch.from_numpy(column) for column in cut)
        first = users.start[user]
        start = first + offset
        targets = gather_rows(items, start + 1, length, width)
        targets = torch.where(torch.arange(width) < fresh[:, None], 0, targets)
        rows = {
            self.uid_field: feat[self.uid_field][first],
            self.iid_field: items[start + length],
            self.item_list_length_field: length,
            self.iid_field + self.config["LIST_SUFFIX"]: gather_rows(items, start, length, width),
            TARGETS: targets,
            START_TARGET: torch.where(offset == 0, items[first], 0),
        }
        return Interaction(rows)

    def _left_out(self, users: Histories, mode: str) -> tuple[torch.Tensor, torch.Tensor]:
        """Place of the user and row of the target of what is left out, (2, rows) for each part."""
        last = users.start + users.count - 1
        three, four = (torch.nonzero(users.count >= n).flatten() for n in (3, 4))
        none = torch.zeros((2, 0), dtype=torch.int64)
        final = torch.stack([three, last[three]])
        if mode == "valid_only":
            return final, none
        if mode == "test_only":
            return none, final
        return torch.stack([four, last[four] - 1]), final

    def _sequence_rows(
        self, feat: Interaction, users: Histories, left_out: torch.Tensor
    ) -> Interaction:
        """RecBole's rows for the given targets: every field, and the list of what came before it."""
        width, (user, target) = self.max_item_list_len, left_out
        start = torch.maximum(users.start[user], target - width)
        rows = {field: feat[field][target] for field in feat}
        rows[self.item_list_length_field] = target - start
        for field in feat:
            if field != self.uid_field:
                name = getattr(self, f"{field}_list_field")
                rows[name] = gather_rows(feat[field], start, target - start, width)
        return Interaction(rows)

    def copy(self, new_inter_feat: Interaction) -> Any:
        """The same dataset with other rows."""
        other = super().copy(new_inter_feat)
        other.targets = other.firsts = None
        return other

    def interactions(self) -> Any:
        """This part with a row per interaction that it predicts: for samplers and counters."""
        return self if self.targets is None else self.copy(self.targets)

    def counter(self, field: str) -> Any:
        """How often each token of a field occurs in the interactions that this part predicts."""
        return (
            super().counter(field) if self.targets is None else self.interactions().counter(field)
        )

    @property
    def inter_num(self) -> int:
        """The number of interactions that this part predicts."""
        return len(self.inter_feat if self.targets is None else self.targets)

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
        if self.targets is None or self.firsts is None:
            return super().inter_matrix(form, value_field)
        both = {k: torch.cat([self.targets[k], self.firsts[k]]) for k in self.targets}
        pair = self.uid_field, self.iid_field
        return self._create_sparse_matrix(Interaction(both), *pair, form, value_field)


def _take(feat: Interaction, rows: torch.Tensor) -> Interaction:
    return Interaction({field: feat[field][rows] for field in feat})
