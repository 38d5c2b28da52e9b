"""Downloads against a server that breaks connections and answers wrongly."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from dataset_tools.errors import DatasetError, DiskFullError, UsageError
from dataset_tools.fetch.archives import unpack_zip
from dataset_tools.fetch.download import DownloadError, Policy, download
from dataset_tools.fetch.picture_download import download_pictures, picture_path
from dataset_tools.formats.atomic_files import write_table
from tests.dataset_tools.fetch.server import Server, running

DATA = bytes(range(256)) * 1000
QUICK = Policy(tries=4, pause=0.01, timeout=5)


@pytest.fixture
def server() -> Iterator[Server]:
    with running() as state:
        state.files["/a.gz"] = DATA
        yield state


def ranges(server: Server) -> list[str | None]:
    return [asked for _, asked in server.requests]


def leftovers(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name != "a.gz"]


def test_a_file_comes_once(server: Server, tmp_path: Path) -> None:
    target = tmp_path / "a.gz"
    heard: list[tuple[int, int | None]] = []
    digest = hashlib.sha256(DATA).hexdigest()
    assert download(
        f"{server.url}/a.gz",
        target,
        size=len(DATA),
        checksum=f"sha256:{digest}",
        progress=lambda *news: heard.append(news),
    )
    assert target.read_bytes() == DATA and not leftovers(tmp_path)
    assert heard[-1] == (len(DATA), len(DATA))
    assert not download(f"{server.url}/a.gz", target)
    assert len(server.requests) == 1


def test_broken_connections_go_on_where_they_broke(server: Server, tmp_path: Path) -> None:
    server.faults["/a.gz"] = ["cut 100000", 503, "cut 50000"]
    download(f"{server.url}/a.gz", tmp_path / "a.gz", policy=QUICK)
    assert (tmp_path / "a.gz").read_bytes() == DATA
    assert ranges(server) == [None, "bytes=100000-", "bytes=100000-", "bytes=150000-"]


def test_a_later_call_goes_on_too(server: Server, tmp_path: Path) -> None:
    server.faults["/a.gz"] = ["cut 70000"]
    with pytest.raises(DownloadError, match="70,000 of 256,000 bytes came, after 1 tries"):
        download(f"{server.url}/a.gz", tmp_path / "a.gz", policy=Policy(tries=1))
    assert not (tmp_path / "a.gz").exists()
    download(f"{server.url}/a.gz", tmp_path / "a.gz", policy=QUICK)
    assert (tmp_path / "a.gz").read_bytes() == DATA
    assert ranges(server) == [None, "bytes=70000-"] and not leftovers(tmp_path)


@pytest.mark.parametrize("fault", ["whole", "shift", "changed"])
def test_a_server_that_gives_another_part_is_not_believed(
    server: Server, tmp_path: Path, fault: str
) -> None:
    server.faults["/a.gz"] = ["cut 70000", fault]
    download(f"{server.url}/a.gz", tmp_path / "a.gz", policy=QUICK)
    assert (tmp_path / "a.gz").read_bytes() == DATA


def test_416_on_a_complete_part_is_the_end(server: Server, tmp_path: Path) -> None:
    server.faults["/a.gz"] = ["long"]
    with pytest.raises(DownloadError, match="256,000 of 256,001 bytes came"):
        download(f"{server.url}/a.gz", tmp_path / "a.gz", policy=Policy(tries=1))
    note = tmp_path / ".a.gz.part.json"
    note.write_text(note.read_text().replace("256001", "256000"))
    download(f"{server.url}/a.gz", tmp_path / "a.gz", policy=QUICK)
    assert ranges(server) == [None, "bytes=256000-"]
    assert (tmp_path / "a.gz").read_bytes() == DATA and not leftovers(tmp_path)


def test_416_on_anything_else_starts_anew(server: Server, tmp_path: Path) -> None:
    server.faults["/a.gz"] = ["cut 70000", 416]
    download(f"{server.url}/a.gz", tmp_path / "a.gz", policy=QUICK)
    assert ranges(server) == [None, "bytes=70000-", None]
    assert (tmp_path / "a.gz").read_bytes() == DATA


def test_404_is_not_tried_again_and_says_what_to_do(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=r"/none: 404 .* put it at .*none"):
        download(f"{server.url}/none", tmp_path / "none", policy=QUICK)
    assert len(server.requests) == 1 and not leftovers(tmp_path)


def test_503_is_tried_as_often_as_agreed(server: Server, tmp_path: Path) -> None:
    server.faults["/a.gz"] = [503] * 9
    with pytest.raises(DownloadError, match=r"503 .*after 4 tries"):
        download(f"{server.url}/a.gz", tmp_path / "a.gz", policy=QUICK)
    assert len(server.requests) == 4


def test_nobody_there(tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="cannot be reached"):
        download("http://127.0.0.1:1/a", tmp_path / "a", policy=Policy(tries=2, pause=0.01))


def test_wrong_sizes_and_checksums_leave_nothing(server: Server, tmp_path: Path) -> None:
    target = tmp_path / "a.gz"
    with pytest.raises(DownloadError, match="has 256,000 bytes, not 5"):
        download(f"{server.url}/a.gz", target, size=5, policy=QUICK)
    with pytest.raises(DownloadError, match="its md5 is"):
        download(f"{server.url}/a.gz", target, checksum="md5:00", policy=QUICK)
    with pytest.raises(DownloadError, match="too many"):
        download(f"{server.url}/a.gz", target, policy=Policy(max_bytes=1000))
    assert not target.exists()
    assert not [name for name in leftovers(tmp_path) if not name.endswith(".json")]


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://host/a", "a.gz", "http:///a"])
def test_other_kinds_of_urls_are_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(UsageError, match="only http and https"):
        download(url, tmp_path / "a")


def test_redirects_stay_on_the_web(server: Server, tmp_path: Path) -> None:
    server.redirects = {"/there": f"{server.url}/a.gz", "/out": "file:///etc/passwd"}
    download(f"{server.url}/there", tmp_path / "a.gz", policy=QUICK)
    assert (tmp_path / "a.gz").read_bytes() == DATA
    with pytest.raises(DatasetError):
        download(f"{server.url}/out", tmp_path / "b.gz", policy=QUICK)
    assert not (tmp_path / "b.gz").exists()


def test_pictures_several_at_a_time(server: Server, tmp_path: Path) -> None:
    items = {f"id/{n}": f"{server.url}/{n}.png?x=1" for n in range(40)}
    items |= {
        "gone": f"{server.url}/gone.jpg",
        "bad": "javascript://x",
        "..": f"{server.url}/1.png",
    }
    server.files |= {f"/{n}.png?x=1": bytes([n]) * 2000 for n in range(40)} | {"/1.png": b"dots"}
    server.faults = {"/3.png?x=1": ["cut 100", 503], "/4.png?x=1": [429]}
    write_table(tmp_path / "images.tsv", ["item_id:token", "image:token"], items.items())
    folder = tmp_path / "images"
    server.together = 2
    found = download_pictures(tmp_path, folder, workers=4, policy=QUICK)
    assert (found.fetched, found.there, set(found.failed)) == (41, 0, {"gone", "bad"})
    assert 1 < server.most_active <= 4
    for n in range(40):
        assert (folder / f"id%2F{n}.png").read_bytes() == bytes([n]) * 2000
    assert picture_path("..", "x.png", folder).resolve().parent == folder.resolve()
    assert "404" in (folder / "failed.tsv").read_text()
    assert not list(folder.glob(".*.part"))
    again = download_pictures(tmp_path, folder, workers=4, policy=QUICK)
    assert (again.fetched, again.there) == (0, 41)


def test_no_picture_at_all_is_a_failure_with_a_way_out(server: Server, tmp_path: Path) -> None:
    rows = [("a", f"{server.url}/none.jpg")]
    write_table(tmp_path / "images.tsv", ["item_id:token", "image:token"], rows)
    with pytest.raises(DatasetError, match=r"none of 1 pictures.*404.*named by its item's id"):
        download_pictures(tmp_path, tmp_path / "images", policy=QUICK)


def archive(**members: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as packed:
        for name, data in members.items():
            packed.writestr(name.replace("__", "/"), data)
    return stream.getvalue()


def test_archives_unpack_inside_their_folder(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(archive(ml__u_data=b"1", README=b"2"))
    found = unpack_zip(tmp_path / "a.zip", tmp_path / "raw")
    assert sorted(path.relative_to(tmp_path) for path in found) == [
        Path("raw/README"),
        Path("raw/ml/u_data"),
    ]


@pytest.mark.parametrize("name", ["../out", "/etc/out", "a/../../out", "..\\out", "C:\\out"])
def test_archives_that_lead_out_are_refused_whole(tmp_path: Path, name: str) -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as packed:
        packed.writestr("good", b"1")
        packed.writestr(name, b"2")
    (tmp_path / "a.zip").write_bytes(stream.getvalue())
    with pytest.raises(DatasetError, match="points outside the folder"):
        unpack_zip(tmp_path / "a.zip", tmp_path / "raw")
    assert os.listdir(tmp_path) == ["a.zip"]


def test_links_and_damage_are_refused(tmp_path: Path) -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as packed:
        link = zipfile.ZipInfo("link")
        link.external_attr = 0o120777 << 16
        packed.writestr(link, "/etc/passwd")
    (tmp_path / "a.zip").write_bytes(stream.getvalue())
    with pytest.raises(DatasetError, match="points outside the folder"):
        unpack_zip(tmp_path / "a.zip", tmp_path)
    (tmp_path / "b.zip").write_bytes(archive(a=b"x" * 1000)[:60])
    with pytest.raises(DatasetError, match=r"b\.zip: damaged"):
        unpack_zip(tmp_path / "b.zip", tmp_path)


def test_a_full_disk_is_no_broken_connection(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Said at once, with what is needed; what has come is kept and goes on when there is room."""
    target = tmp_path / "a.gz"

    def full(have: int, _: int | None) -> None:
        if have > 100_000:
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(
        DiskFullError, match=r"a\.gz: not enough disk space: 256,000 bytes are needed"
    ):
        download(f"{server.url}/a.gz", target, policy=QUICK, progress=full)
    assert len(server.requests) == 1
    download(f"{server.url}/a.gz", target, policy=QUICK)
    assert target.read_bytes() == DATA and ranges(server)[1] is not None


def test_a_full_disk_ends_a_download_of_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> bool:
        raise DiskFullError("no room")

    monkeypatch.setattr("dataset_tools.fetch.picture_download.download", full)
    rows = [("a", "http://host/a.jpg"), ("b", "http://host/b.jpg")]
    write_table(tmp_path / "images.tsv", ["item_id:token", "image:token"], rows)
    with pytest.raises(DiskFullError, match="no room"):
        download_pictures(tmp_path, tmp_path / "images")
