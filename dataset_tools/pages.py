"""Stand-alone HTML pages: cards with thumbnails, small plots; nothing is loaded from elsewhere."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from dataset_tools.feature_files import read_manifest
from dataset_tools.files import replacing
from dataset_tools.layout import FEATURES_NAME, IMAGES_FOLDER

Thumbnail = Callable[[str], str]
SIDE = 160
STYLE = """
body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:75rem;padding:0 1rem;color:#222}
h1{font-size:1.5rem}h2{font-size:1.15rem;margin:2rem 0 .6rem}
table{border-collapse:collapse}td,th{padding:.2rem .9rem .2rem 0;text-align:left}
td.n{text-align:right;font-variant-numeric:tabular-nums}
.cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(10.5rem,1fr));gap:.9rem}
.card{border:1px solid #ddd;border-radius:6px;padding:.6rem;font-size:.85rem;overflow-wrap:anywhere}
.card img{width:100%;height:11rem;object-fit:contain;background:#f4f4f4}
.card .none{height:11rem;background:#f4f4f4;color:#999;display:grid;place-items:center}
.card b{display:block;margin:.4rem 0 .2rem}.dim{color:#666}
svg text{font:11px system-ui,sans-serif;fill:#444}svg rect{fill:#4a7fb5}
.plots{display:flex;flex-wrap:wrap;gap:2rem;margin-top:1rem}figure{margin:0}
"""


def thumbnails(dataset: Path, images: Path | None) -> Thumbnail:
    """A function from item to a data url of its picture, or to nothing.

    The folder of pictures is the given one, else the one the image features were made from,
    else ``images`` in the data set.
    """
    folder = images or _known_folder(dataset)
    if folder is None:
        return lambda item: ""
    from dataset_tools.pictures import PictureError, find_pictures, load_picture

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


def write_page(path: Path, title: str, parts: Sequence[str]) -> None:
    """A whole page of finished HTML parts."""
    with replacing(path) as stream:
        stream.write(
            f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
            f"<style>{STYLE}</style>\n<h1>{escape(title)}</h1>\n"
        )
        stream.write("\n".join(parts))
        stream.write("\n</html>\n")


def cards(items: Sequence[Mapping[str, Any]], thumbnail: Thumbnail, note: str) -> str:
    """Cards of ``item``, ``title``, ``other`` and a line ``note.format(**item)``."""
    parts = []
    for one in items:
        url = thumbnail(one["item"])
        picture = f'<img src="{url}" alt="">' if url else '<div class="none">no picture</div>'
        parts.append(
            f'<div class="card">{picture}<b>{escape(one["title"] or "no title")}</b>'
            f'<div class="dim">{escape(one["other"])}</div>'
            f"<div>id {escape(one['item'])} · {escape(note.format(**one))}</div></div>"
        )
    return f'<div class="cards">{"".join(parts)}</div>'


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; all cells but the first of a row are numbers."""
    top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    body = "".join(
        f"<tr><td>{escape(row[0])}</td>"
        + "".join(f'<td class="n">{escape(cell)}</td>' for cell in row[1:])
        + "</tr>"
        for row in rows
    )
    return f"<table><tr>{top}</tr>{body}</table>"


def bars(title: str, classes: Sequence[Mapping[str, int]]) -> str:
    """A plot of ``{from, to, count}`` classes."""
    while classes and not classes[0]["count"]:
        classes = classes[1:]
    most = max((one["count"] for one in classes), default=0) or 1
    width, height, step = 40 + 46 * len(classes), 150, 46
    parts = []
    for at, one in enumerate(classes):
        tall = round(110 * one["count"] / most, 1)
        left = 10 + at * step
        label = f"{one['from']}–{one['to']}" if one["from"] < one["to"] else str(one["to"])
        parts.append(
            f'<rect x="{left}" y="{130 - tall}" width="{step - 8}" height="{tall}">'
            f"<title>{label}: {one['count']:,}</title></rect>"
            f'<text x="{left}" y="{125 - tall}">{one["count"]:,}</text>'
            f'<text x="{left}" y="145">{"≤ " if one["from"] < one["to"] else ""}{one["to"]}</text>'
        )
    return (
        f'<figure><figcaption>{escape(title)}</figcaption><svg width="{width}" height="{height}" '
        f'role="img">{"".join(parts)}</svg></figure>'
    )
