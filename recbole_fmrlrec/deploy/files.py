"""The files of a deployed model, read with a check."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from logging import getLogger
from pathlib import Path
from typing import Any

from recbole_fmrlrec.deploy.errors import DeployError
from recbole_fmrlrec.program import command_name

#: The field of a JSON file with the hash of its other fields.
OWN_HASH = "sha256"

# What could run when opened, or needs an unsafe reader: no deployed model has any of it.
_CODE = {".py", ".pyc", ".so", ".dll", ".dylib", ".sh", ".pkl", ".pickle", ".pt", ".pth", ".bin"}


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
