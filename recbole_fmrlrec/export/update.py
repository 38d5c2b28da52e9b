"""``export --update``: a deployed model, or a family of sizes, follows a newer training.

All sizes are written beside the deployed ones first. Then each takes the place of its forerunner,
so that a server which watches the folders goes over from one whole version to the next.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from recbole_fmrlrec.deploy.description import Description, TwoStage
from recbole_fmrlrec.deploy.model_folder import DESCRIPTION, ITEMS, read_json
from recbole_fmrlrec.errors import UsageError
from recbole_fmrlrec.export.export import Export
from recbole_fmrlrec.export.sizes_page import SizesPage
from recbole_fmrlrec.files.swap import put_back, staging, swap_in


@dataclass(frozen=True)
class Deployed:
    """The folders of a deployed model by size.

    Attributes:
        root: the folder that was named.
        folders: of each size, ascending.
        newest: the description of the highest version.
        searches: by size, how the best items are found where not exactly.
        ids: the items of its table.
        columns: what `Recommender.add_column` gave them: by column the values of each item.
    """

    root: Path
    folders: dict[int, Path]
    newest: Description
    searches: dict[int, TwoStage]
    ids: list[str]
    columns: dict[str, dict[str, list[str]]]

    @classmethod
    def find(cls, root: Path) -> Deployed:
        """Read what is deployed in a folder of one size, or of several.

        Raises:
            UsageError: there is nothing, or sizes that were stored in different ways.
            DeployError: a description is damaged.
        """
        root = root.absolute()
        for place in (root.parent, root):
            put_back(place)
        alone = (root / DESCRIPTION).is_file()
        files = [root / DESCRIPTION] if alone else sorted(root.glob(f"*/{DESCRIPTION}"))
        found = {file.parent: Description.from_json(read_json(file), file) for file in files}
        if not found:
            raise UsageError(f"--update: no deployed model in {root}; --output writes a new one")
        for about in ("table_dtype", "onnx"):
            if len({str(getattr(one, about)) for one in found.values()}) > 1:
                raise UsageError(
                    f"--update: the sizes in {root} differ in {about}; update each folder alone"
                )
        folders = {one.size: folder for folder, one in found.items()}
        newest = max(found.values(), key=lambda one: one.version)
        searches = {one.size: one.search for one in found.values() if one.search is not None}
        items = read_json(next(iter(found)) / ITEMS)
        ids = list(items.get("ids", []))
        columns = {
            name: dict(zip(ids, values, strict=False))
            for name, values in items.get("columns", {}).items()
        }
        return cls(root, dict(sorted(folders.items())), newest, searches, ids, columns)

    @property
    def is_family(self) -> bool:
        """Whether there is a folder for each size."""
        return self.root not in self.folders.values()

    def lines(self, now: Deployed) -> list[str]:
        """What an update has changed, for the screen."""
        before, after = set(self.ids), set(now.ids)
        lines = [
            f"{self.root}: version {self.newest.version} is now version {now.newest.version}: "
            f"{len(before & after):,} items kept, {len(after - before):,} new, "
            f"{len(before - after):,} gone"
        ]
        lines.append(
            "sessions that were stored under the old version are refused; a server, which keeps "
            "their events, reads these again"
        )
        for name in self.columns:
            without = len(after - before)
            lines.append(f"column {name}: kept; the {without:,} new items have no value in it")
        for size, search in self.searches.items():
            lines.append(
                f"search of size {size}: kept, the best {search.shortlist:,} by {search.prefix} "
                "dimensions; choose_search() measures again what it finds"
            )
        return lines


def update(asked: Export) -> SizesPage:
    """Put the next version of a deployed model in its place.

    Args:
        asked: ``output`` is the deployed folder; sizes, type of table and ONNX are as it has them.

    Raises:
        UsageError: nothing is deployed there, the new model has not all its sizes, a folder cannot
            be replaced, or as `Export.run`.
        DeployError: as `Export.run`.
    """
    deployed = Deployed.find(asked.output)
    about, root = deployed.newest, deployed.root
    with staging(root if deployed.is_family else root.parent) as stage:
        written = replace(
            asked,
            output=stage / root.name,
            sizes=list(deployed.folders),
            folder_per_size=deployed.is_family,
            table_dtype=about.table_dtype,
            onnx=about.onnx is not None,
            version=about.version + 1,
            columns=deployed.columns,
            searches=deployed.searches,
        )
        page = written.run()
        for size, folder in deployed.folders.items():
            new = written.output / str(size) if deployed.is_family else written.output
            swap_in(new, folder)
    if deployed.is_family:
        page.write(root)
    return page
