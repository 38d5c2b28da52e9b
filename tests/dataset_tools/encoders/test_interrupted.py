"""Encoding that was killed, that found the disk full, or no place to write."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dataset_tools.__main__ import main
from dataset_tools.encoders import shards
from dataset_tools.encoders.encode_features import Inputs, encode_features
from dataset_tools.encoders.shards import Batch, ShardStore
from dataset_tools.errors import DiskFullError, EncodingError, UsageError
from dataset_tools.features import read_features
from dataset_tools.files import atomic_write
from dataset_tools.files.unfinished import partial_path
from tests.dataset_tools.encoders.killing import kill_after
from tests.dataset_tools.encoders.test_encode_images import encode, make_dataset, picture

pytest.importorskip("PIL.Image", reason="pictures need the extra 'encoders'")

GONE = "0123456789-4194304-1"  # of another place; of this one: a process number that none has


class Numbers:
    """An encoder of numbers: n becomes (n, 1) times ``factor``; it counts what it is asked."""

    def __init__(self, factor: float = 1.0, fail_at: int | None = None) -> None:
        self.settings: dict[str, Any] = {"encoder": "numbers", "factor": factor}
        self.factor, self.fail_at, self.asked = factor, fail_at, []  # type: ignore[var-annotated]

    def encode(self, batch: Sequence[int]) -> Batch:
        if self.fail_at in batch:
            raise KeyboardInterrupt
        self.asked += batch
        rows = np.array([[number, 1.0] for number in batch], dtype=np.float32)
        return rows * np.float32(self.factor), {}


def inputs(count: int = 64) -> Inputs:
    items = [f"i{number}" for number in range(count)]
    return Inputs(items, list(range(count)), np.arange(count), "digest")


def run(folder: Path, encoder: Numbers, overwrite: bool = False) -> Any:
    return encode_features(folder, "text", inputs(), encoder, 1, overwrite)


def test_a_killed_overwrite_goes_on(tmp_path: Path) -> None:
    run(tmp_path, Numbers(2.0))
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, Numbers(fail_at=40), overwrite=True)
    assert read_features(tmp_path, "text").matrix[3, 0] == 6  # the old ones stand until the end
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, Numbers(fail_at=50), overwrite=True)
    last = Numbers()
    outcome = run(tmp_path, last, overwrite=True)
    assert last.asked == list(range(48, 64)) and outcome.kept == 48
    np.testing.assert_array_equal(read_features(tmp_path, "text").matrix[:, 0], np.arange(64))
    assert not list(tmp_path.glob(".*"))


def test_overwrite_drops_unfinished_work_of_another_plan(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, Numbers(2.0, fail_at=40))
    with pytest.raises(UsageError, match=r"factor 2\.0, now 1\.0.*--overwrite"):
        run(tmp_path, Numbers())
    encoder = Numbers()
    run(tmp_path, encoder, overwrite=True)
    assert encoder.asked == list(range(64))


def test_shards_that_lost_their_plan_are_not_used(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, Numbers(2.0, fail_at=40))
    (tmp_path / ".text-work" / "plan.json").unlink()
    run(tmp_path, Numbers())
    np.testing.assert_array_equal(read_features(tmp_path, "text").matrix[:, 0], np.arange(64))


def test_killed_between_the_features_and_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(ShardStore, "remove", lambda self: None)
        run(tmp_path, Numbers())
    assert (tmp_path / ".text-work").is_dir()
    assert run(tmp_path, Numbers()).skipped
    assert not list(tmp_path.glob(".*"))


def test_a_killed_process_leaves_nothing_for_ever(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(40):
        picture((number * 6, 9, 9)).save(photos / f"i{number}.png")
    dataset = make_dataset(tmp_path / "shop", [f"i{number}" for number in range(40)])
    command = ["encode-images", str(dataset), "--images", str(photos)]
    command += ["--model", "colour-layout", "--batch-size", "1"]
    kill_after(1, command)
    work = dataset / "features" / ".image-work"
    (mark,) = work.glob(".writer.*.partial")
    (work / mark.name.replace(".writer.", ".shard-000001.npz.")).write_bytes(b"half")
    (dataset / "features" / mark.name.replace(".writer.", ".image.npy.")).write_bytes(b"half")
    assert main(command) == 0
    names = sorted(path.name for path in (dataset / "features").iterdir())
    assert names == ["image.json", "image.npy", "items.txt"]


def test_what_a_living_process_writes_stays(tmp_path: Path) -> None:
    mine, strange = partial_path(tmp_path / "image.npy"), tmp_path / f".text.npy.{GONE}.partial"
    for path in (mine, strange):
        path.write_bytes(b"half")
    run(tmp_path, Numbers())
    assert mine.exists() and strange.exists()  # another machine may still be at work
    os.utime(strange, (0, 0))
    run(tmp_path, Numbers(), overwrite=True)
    assert mine.exists() and not strange.exists()


def test_two_processes_do_not_share_a_work_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = tmp_path / ".text-work"
    work.mkdir()
    mark = work / partial_path(work / "writer").name.replace(f"-{os.getpid()}-", "-1-")
    mark.touch()
    monkeypatch.setattr(shards, "is_left_behind", lambda path: False)
    with pytest.raises(UsageError, match="another process is already running there"):
        run(tmp_path, Numbers())


@pytest.mark.parametrize("factor", [1e-7, 1e5])
def test_an_encoder_whose_numbers_lie_outside_float16(tmp_path: Path, factor: float) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", Numbers(factor, fail_at=40))
    run(tmp_path / "cut", Numbers(factor))
    run(tmp_path / "whole", Numbers(factor))
    features = read_features(tmp_path / "cut", "text")
    expected = np.stack([np.arange(64.0), np.ones(64)], axis=1)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(features.matrix, expected, rtol=2**-10)
    assert features.manifest["normalised"] is True and "scaled" in features.manifest
    for name in ("text.npy", "text.json"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_an_encoder_that_gives_no_numbers(tmp_path: Path) -> None:
    with pytest.raises(EncodingError, match="the encoder produced NaN or infinite values"):
        run(tmp_path, Numbers(float("nan")))


def test_a_full_disk_names_the_file_and_the_way_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The third shard finds no room; when there is some, the first two are still there."""

    def full(_: int) -> None:
        if len(list((tmp_path / ".text-work").glob("shard-*.npz"))) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(atomic_write.os, "fsync", full)
        with pytest.raises(DiskFullError) as caught:
            run(tmp_path, Numbers())
    said = str(caught.value)
    size = (tmp_path / ".text-work" / "shard-000001.npz").stat().st_size
    assert f"shard-000002.npz: not enough disk space: {size:,} bytes are needed" in said
    assert said.endswith("Run the same command again to continue")
    assert not list(tmp_path.rglob("*.partial"))
    encoder = Numbers()
    run(tmp_path, encoder)
    assert encoder.asked == list(range(32, 64))


def test_a_full_disk_says_what_the_matrix_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(stream: int) -> None:
        if ".text.npy." in os.readlink(f"/proc/self/fd/{stream}"):
            raise OSError(errno.EDQUOT, "Disk quota exceeded")

    if not Path("/proc/self/fd").is_dir():
        pytest.skip("needs /proc")
    with monkeypatch.context() as patched:
        patched.setattr(atomic_write.os, "fsync", full)
        with pytest.raises(
            DiskFullError, match=r"text\.npy: not enough disk space: 256 bytes are needed"
        ):
            run(tmp_path, Numbers())  # 64 rows of two numbers of two bytes
    encoder = Numbers()
    run(tmp_path, encoder)
    assert encoder.asked == []


def test_a_place_that_cannot_be_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    picture().save(photos / "a.png")
    dataset = make_dataset(tmp_path / "shop", ["a"])
    (tmp_path / "file").touch()
    assert encode(dataset, photos, "--output", str(tmp_path / "file")) == 2
    said = capsys.readouterr().err
    assert f"{tmp_path / 'file'}: cannot be written to" in said
    assert "--output" in said

    def refuse(**_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("dataset_tools.encoders.encode_features.tempfile.TemporaryFile", refuse)
    command = ["encode-text", str(dataset), "--model", "tfidf-svd"]
    assert main(command) == 2
    assert "features: cannot be written to (Read-only file system)" in (capsys.readouterr().err)


def test_a_plan_that_is_no_plan(tmp_path: Path) -> None:
    (tmp_path / ".text-work").mkdir()
    for text in ("{", "[]", json.dumps("x")):
        (tmp_path / ".text-work" / "plan.json").write_text(text)
        with pytest.raises(UsageError, match=r"plan\.json is not JSON"):
            run(tmp_path, Numbers())
