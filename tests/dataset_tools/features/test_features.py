"""The feature store: what is written comes back, and every damage is named."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataset_tools.errors import FeatureError
from dataset_tools.features import (
    align_features,
    attach_features,
    list_modalities,
    read_features,
    write_features,
)

ITEMS = ["a", "b b", "ü"]
MATRIX = np.array([[1, 2], [0, 0], [-0.5, 4]], dtype=np.float32)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_features(tmp_path, "text", MATRIX, ITEMS, {"encoder": "e", "empty_items": ["b b"]})
    return tmp_path


def test_written_features_come_back(folder: Path) -> None:
    features = read_features(folder, "text", width=2)
    assert isinstance(features.matrix, np.memmap) and features.matrix.dtype == np.float16
    np.testing.assert_array_equal(features.matrix, MATRIX)
    assert features.items == ITEMS
    assert (folder / "items.txt").read_bytes() == "a\nb b\nü\n".encode()
    assert features.manifest["encoder"] == "e" and features.manifest["num_items"] == 3
    # printf 'a\nb b\nü\n' | sha256sum
    digest = "2ef413447c037507a80002c47d0ee214b475dcb086bba90ebac0169273d78513"
    assert features.manifest["items_sha256"] == digest


def test_the_matrix_is_an_ordinary_npy_file(folder: Path) -> None:
    np.testing.assert_array_equal(np.load(folder / "text.npy"), MATRIX.astype(np.float16))


def test_align_by_name_in_any_order(folder: Path) -> None:
    aligned, missing = align_features(read_features(folder, "text"), ["ü", "new", "b b", "a", "ü"])
    np.testing.assert_array_equal(aligned, [[-0.5, 4], [0, 0], [0, 0], [1, 2], [-0.5, 4]])
    assert aligned.dtype == np.float32
    assert missing == ["new", "b b"]


@settings(max_examples=30, deadline=None)
@given(order=st.permutations(range(40)), wanted=st.lists(st.integers(0, 60), max_size=30))
def test_align_is_a_look_up(
    order: list[int], wanted: list[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("store")
    matrix = np.array(order, dtype=np.float32)[:, None] + 1
    write_features(folder, "text", matrix, [f"i{n}" for n in order], {})
    aligned, missing = align_features(read_features(folder, "text"), [f"i{n}" for n in wanted])
    assert aligned[:, 0].tolist() == [n + 1 if n < 40 else 0 for n in wanted]
    assert missing == [f"i{n}" for n in wanted if n >= 40]


def test_blocks_cover_large_matrices(tmp_path: Path) -> None:
    items = [str(n) for n in range(40_000)]
    matrix = (np.arange(40_000) % 2048)[:, None]
    write_features(tmp_path, "text", matrix, items, {})
    aligned, missing = align_features(read_features(tmp_path, "text"), items[::-1])
    np.testing.assert_array_equal(aligned, matrix[::-1])
    assert not missing


def test_modalities_are_listed_text_first(folder: Path) -> None:
    for name in ("audio", "image"):
        write_features(folder, name, MATRIX, ITEMS, {})
    (folder / "image.json").unlink()
    write_features(folder, "image", MATRIX, ITEMS, {})
    (folder / "half.npy").write_bytes(b"")
    assert list_modalities(folder) == ["text", "image", "audio"]
    assert list_modalities(folder / "none") == []


def test_another_item_list_is_refused_while_another_modality_stands_on_it(folder: Path) -> None:
    with pytest.raises(FeatureError, match=r"items\.txt.*text was made for"):
        write_features(folder, "image", MATRIX[:2], ["a", "c"], {})
    write_features(folder, "text", MATRIX[:2], ["a", "c"], {})
    assert read_features(folder, "text").items == ["a", "c"]


def damage_manifest(folder: Path, **changes: object) -> None:
    manifest = json.loads((folder / "text.json").read_text())
    (folder / "text.json").write_text(json.dumps({**manifest, **changes}))


def save(folder: Path, matrix: np.ndarray) -> None:
    np.save(folder / "text.npy", matrix)


DAMAGES = {
    "no matrix": (lambda f: (f / "text.npy").unlink(), r"text\.npy: missing"),
    "no items": (lambda f: (f / "items.txt").unlink(), r"items\.txt: missing"),
    "no manifest": (lambda f: (f / "text.json").unlink(), r"text\.json: missing"),
    "cut off": (
        lambda f: (f / "text.npy").write_bytes((f / "text.npy").read_bytes()[:-3]),
        r"text\.npy: cut off",
    ),
    "cut header": (
        lambda f: (f / "text.npy").write_bytes((f / "text.npy").read_bytes()[:20]),
        r"text\.npy: cut off",
    ),
    "complex": (lambda f: save(f, MATRIX + 1j), r"text\.npy: not a two-.*complex"),
    "booleans": (lambda f: save(f, MATRIX > 0), r"text\.npy: not a two-.*bool of shape \(3, 2\)"),
    "words": (lambda f: save(f, MATRIX.astype("U3")), r"text\.npy: not a two-.*<U3"),
    "an archive": (
        lambda f: (np.savez(f / "a.npz", MATRIX), (f / "a.npz").replace(f / "text.npy")),
        r"text\.npy: .*not an \.npy",
    ),
    "a folder": (
        lambda f: ((f / "text.npy").unlink(), (f / "text.npy").mkdir()),
        r"text\.npy: not a regular file",
    ),
    "a pipe as manifest": (
        lambda f: ((f / "text.json").unlink(), os.mkfifo(f / "text.json")),
        r"text\.json: not a regular file",
    ),
    "a pipe as items": (
        lambda f: ((f / "items.txt").unlink(), os.mkfifo(f / "items.txt")),
        r"items\.txt: not a regular file",
    ),
    "a link to itself": (
        lambda f: ((f / "text.npy").unlink(), (f / "text.npy").symlink_to("text.npy")),
        r"text\.npy: cannot be read",
    ),
    "nested": (lambda f: (f / "text.json").write_text("[" * 10**5), r"text\.json: not JSON"),
    "limit": (lambda f: damage_manifest(f, limit="x"), r"text\.json: limit 'x'"),
    "a pickle": (
        lambda f: (f / "text.npy").write_bytes(b"\x80\x04N."),
        r"text\.npy: .*not an \.npy",
    ),
    "empty items": (lambda f: damage_manifest(f, empty_items=3), r"text\.json: empty_items"),
    "width as text": (lambda f: damage_manifest(f, width="2"), r"text\.json: width '2'"),
    "empty file": (lambda f: (f / "text.npy").write_bytes(b""), r"text\.npy: cut off"),
    "objects": (lambda f: np.save(f / "text.npy", np.array([{}])), r"text\.npy: .*not an \.npy"),
    "float32": (lambda f: save(f, MATRIX), r"text\.npy: stored as float32"),
    "one dimension": (lambda f: save(f, MATRIX[0]), r"text\.npy: not a two-dimensional"),
    "width": (lambda f: save(f, MATRIX[:, :1].astype("f2")), r"text\.npy: width 1, .*says 2"),
    "rows": (lambda f: save(f, MATRIX[:2].astype("f2")), r"text\.npy: 2 rows, .*3 items"),
    "nan": (lambda f: save(f, np.full((3, 2), np.nan, "f2")), r"text\.npy: NaN.*row 0"),
    "infinite": (
        lambda f: save(f, np.array([[1, 1], [1, 1], [1, np.inf]], "f2")),
        r"text\.npy: NaN or infinite.*row 2",
    ),
    "twice": (lambda f: (f / "items.txt").write_text("a\nb\na\n"), r"items\.txt, line 3: .*line 1"),
    "blank": (lambda f: (f / "items.txt").write_text("a\n\nb\n"), r"items\.txt, line 2: .*empty"),
    "other items": (
        lambda f: (f / "items.txt").write_text("a\nb\nc\n"),
        r"items\.txt: not the item",
    ),
    "latin-1": (lambda f: (f / "items.txt").write_bytes(b"\xfc\n"), r"items\.txt: not UTF-8"),
    "not json": (lambda f: (f / "text.json").write_text("{"), r"text\.json: not JSON"),
    "a list": (lambda f: (f / "text.json").write_text("[]"), r"text\.json: not a JSON object"),
    "no key": (lambda f: (f / "text.json").write_text("{}"), r"text\.json: key 'format_version'"),
    "future": (lambda f: damage_manifest(f, format_version=9), r"text\.json: format version 9"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_named_with_its_file(folder: Path, damage: str) -> None:
    spoil, words = DAMAGES[damage]
    spoil(folder)
    with pytest.raises(FeatureError, match=words):
        read_features(folder, "text")


def test_a_width_that_the_caller_does_not_expect(folder: Path) -> None:
    with pytest.raises(FeatureError, match="width 2, but the caller says 3"):
        read_features(folder, "text", width=3)


@pytest.mark.parametrize(
    ("matrix", "items", "words"),
    [
        (MATRIX, ["a", "b"], "for 2 items"),
        (MATRIX, ["a", "b", "a"], "also on line 1"),
        (MATRIX, ["a", "b", "c\n"], "line break"),
        (MATRIX * np.array([[1], [1], [np.inf]]), ITEMS, "NaN or infinite values, first in row 2"),
        (MATRIX[:, :0], ITEMS, r"matrix \(3, 0\)"),
    ],
)
def test_bad_features_are_not_written(
    tmp_path: Path, matrix: np.ndarray, items: list[str], words: str
) -> None:
    with pytest.raises(FeatureError, match=words):
        write_features(tmp_path, "text", matrix, items, {})
    assert list_modalities(tmp_path) == []
    assert not list(tmp_path.glob("*.npy"))


def test_attach_measures_what_it_was_given(tmp_path: Path) -> None:
    np.save(tmp_path / "ready.npy", np.array([[0.6, 0.8], [0, 0], [1, 0]], dtype=np.float64))
    features = attach_features(tmp_path / "features", "text", tmp_path / "ready.npy", ITEMS)
    assert features.manifest["normalised"] is True
    assert features.manifest["empty_items"] == ["b b"]
    assert features.manifest["encoder"] == "file ready.npy"


def test_attach_names_the_file_with_another_number_of_rows(tmp_path: Path) -> None:
    np.save(tmp_path / "ready.npy", MATRIX)
    with pytest.raises(FeatureError, match=r"ready\.npy: 3 rows, but there are 2 items"):
        attach_features(tmp_path / "features", "text", tmp_path / "ready.npy", ["a", "b"])


@pytest.mark.parametrize(
    ("factor", "kind"),
    [(1e-7, "f4"), (1e6, "f4"), (1e-30, "f4"), (1e-7, "f8"), (1e-200, "f8"), (1e200, "f8")],
)
def test_numbers_outside_float16_keep_their_direction(
    tmp_path: Path, factor: float, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    np.save(tmp_path / "ready.npy", (np.array([[3, 4], [0, 0], [-1, 0]]) * factor).astype(kind))
    features = attach_features(tmp_path / "features", "text", tmp_path / "ready.npy", ITEMS)
    expected = np.array([[0.6, 0.8], [0, 0], [-1, 0]], dtype=np.float16)
    np.testing.assert_array_equal(features.matrix, expected)
    assert features.manifest["normalised"] is True
    assert features.manifest["empty_items"] == ["b b"]
    assert f"numbers from {factor:.3g} to {4 * factor:.3g}" in features.manifest["scaled"]
    assert "lie outside the range of float16; every row is divided by its length" in caplog.text


def test_one_row_that_would_lose_its_digits_is_enough(tmp_path: Path) -> None:
    """1e-6 and 2e-6 are 17 and 34 steps of float16's 6e-8: half a step is 1.5 % of the first."""
    matrix = np.array([[1, 0], [1e-6, 2e-6], [0, 2]])
    write_features(tmp_path, "text", matrix, ITEMS, {})
    stored = read_features(tmp_path, "text").matrix.astype(np.float64)
    np.testing.assert_allclose(stored, [[1, 0], [0.2**0.5, 0.8**0.5], [0, 1]], rtol=2**-11)


@settings(max_examples=50, deadline=None)
@given(
    power=st.integers(-300, 300), row=st.lists(st.floats(-1, 1, width=16), min_size=2, max_size=6)
)
def test_direction_survives_any_size(
    power: int, row: list[float], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("store")
    true = np.array([row])
    write_features(folder, "text", true * 2.0**power, ["a"], {})
    stored = read_features(folder, "text").matrix.astype(np.float64)
    lengths = np.linalg.norm(true) * np.linalg.norm(stored)
    assert (lengths == 0 and not true.any()) or (true * stored).sum() / lengths > 1 - 1e-6


def test_what_float16_holds_is_stored_as_it_is(folder: Path, tmp_path: Path) -> None:
    assert "scaled" not in read_features(folder, "text").manifest
    numbers = np.array([[6.1e-5, 65504.0], [1e-9, 3.0], [0, 0]])
    write_features(tmp_path, "text", numbers, ITEMS, {})
    np.testing.assert_array_equal(read_features(tmp_path, "text").matrix, numbers.astype("f2"))
