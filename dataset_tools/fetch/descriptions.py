"""Where a public data set comes from: the key ``source`` of ``properties/dataset/NAME.yaml``.

source:
  format: amazon2014              # a source of `convert`
  files:                          # what `download` fetches
    - url: https://host/reviews_Beauty_5.json.gz
      size: 123                   # bytes, where known
      checksum: md5:0123...       # or sha256:..., where known
      unpack: true                # a zip archive
  input: ml-1m                    # below the raw files, if the format wants a sub-folder
  convert: {k_core: 5}            # options of `convert`, with underscores
  text: {model: BAAI/bge-large-en-v1.5}
  images: {model: google/siglip-large-patch16-256}
  terms: a line on what the data may be used for
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from dataset_tools.errors import DatasetError, UsageError

KEYS = {"format", "files", "input", "convert", "text", "images", "terms"}
FILE_KEYS = {"url", "name", "size", "checksum", "unpack"}
CONVERT_KEYS = {
    *("k_core", "user_core", "item_core", "min_rating", "since", "until", "duplicates"),
    *("max_users", "seed", "all_items", "skip_bad_rows"),
}


@dataclass(frozen=True)
class RawFile:
    """One file to fetch; ``name`` is a plain file name."""

    url: str
    name: str
    size: int | None = None
    checksum: str | None = None
    unpack: bool = False


@dataclass(frozen=True)
class Description:
    """A public data set: its files, how to convert them, which encoders to use."""

    name: str
    path: Path
    format: str
    files: tuple[RawFile, ...]
    input: str = "."
    convert: Mapping[str, Any] = field(default_factory=dict)
    text: Mapping[str, Any] | None = None
    images: Mapping[str, Any] | None = None
    terms: str = ""


def property_folders(given: Path | None = None) -> Iterator[Path]:
    """Folders with ``NAME.yaml`` files: the given one, the current folder's, the installed ones."""
    if given is not None:
        yield given
        return
    yield Path("properties") / "dataset"
    here = Path(__file__).resolve().parents[2]
    yield here / "properties" / "dataset"
    yield from sorted(here.glob("*/properties/dataset"))


def known_names(given: Path | None = None) -> list[str]:
    """Names of the data sets that say where they come from."""
    names = set()
    for folder in property_folders(given):
        for path in folder.glob("*.yaml"):
            if "source" in _read_yaml(path):
                names.add(path.stem)
    return sorted(names)


def read_description(name: str, given: Path | None = None) -> Description:
    """The description of ``name``.

    Raises:
        UsageError: no file of that name says where the data comes from.
        DatasetError: the file is malformed; the message has file and key.
    """
    if "/" in name or "\\" in name or "\0" in name:
        raise UsageError(f"{name!r}: the name of a dataset is not a path")
    for folder in property_folders(given):
        path = folder / f"{name}.yaml"
        if path.is_file():
            source = _read_yaml(path).get("source")
            if source is not None:
                return _parse(name, path, source)
    known = ", ".join(known_names(given)) or "none"
    raise UsageError(
        f"{name}: no properties/dataset/{name}.yaml has a key 'source'; known: {known}"
    )


def _read_yaml(path: Path) -> dict[str, Any]:
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise DatasetError(f"{path}: not valid YAML ({' '.join(str(error).split())})") from error
    return content if isinstance(content, dict) else {}


def _parse(name: str, path: Path, source: Any) -> Description:
    if not isinstance(source, dict) or not {"format", "files"} <= set(source):
        raise DatasetError(f"{path}: 'source' needs the keys format and files")
    _check_keys(source, KEYS, f"{path}: source")
    _check_keys(source.get("convert") or {}, CONVERT_KEYS, f"{path}: source.convert")
    files = source["files"]
    if not isinstance(files, list) or not files:
        raise DatasetError(f"{path}: source.files is not a list of files")
    return Description(
        name,
        path,
        str(source["format"]),
        tuple(_parse_file(entry, path) for entry in files),
        str(source.get("input", ".")),
        source.get("convert") or {},
        source.get("text"),
        source.get("images"),
        str(source.get("terms", "")),
    )


def _parse_file(entry: Any, path: Path) -> RawFile:
    if not isinstance(entry, dict) or not isinstance(entry.get("url"), str):
        raise DatasetError(f"{path}: an entry of source.files has no url")
    _check_keys(entry, FILE_KEYS, f"{path}: source.files")
    name = entry.get("name") or unquote(PurePosixPath(urlsplit(entry["url"]).path).name)
    if not name or name in (".", "..") or "/" in name or "\\" in name:
        raise DatasetError(
            f"{path}: {entry['url']} does not end in a plain file name; add name: ..."
        )
    return RawFile(**{**entry, "name": name})


def _check_keys(values: Mapping[str, Any], known: set[str], where: str) -> None:
    unknown = set(values) - known
    if unknown:
        raise DatasetError(
            f"{where}: unknown key {', '.join(sorted(unknown))}; known: {', '.join(sorted(known))}"
        )
