"""YAML as RecBole writes it: our properties folder, values, line numbers and the comments of keys.

Imports neither RecBole nor torch: ``--help`` needs this module.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from recbole_fmrlrec.errors import UsageError
from recbole_fmrlrec.keys.yaml_nodes import EntryPath, Loader, YamlFault, problem_of, read

__all__ = ["EntryPath", "Loader", "entries", "load_with_entry_lines", "load_yaml", "parse_value"]

#: A file of settings is written by hand; a larger one is another file.
MAX_BYTES = 4 * 2**20


@dataclass(frozen=True)
class Entry:
    """A top-level key of a properties file with its default as written and its comment."""

    key: str
    default: str
    comment: str


def properties_dir() -> Path:
    """The folder of our YAML files: in an installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "properties"
    return installed if installed.is_dir() else package.parent / "properties"


def shipped_file(kind: str, file: Path) -> Path:
    """A file that is there, or else the one of that name which comes with the package.

    Args:
        kind: its folder below ``properties/``: ``grid`` or ``comparison``.
        file: ``NAME.yaml`` or ``properties/KIND/NAME.yaml``, from any folder.
    """
    if file.exists():
        return file
    name = Path(*file.parts[2:]) if file.parts[:2] == ("properties", kind) else file
    shipped = properties_dir() / kind / name
    return shipped if shipped.is_file() else file


def load_yaml(path: str | Path) -> dict[str, Any]:
    """The mapping that a YAML file holds; an empty file is an empty mapping.

    Raises:
        UsageError: there is no such file, it is not a YAML mapping, or it has a key twice.
    """
    return load_with_lines(path)[0]


def load_with_lines(path: str | Path) -> tuple[dict[str, Any], dict[str, int]]:
    """The mapping of a YAML file, and the line (from 1) of each top-level key.

    Raises:
        UsageError: as :func:`load_yaml`.
    """
    values, lines = load_with_entry_lines(path, any_keys=False)
    return values, {str(entry[0]): line for entry, line in lines.items() if len(entry) == 1}


def load_with_entry_lines(
    path: str | Path, *, any_keys: bool = True
) -> tuple[dict[str, Any], dict[EntryPath, int]]:
    """The mapping of a YAML file, and the line (from 1) of each entry at any depth.

    Args:
        any_keys: as in `yaml_nodes.read`.

    Raises:
        UsageError: there is no such file, it is not a YAML mapping, a mapping in it has a key
            twice, or it is too large; the message has file and line.
    """
    text = _text_of(path)
    try:
        values, lines = read(text, any_keys=any_keys)
    except yaml.YAMLError as error:
        line, problem = problem_of(error, text)
        fault = problem if isinstance(error, YamlFault) else f"not valid YAML: {problem}"
        raise UsageError(f"{path}, line {line}: {fault}") from error
    if values is None:
        return {}, {}
    if not isinstance(values, dict):
        raise UsageError(f"{path} must hold keys and values, such as `epochs: 10`")
    return values, lines


def _text_of(path: str | Path) -> str:
    try:
        with open(path, "rb") as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise UsageError(f"{path}: longer than {MAX_BYTES:,} bytes: not a file of settings")
        return content.decode("utf-8")
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read the configuration file {path}: {error}") from error


def parse_value(text: str) -> Any:
    """A value from the command line: YAML, except that ``None`` is null as in RecBole.

    Text that is not YAML (``[0,inf)``) stays text.

    Raises:
        UsageError: it is YAML that no file may hold either, as 3,000 brackets in one another.
    """
    if text == "None":
        return None
    try:
        return read(text)[0]
    except YamlFault as error:
        shown = text if len(text) <= 60 else f"{text[:60]}..."
        raise UsageError(f"the value {shown}: {problem_of(error, text)[1]}") from error
    except yaml.YAMLError:
        return text


def entries(path: str | Path) -> Iterator[Entry]:
    """The top-level keys of a properties file in its order, each with the comment on its line."""
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        found = re.match(r"([A-Za-z_][\w-]*):\s*(.*)$", line)
        if found:
            value, _, comment = found.group(2).partition("# ")
            yield Entry(found.group(1), value.strip(), comment.strip())
