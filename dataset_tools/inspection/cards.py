"""What the pages of `inspect` and `neighbours` consist of: cards with thumbnails, small plots."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dataset_tools.errors import UsageError
from dataset_tools.features.store_files import read_manifest
from dataset_tools.files.atomic_write import replacing
from dataset_tools.files.dataset_folder import FEATURES_NAME, IMAGES_FOLDER
from dataset_tools.page import Card, Cards, Figure, Page

Thumbnail = Callable[[str], str]
SIDE = 160


def thumbnails(dataset: Path, images: Path | None) -> Thumbnail:
    """A function from item to a data url of its picture, or to nothing.

    The folder of pictures is the given one, else the one the image features were made from,
    else ``images`` in the data set.
    """
    folder = images or _known_folder(dataset)
    if folder is None:
        return lambda item: ""
    from dataset_tools.encoders.pictures import PictureError, find_pictures, load_picture

    found = find_pictures(dataset, folder)[1]

    def thumbnail(item: str) -> str:
        if item not in found:
            return ""
        try:
            picture = load_picture(found[item])
        except PictureError:
            return ""
        picture.thumbnail((SIDE, SIDE))
        stream = io.BytesIO()
        picture.save(stream, "JPEG", quality=80)
        return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode()}"

    return thumbnail


def _known_folder(dataset: Path) -> Path | None:
    candidates = [dataset / IMAGES_FOLDER]
    if (dataset / FEATURES_NAME / "image.json").is_file():
        noted = read_manifest(dataset / FEATURES_NAME, "image").get("images")
        candidates = [Path(str(noted)), *candidates] if noted else candidates
    return next((folder for folder in candidates if folder.is_dir()), None)


def write_page(path: Path, page: Page) -> None:
    """Write a page.

    Raises:
        UsageError: it cannot be written there.
    """
    try:
        with replacing(path) as stream:
            stream.write(page.html())
    except OSError as error:
        raise UsageError(
            f"--html: cannot write {path.absolute()}: {error.strerror}; choose another file"
        ) from None


def cards(items: Sequence[Mapping[str, Any]], thumbnail: Thumbnail, note: str) -> Cards:
    """Cards of ``item``, ``title``, ``other`` and a line ``note.format(**item)``."""
    return Cards(
        [
            Card(
                thumbnail(one["item"]),
                one["title"],
                one["other"],
                f"id {one['item']} · {note.format(**one)}",
            )
            for one in items
        ]
    )


def bars(title: str, classes: Sequence[Mapping[str, int]]) -> Figure:
    """A plot of ``{from, to, count}`` classes; needs matplotlib."""
    from dataset_tools.page.figures import COLOURS, drawing, inline_svg

    while classes and not classes[0]["count"]:
        classes = classes[1:]
    names = [f"{one['from']}–{one['to']}".removeprefix(f"{one['to']}–") for one in classes]
    with drawing(title) as (figure, axes):
        drawn = axes.bar(names, [one["count"] for one in classes], color=COLOURS[0])
        axes.bar_label(drawn, [f"{one['count']:,}" for one in classes], fontsize=6)
        axes.tick_params("x", labelrotation=45 if len(names) > 8 else 0, labelsize=7)
        axes.yaxis.set_visible(False)
        axes.spines["left"].set_visible(False)
        return Figure(inline_svg(figure, title), title)
