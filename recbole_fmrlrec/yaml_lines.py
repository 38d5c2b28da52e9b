"""A YAML file with the line of every entry, so that an error can say where it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from recbole_fmrlrec.errors import UsageError
from recbole_fmrlrec.yaml_files import Loader, load_yaml

#: Keys and list positions from the top of the file.
Place = tuple[str | int, ...]

_TEXT, _MERGE = "tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"


def load_with_places(path: str | Path) -> tuple[dict[str, Any], dict[Place, int]]:
    """The mapping of a YAML file, and the line (from 1) of each entry at any depth.

    Keys are text as they are written, so that ``1:`` and ``true:`` are the names "1" and "true".

    Raises:
        UsageError: there is no such file, it is no mapping, or a mapping in it has a key twice.
    """
    load_yaml(path)
    lines: dict[Place, int] = {}
    node = yaml.compose(Path(path).read_text(encoding="utf-8"), Loader=Loader)
    if node is None:
        return {}, lines
    _collect(node, (), lines, path)
    return Loader("").construct_document(node) or {}, lines


def _collect(node: yaml.Node, place: Place, lines: dict[Place, int], path: str | Path) -> None:
    if isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key, value in node.value:
            name, line = str(key.value), key.start_mark.line + 1
            if isinstance(key, yaml.ScalarNode) and key.tag != _MERGE:
                key.tag = _TEXT
            if name in seen and name != "<<":
                raise UsageError(f"{path}, line {line}: `{name}` stands on line {seen[name]} too")
            here = (*place, name)
            seen[name] = lines[here] = line
            _collect(value, here, lines, path)
    elif isinstance(node, yaml.SequenceNode):
        for at, value in enumerate(node.value):
            here = (*place, at)
            lines[here] = value.start_mark.line + 1
            _collect(value, here, lines, path)
