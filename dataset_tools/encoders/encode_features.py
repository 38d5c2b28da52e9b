"""From a catalogue's texts or pictures to a finished modality of the feature store."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Hashable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from dataset_tools.encoders.merge import Merge
from dataset_tools.encoders.shards import Batch, Shard, ShardStore, plan_changes
from dataset_tools.encoders.share import Share
from dataset_tools.errors import DatasetError, DiskFullError, UsageError
from dataset_tools.features import write_features
from dataset_tools.features.float16 import FLOAT16, Range, to_float16, unit_rows
from dataset_tools.features.store import scaled_note
from dataset_tools.features.store_files import list_modalities, read_manifest
from dataset_tools.files.atomic_write import FULL, disk_full, replacing
from dataset_tools.files.unfinished import remove_left_behind

SHARD_BATCHES = 16
FAILED_NAME = "failed.tsv"
# These do not make finished features other ones, but half-finished work must not mix them.
_RUN_KEYS = ("device", "batch_size", "shard_size")


class Encoder(Protocol):
    """What turns inputs into vectors. ``settings`` names all that decides their values."""

    settings: dict[str, Any]

    def encode(self, batch: Sequence[Any]) -> Batch:
        """Vectors (len(batch), width) float32, zeros with a reason for inputs that failed."""


@dataclass(frozen=True)
class Inputs:
    """What to encode: each different input once.

    ``row_of`` (items,) is an index into ``unique``, or -1; ``reasons`` says why an item that
    should have an input has none. ``digest`` stands for all inputs of all items, and ``content``
    for what their files hold, where they are files. Failed items go
    to the file ``failed_name``, where there is one.
    """

    items: list[str]
    unique: list[Any]
    row_of: np.ndarray
    digest: str
    reasons: dict[str, str] = field(default_factory=dict)
    failed_name: str | None = None
    content: str | None = None


@dataclass(frozen=True)
class Outcome:
    """``failed`` is item -> reason; ``seconds`` counts the encoding alone.

    ``kept`` inputs were encoded by an earlier, interrupted run. Where this was a share that could
    not merge, ``waiting`` says what for, and ``encoded`` counts its own inputs.
    """

    path: Path
    items: int
    encoded: int
    failed: dict[str, str]
    seconds: float
    skipped: bool = False
    kept: int = 0
    waiting: str | None = None


def unique_inputs(
    items: list[str], keys: Sequence[Hashable | None], order: Any
) -> tuple[list[Any], np.ndarray]:
    """The different ``keys`` (one an item, None for no input) sorted by ``order``; their rows."""
    unique = sorted({key for key in keys if key is not None}, key=order)
    row_of = {key: row for row, key in enumerate(unique)}
    rows = (-1 if key is None else row_of[key] for key in keys)
    return unique, np.fromiter(rows, np.int64, len(items))


def is_finished(folder: Path, modality: str, settings: Mapping[str, Any], overwrite: bool) -> bool:
    """Whether the store has this very modality already.

    Raises:
        UsageError: it has one of other settings and ``overwrite`` is off.
    """
    if overwrite or modality not in list_modalities(folder):
        return False
    manifest = read_manifest(folder, modality)
    wanted = {key: value for key, value in settings.items() if key not in _RUN_KEYS}
    changed = plan_changes(manifest, wanted)
    if changed:
        raise UsageError(
            f"{folder / modality}.npy was made with other settings: {'; '.join(changed)}. "
            "Give --overwrite to replace it"
        )
    return True


def encode_features(
    folder: Path,
    modality: str,
    inputs: Inputs,
    encoder: Encoder,
    batch_size: int,
    overwrite: bool = False,
    max_failures: float = 1.0,
    notes: Mapping[str, Any] | None = None,
    share: Share | None = None,
) -> Outcome:
    """Encode ``inputs`` and store them, going on with what an earlier run left.

    Args:
        folder: the ``features`` folder.
        max_failures: the share of items that may fail before the run does.
        notes: further entries of the manifest that decide no value.
        share: do only this part of the work, and merge all parts if no other is missing.

    Raises:
        UsageError: finished or unfinished features of other settings are there, or the folder
            cannot be written.
        DatasetError: too many items failed, or there is nothing to encode.
        DiskFullError: there is no room for a shard or for the matrix.
    """
    shard_size = batch_size * SHARD_BATCHES
    settings = {**encoder.settings, "inputs_sha256": inputs.digest}
    if inputs.content is not None:
        settings["content_sha256"] = inputs.content
    run = {**settings, "batch_size": batch_size, "shard_size": shard_size}
    work = folder / f".{modality}-work"
    if is_finished(folder, modality, run, overwrite):
        _clear_finished(folder, work, run)
        return Outcome(folder / f"{modality}.npy", len(inputs.items), 0, {}, 0.0, skipped=True)
    _check_share(folder, share, overwrite)
    check_writable(folder)
    remove_left_behind(folder)
    if not inputs.unique:
        _write_failed(folder, inputs.failed_name, inputs.reasons)
        raise DatasetError(f"{folder}: no item has anything to encode as {modality}")
    store = ShardStore(work, run, overwrite, share)
    merge = Merge(store, share)
    try:
        start, kept = time.perf_counter(), store.count_done(len(inputs.unique), shard_size)
        own = len(inputs.unique) if share is None else share.size(len(inputs.unique), shard_size)
        shards = _fill(store, inputs, encoder, batch_size, shard_size, modality, own)
        seconds = time.perf_counter() - start
        if share is not None:
            waiting = merge.take(len(inputs.unique), shard_size)
            if waiting is not None:
                path = folder / f"{modality}.npy"
                return Outcome(path, len(inputs.items), own, {}, seconds, waiting=waiting)
            shards = store.load_all(len(inputs.unique), shard_size)
        failed = {**inputs.reasons, **_failed_items(inputs, shards)}
        _write_failed(folder, inputs.failed_name, failed)
        _check_failures(failed, inputs, max_failures, folder)
        matrix, scaled = gather(inputs, shards, folder / f"{modality}.npy")
        empty = [inputs.items[row] for row in np.flatnonzero(~matrix.any(axis=1)).tolist()]
        manifest = {**run, **(notes or {}), "empty_items": empty, **scaled}
        path = write_features(folder, modality, matrix, inputs.items, manifest)
        store.remove()
    except DiskFullError as error:
        raise DiskFullError(f"{error}. Run the same command again to continue") from error
    finally:
        merge.release()
        store.release()
    return Outcome(path, len(inputs.items), len(inputs.unique), failed, seconds, kept=kept)


def _check_share(folder: Path, share: Share | None, overwrite: bool) -> None:
    if share is not None and overwrite:
        raise UsageError(
            "--overwrite with --shard: no process knows what the others have done; delete the "
            f"features in {folder} first, or choose another folder with --output"
        )


def _clear_finished(folder: Path, work: Path, run: Mapping[str, Any]) -> None:
    """Delete what a process left that was killed after its features were finished."""
    with suppress(OSError, UsageError):  # tidying up is not worth a failure
        remove_left_behind(folder)
        if work.is_dir():
            ShardStore(work, run).remove()


def check_writable(folder: Path) -> None:
    """Make the folder; raises ``UsageError`` where nothing can be written to it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        if error.errno in FULL:
            raise disk_full(folder / "items.txt") from error
        raise UsageError(
            f"{folder}: cannot be written to ({error.strerror}); choose another folder "
            "with --output"
        ) from error


def _check_failures(
    failed: Mapping[str, str], inputs: Inputs, max_failures: float, folder: Path
) -> None:
    if len(failed) > max_failures * len(inputs.items):
        raise DatasetError(
            f"{len(failed)} of {len(inputs.items)} items failed, more than --max-failures "
            f"{max_failures:g} allows; {folder / FAILED_NAME} has the reasons"
        )


def _fill(
    store: ShardStore,
    inputs: Inputs,
    encoder: Encoder,
    batch_size: int,
    shard_size: int,
    modality: str,
    own: int,
) -> list[Shard]:
    from tqdm import tqdm

    quiet = not sys.stderr.isatty()
    with tqdm(total=own, desc=f"encode {modality}", unit=" items", disable=quiet) as bar:
        try:
            return store.fill(inputs.unique, encoder.encode, batch_size, shard_size, bar.update)
        except KeyboardInterrupt:
            bar.close()
            print(
                "stopped; run the same command again to continue from the last shard",
                file=sys.stderr,
            )
            raise


def gather(
    inputs: Inputs, shards: Sequence[Shard], path: Path
) -> tuple[np.ndarray, dict[str, Any]]:
    """The rows (items, width) float16 of all items; zeros for those without an input.

    Where float16 does not hold some shard, all rows are divided by their lengths; the second
    value says so for the manifest.
    """
    numbers = Range()
    if any(shard.matrix.dtype != FLOAT16 for shard in shards):
        for shard in shards:
            numbers.add(shard.matrix)
    scaled = scaled_note(numbers, path)
    matrix = np.zeros((len(inputs.items), shards[0].matrix.shape[1]), dtype=FLOAT16)
    order = np.argsort(inputs.row_of, kind="stable")
    ordered = inputs.row_of[order]
    for shard in shards:
        low, high = np.searchsorted(ordered, [shard.start, shard.start + len(shard.matrix)])
        rows = order[low:high]
        table = to_float16(unit_rows(shard.matrix)) if scaled else shard.matrix
        matrix[rows] = table[inputs.row_of[rows] - shard.start]
    return matrix, scaled


def _failed_items(inputs: Inputs, shards: Sequence[Shard]) -> dict[str, str]:
    reasons = {
        shard.start + row: reason for shard in shards for row, reason in shard.reasons.items()
    }
    rows = inputs.row_of.tolist()
    return {
        item: reasons[row] for item, row in zip(inputs.items, rows, strict=True) if row in reasons
    }


def _write_failed(folder: Path, name: str | None, failed: Mapping[str, str]) -> None:
    if name is None:
        return
    path = folder / name
    if not failed:
        path.unlink(missing_ok=True)
        return
    with replacing(path) as stream:
        stream.write("item_id\treason\n")
        for item, reason in failed.items():
            stream.write(f"{item}\t{' '.join(reason.split())}\n")
