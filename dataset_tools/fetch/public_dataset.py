"""Download, convert and encode a public data set; each finished step is skipped next time."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from dataset_tools.conversion.publish import tidy
from dataset_tools.errors import DatasetError, UsageError
from dataset_tools.features.store_files import list_modalities
from dataset_tools.fetch.descriptions import Description, RawFile
from dataset_tools.fetch.download import Policy, download
from dataset_tools.files.dataset_folder import FEATURES_NAME, IMAGES_FOLDER

RAW_NAME = "raw"


@dataclass(frozen=True)
class Choices:
    """What the user decides over the description.

    ``urls`` is file name -> url; a model of None is that of the description, ``none`` leaves
    the modality out.
    """

    root: Path = Path("dataset")
    raw: Path | None = None
    urls: Mapping[str, str] = field(default_factory=dict)
    text_model: str | None = None
    image_model: str | None = None
    device: str = "auto"
    batch_size: int = 32
    overwrite: bool = False
    policy: Policy = field(default_factory=Policy)


def with_urls(description: Description, urls: Mapping[str, str]) -> Description:
    """The description with some urls replaced; raises ``UsageError`` for an unknown file."""
    unknown = set(urls) - {file.name for file in description.files}
    if unknown:
        names = ", ".join(file.name for file in description.files)
        raise UsageError(f"{', '.join(sorted(unknown))}: {description.name} has the files {names}")
    files = (replace(file, url=urls.get(file.name, file.url)) for file in description.files)
    return replace(description, files=tuple(files))


def fetch_files(
    description: Description, raw: Path, policy: Policy, say: Callable[[str], None]
) -> None:
    """Fetch the raw files that are not there, and unpack archives.

    Raises:
        DownloadError: a file cannot be had; the message says where to put it by hand.
    """
    for file in description.files:
        path = raw / file.name
        unpacked = raw / f".{file.name}.unpacked"
        if not (file.unpack and unpacked.is_file()):
            new = _fetch(file, path, policy)
            say(f"{path}: {'fetched' if new else 'already there'}")
        if file.unpack and not unpacked.is_file():
            from dataset_tools.fetch.archives import unpack_zip

            say(f"{path}: {len(unpack_zip(path, raw))} files unpacked")
            unpacked.touch()


def _fetch(file: RawFile, path: Path, policy: Policy) -> bool:
    from tqdm import tqdm

    quiet = not sys.stderr.isatty()
    with tqdm(desc=file.name, unit="B", unit_scale=True, disable=quiet, leave=False) as bar:

        def show(done: int, total: int | None) -> None:
            bar.total = total
            bar.update(done - bar.n)

        return download(
            file.url,
            path,
            size=file.size,
            checksum=file.checksum,
            policy=policy,
            progress=show,
        )


def prepare(description: Description, choices: Choices, say: Callable[[str], None] = print) -> Path:
    """Run every step that is not done; returns the data set's folder.

    Atomic files and modalities that are there are left as they are, also such as were made by
    other commands, unless ``choices.overwrite``.

    Raises:
        DatasetError: a step failed; what is finished stays, and the same call goes on.
    """
    folder = choices.root / description.name
    description = with_urls(description, choices.urls)
    for line in tidy(folder):
        say(line)
    if description.terms:
        say(f"{description.name}: {description.terms}")
    _convert(description, folder, choices, say)
    _encode_text(description, folder, choices, say)
    _encode_images(description, folder, choices, say)
    return folder


def is_converted(folder: Path, name: str) -> bool:
    """Whether both atomic files are there."""
    return all((folder / f"{name}.{suffix}").is_file() for suffix in ("inter", "item"))


def _convert(
    description: Description, folder: Path, choices: Choices, say: Callable[[str], None]
) -> None:
    if is_converted(folder, description.name) and not choices.overwrite:
        say(f"{folder}: atomic files already there")
        return
    from dataset_tools.conversion.convert import convert
    from dataset_tools.interactions.filters import build_filters
    from dataset_tools.sources.registry import open_source

    raw = choices.raw or folder / RAW_NAME
    fetch_files(description, raw, choices.policy, say)
    source = open_source(description.format, raw / description.input, {})
    filters = build_filters(dict(description.convert))
    summary = convert(
        source,
        folder,
        description.name,
        filters,
        all_items=description.convert.get("all_items"),
        overwrite=choices.overwrite,
        skip_bad_rows=description.convert.get("skip_bad_rows"),
    )
    for line in summary.lines():
        say(line)


def _model(chosen: str | None, described: Mapping[str, object] | None) -> str | None:
    if chosen is not None:
        return None if chosen == "none" else chosen
    return str(described["model"]) if described and "model" in described else None


def _encode_text(
    description: Description, folder: Path, choices: Choices, say: Callable[[str], None]
) -> None:
    model = _model(choices.text_model, description.text)
    if model is None or _has(folder, "text", choices, say):
        return
    from dataset_tools.encoders.encode_dataset import encode_text

    for line in encode_text(
        folder,
        model,
        columns=(description.text or {}).get("columns"),
        template=(description.text or {}).get("template"),
        device=choices.device,
        batch_size=choices.batch_size,
        overwrite=choices.overwrite,
    ):
        say(line)


def _encode_images(
    description: Description, folder: Path, choices: Choices, say: Callable[[str], None]
) -> None:
    model = _model(choices.image_model, description.images)
    if model is None or _has(folder, "image", choices, say):
        return
    from dataset_tools.encoders.encode_dataset import encode_images
    from dataset_tools.fetch.picture_download import download_pictures

    images = folder / IMAGES_FOLDER
    found = download_pictures(folder, images)
    say(
        f"{images}: {found.fetched:,} pictures fetched, {found.there:,} already there, "
        f"{len(found.failed):,} failed"
    )
    for line in encode_images(
        folder,
        model,
        images=images,
        device=choices.device,
        batch_size=choices.batch_size,
        overwrite=choices.overwrite,
        max_failures=float((description.images or {}).get("max_failures", 0.2)),
    ):
        say(line)


def _has(folder: Path, modality: str, choices: Choices, say: Callable[[str], None]) -> bool:
    there = modality in list_modalities(folder / FEATURES_NAME) and not choices.overwrite
    if there:
        say(f"{folder / FEATURES_NAME / modality}.npy: already there")
    return there


def explain(error: DatasetError, description: Description, choices: Choices) -> str:
    """The error with the two ways out, for a data set that could not be prepared."""
    folder = choices.root / description.name
    raw = choices.raw or folder / RAW_NAME
    names = ", ".join(file.name for file in description.files)
    return (
        f"{error}\n{description.name} could not be prepared. Two ways out:\n"
        f"  1. put the raw files ({names}) into {raw} and run "
        f"`python -m dataset_tools prepare {description.name}` again; models that cannot be "
        "fetched are replaced with --text-model tfidf-svd --image-model none\n"
        f"  2. convert a copy of the data that you have: `python -m dataset_tools convert SOURCE "
        f"INPUT {folder} --name {description.name}`"
    )
