"""From a checkpoint to small models that serve without RecBole."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from recbole_fmrlrec.deploy.description import Description, TwoStage
from recbole_fmrlrec.deploy.items import ItemTable
from recbole_fmrlrec.deploy.model_folder import DESCRIPTION, TABLE, save_model
from recbole_fmrlrec.deploy.new_items import project
from recbole_fmrlrec.deploy.parameters import parameter_total
from recbole_fmrlrec.deploy.recommender import Recommender
from recbole_fmrlrec.errors import UsageError
from recbole_fmrlrec.evaluation.latency import by_processor, least_median, processor_name
from recbole_fmrlrec.export.added_items import NewItems, modalities_of, read_catalogue
from recbole_fmrlrec.export.onnx import export_onnx
from recbole_fmrlrec.export.open_checkpoint import Trained, open_checkpoint
from recbole_fmrlrec.export.quality import deployed_metrics
from recbole_fmrlrec.export.sizes_page import ExportedSize, SizesPage
from recbole_fmrlrec.files.writable import check_folder

#: Users whose answer is timed.
TIMED = 50


@dataclass(frozen=True)
class Export:
    """What is asked of an export.

    Attributes:
        checkpoint: ``best.pth`` of a run.
        output: folder of the model, or of the folders of all sizes.
        sizes: nested sizes wanted; all when None.
        folder_per_size: write a folder for each size, and a page about them all; else one size
            goes into ``output`` itself.
        table_dtype: how item vectors are stored: float32, float16 or int8.
        onnx: write ONNX files as well.
        catalogue: a dataset folder whose items are added.
        same_encoder: vouch for the encoder of the catalogue's features.
        evaluate: measure test metrics of the deployed files.
        data_path: where the dataset is, if not where training had it.
        version: of the files, see `Description`.
        columns: by name, what items have in further columns of the table.
        searches: by size, how the best items are found; exactly at sizes that it has not.
    """

    checkpoint: Path
    output: Path
    sizes: Sequence[int] | None = None
    folder_per_size: bool = True
    table_dtype: str = "float32"
    onnx: bool = False
    catalogue: Path | None = None
    same_encoder: bool = False
    evaluate: bool = True
    data_path: str | None = None
    version: int = 1
    columns: Mapping[str, Mapping[str, Sequence[str]]] = field(default_factory=dict)
    searches: Mapping[int, TwoStage] = field(default_factory=dict)

    def run(self) -> SizesPage:
        """Write the models.

        Raises:
            UsageError: the checkpoint is missing or damaged, a size, a dataset or a catalogue does
                not fit, or an output cannot be written.
            DeployError: vectors that the table's type cannot hold, or no package for ONNX.
        """
        trained = open_checkpoint(self.checkpoint, self.data_path)
        sizes = self._check_sizes(trained.model.sizes)
        new = None
        if self.catalogue is not None:
            new = read_catalogue(self.catalogue, trained, self.same_encoder)
        check_folder(self.output, "--output")
        metrics = deployed_metrics(trained, sizes) if self.evaluate else {}
        members = []
        for size in sizes:
            folder = self.output / str(size) if self.folder_per_size else self.output
            description = _describe(trained, size, self.table_dtype, metrics.get(size, {}))
            search = self.searches.get(size)
            description = replace(description, version=self.version, search=search)
            written = self._write(trained, description, folder, new)
            members.append(_measure(folder, written, trained))
        page = self._page(trained, tuple(members), new)
        if self.folder_per_size:
            page.write(self.output)
        return page

    def _check_sizes(self, known: tuple[int, ...]) -> tuple[int, ...]:
        wanted = known if self.sizes is None else tuple(sorted(set(self.sizes)))
        if unknown := [size for size in wanted if size not in known]:
            raise UsageError(f"the model has no size {unknown[0]}; it has {list(known)}")
        if not self.folder_per_size and len(wanted) != 1:
            raise UsageError("exactly one size goes to a folder of its own")
        for size, search in self.searches.items():
            if search.prefix not in known:
                raise UsageError(
                    f"size {size} is searched by its first {search.prefix} dimensions, and the new "
                    f"model has the sizes {list(known)}; save it with use_exact() first"
                )
        return wanted

    @torch.no_grad()
    def _write(
        self, trained: Trained, description: Description, folder: Path, new: NewItems | None
    ) -> Description:
        size = description.size
        network = trained.model.network.cut(size).eval()
        table = trained.model.item_table()[:, :size].clone()
        items = ItemTable(trained.ids, trained.titles, table)
        if new is not None:
            vectors = project(description, network, new.features, len(new.ids))
            items.append(new.ids, new.titles, vectors)
        for name, values in self.columns.items():
            items.set_column(name, values)
        if not self.onnx:
            return save_model(folder, description, network, items)
        entry = export_onnx(network, folder)
        graphs = entry["encoder"], entry["step"]
        return save_model(folder, replace(description, onnx=entry), network, items, graphs)

    def _page(
        self, trained: Trained, members: tuple[ExportedSize, ...], new: NewItems | None
    ) -> SizesPage:
        threads = torch.get_num_threads()
        return SizesPage(
            model=type(trained.model).__name__,
            dataset=trained.config["dataset"],
            num_items=len(trained.ids),
            added_items=len(new.ids) if new else 0,
            table_dtype=self.table_dtype,
            metric=trained.config["valid_metric"].lower(),
            rows=len(trained.test.targets) if self.evaluate else 0,
            measured_on=f"{processor_name()}, {threads} thread{'s' if threads > 1 else ''}",
            members=members,
        )


def _describe(
    trained: Trained, size: int, table_dtype: str, metrics: dict[str, dict[str, float]]
) -> Description:
    model, config, count = trained.model, trained.config, len(trained.ids)
    rows = len(trained.test.targets)
    evaluation = {"rows": rows, "candidates": trained.ranked, "test": metrics}
    return Description(
        model=type(model).__name__,
        size=size,
        sizes=tuple(s for s in model.sizes if s <= size),
        trained_sizes=tuple(model.sizes),
        num_blocks=len(model.network.blocks),
        modalities=modalities_of(trained),
        feature_scale=float(config["feature_scale"]),
        uses_ids=model.network.id_embedding is not None,
        start_trained=model.predict_first_item,
        max_history=config["MAX_ITEM_LIST_LENGTH"],
        dataset=config["dataset"],
        num_items=count,
        trained_items=count,
        table_dtype=table_dtype,
        metrics=evaluation if metrics else {},
        history_bias=_history_bias(trained, size),
    )


def _history_bias(trained: Trained, size: int) -> float:
    shifts = trained.model.history_shifts()
    return 0.0 if shifts is None else float(shifts.detach()[trained.model.sizes.index(size)])


def _measure(folder: Path, description: Description, trained: Trained) -> ExportedSize:
    """Read the model back and time it on real histories."""
    recommender = Recommender.load(folder)
    rows, lengths = trained.test.items[:TIMED].tolist(), trained.test.lengths[:TIMED].tolist()
    answers = [
        functools.partial(recommender.recommend, [trained.ids[row - 1] for row in items[:n]], k=10)
        for items, n in zip(rows, lengths, strict=True)
    ]
    for warm_up in answers[:2]:
        warm_up()
    held = {name: facts["bytes"] for name, facts in description.files.items()}
    return ExportedSize(
        size=description.size,
        parameters=parameter_total(description),
        table_bytes=held[TABLE],
        total_bytes=sum(held.values()) + (folder / DESCRIPTION).stat().st_size,
        latency_ms=least_median(answers, by_processor),
        metrics=description.metrics.get("test", {}),
    )
