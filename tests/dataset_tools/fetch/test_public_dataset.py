"""Public data sets by their description: every step once, and again where it stopped."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from dataset_tools.__main__ import main
from dataset_tools.errors import DatasetError, UsageError
from dataset_tools.features import list_modalities
from dataset_tools.fetch.descriptions import known_names, read_description
from tests.dataset_tools.encoders.test_encode_images import picture
from tests.dataset_tools.fetch.server import Server, running

PROPERTIES = Path(__file__).resolve().parents[3] / "properties" / "dataset"


def png(colour: tuple[int, int, int]) -> bytes:
    stream = io.BytesIO()
    picture(colour).save(stream, "png")
    return stream.getvalue()


@pytest.fixture
def server() -> Iterator[Server]:
    with running() as state:
        events = [
            {"user_id": f"u{n % 4}", "asin": f"i{n % 3}", "rating": 5.0, "timestamp": n}
            for n in range(24)
        ]
        items = [
            {
                "parent_asin": f"i{n}",
                "title": f"soap number {n}",
                "images": [{"large": f"{state.url}/{n}.png"}],
            }
            for n in range(3)
        ]
        for name, records in (("Soap.jsonl.gz", events), ("meta_Soap.jsonl.gz", items)):
            state.files[f"/{name}"] = gzip.compress("\n".join(map(json.dumps, records)).encode())
        state.files |= {f"/{n}.png": png((50 * n, 99, 0)) for n in range(3)}
        yield state


@pytest.fixture
def properties(server: Server, tmp_path: Path) -> Path:
    folder = tmp_path / "properties"
    folder.mkdir()
    source = {
        "format": "amazon2023",
        "files": [
            {"url": f"{server.url}/Soap.jsonl.gz", "size": len(server.files["/Soap.jsonl.gz"])},
            {"url": f"{server.url}/meta_Soap.jsonl.gz"},
        ],
        "convert": {"k_core": 2},
        "text": {"model": "tfidf-svd"},
        "images": {"model": "colour-layout"},
        "terms": "made up",
    }
    (folder / "soap.yaml").write_text(json.dumps({"load_col": None, "source": source}))
    (folder / "other.yaml").write_text("epochs: 3\n")
    return folder


def run(command: str, properties: Path, tmp_path: Path, *options: str) -> int:
    places = ["--properties", str(properties), "--root", str(tmp_path / "dataset")]
    return main([command, "soap", *places, *options])


def test_all_steps_then_none(
    server: Server, properties: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("prepare", properties, tmp_path) == 0
    folder = tmp_path / "dataset" / "soap"
    assert list_modalities(folder / "features") == ["text", "image"]
    assert "soap: made up" in capsys.readouterr().out
    asked = len(server.requests)
    assert asked == 5
    stamps = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    assert run("prepare", properties, tmp_path) == 0
    assert len(server.requests) == asked
    assert stamps == {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    assert capsys.readouterr().out.count("already there") == 3


def test_a_failed_step_is_taken_up_again(
    server: Server, properties: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    meta = server.files.pop("/meta_Soap.jsonl.gz")
    assert run("prepare", properties, tmp_path) == 1
    said = capsys.readouterr().err
    raw = tmp_path / "dataset" / "soap" / "raw"
    assert "404" in said and f"put it at {raw / 'meta_Soap.jsonl.gz'}" in said
    assert "Two ways out" in said and "convert SOURCE" in said
    (raw / "meta_Soap.jsonl.gz").write_bytes(meta)
    assert run("prepare", properties, tmp_path) == 0
    assert [path for path, _ in server.requests].count("/Soap.jsonl.gz") == 1


def test_what_was_made_otherwise_is_left_alone(
    server: Server, properties: Path, tmp_path: Path
) -> None:
    assert run("prepare", properties, tmp_path, "--image-model", "none") == 0
    item = tmp_path / "dataset" / "soap" / "soap.item"
    item.write_text(item.read_text().replace("soap number 1", "by hand"))
    assert run("prepare", properties, tmp_path, "--text-model", "none") == 0
    assert "by hand" in item.read_text()
    assert list_modalities(item.parent / "features") == ["text", "image"]
    assert run("prepare", properties, tmp_path, "--overwrite") == 0
    assert "by hand" not in item.read_text()


def test_download_fetches_files_then_pictures(
    server: Server, properties: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("download", properties, tmp_path) == 0
    assert "pictures: first `dataset_tools prepare soap" in capsys.readouterr().out
    assert run("prepare", properties, tmp_path, "--image-model", "none") == 0
    assert run("download", properties, tmp_path) == 0
    assert "3 pictures fetched, 0 already there, 0 failed" in capsys.readouterr().out


def test_urls_can_be_taken_from_another_place(
    server: Server, properties: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.files["/elsewhere"] = server.files.pop("/meta_Soap.jsonl.gz")
    override = f"meta_Soap.jsonl.gz={server.url}/elsewhere"
    assert run("download", properties, tmp_path, "--url", override) == 0
    assert run("download", properties, tmp_path, "--url", "none.gz=http://x/y") == 2
    assert "soap has the files Soap.jsonl.gz, meta_Soap.jsonl.gz" in capsys.readouterr().err


def test_archives_are_unpacked_once(server: Server, tmp_path: Path) -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as packed:
        packed.writestr("ml/u.data", "1\t2\t3\t4\n1\t3\t3\t5\n")
        packed.writestr("ml/u.item", "2|Kolya (1996)|x\n")
    server.files["/ml.zip"] = stream.getvalue()
    source = {
        "format": "movielens",
        "files": [{"url": f"{server.url}/ml.zip", "unpack": True}],
        "input": "ml",
    }
    (tmp_path / "soap.yaml").write_text(json.dumps({"source": source}))
    for _ in range(2):
        assert run("prepare", tmp_path, tmp_path) == 0
    assert "Kolya" in (tmp_path / "dataset" / "soap" / "soap.item").read_text()
    assert len(server.requests) == 1


def test_names_without_a_source_are_wrong_use(
    properties: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert known_names(properties) == ["soap"]
    with pytest.raises(UsageError, match="known: soap"):
        read_description("other", properties)
    assert main(["prepare", "--properties", str(properties)]) == 0
    assert capsys.readouterr().out == "soap\n"


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ({"format": "p5"}, "needs the keys format and files"),
        ({"format": "p5", "files": []}, "not a list of files"),
        ({"format": "p5", "files": [{"uri": "x"}]}, "has no url"),
        ({"format": "p5", "files": [{"url": "http://x/a", "sha": 1}]}, "unknown key sha"),
        (
            {"format": "p5", "files": [{"url": "http://x/a", "name": "../a"}]},
            "does not end in a plain file name",
        ),
        ({"format": "p5", "files": [{"url": "http://x/a"}], "core": 5}, "unknown key core"),
        (
            {"format": "p5", "files": [{"url": "http://x/a"}], "convert": {"core": 5}},
            "source.convert: unknown key core",
        ),
    ],
)
def test_malformed_descriptions_name_the_key(tmp_path: Path, source: dict, words: str) -> None:
    (tmp_path / "x.yaml").write_text(json.dumps({"source": source}))
    with pytest.raises(DatasetError, match=words):
        read_description("x", tmp_path)


def test_the_descriptions_of_this_repository_can_be_read() -> None:
    names = known_names(PROPERTIES)
    assert {"amazon-beauty", "amazon-toys", "amazon-sports", "amazon-clothing", "ml-1m"} <= set(
        names
    )
    for name in names:
        described = read_description(name, PROPERTIES)
        assert described.terms and all(file.url.startswith("https://") for file in described.files)
