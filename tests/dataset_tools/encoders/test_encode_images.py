"""Pictures of every broken kind, and picture encoders through the real transformers classes."""

from __future__ import annotations

import shutil
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest

from dataset_tools.__main__ import main
from dataset_tools.encoders.colour_layout import (
    WIDTH,
    ColourLayout,
    colour_part,
    describe,
    gradient_part,
)
from dataset_tools.encoders.pictures import PictureError, load_picture
from dataset_tools.features import read_features
from dataset_tools.formats.atomic_files import read_table, write_table
from tests.dataset_tools.encoders.killing import kill_after
from tests.dataset_tools.encoders.models import save_clip, save_dinov2, save_siglip

Image = pytest.importorskip("PIL.Image", reason="pictures need the extra 'encoders'")


def picture(colour: tuple[int, int, int] = (200, 30, 30), size: tuple[int, int] = (40, 30)):
    """A picture that is dark on the left and coloured on the right."""
    image = Image.new("RGB", size, (10, 10, 10))
    image.paste(colour, (size[0] // 2, 0, size[0], size[1]))
    return image


def bomb() -> bytes:
    """A PNG that says it has 60,000 x 60,000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Good pictures of many kinds and bad ones; the name is the item's id."""
    folder = tmp_path / "photos"
    folder.mkdir()
    base = picture()
    base.save(folder / "plain.jpg", quality=95)
    base.save(folder / "webp.webp", lossless=True)
    base.convert("CMYK").save(folder / "cmyk.jpg", quality=95)
    base.quantize(16).save(folder / "palette.png")
    base.convert("L").save(folder / "grey.png")
    deep = np.asarray(base.convert("L")).astype(np.uint16) * 257
    Image.fromarray(deep).save(folder / "deep.png")
    clear = base.convert("RGBA")
    clear.putalpha(0)
    clear.save(folder / "clear.png")
    base.save(folder / "moving.gif", save_all=True, append_images=[Image.new("RGB", (40, 30))])
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright: turn by 90 degrees clockwise
    base.transpose(Image.Transpose.ROTATE_90).save(folder / "turned.jpg", exif=exif, quality=95)
    whole = (folder / "plain.jpg").read_bytes()
    (folder / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "text.jpg").write_text("<html>not found</html>")
    (folder / "bomb.png").write_bytes(bomb())
    noise = bytearray((folder / "palette.png").read_bytes())
    noise[60:90] = b"\xff" * 30
    (folder / "noise.png").write_bytes(bytes(noise))
    return folder


GOOD = ["plain", "webp", "cmyk", "palette", "grey", "deep", "clear", "moving", "turned"]
BAD = {
    "cut": "truncated",
    "empty": "zero bytes",
    "text": "not a picture",
    "bomb": "pixels",
    "noise": "",
    "gone": "no file",
}


def make_dataset(folder: Path, items: list[str], listed: dict[str, str] | None = None) -> Path:
    rows = [(item, item) for item in items]
    write_table(folder / f"{folder.name}.item", ["item_id:token", "title:token_seq"], rows)
    if listed:
        write_table(folder / "images.tsv", ["item_id:token", "image:token"], listed.items())
    return folder


def encode(dataset: Path, photos: Path, *options: str, model: str = "colour-layout") -> int:
    return main(
        ["encode-images", str(dataset), "--images", str(photos), "--model", model, *options]
    )


def test_every_good_kind_is_the_same_picture(photos: Path) -> None:
    plain = np.asarray(picture(), dtype=float)
    for name in ("plain.jpg", "webp.webp", "cmyk.jpg", "palette.png", "moving.gif", "turned.jpg"):
        loaded = load_picture(photos / name)
        assert loaded.mode == "RGB" and loaded.size == (40, 30), name
        assert np.abs(np.asarray(loaded, dtype=float) - plain).mean() < 12, name
    grey = np.asarray(picture().convert("L"), dtype=float)
    for name in ("grey.png", "deep.png"):
        loaded = np.asarray(load_picture(photos / name), dtype=float)[:, :, 0]
        assert np.abs(loaded - grey).mean() < 2, name
    assert np.asarray(load_picture(photos / "clear.png")).min() == 255


@pytest.mark.parametrize("name", ["cut.jpg", "empty.jpg", "text.jpg", "bomb.png", "noise.png"])
def test_every_bad_kind_has_a_reason(photos: Path, name: str) -> None:
    with pytest.raises(PictureError, match=f"(?i){BAD[name.partition('.')[0]]}"):
        load_picture(photos / name)


def test_bad_pictures_shift_no_row_and_stand_in_failed_tsv(photos: Path, tmp_path: Path) -> None:
    from PIL import ImageFile

    switches = (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES)
    items = [item for pair in zip(GOOD, [*BAD, *BAD], strict=False) for item in pair]
    items = list(dict.fromkeys([*items, *GOOD, *BAD]))
    dataset = make_dataset(tmp_path / "shop", items)
    assert encode(dataset, photos, "--max-failures", "0.5", "--batch-size", "3") == 0
    features = read_features(dataset / "features", "image", width=WIDTH)
    assert features.items == items
    for row, item in enumerate(items):
        if item in BAD:
            assert not features.matrix[row].any()
            continue
        (path,) = photos.glob(f"{item}.*")
        expected = describe(load_picture(path)).astype(np.float16)
        np.testing.assert_array_equal(features.matrix[row], expected)
    failed = dict(
        line.split("\t")
        for line in (dataset / "features" / "failed.tsv").read_text().splitlines()[1:]
    )
    assert set(failed) == set(BAD) == set(features.manifest["empty_items"])
    assert all(words.lower() in failed[item].lower() for item, words in BAD.items())
    assert switches == (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES)


def test_too_many_failures_fail_the_run(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = make_dataset(tmp_path / "shop", [*GOOD[:3], *BAD])
    assert encode(dataset, photos) == 2
    assert "6 of 9 items failed, more than --max-failures 0.2" in capsys.readouterr().err
    assert not (dataset / "features" / "image.npy").exists()
    assert (dataset / "features" / "failed.tsv").is_file()
    assert encode(dataset, photos, "--max-failures", "1") == 0


def test_the_list_of_pictures_decides_and_may_not_lead_out(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.jpg").write_bytes((photos / "plain.jpg").read_bytes())
    (photos / "sub").mkdir()
    shutil.copy(photos / "webp.webp", photos / "sub" / "x.webp")
    listed = {
        "plain": "sub/x.webp",
        "a": "../secret.jpg",
        "b": str(tmp_path / "secret.jpg"),
        "c": "none.jpg",
        "grey": "https://host/other.png",
    }
    dataset = make_dataset(tmp_path / "shop", ["plain", "a", "b", "c", "grey"], listed)
    assert encode(dataset, photos, "--max-failures", "1") == 0
    features = read_features(dataset / "features", "image")
    expected = describe(load_picture(photos / "webp.webp")).astype(np.float16)
    np.testing.assert_array_equal(features.matrix[0], expected)
    assert features.matrix[4].any()
    reasons = (dataset / "features" / "failed.tsv").read_text()
    assert reasons.count("leads out of the folder") == 2 and "no file none.jpg" in reasons


def test_equal_pictures_are_encoded_once(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(photos / "plain.jpg", photos / "again.jpg")
    dataset = make_dataset(tmp_path / "shop", ["plain", "again", "grey"])
    assert encode(dataset, photos) == 0
    assert "3 items, 2 different inputs" in capsys.readouterr().out
    matrix = read_features(dataset / "features", "image").matrix
    np.testing.assert_array_equal(matrix[0], matrix[1])


def test_killed_twice_the_matrix_is_the_same_to_the_byte(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(0)
    items = [f"i{n}" for n in range(80)]
    for item in items:
        colour = tuple(int(value) for value in rng.integers(0, 255, 3))
        picture(colour).save(folder / f"{item}.png")
    (folder / "i7.png").write_bytes(b"")
    whole, cut = (make_dataset(tmp_path / name / "shop", items) for name in ("whole", "cut"))
    options = ["--images", str(folder), "--model", "colour-layout", "--batch-size", "1"]
    assert main(["encode-images", str(whole), *options]) == 0
    for saved in (2, 1):
        kill_after(saved, ["encode-images", str(cut), *options])
    assert main(["encode-images", str(cut), *options]) == 0
    for name in ("image.npy", "image.json", "failed.tsv"):
        left, right = ((data / "features" / name).read_bytes() for data in (whole, cut))
        assert left == right, name


def test_colour_part_of_a_flat_colour_is_its_mean() -> None:
    """A constant block has one coefficient: 8 times its value (orthonormal DCT of 8 x 8)."""
    flat = np.full((64, 64, 3), 255.0)
    flat[:, :, 1] = 127.5
    part = colour_part(flat)
    np.testing.assert_allclose(part[[0, 28, 43]], [8, 0, 8], atol=1e-12)
    assert np.abs(np.delete(part, [0, 43])).max() < 1e-12


def test_gradient_part_tells_orientations_apart() -> None:
    across = np.tile(np.arange(64.0), (64, 1))
    vertical, horizontal = gradient_part(across), gradient_part(across.T)
    assert np.flatnonzero(vertical.reshape(16, 9).sum(0)).tolist() == [0]
    assert np.flatnonzero(horizontal.reshape(16, 9).sum(0)).tolist() == [4]
    assert np.linalg.norm(vertical) == pytest.approx(1)
    assert not gradient_part(np.full((64, 64), 7.0)).any()


def test_similar_pictures_are_nearer() -> None:
    red, dark_red, green = (
        describe(picture(colour)) for colour in ((200, 30, 30), (170, 20, 20), (20, 200, 60))
    )
    assert np.linalg.norm(red) == pytest.approx(1, abs=1e-6)
    assert red @ dark_red > red @ green + 0.05
    assert ColourLayout().settings["encoder"] == "colour-layout"


MODELS = {"siglip": (save_siglip, 16), "clip": (save_clip, 8), "dinov2": (save_dinov2, 16)}


@pytest.mark.parametrize("name", MODELS)
def test_transformers_models(name: str, photos: Path, tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="encoders need the extra 'encoders'")
    import torch
    from transformers import AutoImageProcessor, AutoModel

    build, width = MODELS[name]
    model = build(tmp_path / name)
    items = ["plain", "gone", "grey", "cut", "palette", "turned"]
    dataset = make_dataset(tmp_path / "shop", items)
    options = ("--max-failures", "0.5", "--batch-size", "2")
    assert encode(dataset, photos, *options, model=str(model)) == 0
    features = read_features(dataset / "features", "image", width=width)
    assert features.manifest["empty_items"] == ["gone", "cut"]
    processor, network = AutoImageProcessor.from_pretrained(model), AutoModel.from_pretrained(model)
    for row in (0, 2, 4, 5):
        (path,) = photos.glob(f"{items[row]}.*")
        pixels = processor(images=load_picture(path), return_tensors="pt")
        with torch.no_grad():
            if name == "dinov2":
                vector = network.eval()(**pixels).pooler_output
            elif name == "clip":
                hidden = network.eval().vision_model(**pixels).pooler_output
                vector = network.visual_projection(hidden)
            else:
                vector = network.eval().vision_model(**pixels).pooler_output
        expected = torch.nn.functional.normalize(vector, dim=1)[0].numpy()
        np.testing.assert_allclose(features.matrix[row], expected, atol=2e-3)


def test_a_batch_without_any_usable_picture(photos: Path, tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="encoders need the extra 'encoders'")
    model = save_siglip(tmp_path / "siglip")
    dataset = make_dataset(tmp_path / "shop", ["cut", "empty", "plain"])
    options = ("--max-failures", "1", "--batch-size", "1")
    assert encode(dataset, photos, *options, model=str(model)) == 0
    matrix = read_features(dataset / "features", "image").matrix
    assert matrix.any(axis=1).tolist() == [False, False, True]


def test_real_posters(shared: Path, tmp_path: Path) -> None:
    """The whole chain on the films of ml100k: every poster found, described and shown."""
    raw, out, page = shared / "p5" / "ml100k", tmp_path / "ml", tmp_path / "page.html"
    assert main(["convert", "p5", str(raw), str(out)]) == 0
    assert main(["encode-text", str(out), "--model", "tfidf-svd"]) == 0
    assert encode(out, raw / "photos") == 0
    items = [row["item_id"] for row in read_table(out / "ml.item")[1]]
    for modality in ("text", "image"):
        features = read_features(out / "features", modality)
        assert features.items == items and not features.manifest["empty_items"]
        norms = np.linalg.norm(features.matrix.astype(np.float32), axis=1)
        np.testing.assert_allclose(norms, 1, atol=1e-3)
    assert main(["inspect", str(out), "--html", str(page), "--shown", "5"]) == 0
    assert page.read_text().count("data:image/jpeg") == 10
