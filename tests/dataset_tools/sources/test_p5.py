"""The P5 layout: values worked out by hand, and every fault of the files named."""

from __future__ import annotations

import gzip
import pickle
import resource
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dataset_tools.__main__ import main
from dataset_tools.conversion.convert import convert
from dataset_tools.errors import DatasetError, UsageError
from dataset_tools.features import read_features
from dataset_tools.formats.pickles import read_plain_pickle
from dataset_tools.sources.p5 import P5

Folder = Callable[..., Path]


def counts(source: Path, output: Path) -> dict[str, int]:
    return convert(P5(source), output).report.counts


def test_files_are_what_was_meant(p5_folder: Folder, tmp_path: Path) -> None:
    summary = convert(P5(p5_folder()), tmp_path / "out", "shop")
    assert (summary.users, summary.items, summary.interactions) == (2, 3, 5)
    assert (tmp_path / "out" / "shop.inter").read_text() == (
        "user_id:token\titem_id:token\ttimestamp:float\n"
        "ann\tB01\t1\nann\tB02\t2\nann\tB03\t3\nbob smith\tB03\t1\nbob smith\tB01\t2\n"
    )
    assert (tmp_path / "out" / "shop.item").read_text() == (
        "item_id:token\ttitle:token_seq\tbrand:token_seq\tcategories:token_seq\tprice:token_seq\n"
        "B01\tRed polish & remover\tOPI\t\t9.99\n"
        "B02\tTwo lines\t\tBeauty, Nails\t\n"
        "B03\t\t\t\t\n"
    )


def test_features_stand_in_the_order_of_the_numeric_ids(p5_folder: Folder, tmp_path: Path) -> None:
    maps = {
        "user2id": {"u": "1"},
        "item2id": {f"item{n}": str(n) for n in (10, 9, 1, 2, 3, 4, 5, 6, 7, 8)},
    }
    folder = p5_folder("1 10 1\n", maps, "")
    np.save(tmp_path / "x.npy", np.eye(10, dtype=np.float16))
    out = tmp_path / "out"
    assert (
        main(["convert", "p5", str(folder), str(out), "--features", f"text={tmp_path}/x.npy"]) == 0
    )
    assert read_features(out / "features", "text").items == [f"item{n}" for n in range(1, 11)]


def test_wrong_number_of_rows_is_named(
    p5_folder: Folder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "x.npy", np.ones((4, 2), dtype=np.float16))
    arguments = ["convert", "p5", str(p5_folder()), str(tmp_path / "out")]
    assert main([*arguments, "--features", f"text={tmp_path}/x.npy"]) == 2
    assert "x.npy: 4 rows, but there are 3 items" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("sequences", "reason"),
    [
        ("1 1 2 9 3\n", "interactions with an item that datamaps.json lacks"),
        ("1 1 2\n7 1 2\n", "users that datamaps.json does not know"),
        ("1 1 2\n\n2\n", "users without items"),
    ],
)
def test_what_is_skipped_is_counted(
    p5_folder: Folder, tmp_path: Path, sequences: str, reason: str
) -> None:
    assert counts(p5_folder(sequences), tmp_path / "out")[reason] == 1


def test_an_unknown_item_leaves_no_gap_in_time(p5_folder: Folder, tmp_path: Path) -> None:
    convert(P5(p5_folder("1 1 9 3\n")), tmp_path / "out")
    assert (tmp_path / "out" / "out.inter").read_text().endswith("ann\tB01\t1\nann\tB03\t2\n")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{'asin': 'B01', 'title': }", "malformed metadata records"),
        ("__import__('os').system('true')", "malformed metadata records"),
        ("(" * 5000, "malformed metadata records"),
        ("['B01']", "malformed metadata records"),
        ("{'title': 'no id'}", "metadata records of unknown items or without asin"),
        ("{'asin': 'B99'}", "metadata records of unknown items or without asin"),
        ("{'asin': 'B02', 'title': 'again'}", "further metadata records of the same item"),
    ],
)
def test_bad_metadata_is_counted_with_its_line(
    p5_folder: Folder, tmp_path: Path, line: str, reason: str
) -> None:
    folder = p5_folder(meta="{'asin': 'B02', 'title': 'first'}\n" + line + "\n")
    report = convert(P5(folder), tmp_path / "out").report
    assert report.counts[reason] == 1
    assert report.first[reason] == "meta.json.gz line 2"
    assert "\nB02\tfirst\n" in (tmp_path / "out" / "out.item").read_text()


def test_json_lines_are_read_too(p5_folder: Folder, tmp_path: Path) -> None:
    folder = p5_folder(meta='{"asin": "B01", "title": null, "brand": "x", "related": true}\n')
    convert(P5(folder), tmp_path / "out")
    assert (
        (tmp_path / "out" / "out.item")
        .read_text()
        .startswith("item_id:token\tbrand:token_seq\nB01\tx\n")
    )


def test_without_titles_the_text_that_there_is_becomes_columns(
    p5_folder: Folder, tmp_path: Path
) -> None:
    folder = p5_folder(meta="{'asin': 'B01', 'words': 'a &quot;b&quot;'}\n")
    convert(P5(folder), tmp_path / "out")
    text = (tmp_path / "out" / "out.item").read_text()
    assert text == 'item_id:token\twords:token_seq\nB01\ta "b"\nB02\t\nB03\t\n'


def test_a_truncated_gzip_is_refused_with_its_line(p5_folder: Folder, tmp_path: Path) -> None:
    folder = p5_folder(meta="".join(f"{{'asin': 'B01', 'n': {n}}}\n" for n in range(5000)))
    packed = (folder / "meta.json.gz").read_bytes()
    (folder / "meta.json.gz").write_bytes(packed[: len(packed) // 2])
    whole = zlib.decompressobj(31).decompress(packed[: len(packed) // 2]).count(b"\n")
    with pytest.raises(DatasetError, match=rf"gz: damaged or cut off after line {whole} "):
        convert(P5(folder), tmp_path / "out")
    assert not (tmp_path / "out" / "out.item").exists()


def test_a_line_in_another_encoding_is_refused_with_its_line(
    p5_folder: Folder, tmp_path: Path
) -> None:
    folder = p5_folder()
    (folder / "meta.json.gz").write_bytes(gzip.compress(b"{'asin': 'B01'}\n{'asin': '\xe9'}\n"))
    with pytest.raises(DatasetError, match=r"meta\.json\.gz, line 2: not utf-8"):
        convert(P5(folder), tmp_path / "out")


def test_a_user_on_two_lines_is_refused(p5_folder: Folder, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"sequential_data\.txt, line 3: user 1 .* line 1"):
        convert(P5(p5_folder("1 1 2\n2 3\n1 3\n")), tmp_path / "out")


@pytest.mark.parametrize(
    ("maps", "words"),
    [
        ({"id2user": {"1": "a"}}, "neither 'id2item' nor 'item2id'"),
        ({"id2user": {"1": "a"}, "id2item": {"1": "x", "2": "x"}}, "share an id or a name"),
        ({"id2user": {"1": "a"}, "id2item": {"one": "x"}}, "'one' is not a number"),
        ([], "not a JSON object"),
    ],
)
def test_bad_maps_are_refused(p5_folder: Folder, maps: dict, words: str) -> None:
    with pytest.raises(DatasetError, match=rf"datamaps\.json: .*{words}"):
        P5(p5_folder(maps=maps))


def test_a_folder_that_is_no_p5_is_wrong_use(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UsageError, match=r"no datamaps\.json"):
        P5(tmp_path)
    assert main(["convert", "p5", str(tmp_path), str(tmp_path / "out")]) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_pictures_are_listed(p5_folder: Folder, tmp_path: Path) -> None:
    folder = p5_folder()
    (folder / "item2img_dict.pkl").write_bytes(pickle.dumps({"B01": "code/1.jpg", "zz": "no"}))
    assert convert(P5(folder), tmp_path / "out").images == 1
    assert (tmp_path / "out" / "images.tsv").read_text() == (
        "item_id:token\timage:token\nB01\tcode/1.jpg\n"
    )


class Evil:
    """Pickles to a call that would write a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("content", ["evil", {"B01": b"bytes"}, {"B01": 3}, ["B01"]])
def test_a_pickle_with_anything_but_text_is_refused(
    p5_folder: Folder, tmp_path: Path, content: object
) -> None:
    folder, mark = p5_folder(), tmp_path / "mark"
    packed = pickle.dumps({"B01": Evil(mark)} if content == "evil" else content)
    (folder / "item2img_dict.pkl").write_bytes(packed)
    with pytest.raises(DatasetError, match=r"item2img_dict\.pkl"):
        convert(P5(folder), tmp_path / "out")
    assert not mark.exists()


def test_real_beauty(shared: Path, tmp_path: Path) -> None:
    """The counts of the data's own README, and the first user's sequence."""
    ready = shared / "encoded" / "beauty" / "text-all-minilm-l6-v2.npy"
    source = P5(shared / "p5" / "beauty")
    summary = convert(source, tmp_path / "amazon-beauty", features={"text": ready})
    assert (summary.users, summary.items, summary.interactions) == (22_363, 12_101, 198_502)
    features = read_features(tmp_path / "amazon-beauty" / "features", "text", width=384)
    assert features.items[:2] == ["B004756YJA", "B004ZT0SSG"]
    np.testing.assert_array_equal(features.matrix, np.load(ready))


@pytest.mark.parametrize(
    ("name", "users", "items", "interactions"),
    [
        ("toys", 19_412, 11_924, 167_597),
        ("ml100k", 943, 1_318, 99_089),
        pytest.param("ml1m", 6_040, 3_289, 998_640, marks=pytest.mark.slow),
    ],
)
def test_other_real_folders(
    shared: Path, tmp_path: Path, name: str, users: int, items: int, interactions: int
) -> None:
    """The counts of the data's own README; nothing is skipped, every picture is listed."""
    summary = convert(P5(shared / "p5" / name), tmp_path / name)
    assert (summary.users, summary.items, summary.interactions) == (users, items, interactions)
    assert summary.cold_items == 0 and not summary.report.counts
    assert summary.images == (items if name.startswith("ml") else 0)
    if name == "toys":
        head = (tmp_path / "toys" / "toys.item").read_text().split("\n")[0]
        assert head == "item_id:token\tidgenrec_text_id:token_seq"


@pytest.mark.parametrize("meta", ["gone", "empty", "plain"])
def test_metadata_may_be_missing_empty_or_unpacked(
    p5_folder: Folder, tmp_path: Path, meta: str
) -> None:
    folder = p5_folder(meta="")
    (folder / "meta.json.gz").unlink()
    if meta == "empty":
        (folder / "meta.json.gz").write_bytes(b"")
    if meta == "plain":
        (folder / "meta.json").write_text("{'asin': 'B02', 'title': nan, 'brand': 'x'}\n")
    summary = convert(P5(folder), tmp_path / "out")
    assert (summary.users, summary.items, summary.interactions) == (2, 3, 5)
    brand = "\tbrand:token_seq\nB01\t\nB02\tx\nB03\t\n" if meta == "plain" else "\nB01\nB02\nB03\n"
    assert (tmp_path / "out" / "out.item").read_text() == f"item_id:token{brand}"


def test_maps_with_a_mark_and_numbers(p5_folder: Folder, tmp_path: Path) -> None:
    folder = p5_folder("1 1 2\n")
    maps = '\ufeff{"user2id": {"ann": 1.0}, "item2id": {"B01": 1, "B02": 2.0}}'
    (folder / "datamaps.json").write_text(maps, encoding="utf-8")
    convert(P5(folder), tmp_path / "out")
    assert (tmp_path / "out" / "out.inter").read_text().endswith("ann\tB01\t1\nann\tB02\t2\n")
    (folder / "datamaps.json").write_text("[" * 100_000)
    with pytest.raises(DatasetError, match=r"datamaps\.json: not JSON"):
        P5(folder)


def test_bad_rows_are_refused_where_that_is_asked(p5_folder: Folder, tmp_path: Path) -> None:
    for line in ("2\n", "9 1\n", "2 9\n"):
        with pytest.raises(UsageError, match=r"sequential_data\.txt, line 2: "):
            convert(P5(p5_folder(f"1 1 2\n{line}")), tmp_path / "out", skip_bad_rows=False)


@pytest.mark.parametrize("name", ["a table of 2**32 rows", "bytes without end", "lists in lists"])
def test_a_pickle_does_not_say_how_much_memory_it_takes(
    p5_folder: Folder, tmp_path: Path, name: str
) -> None:
    lists: list = []
    for _ in range(60):  # written out it has 2**60 entries
        lists = [lists, lists]
    packed = {
        "a table of 2**32 rows": b"\x80\x04}r\xf0\xff\xff\xff.",
        "bytes without end": b"\x80\x05\x96" + (10**10).to_bytes(8, "little") + b".",
        "lists in lists": pickle.dumps({"B01": lists}),
    }[name]
    file = p5_folder() / "item2img_dict.pkl"
    file.write_bytes(packed)
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (min(2**35, limits[1] % 2**63), limits[1]))
    try:
        if name == "a table of 2**32 rows":  # an empty dictionary, kept under a large number
            assert read_plain_pickle(file) == {}
        else:
            with pytest.raises(DatasetError, match=r"refused|is not text"):
                convert(P5(file.parent), tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)
