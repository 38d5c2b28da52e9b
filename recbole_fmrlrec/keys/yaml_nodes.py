"""YAML with limits: what would not end, not fit or not mean what it says is refused, with its line.

The one reader of every YAML text: files of runs, of comparisons and of searches, and the values on
the command line. Imports neither RecBole nor torch.
"""

from __future__ import annotations

import re
from typing import Any

import yaml
from yaml.constructor import ConstructorError

#: Keys and list positions from the top of the file.
EntryPath = tuple[str | int, ...]

#: Collections within one another, values after every alias is written out, and the largest integer.
MAX_DEPTH, MAX_VALUES, MAX_INTEGER = 50, 100_000, 2**63 - 1
# Characters of a text that count as one value: an alias may repeat a long text as well.
_CHARACTERS = 100

_PREFIX = "tag:yaml.org,2002:"
_TEXT, _MERGE = f"{_PREFIX}str", f"{_PREFIX}merge"
_TAGS = {_PREFIX + kind for kind in ("str", "int", "float", "bool", "null", "seq", "map")}
_TAGS |= {_MERGE, f"{_PREFIX}value"}


class YamlFault(yaml.MarkedYAMLError):
    """Valid YAML that is refused."""

    def __init__(self, problem: str, mark: Any) -> None:
        super().__init__(problem=problem, problem_mark=mark)


class Loader(yaml.SafeLoader):
    """PyYAML's safe loader that reads 1e-3 as a number, as RecBole's does, and dates as text."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        """PyYAML's, as deep as `MAX_DEPTH`: it calls itself for what is inside."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            problem = f"more than {MAX_DEPTH} brackets or levels are nested"
            raise YamlFault(problem, self.peek_event().start_mark)
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        """PyYAML's, with the line of a value that no type of Python can take."""
        try:
            return super().construct_object(node, deep=deep)
        except yaml.YAMLError:
            raise
        except Exception as error:  # its constructors raise whatever int() or float() does
            raise ConstructorError(None, None, str(error), node.start_mark) from None

    def integer(self, node: Any) -> int:
        """An integer of 64 bits."""
        value = self.construct_yaml_int(node) if len(node.value) <= _CHARACTERS else None
        if value is None or abs(value) > MAX_INTEGER:
            problem = f"an integer of {len(node.value):,} digits is too large"
            raise YamlFault(problem, node.start_mark)
        return int(value)


Loader.add_constructor(f"{_PREFIX}int", Loader.integer)
Loader.yaml_implicit_resolvers = {
    first: [entry for entry in found if entry[0] != f"{_PREFIX}timestamp"]
    for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
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


def read(text: str, *, any_keys: bool = False) -> tuple[Any, dict[EntryPath, int]]:
    """The value of a YAML text, and the line (from 1) of every entry at any depth.

    Merge keys (``<<: *base``) are followed; an entry that they bring has the line of its origin.

    Args:
        any_keys: take keys as they are written, so that ``1:`` and ``true:`` are the names "1" and
            "true"; else a key that YAML does not read as text is refused.

    Raises:
        yaml.YAMLError: no YAML, or of another type than text, numbers, true, false, null, lists and
            mappings; `YamlFault`: a key twice in a mapping, a key that is not a text, too deep, or
            too large once its aliases are written out.
    """
    loader = Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None, {}
        _Check(any_keys).size(node)
        lines: dict[EntryPath, int] = {}
        _collect(loader, node, (), lines)
        return loader.construct_document(node), lines
    finally:
        loader.dispose()


def problem_of(error: yaml.YAMLError, text: str) -> tuple[int, str]:
    """Line (from 1) and words of an error of `read`."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if mark is None:  # a character that YAML does not have
        at = getattr(error, "position", 0)
        return text.count("\n", 0, at) + 1, str(getattr(error, "reason", error))
    words = [getattr(error, name, None) for name in ("context", "problem")]
    return mark.line + 1, ", ".join(word for word in words if word)


class _Check:
    """Looks at every node once, however often aliases name it."""

    def __init__(self, any_keys: bool) -> None:
        self.any_keys = any_keys
        self.known: dict[int, tuple[int, int] | None] = {}

    def size(self, node: yaml.Node) -> tuple[int, int]:
        """Values in a node with its aliases written out, and levels."""
        at = id(node)
        if at in self.known:
            found = self.known[at]
            if found is None:
                raise YamlFault("an alias refers to a value that contains it", node.start_mark)
            return found
        self.known[at] = None
        if node.tag not in _TAGS:
            problem = f"the tag {node.tag.replace(_PREFIX, '!!')} is not allowed here"
            raise ConstructorError(None, None, problem, node.start_mark)
        parts = [self.size(below) for below in self._below(node)]
        values = 1 + sum(part[0] for part in parts)
        if isinstance(node, yaml.ScalarNode):
            values += len(node.value) // _CHARACTERS
        levels = 1 + max((part[1] for part in parts), default=0)
        if values > MAX_VALUES or levels > MAX_DEPTH:
            problem = f"with its aliases written out it holds {_shown(values)} values in {levels} "
            problem += f"levels; {MAX_VALUES:,} in {MAX_DEPTH} are allowed"
            raise YamlFault(problem, node.start_mark)
        self.known[at] = values, levels
        return values, levels

    def _below(self, node: yaml.Node) -> list[yaml.Node]:
        if isinstance(node, yaml.SequenceNode):
            return list(node.value)
        if not isinstance(node, yaml.MappingNode):
            return []
        seen: dict[str, int] = {}
        for key, _ in node.value:
            self._check_key(key, seen)
        return [part for pair in node.value for part in pair]

    def _check_key(self, key: yaml.Node, seen: dict[str, int]) -> None:
        if not isinstance(key, yaml.ScalarNode):
            raise YamlFault("a key must be a string, not a list or a mapping", key.start_mark)
        if key.tag == _MERGE:
            return
        if key.tag != _TEXT:
            if not self.any_keys:
                kind = key.tag.removeprefix(_PREFIX)
                problem = (
                    f"the key `{key.value[:40]}` is read as a value ({kind}), not as a string; "
                )
                raise YamlFault(problem + "put it in quotes if it is a name", key.start_mark)
            key.tag = _TEXT
        name, line = str(key.value), key.start_mark.line + 1
        if name in seen:
            raise YamlFault(f"duplicate key `{name}`, also on line {seen[name]}", key.start_mark)
        seen[name] = line


def _shown(count: int) -> str:
    return f"{count:,}" if count < 10**9 else "more than 1,000,000,000"


def _collect(
    loader: Loader, node: yaml.Node, above: EntryPath, lines: dict[EntryPath, int]
) -> None:
    if isinstance(node, yaml.MappingNode):
        loader.flatten_mapping(node)
        # The entries of a merge come first, and those of the mapping itself replace them.
        for key, value in {pair[0].value: pair for pair in node.value}.values():
            here = (*above, str(key.value))
            lines[here] = key.start_mark.line + 1
            _collect(loader, value, here, lines)
    elif isinstance(node, yaml.SequenceNode):
        for at, value in enumerate(node.value):
            here = (*above, at)
            lines[here] = value.start_mark.line + 1
            _collect(loader, value, here, lines)
