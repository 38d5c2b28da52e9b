"""Files of ranks: what is written is read, what cannot be used is refused by name."""

from __future__ import annotations

import io
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from recbole_fmrlrec.errors import UsageError
from recbole_fmrlrec.evaluation.rank_record import RankRecord

RECORD = RankRecord(
    users=np.array(["u 1", "ü", "3"]),
    targets=np.array(["a", "b", "a"]),
    sizes=np.array([8, 16]),
    ranks=np.array([[1, 2, 11], [3, 1, 1]], dtype=np.int32),
)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    RECORD.save(tmp_path / "ranks.npz")
    read = RankRecord.load(tmp_path / "ranks.npz")
    assert read.users.tolist() == ["u 1", "ü", "3"] and read.targets.tolist() == ["a", "b", "a"]
    assert read.sizes.tolist() == [8, 16] and read.ranks.dtype == np.int32
    assert read.ranks.tolist() == [[1, 2, 11], [3, 1, 1]]
    assert [file.name for file in tmp_path.iterdir()] == ["ranks.npz"]


def test_metrics_of_every_row_by_hand() -> None:
    assert RECORD.metric("MRR", 10).tolist() == [[1, 0.5, 0], [1 / 3, 1, 1]]
    assert RECORD.metric("NDCG", 2).tolist() == [[1, 1 / np.log2(3), 0], [0, 1, 1]]
    assert RECORD.metric("recall", 3).tolist() == [[1, 1, 0], [1, 1, 1]]


def test_files_that_cannot_be_used(tmp_path: Path) -> None:
    whole = tmp_path / "ranks.npz"
    RECORD.save(whole)
    (tmp_path / "cut.npz").write_bytes(whole.read_bytes()[:300])
    (tmp_path / "text.npz").write_text("no ranks")
    (tmp_path / "empty.npz").write_bytes(b"")
    np.savez(tmp_path / "other.npz", users=RECORD.users)
    np.savez(tmp_path / "pickled.npz", users=np.array([{}], dtype=object))
    np.save(tmp_path / "array", RECORD.ranks)
    (tmp_path / "array.npy").rename(tmp_path / "array.npz")
    for name in ("cut", "text", "empty", "other", "pickled", "array"):
        with pytest.raises(UsageError, match=f"{name}.npz: "):
            RankRecord.load(tmp_path / f"{name}.npz")
    with pytest.raises(UsageError, match=r"nowhere.npz: there is no such file"):
        RankRecord.load(tmp_path / "nowhere.npz")


@pytest.mark.parametrize(
    ("part", "value", "message"),
    [
        ("users", np.array(["a"]), r"shapes do not agree: users \(1,\), targets \(3,\)"),
        ("sizes", np.array([8]), "shapes do not agree"),
        ("ranks", np.zeros((2, 3), dtype=np.int32), "a rank is below 1"),
        ("ranks", np.ones((2, 3)), "ranks is of type float64"),
        ("targets", np.array([1, 2, 3]), "targets is of type int64"),
    ],
)
def test_records_that_contradict_themselves(part: str, value: np.ndarray, message: str) -> None:
    parts = {name: getattr(RECORD, name) for name in ("users", "targets", "sizes", "ranks")}
    with pytest.raises(ValueError, match=message):
        RankRecord(**{**parts, part: value})


def test_reading_needs_neither_torch_nor_recbole() -> None:
    code = (
        "import sys, recbole_fmrlrec.evaluation.rank_record\n"
        "print({'torch', 'recbole'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def bomb(file: Path) -> None:
    """0.5 MB that unpack to 512 MB of zeros."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("users", "targets", "sizes", "ranks"):
            with archive.open(f"{name}.npy", "w") as member:
                np.lib.format.write_array_header_1_0(
                    member, {"descr": "<i4", "fortran_order": False, "shape": (2**25,)}
                )
                for _ in range(2**7):
                    member.write(bytes(2**20))


@pytest.mark.parametrize("kind", ["bomb", "huge shape", "damaged deflate", "locked"])
def test_archives_of_a_stranger(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "test_ranks.npz"
    if kind == "bomb":
        bomb(file)
    else:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            header = io.BytesIO()
            np.lib.format.write_array_header_1_0(
                header, {"descr": "<i4", "fortran_order": False, "shape": (2**45,)}
            )
            archive.writestr("users.npy", header.getvalue())
        packed = bytearray(file.read_bytes())
        if kind == "damaged deflate":
            packed[40:60] = b"\xff" * 20
        if kind == "locked":
            at = packed.index(b"PK\x01\x02")
            packed[6] |= 1
            packed[at + 8] |= 1
        file.write_bytes(packed)
    with pytest.raises(UsageError, match=r"test_ranks\.npz: ") as error:
        RankRecord.load(file)
    if kind == "bomb":
        assert f"{file.stat().st_size:,} bytes that unpack to 536,87" in str(error.value)


def test_both_rankings_and_files_of_earlier_versions(tmp_path: Path) -> None:
    masked = np.array([[1, 1, 9], [2, 1, 1]], dtype=np.int32)
    both = replace(RECORD, masked_ranks=masked)
    both.save(tmp_path / "both.npz")
    read = RankRecord.load(tmp_path / "both.npz")
    assert read.masked_ranks is not None and read.masked_ranks.tolist() == masked.tolist()
    assert read.metric("masked_mrr", 10).tolist() == [[1, 1, 1 / 9], [0.5, 1, 1]]
    assert read.metric("mrr", 10).tolist() == RECORD.metric("mrr", 10).tolist()
    RECORD.save(tmp_path / "old.npz")
    with np.load(tmp_path / "old.npz") as stored:
        assert sorted(stored) == ["ranks", "sizes", "targets", "users"]
    old = RankRecord.load(tmp_path / "old.npz")
    assert old.masked_ranks is None
    with pytest.raises(ValueError, match="no ranks without the history"):
        old.metric("masked_mrr", 10)
    with np.load(tmp_path / "old.npz") as stored:
        np.savez(tmp_path / "new.npz", **stored, masked_rants=masked)
    with pytest.raises(UsageError, match=r"new\.npz: .* it holds masked_rants"):
        RankRecord.load(tmp_path / "new.npz")
    with pytest.raises(ValueError, match="without the history is above that with it"):
        replace(RECORD, masked_ranks=masked + 3)
