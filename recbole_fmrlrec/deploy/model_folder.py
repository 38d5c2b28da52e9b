"""The folder of a deployed model.

``model.safetensors`` holds the parameters, ``items.safetensors`` the item table, ``items.json``
ids, titles and, where there are any, further columns of items, ``model.json`` the description with
length and hash of the others and a hash of its own (folders of earlier versions have none and are
read with a warning). The description is removed first and written last, so that a half-written
folder is not a model.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import replace
from logging import getLogger
from pathlib import Path
from typing import Any

import torch

from recbole_fmrlrec.deploy.description import OWN_HASH, Description
from recbole_fmrlrec.deploy.errors import DeployError
from recbole_fmrlrec.deploy.items import (
    ItemTable,
    Values,
    restore_vectors,
    store_vectors,
    table_bytes,
    table_shapes,
)
from recbole_fmrlrec.deploy.parameters import (
    build_network,
    pack_parameters,
    parameter_shapes,
    parameter_total,
)
from recbole_fmrlrec.deploy.tensor_files import read_tensors, write_tensors
from recbole_fmrlrec.files.atomic import replacing, write_json
from recbole_fmrlrec.nn.network import FMRLRecNetwork
from recbole_fmrlrec.program import command_name
from recbole_fmrlrec.version import __version__

DESCRIPTION, PARAMETERS = "model.json", "model.safetensors"
TABLE, ITEMS = "items.safetensors", "items.json"

# What could run when opened, or needs an unsafe reader: no deployed model has any of it.
_CODE = {".py", ".pyc", ".so", ".dll", ".dylib", ".sh", ".pkl", ".pickle", ".pt", ".pth", ".bin"}


def save_model(
    folder: Path,
    description: Description,
    network: FMRLRecNetwork,
    items: ItemTable,
    extra_files: Iterable[str] = (),
) -> Description:
    """Write a deployed model, in place of one that is there.

    Args:
        folder: where to; made if need be.
        description: its ``num_items``, ``files`` and ``made_with`` are filled in.
        network: the network of the description's size.
        items: the item table at that size; stored as ``description.table_dtype``.
        extra_files: names of files already in the folder that belong to the model (ONNX).

    Returns:
        The description as written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / DESCRIPTION).unlink(missing_ok=True)
    write_tensors(folder / PARAMETERS, pack_parameters(network))
    write_tensors(folder / TABLE, store_vectors(items.vectors, description.table_dtype))
    listed: dict[str, Any] = {"ids": items.ids, "titles": items.titles}
    write_json(folder / ITEMS, listed | _columns_to_write(items), indent=None)
    names = [PARAMETERS, TABLE, ITEMS, *extra_files]
    for graph in folder.glob("*.onnx"):
        if graph.name not in names:
            graph.unlink()  # of a model that was here before
    written = replace(
        description,
        num_items=len(items),
        files={name: fingerprint(folder / name) for name in names},
        made_with={"recbole-fmrlrec": __version__, "torch": torch.__version__},
    )
    write_json(folder / DESCRIPTION, with_own_hash(written.to_json()))
    return written


def load_model(folder: Path) -> tuple[Description, FMRLRecNetwork, ItemTable]:
    """Read a deployed model; nothing in the folder is executed.

    Raises:
        DeployError: the folder is missing or a file is missing, cut off, altered, of another
            format version, or does not fit ``model.json``; or the folder holds code.
    """
    if not folder.is_dir():
        raise DeployError(f"there is no folder {folder.absolute()}")
    refuse_code(folder)
    path = folder / DESCRIPTION
    if not path.is_file() and (inner := sorted(folder.glob(f"*/{DESCRIPTION}"))):
        names = ", ".join(sorted((entry.parent.name for entry in inner), key=_by_number))
        raise DeployError(
            f"{folder} holds several sizes of a model: name one of its folders {names}"
        )
    content = read_json(path)
    description = Description.from_json(content, path)
    for name in (PARAMETERS, TABLE, ITEMS):
        if name not in description.files:
            raise DeployError(f"{path}: files has no entry {name}")
    _check_lengths(folder, description)
    check_own_hash(path, content)
    for name, recorded in description.files.items():
        check_fingerprint(folder / name, recorded)
    shapes = table_shapes(description.num_items, description.size, description.table_dtype)
    vectors = restore_vectors(read_tensors(folder / TABLE, shapes))
    tensors = read_tensors(folder / PARAMETERS, parameter_shapes(description))
    network = build_network(description, tensors, vectors[0])
    ids, titles, columns = _read_items(folder / ITEMS, len(vectors) - 1)
    return description, network, ItemTable(ids, titles, vectors, columns)


def _check_lengths(folder: Path, description: Description) -> None:
    """Refuse numbers out of proportion to the files, before anything is made of them.

    That they fit exactly is found tensor by tensor, which names the one that does not.
    """
    table = table_bytes(description.num_items, description.size, description.table_dtype)
    for name, needed in ((PARAMETERS, 4 * parameter_total(description)), (TABLE, table)):
        file = folder / name
        if file.is_file() and needed > 2 * (length := file.stat().st_size):
            raise DeployError(
                f"{folder / DESCRIPTION}: its sizes, blocks, features and items ask for "
                f"{needed:,} bytes in {name}, which has {length:,}: cut off or altered; export "
                "again, or copy the whole folder again"
            )


def _columns_to_write(items: ItemTable) -> dict[str, Any]:
    """The entry ``columns``, which a table without them has not: a list of texts for each item."""
    return {"columns": items.columns} if items.columns else {}


def _read_items(
    path: Path, count: int
) -> tuple[list[str], list[str | None], dict[str, list[Values]]]:
    content = read_json(path)
    ids, titles = content.get("ids"), content.get("titles")
    for name, values, kinds in (("ids", ids, str), ("titles", titles, str | None)):
        if not isinstance(values, list) or not all(isinstance(value, kinds) for value in values):
            raise DeployError(f"{path}: {name} must be a list of strings")
        if len(values) != count:
            raise DeployError(f"{path}: {len(values)} {name}, model.json says {count} items")
    assert isinstance(ids, list) and isinstance(titles, list)
    return ids, titles, _read_columns(path, content.get("columns", {}), count)


def _read_columns(path: Path, columns: Any, count: int) -> dict[str, list[Values]]:
    if not isinstance(columns, dict):
        raise DeployError(f"{path}: columns must be an object")
    for name, values in columns.items():
        if not isinstance(values, list) or not all(map(_is_texts, values)):
            raise DeployError(f"{path}: column {name} must be a list of lists of strings")
        if len(values) != count:
            raise DeployError(
                f"{path}: {len(values)} entries in column {name}, model.json says {count} items"
            )
    return {name: [tuple(texts) for texts in values] for name, values in columns.items()}


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(text, str) for text in value)


def _by_number(name: str) -> tuple[int, str]:
    return (int(name), "") if name.isdigit() else (0, name)


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        DeployError: the file is missing, not UTF-8, not JSON, or no object.
    """
    try:
        content = json.loads(path.read_bytes().decode("utf-8"))
    except FileNotFoundError:
        raise DeployError(f"{path}: missing; `{command_name()} export` writes it") from None
    except (ValueError, RecursionError) as error:
        raise DeployError(f"{path}: cut off or not JSON ({error}); export again") from None
    if not isinstance(content, dict):
        raise DeployError(f"{path}: not a JSON object; export again")
    return content


def fingerprint(path: Path) -> dict[str, Any]:
    """Length in bytes and SHA-256 of a file."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return {"bytes": path.stat().st_size, "sha256": digest.hexdigest()}


def check_fingerprint(path: Path, recorded: Mapping[str, Any]) -> None:
    """Compare a file with what `fingerprint` said of it when it was written.

    Raises:
        DeployError: the file is missing, of another length, or of other content.
    """
    if not path.is_file():
        raise DeployError(f"{path}: missing, though model.json names it; copy the whole folder")
    length = path.stat().st_size
    if length != recorded.get("bytes"):
        raise DeployError(
            f"{path}: {length} bytes, model.json says {recorded.get('bytes')}: cut off or of "
            "another export; copy it again"
        )
    if fingerprint(path)["sha256"] != recorded.get("sha256"):
        raise DeployError(f"{path}: damaged or altered (its SHA-256 is not that of model.json)")


def copy_checked(source: Path, target: Path, recorded: Mapping[str, Any]) -> None:
    """Copy a file that is as `fingerprint` found it; nothing where both are the same file.

    Raises:
        DeployError: as `check_fingerprint`.
    """
    check_fingerprint(source, recorded)
    if not (target.exists() and target.samefile(source)):
        with replacing(target, source.stat().st_size) as partial:
            shutil.copyfile(source, partial)


def with_own_hash(content: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON object and, in the field `OWN_HASH`, the SHA-256 of it."""
    return {**content, OWN_HASH: _hash_of(content)}


def check_own_hash(path: Path, content: Mapping[str, Any]) -> None:
    """Compare what was read with the hash that `with_own_hash` put into it.

    A file of an earlier version has none; it is said that only the other files are checked then.

    Raises:
        DeployError: another hash.
    """
    rest = {name: value for name, value in content.items() if name != OWN_HASH}
    if OWN_HASH not in content:
        getLogger(__name__).warning(
            "%s: has no hash of its own (written by an earlier version): an altered number in it "
            "would not be noticed; export again to have one",
            path,
        )
    elif content[OWN_HASH] != _hash_of(rest):
        raise DeployError(f"{path}: altered since it was written (its own SHA-256 is another)")


def _hash_of(content: Mapping[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def refuse_code(folder: Path) -> None:
    """Refuse a folder with files that could hold code.

    Raises:
        DeployError: naming the first of them.
    """
    found = sorted(path.name for path in folder.iterdir() if path.suffix.lower() in _CODE)
    if found:
        raise DeployError(
            f"{folder}: holds {found[0]}, which can hold code; a deployed model is safetensors, "
            "JSON and ONNX only. Nothing in it was opened"
        )
