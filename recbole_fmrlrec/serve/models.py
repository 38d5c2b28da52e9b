"""The models of a server: loaded, found by name and size, exchanged while requests go on.

Whoever answers a request holds the `Served` that it began with, so that an exchange loses none.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any, Literal

from recbole_fmrlrec.deploy.errors import DeployError
from recbole_fmrlrec.deploy.model_folder import DESCRIPTION
from recbole_fmrlrec.deploy.recommender import Recommender
from recbole_fmrlrec.errors import UsageError
from recbole_fmrlrec.serve.refused import Refused

#: Name and size of a model.
Key = tuple[str, int]
# Of model.json, which is written last: when it changed, its length and its place on the disk.
_Mark = tuple[int, int, int]


@dataclass(frozen=True)
class Served:
    """One loaded model of one size.

    Attributes:
        name: of the model; sizes of one training have it in common.
        size: s.
        folder: where it was read from.
        version: the first digits of the SHA-256 of its ``model.json``.
        bytes: of its files.
        recommender: what answers.
        mark: what told its ``model.json`` from an earlier one.
    """

    name: str
    size: int
    folder: Path
    version: str
    bytes: int
    recommender: Recommender
    mark: _Mark

    @property
    def key(self) -> Key:
        """Name and size."""
        return self.name, self.size

    def says(self) -> dict[str, Any]:
        """What every answer says of the model that gave it."""
        return {"model": self.name, "size": self.size, "version": self.version}

    def to_json(self) -> dict[str, Any]:
        """The entry of ``GET /models``."""
        about = self.recommender.description
        return {
            **self.says(),
            "update": about.version,
            "bytes": self.bytes,
            "items": about.num_items,
            "class": about.model,
            "dataset": about.dataset,
            "sizes": list(about.sizes),
            "max_history": about.max_history,
            "table_dtype": about.table_dtype,
            "search": None if about.search is None else asdict(about.search),
            "columns": sorted(self.recommender.items.columns),
            "quality": about.metrics,
        }

    @cached_property
    def _titles(self) -> list[str]:
        items = self.recommender.items
        pairs = zip(items.titles, items.ids, strict=True)
        return [(title or name).casefold() for title, name in pairs]

    def find(self, text: str, count: int) -> list[tuple[str, str | None]]:
        """Ids and titles of items: those whose title begins with a text, then those that hold it.

        An item without a title is found by its id.
        """
        wanted, items = text.casefold(), self.recommender.items
        found = [row for row, title in enumerate(self._titles) if wanted in title]
        found.sort(key=lambda row: not self._titles[row].startswith(wanted))
        return [(items.ids[row], items.titles[row]) for row in found[:count]]


@dataclass(frozen=True)
class Outcome:
    """What became of one folder when the models were looked at again."""

    folder: str
    outcome: Literal["loaded", "unchanged", "refused"]
    reason: str | None = None


class Models:
    """All models of a server.

    Args:
        folders: of one size each, or of a family of sizes.

    Raises:
        UsageError: one cannot be loaded, or two have name and size in common.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = list(folders)
        self._served: dict[Key, Served] = {}
        self._refused: dict[Path, _Mark] = {}
        self._lock = Lock()
        for folder in self._each():
            try:
                self.put(_load(folder))
            except DeployError as error:
                raise UsageError(f"--model_dir: {error}") from None

    def __iter__(self) -> Iterator[Served]:
        return iter(self._served.values())

    def __len__(self) -> int:
        return len(self._served)

    def get(self, name: str | None = None, size: int | None = None) -> Served:
        """The model of a name, the first one by default, at a size, its largest by default.

        Raises:
            Refused: there is none (404); it names those that there are.
        """
        served = self._served
        wanted = next(iter(served))[0] if name is None else name
        sizes = [key[1] for key in served if key[0] == wanted]
        if not sizes:
            names = ", ".join(dict.fromkeys(key[0] for key in served))
            raise Refused(404, f"unknown model {wanted!r}; available models: {names}")
        found = served.get((wanted, max(sizes) if size is None else size))
        if found is None:
            raise Refused(404, f"model {wanted} is served at {sorted(sizes)}, not at size {size}")
        return found

    def reload(self, again: bool = True) -> list[Outcome]:
        """Load what has changed on disk; a damaged model is refused and the old one goes on.

        Args:
            again: also try what was refused before and has not changed since.
        """
        with self._lock:
            return [self._renew(folder, again) for folder in self._each()]

    def _each(self) -> list[Path]:
        return [folder for root in self._folders for folder in _sizes_of(root)]

    def _renew(self, folder: Path, again: bool) -> Outcome:
        before = next((served for served in self if served.folder == folder), None)
        mark = _mark(folder)
        skipped = not again and (mark is None or self._refused.get(folder) == mark)
        if skipped or (before is not None and mark == before.mark):
            return Outcome(str(folder), "unchanged")
        try:
            self.put(_load(folder), before)
        except DeployError as error:
            if mark is not None:
                self._refused[folder] = mark
            return Outcome(str(folder), "refused", str(error))
        self._refused.pop(folder, None)
        return Outcome(str(folder), "loaded")

    def put(self, new: Served, before: Served | None = None) -> None:
        """Serve a model, in the place of another one or beside the others.

        Raises:
            DeployError: another one has its name and size.
        """
        rest = {key: old for key, old in self._served.items() if old is not before}
        if new.key in rest:
            raise DeployError(
                f"{new.folder} and {rest[new.key].folder} are both model {new.name} at size "
                f"{new.size}; a model is named after its folder: rename one"
            )
        # In the old one's place, for the first model is the default; one assignment, so that
        # whoever reads sees the old models or the new ones.
        order = {(new.key if old is before else key): old for key, old in self._served.items()}
        self._served = {**order, new.key: new}


def _load(folder: Path) -> Served:
    mark = _mark(folder)
    recommender = Recommender.load(folder)
    content = (folder / DESCRIPTION).read_bytes()
    if mark is None or mark != _mark(folder):
        raise DeployError(f"{folder} was written to while it was read; load it again")
    size = recommender.size
    place = folder.resolve()
    name = place.parent.name if place.name == str(size) else place.name
    held = sum(int(facts.get("bytes", 0)) for facts in recommender.description.files.values())
    version = hashlib.sha256(content).hexdigest()[:16]
    return Served(name, size, folder, version, held + len(content), recommender, mark)


def _mark(folder: Path) -> _Mark | None:
    try:
        facts = (folder / DESCRIPTION).stat()
    except OSError:
        return None
    return facts.st_mtime_ns, facts.st_size, facts.st_ino


def _sizes_of(root: Path) -> list[Path]:
    """A folder of one size, or those of the sizes in it."""
    if (root / DESCRIPTION).is_file():
        return [root]
    inner = [file.parent for file in root.glob(f"*/{DESCRIPTION}")]
    return sorted(inner, key=lambda folder: (len(folder.name), folder.name)) or [root]
