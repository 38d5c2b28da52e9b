"""Item pictures: where they are, and how each becomes plain RGB or a reason why not."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import quote

import numpy as np

from dataset_tools.encoders.encode_features import FAILED_NAME, Inputs, unique_inputs
from dataset_tools.errors import UsageError
from dataset_tools.files.dataset_folder import IMAGES_NAME, dataset_file
from dataset_tools.files.hashes import digest_of, file_hash
from dataset_tools.formats.atomic_files import read_item_table
from dataset_tools.progress import progress

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_PIXELS = 64_000_000
MAX_BYTES = 256 * 1024 * 1024
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")
# Looked at where there is no file of the kinds above. Pillow does not read the HEIF family: such
# a file then fails with that reason, which says more than that there is none.
RARER_SUFFIXES = (
    *(".jfif", ".jpe", ".jif", ".jfi", ".avif", ".avifs", ".apng", ".dib", ".ico", ".icns"),
    *(".jp2", ".j2k", ".jpf", ".jpx", ".j2c", ".jpc", ".ppm", ".pgm", ".pbm", ".pnm", ".pfm"),
    *(".tga", ".pcx", ".sgi", ".rgb", ".rgba", ".bw", ".dds", ".qoi", ".heic", ".heif"),
)
# What Pillow hands to another program, which runs what the file says.
PROGRAMS = ("EPS", "PDF", "WMF")
T = TypeVar("T")


class PictureError(Exception):
    """A picture cannot be used; the message is the reason for ``failed.tsv``."""


def file_stem(item: str) -> str:
    """The name, without suffix, under which an item's picture is kept."""
    stem = quote(item, safe=" ")
    return stem if len(stem) <= 200 else hashlib.sha256(item.encode()).hexdigest()


def find_pictures(dataset: Path, folder: Path) -> tuple[list[str], dict[str, Path], dict[str, str]]:
    """The items of a data set, the file of each picture, and why others have none.

    A picture is what ``images.tsv`` names (a path below ``folder``), else the file anywhere
    below ``folder`` whose name without suffix is the item's id.

    Raises:
        UsageError: there is no such folder or data set.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder of pictures; name it with --images")
    rows = read_item_table(dataset_file(dataset, "item"))[1]
    items = list(dict.fromkeys(row["item_id"] for row in rows))
    listed = _listed_pictures(dataset / IMAGES_NAME)
    by_stem = _files_by_stem(folder)
    found, reasons = {}, {}
    for item in items:
        try:
            found[item] = _picture_of(item, listed.get(item, ""), folder, by_stem)
        except PictureError as error:
            reasons[item] = str(error)
    return items, found, reasons


def _listed_pictures(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    columns, rows = read_item_table(path)
    if "image" not in {column.name for column in columns}:
        raise UsageError(f"{path}, line 1: no column image:token")
    return {row["item_id"]: row["image"] for row in rows}


def _files_by_stem(folder: Path) -> dict[str, Path]:
    common: dict[str, Path] = {}
    rarer: dict[str, Path] = {}
    for root, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            stem, _, suffix = name.rpartition(".")
            if f".{suffix.lower()}" in SUFFIXES:
                common.setdefault(stem, Path(root, name))
            elif f".{suffix.lower()}" in RARER_SUFFIXES:
                rarer.setdefault(stem, Path(root, name))
    return {**rarer, **common}


def _picture_of(item: str, listed: str, folder: Path, by_stem: Mapping[str, Path]) -> Path:
    is_url = "://" in listed[:10]
    at_fault = "no file"
    if listed and not is_url:
        path = Path(os.path.normpath(folder / listed))
        if not path.is_relative_to(os.path.normpath(folder)):
            raise PictureError(f"{listed} leads out of the folder of pictures")
        try:
            check_plain_file(path)
        except FileNotFoundError:
            at_fault = f"no file {listed[:80]}"
        except PictureError as error:
            at_fault = f"{listed[:80]}: {error}"
        else:
            return path
    for stem in (file_stem(item), item):
        if stem in by_stem:
            return by_stem[stem]
    raise PictureError(at_fault)


def check_plain_file(path: Path) -> None:
    """See that ``path`` can be read without waiting for anybody.

    Raises:
        FileNotFoundError: nothing has that name.
        PictureError: a link in a circle or to nowhere, a folder, a pipe, a name that no file can
            have.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        if path.is_symlink():
            raise PictureError("a link to a file that is not there") from None
        raise
    except (OSError, ValueError) as error:
        raise PictureError(_reason(error)) from None
    if not stat.S_ISREG(mode):
        raise PictureError("a folder" if stat.S_ISDIR(mode) else "not a regular file")


def _reason(error: Exception) -> str:
    """What the system says, without the path: it may be longer than a file name can be."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror[:1].lower() + error.strerror[1:]
    return f"{type(error).__name__}: {error}"


def picture_inputs(
    items: list[str],
    found: Mapping[str, Path],
    reasons: Mapping[str, str],
    folder: Path,
    limit: int | None = None,
) -> Inputs:
    """One input a different picture (by content); of the first ``limit`` items, if given."""
    chosen = items if limit is None else items[:limit]
    contents = [(item, found[item]) for item in chosen if item in found]
    keys: list[Path | None] = [None] * len(items)
    first: dict[str, Path] = {}
    failed = {item: reasons[item] for item in chosen if item in reasons}
    hashes = _content_hashes([path for _, path in contents])
    for row, item in enumerate(chosen):
        if item in found:
            content = hashes[found[item]]
            if isinstance(content, PictureError):
                failed[item] = str(content)
            else:
                keys[row] = first.setdefault(content, found[item])
    unique, rows = unique_inputs(items, keys, str)
    names = (f"{os.path.relpath(key, folder)} {key.stat().st_size}" if key else "" for key in keys)
    digest = digest_of(names)
    content = digest_of(str(hashes[key]) if key else "" for key in keys)
    failed = {item: failed[item] for item in chosen if item in failed}
    return Inputs(items, unique, rows, digest, failed, FAILED_NAME, content)


def _content_hashes(paths: Sequence[Path]) -> dict[Path, str | PictureError]:
    """The SHA-256 of each file, or why it cannot be read."""
    different = list(dict.fromkeys(paths))
    hashes: dict[Path, str | PictureError] = {}
    for path in progress(different, "compare pictures", "pictures", len(different)):
        try:
            check_plain_file(path)
            size = path.stat().st_size
            # What is too large is not read here either: encoding it says so.
            hashes[path] = file_hash(path) if size <= MAX_BYTES else f"{path} of {size} bytes"
        except PictureError as error:
            hashes[path] = error
        except OSError as error:
            hashes[path] = PictureError(_reason(error))
    return hashes


def load_picture(path: Path) -> Image:
    """A picture upright in RGB, on white where it is transparent; the first frame of several.

    Raises:
        PictureError: empty, too large, cut off, no picture, or not a regular file.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        check_plain_file(path)
        size = path.stat().st_size
        if not size:
            raise PictureError("zero bytes")
        if size > MAX_BYTES:
            raise PictureError(f"file of {size:,} bytes")
        with Image.open(io.BytesIO(path.read_bytes())) as picture:
            if picture.format in PROGRAMS:
                raise PictureError(f"a program in {picture.format}; it is not run")
            if picture.width * picture.height > MAX_PIXELS:
                raise PictureError(f"{picture.width} x {picture.height} pixels are too many")
            picture.load()
            return _as_rgb(ImageOps.exif_transpose(_without_bad_exif(picture)))
    except UnidentifiedImageError:
        raise PictureError("not a picture, or of an unknown format") from None
    except PictureError:
        raise
    except OSError as error:
        raise PictureError(_reason(error)) from error
    except Exception as error:  # decoders of damaged files raise nearly any type
        raise PictureError(f"{type(error).__name__}: {error}") from error


def _without_bad_exif(picture: Image) -> Image:
    """The picture, without its EXIF block where that cannot be read."""
    try:
        picture.getexif().get(0x0112)
    except Exception:  # the rotation is lost, the picture is not
        picture = picture.copy()
        picture.info.pop("exif", None)
        picture.getexif().clear()
    return picture


def _as_rgb(picture: Image) -> Image:
    from PIL import Image

    if picture.mode.startswith("I") or picture.mode == "F":
        # Sixteen-bit grey: Pillow would clip it at 255 rather than scale it.
        values = np.nan_to_num(np.asarray(picture, dtype=np.float32)).clip(min=0)
        top = values.max()
        scale = 1.0 if top <= 255 else 255 / max(65535.0, top)
        picture = Image.fromarray((values * scale).astype(np.uint8))
    if "A" in picture.getbands() or "transparency" in picture.info:
        layers = picture.convert("RGBA")
        ground = Image.new("RGBA", layers.size, (255, 255, 255, 255))
        return Image.alpha_composite(ground, layers).convert("RGB")
    return picture.convert("RGB")


@contextmanager
def _quiet_pillow() -> Iterator[None]:
    """Pillow warns of sizes that are refused here anyway; its switches are left as they are."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        yield


def map_pictures(
    paths: Sequence[Path], use: Callable[[Image], T], workers: int | None = None
) -> tuple[dict[int, T], dict[int, str]]:
    """``use`` of every picture by its place, on several threads, and reasons for the others."""

    def one(path: Path) -> T | PictureError:
        try:
            return use(load_picture(path))
        except PictureError as error:
            return error

    with _quiet_pillow(), ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        results = list(pool.map(one, paths))
    good = {at: value for at, value in enumerate(results) if not isinstance(value, PictureError)}
    bad = {at: str(value) for at, value in enumerate(results) if isinstance(value, PictureError)}
    return good, bad
