"""The pictures of a catalogue: several at a time, each whole or not at all."""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from dataset_tools.encoders.pictures import SUFFIXES, file_stem
from dataset_tools.errors import DatasetError, DiskFullError, UsageError
from dataset_tools.fetch.download import Policy, download
from dataset_tools.files.atomic_write import replacing
from dataset_tools.files.dataset_folder import IMAGES_NAME
from dataset_tools.formats.atomic_files import read_table

WORKERS = 8
MAX_WORKERS = 32
BLOCK = 512  # handed out at a time, so that an interruption ends soon
POLICY = Policy(tries=4, timeout=20.0, max_bytes=32 * 1024 * 1024)


@dataclass(frozen=True)
class FetchedPictures:
    """``failed`` is item -> reason."""

    fetched: int
    there: int
    failed: dict[str, str]


def picture_path(item: str, url: str, folder: Path) -> Path:
    """Where the picture of an item is kept: by its id, with the suffix of the url."""
    suffix = PurePosixPath(urlsplit(url).path).suffix.lower()
    return folder / f"{file_stem(item)}{suffix if suffix in SUFFIXES else '.jpg'}"


def download_pictures(
    dataset: Path, folder: Path, workers: int = WORKERS, policy: Policy = POLICY
) -> FetchedPictures:
    """Fetch every url of ``images.tsv``; those that are there are left alone.

    What failed is written to ``folder/failed.tsv``; running it again tries these again.

    Raises:
        UsageError: there is no ``images.tsv``.
        DatasetError: not one of them could be fetched.
    """
    path = dataset / IMAGES_NAME
    if not path.is_file():
        raise UsageError(f"{path}: missing; the source of this dataset lists no pictures")
    listed = ((row["item_id"], row["image"]) for row in read_table(path)[1])
    jobs = [(item, url) for item, url in listed if "://" in url]
    folder.mkdir(parents=True, exist_ok=True)
    fetched, failed = 0, {}
    from tqdm import tqdm

    def fetch(job: tuple[str, str]) -> tuple[bool, str]:
        try:
            return download(job[1], picture_path(*job, folder), policy=policy), ""
        except DiskFullError:  # no picture after this one would have room
            raise
        except (DatasetError, OSError) as error:
            return False, str(error).partition(". Fetch it")[0]

    quiet = not sys.stderr.isatty()
    with (
        ThreadPoolExecutor(min(workers, MAX_WORKERS)) as pool,
        tqdm(total=len(jobs), desc="pictures", unit=" pictures", disable=quiet) as bar,
    ):
        for start in range(0, len(jobs), BLOCK):
            block = jobs[start : start + BLOCK]
            for (item, _), (new, reason) in zip(block, pool.map(fetch, block), strict=True):
                bar.update()
                fetched += new
                if reason:
                    failed[item] = reason
    return _finish(folder, jobs, fetched, failed)


def _finish(
    folder: Path, jobs: list[tuple[str, str]], fetched: int, failed: dict[str, str]
) -> FetchedPictures:
    target = folder / "failed.tsv"
    if failed:
        with replacing(target) as stream:
            stream.write("item_id\treason\n")
            stream.writelines(f"{item}\t{' '.join(why.split())}\n" for item, why in failed.items())
    else:
        target.unlink(missing_ok=True)
    if failed and len(failed) == len(jobs):
        reason = next(iter(failed.values()))
        raise DatasetError(
            f"none of {len(jobs):,} pictures could be fetched ({reason}); save them in "
            f"{os.path.abspath(folder)}, each named by its item's id, such as {file_stem('ID')}.jpg"
        )
    return FetchedPictures(fetched, len(jobs) - fetched - len(failed), failed)
