"""Numbers of a deployed folder are bounded by its bytes, and its description has a hash."""

from __future__ import annotations

import json
import logging
import math
import shutil
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from recbole_fmrlrec.deploy import DeployError, Recommender
from recbole_fmrlrec.deploy.description import OWN_HASH
from recbole_fmrlrec.deploy.items import table_bytes, table_shapes
from recbole_fmrlrec.deploy.model_folder import fingerprint, with_own_hash
from recbole_fmrlrec.deploy.parameters import parameter_shapes, parameter_total
from tests.deploy.conftest import DESCRIPTION

HUGE = 10**9


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    """A copy of the random model that may be damaged."""
    return Path(shutil.copytree(saved, tmp_path / "copy"))


def forge(folder: Path, **fields: Any) -> None:
    """Change the description and its hash."""
    file = folder / "model.json"
    content = {**json.loads(file.read_text(encoding="utf-8")), **fields}
    content.pop(OWN_HASH)
    file.write_text(json.dumps(with_own_hash(content)), encoding="utf-8")


@pytest.mark.parametrize(
    "fields",
    [
        {"num_blocks": HUGE},
        {"size": HUGE, "sizes": [4, HUGE], "trained_sizes": [4, HUGE]},
        {"num_items": HUGE},
        {"num_items": HUGE, "trained_items": HUGE},
        {"modalities": [{"name": "text", "width": HUGE, "encoder": "a"}]},
        {"modalities": [{"name": "text", "width": 8, "encoder": "a"}], "num_blocks": 2**63 - 1},
    ],
)
def test_more_than_the_files_hold(folder: Path, fields: dict[str, Any]) -> None:
    forge(folder, **fields)
    with pytest.raises(DeployError, match=r"ask for [\d,]+ bytes in (model|items).safetensors"):
        Recommender.load(folder)


@pytest.mark.parametrize("field", ["num_blocks", "max_history", "num_items", "feature_scale"])
def test_numbers_that_no_machine_has(folder: Path, field: str) -> None:
    forge(folder, **{field: 10**400})
    with pytest.raises(DeployError, match=f"{field} must be .* not 1000"):
        Recommender.load(folder)


@pytest.mark.parametrize("blocks", [1, 3])
@pytest.mark.parametrize("features", [0, 8])
def test_what_is_reckoned_is_what_is_stored(blocks: int, features: int) -> None:
    modalities = DESCRIPTION.modalities if features else ()
    one = replace(DESCRIPTION, num_blocks=blocks, modalities=modalities, uses_ids=True)
    shapes = parameter_shapes(one).values()
    assert parameter_total(one) == sum(math.prod(shape) for _, shape in shapes)
    for dtype in ("float32", "float16", "int8"):
        stored = table_shapes(60, 16, dtype).values()
        assert table_bytes(60, 16, dtype) == sum(
            kind.itemsize * math.prod(shape) for kind, shape in stored
        )


@pytest.mark.parametrize(
    ("field", "value"), [("max_history", 3), ("dataset", "other"), ("metrics", {"test": {}})]
)
def test_an_altered_description_is_refused(folder: Path, field: str, value: Any) -> None:
    file = folder / "model.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps({**content, field: value}), encoding="utf-8")
    with pytest.raises(DeployError, match="altered since it was written"):
        Recommender.load(folder)


def test_a_description_written_in_another_way_is_the_same(folder: Path) -> None:
    file = folder / "model.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps(dict(reversed(content.items())), indent=4), encoding="utf-8")
    assert Recommender.load(folder).size == 16


def test_a_folder_of_an_earlier_version_is_read(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        Recommender.load(folder)
        assert not caplog.records
        file = folder / "model.json"
        content = json.loads(file.read_text(encoding="utf-8"))
        del content[OWN_HASH]
        file.write_text(json.dumps(content), encoding="utf-8")
        assert len(Recommender.load(folder).items) == 60
    assert "model.json: has no hash of its own" in caplog.text
    Recommender.load(folder).save(folder)
    assert OWN_HASH in json.loads(file.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "header",
    [
        {"start": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}},
        {"start": {"dtype": "F32", "shape": [2**62, 2**62], "data_offsets": [0, 8]}},
        {"start": {"dtype": "F32", "shape": [2], "data_offsets": [8, 0]}},
        {},
    ],
)
def test_headers_that_do_not_fit_their_file(folder: Path, header: dict[str, Any]) -> None:
    text = json.dumps(header).encode()
    for length in (len(text), 2**62, 2**64 - 1):
        file = folder / "items.safetensors"
        file.write_bytes(struct.pack("<Q", length) + text + bytes(4096))
        files = json.loads((folder / "model.json").read_text(encoding="utf-8"))["files"]
        forge(folder, files={**files, file.name: fingerprint(file)})
        with pytest.raises(DeployError, match=r"items.safetensors: "):
            Recommender.load(folder)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("events", -1),
        ("events", 10**30),
        ("events", "3"),
        ("seen", "abc"),
        ("seen", [1]),
        ("state", "abc"),
        ("state", [[1.0]]),
        ("hidden", {}),
    ],
)
def test_a_damaged_session_is_refused(random_model: Recommender, field: str, value: Any) -> None:
    session = random_model.session()
    session.update("i1")
    state = session.state_dict()
    with pytest.raises(DeployError, match=f"a session's .*{field}"):
        session.load_state_dict({**state, field: value})
    session.load_state_dict(state)
    assert session.events == 1
