"""Picture files of every odd kind: one bad item is one failure, and content is what counts."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from dataset_tools.__main__ import main
from dataset_tools.encoders import pictures
from dataset_tools.encoders.colour_layout import describe
from dataset_tools.encoders.pictures import PictureError, load_picture
from dataset_tools.features import read_features
from tests.dataset_tools.encoders.test_encode_images import encode, make_dataset, picture

Image = pytest.importorskip("PIL.Image", reason="pictures need the extra 'encoders'")

LONG = "x" * 400 + ".png"
ODD = {
    "loop": "too many levels of symbolic links",
    "nowhere": "a link to a file that is not there",
    "folder": "a folder",
    "pipe": "not a regular file",
    "listed": "file name too long",
    "listed-loop": "self.png: too many levels of symbolic links",
    "listed-folder": "sub: a folder",
    "gone": "no file",
}


@pytest.fixture
def odd(tmp_path: Path) -> tuple[Path, Path]:
    """A data set and its pictures: two good ones among all that is odd."""
    photos = tmp_path / "photos"
    (photos / "sub").mkdir(parents=True)
    picture().save(photos / "good.png")
    picture((30, 30, 200)).save(photos / "last.png")
    (photos / "loop.png").symlink_to(photos / "loop.png")
    (photos / "self.png").symlink_to("self.png")
    (photos / "nowhere.jpg").symlink_to(photos / "nothing.jpg")
    (photos / "folder.png").mkdir()
    os.mkfifo(photos / "pipe.png")
    listed = {"listed": LONG, "listed-loop": "self.png", "listed-folder": "sub"}
    listed["folder"] = "folder.png"
    return make_dataset(tmp_path / "shop", ["good", *ODD, "last"], listed), photos


def failures(dataset: Path) -> dict[str, str]:
    lines = (dataset / "features" / "failed.tsv").read_text().splitlines()[1:]
    return dict(line.split("\t") for line in lines)


def test_every_odd_file_is_one_failure(odd: tuple[Path, Path]) -> None:
    dataset, photos = odd
    assert encode(dataset, photos, "--max-failures", "1") == 0
    found = failures(dataset)
    assert set(found) == set(ODD)
    for item, reason in ODD.items():
        assert reason in found[item], item
        assert len(found[item]) < 200
    matrix = read_features(dataset / "features", "image").matrix
    assert np.flatnonzero(matrix.any(axis=1)).tolist() == [0, len(ODD) + 1]
    expected = describe(load_picture(photos / "last.png")).astype(np.float16)
    np.testing.assert_array_equal(matrix[-1], expected)


def test_a_file_that_may_not_be_read_is_one_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root may read everything: the refusal is played where files are opened."""
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in ("a", "b", "c"):
        picture().save(photos / f"{name}.png")

    def refuse(path: Path) -> str:
        if path.stem == "b":
            raise PermissionError(13, "Permission denied", str(path))
        return path.stem

    monkeypatch.setattr(pictures, "file_hash", refuse)
    dataset = make_dataset(tmp_path / "shop", ["a", "b", "c"])
    assert encode(dataset, photos, "--max-failures", "0.5") == 0
    assert failures(dataset) == {"b": "permission denied"}


def test_a_program_that_calls_itself_a_picture_is_not_run(tmp_path: Path, monkeypatch) -> None:
    from PIL import EpsImagePlugin

    ran: list[object] = []
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *words: ran.append(words))
    file = tmp_path / "a.jpg"
    file.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n")
    with pytest.raises(PictureError, match="a program in EPS"):
        load_picture(file)
    assert not ran


def test_another_picture_of_the_same_size_is_noticed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    file = photos / "a.bmp"
    picture((200, 30, 30)).save(file)
    size = file.stat()
    dataset = make_dataset(tmp_path / "shop", ["a"])
    assert encode(dataset, photos) == 0
    assert encode(dataset, photos) == 0
    assert "already there" in capsys.readouterr().out
    picture((30, 200, 30)).save(file)
    os.utime(file, ns=(size.st_atime_ns, size.st_mtime_ns))
    assert file.stat().st_size == size.st_size
    assert encode(dataset, photos) == 2
    said = capsys.readouterr().err
    assert "content_sha256" in said and "--overwrite" in said
    assert encode(dataset, photos, "--overwrite") == 0
    expected = describe(load_picture(file)).astype(np.float16)
    np.testing.assert_array_equal(read_features(dataset / "features", "image").matrix[0], expected)


def test_features_of_older_versions_are_still_known(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    picture().save(photos / "a.png")
    dataset = make_dataset(tmp_path / "shop", ["a"])
    assert encode(dataset, photos) == 0
    manifest = dataset / "features" / "image.json"
    lines = manifest.read_text().splitlines()
    manifest.write_text("\n".join(line for line in lines if "content_sha256" not in line))
    capsys.readouterr()
    assert encode(dataset, photos) == 0
    assert "already there" in capsys.readouterr().out


@pytest.mark.parametrize("suffix", ["jfif", "JPE", "avif", "webp", "bmp", "tiff", "gif", "jp2"])
def test_every_kind_that_pillow_reads_is_found(tmp_path: Path, suffix: str) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    known = Image.registered_extensions().get(f".{suffix.lower()}")
    if known not in Image.SAVE:
        pytest.skip(f"this Pillow does not write {suffix}")
    picture().save(photos / f"MUG 1.{suffix}", known)
    dataset = make_dataset(tmp_path / "shop", ["MUG 1"])
    assert encode(dataset, photos) == 0
    assert read_features(dataset / "features", "image").matrix.any()


def test_the_common_kind_wins_over_the_rarer(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    picture((200, 30, 30)).save(photos / "a.png")
    picture((30, 30, 200)).save(photos / "a.apng", "PNG")
    dataset = make_dataset(tmp_path / "shop", ["a"])
    assert encode(dataset, photos) == 0
    expected = describe(load_picture(photos / "a.png")).astype(np.float16)
    np.testing.assert_array_equal(read_features(dataset / "features", "image").matrix[0], expected)


def test_a_list_of_pictures_without_its_column(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "photos").mkdir()
    dataset = make_dataset(tmp_path / "shop", ["a"])
    (dataset / "images.tsv").write_text("item_id:token\tpicture:token\na\ta.png\n")
    command = ["encode-images", str(dataset), "--images", str(tmp_path / "photos")]
    assert main([*command, "--model", "colour-layout"]) == 2
    assert "images.tsv, line 1: no column image:token" in capsys.readouterr().err
