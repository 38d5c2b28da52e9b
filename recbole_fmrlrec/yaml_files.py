"""YAML as RecBole writes it: our properties folder, values, line numbers and the comments of keys.

Imports neither RecBole nor torch: ``--help`` stands on this module.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from recbole_fmrlrec.errors import UsageError

PLAIN = (type(None), bool, int, float, str, list, dict)


class Loader(yaml.SafeLoader):
    """PyYAML's safe loader that reads 1e-3 as a number, as RecBole's does."""


Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"""^(?:[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?
        |[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+
        |[-+]?\.[0-9][0-9_]*(?:[eE][-+]?[0-9]+)?
        |[-+]?\.(?:inf|Inf|INF)
        |\.(?:nan|NaN|NAN))$""",
        re.VERBOSE,
    ),
    list("-+0123456789."),
)


@dataclass(frozen=True)
class Entry:
    """A top-level key of a properties file with its default as written and its comment."""

    key: str
    default: str
    comment: str


def properties_dir() -> Path:
    """The folder of our YAML files: in an installed package, or beside it in a checkout."""
    here = Path(__file__).resolve().parent
    installed = here / "properties"
    return installed if installed.is_dir() else here.parent / "properties"


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
        UsageError: there is no such file, it is no YAML or no mapping, or it has a key twice.
    """
    return load_with_lines(path)[0]


def load_with_lines(path: str | Path) -> tuple[dict[str, Any], dict[str, int]]:
    """The mapping of a YAML file, and the line (from 1) on which each top-level key stands.

    Raises:
        UsageError: as :func:`load_yaml`.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the configuration file {path}: {error}") from error
    try:
        node = yaml.compose(text, Loader=Loader)
        values = yaml.load(text, Loader=Loader)
    except yaml.YAMLError as error:
        raise UsageError(f"{path} is no valid YAML: {error}") from error
    if values is None:
        return {}, {}
    if not isinstance(values, dict):
        raise UsageError(f"{path} must hold keys and values, such as `epochs: 10`")
    lines: dict[str, int] = {}
    for key_node, _ in node.value:
        key, line = str(key_node.value), key_node.start_mark.line + 1
        if key in lines:
            raise UsageError(
                f"{path}: `{key}` stands on line {lines[key]} and again on line {line}"
            )
        lines[key] = line
    return {str(key): value for key, value in values.items()}, lines


def parse_value(text: str) -> Any:
    """A value from the command line: YAML, except that ``None`` is null as in RecBole.

    Text that is no YAML (``[0,inf)``) and YAML types with no place here (dates) stay text.
    """
    if text == "None":
        return None
    try:
        value = yaml.load(text, Loader=Loader)
    except yaml.YAMLError:
        return text
    return value if isinstance(value, PLAIN) else text


def entries(path: str | Path) -> Iterator[Entry]:
    """The top-level keys of a properties file in its order, each with the comment on its line."""
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        found = re.match(r"([A-Za-z_][\w-]*):\s*(.*)$", line)
        if found:
            value, _, comment = found.group(2).partition("# ")
            yield Entry(found.group(1), value.strip(), comment.strip())
