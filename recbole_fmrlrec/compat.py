"""RecBole 1.2.1 on current numpy, scipy, pandas and torch, without ray.

:func:`apply` mends RecBole in memory, one function a fault; each says what breaks, why, and when it
can go. No file of RecBole is touched, and nothing is patched where the running versions still work.
"""

from __future__ import annotations

import functools
import importlib
import sys
import types
import warnings
from typing import Any

_applied = False


def apply() -> None:
    """Mend RecBole in this process. Calling it again does nothing.

    Raises:
        ImportError: RecBole or one of the libraries it needs is not installed.
    """
    global _applied
    if _applied:
        return
    numpy_aliases()
    scipy_dok_update()
    torch_load_of_recbole()
    quick_start_without_ray()
    gradient_scaler()
    missing_values()
    table_reader()
    lengths_of_sequences()
    writable_columns()
    unknown_model_name()
    download_in_one_process()
    collector_of_counts()
    _applied = True


class ModuleView(types.ModuleType):
    """A module of which some names are replaced, to be bound inside one other module only."""

    def __init__(self, module: types.ModuleType, **replaced: Any) -> None:
        super().__init__(module.__name__, module.__doc__)
        self.__dict__.update(replaced, _viewed=module)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_viewed"], name)


def numpy_aliases() -> None:
    """``Config()`` fails: numpy 2 has no ``float_``, ``complex_`` and ``unicode_``.

    RecBole's ``Config`` gives itself ``np.float`` and others from them; ``Interaction`` and the metrics
    use ``np.float`` also where no ``Config`` was made. Goes when RecBole names the types as numpy 2.
    """
    import numpy as np

    aliases = {
        "float_": np.float64,
        "complex_": np.complex128,
        "unicode_": np.str_,
        "float": np.float64,
    }
    for name, value in aliases.items():
        if name not in np.__dict__:
            setattr(np, name, value)


def scipy_dok_update() -> None:
    """LightGCN, NGCF, NCL, GCMC, SpectralCF, KGIN and MCCLK fail: scipy took ``dok_matrix._update``.

    Since scipy 1.13 a ``dok_matrix`` holds a dictionary instead of being one. Goes when RecBole builds
    its adjacency matrices with public functions.
    """
    from scipy.sparse import dok_matrix

    if not hasattr(dok_matrix, "_update"):
        dok_matrix._update = lambda self, data: self._dict.update(data)


def torch_load_of_recbole() -> None:
    """The best checkpoint cannot be loaded: torch >= 2.6 unpickles tensors and plain values only.

    RecBole's checkpoints hold its ``Config``, pickled. Calls of ``torch.load`` from RecBole's own
    modules get ``weights_only=False`` again; everybody else keeps torch's safe default. RecBole loads
    what it has just written or what the user has named. Goes when RecBole saves plain values.
    """
    import torch

    original = torch.load

    @functools.wraps(original)
    def load(*args: Any, **kwargs: Any) -> Any:
        caller = sys._getframe(1).f_globals.get("__name__", "")
        if caller.partition(".")[0] == "recbole":
            kwargs.setdefault("weights_only", False)
        return original(*args, **kwargs)

    torch.load = load


class _RayOnDemand:
    """Sees to a module called ``ray`` when ``recbole.quick_start`` is about to be imported."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        """Never finds anything itself; the ordinary finders go on."""
        if name == "recbole.quick_start.quick_start" and "ray" not in sys.modules:
            _stub_ray_if_broken()


def _stub_ray_if_broken() -> None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            importlib.import_module("ray.tune")
    except Exception:
        for name in [name for name in sys.modules if name.partition(".")[0] == "ray"]:
            del sys.modules[name]

        def report(**metrics: Any) -> None:
            raise ImportError("recbole.quick_start.objective_function reports to ray; install ray")

        stub, tune = types.ModuleType("ray"), types.ModuleType("ray.tune")
        tune.report = report  # type: ignore[attr-defined]
        stub.tune = tune  # type: ignore[attr-defined]
        sys.modules.update({"ray": stub, "ray.tune": tune})


def quick_start_without_ray() -> None:
    """``import recbole.quick_start`` fails: it imports ray, which fails or cannot be installed.

    ray 2.6.3, RecBole's pin, needs ``pkg_resources`` (setuptools < 81) and ``np.bool8`` (numpy < 2) and
    has no wheel for Python >= 3.12. Only ``objective_function`` uses it. We never import quick_start;
    this is for those who do. Goes when RecBole imports ray inside that function.
    """
    sys.meta_path.insert(0, _RayOnDemand())  # type: ignore[arg-type]


def gradient_scaler() -> None:
    """Every epoch warns that ``torch.cuda.amp.GradScaler`` and ``autocast`` are deprecated.

    Goes when RecBole uses ``torch.amp``.
    """
    import recbole.trainer.trainer as module
    import torch

    if hasattr(torch.amp, "GradScaler"):
        module.amp = ModuleView(
            module.amp,
            GradScaler=functools.partial(torch.amp.GradScaler, "cuda"),
            autocast=functools.partial(torch.amp.autocast, "cuda"),
        )


def _fillna_in_place_is_lost() -> bool:
    import pandas as pd

    frame = pd.DataFrame({"a": [0.0, None]})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        frame["a"].fillna(1.0, inplace=True)
    return bool(frame["a"].isna().any())


def missing_values() -> None:
    """Missing values stay missing, silently: pandas 3 fills a copy in ``frame[col].fillna(inplace=True)``.

    Goes when RecBole assigns the filled column.
    """
    from recbole.data.dataset.dataset import Dataset

    if _fillna_in_place_is_lost():
        Dataset._fill_nan = _fill_nan


def _fill_nan(self: Any) -> None:
    """Tokens get 0, the padding; floats the mean of their column; sequences an empty array."""
    import numpy as np
    from recbole.utils import FeatureType

    for feat_name in self.feat_name_list:
        feat = getattr(self, feat_name)
        for field in feat:
            kind = self.field2type[field]
            if kind == FeatureType.TOKEN:
                feat[field] = feat[field].fillna(0)
            elif kind == FeatureType.FLOAT:
                feat[field] = feat[field].fillna(feat[field].mean())
            else:
                empty = np.array([], np.int64 if kind == FeatureType.TOKEN_SEQ else np.float64)
                feat[field] = [empty if isinstance(x, float) else x for x in feat[field]]


def table_reader() -> None:
    """Files with an empty ``token_seq`` or ``float_seq`` cell fail to load on pandas 3.

    It is ``_load_feat`` that fills in place there. Ours has the same result, keeps tokens as Python
    strings in place of pandas 3's own string type, reads with pandas' fast engine and names the line
    of an error. Goes with :func:`missing_values`.
    """
    from recbole.data.dataset.dataset import Dataset

    from recbole_fmrlrec.tables import load_feat

    Dataset._load_feat = load_feat


def lengths_of_sequences() -> None:
    """Datasets with ``token_seq`` or ``float_seq`` columns fail on pandas 3: ``Series.agg(len)`` is one number.

    It was the length of every cell before. In the modules that do so, ``len`` of a Series means that
    again; they take it of no Series elsewhere. Goes when RecBole maps ``len``.
    """
    import builtins

    import numpy as np
    import pandas as pd

    if not isinstance(pd.Series([[0], [0]]).agg(len), (int, np.integer)):
        return

    def length(thing: Any) -> Any:
        return thing.map(builtins.len) if isinstance(thing, pd.Series) else builtins.len(thing)

    for name in ("dataset", "kg_dataset", "sequential_dataset"):
        importlib.import_module(f"recbole.data.dataset.{name}").len = length  # type: ignore[attr-defined]


def writable_columns() -> None:
    """torch warns of arrays that are not writable: pandas 3 hands out its columns as read-only views.

    RecBole makes tensors of them that share their memory, and writes to some later. Goes when RecBole
    copies.
    """
    import numpy as np
    import pandas as pd
    from recbole.data.dataset.dataset import Dataset

    original = Dataset._dataframe_to_interaction
    if pd.DataFrame({"a": [0]})["a"].values.flags.writeable:
        return

    @functools.wraps(original)
    def dataframe_to_interaction(self: Any, data: pd.DataFrame) -> Any:
        columns = {k: types.SimpleNamespace(values=np.array(data[k])) for k in data}
        return original(self, columns)

    Dataset._dataframe_to_interaction = dataframe_to_interaction


def unknown_model_name() -> None:
    """An unknown model name is answered with "No module named 'lightgbm'", a wrong case with an AttributeError.

    RecBole's look-up goes through its packages to the last, which imports lightgbm. Goes when RecBole
    says so itself.
    """
    import recbole.config.configurator
    import recbole.utils
    import recbole.utils.utils

    original = recbole.utils.utils.get_model

    @functools.wraps(original)
    def get_model(model_name: str) -> type:
        try:
            return original(model_name)
        except (ModuleNotFoundError, AttributeError) as error:
            missing = getattr(error, "name", None) or ""
            if model_name.lower() == missing or _is_model_module(model_name, error):
                raise
            raise ValueError(
                f"`model_name` [{model_name}] is not the name of an existing model."
            ) from None

    for module in (recbole.utils.utils, recbole.utils, recbole.config.configurator):
        module.get_model = get_model


def _is_model_module(model_name: str, error: Exception) -> bool:
    """Whether a model of this name exists and it is a package of its own that could not be imported."""
    from pathlib import Path

    import recbole.model

    if isinstance(error, AttributeError):
        return False
    folders = Path(recbole.model.__path__[0]).glob("*_recommender")
    return any((folder / f"{model_name.lower()}.py").is_file() for folder in folders)


def download_in_one_process() -> None:
    """A download ends in "Default process group has not been initialized".

    RecBole waits for the other processes although there are none; the files lie there by then. Goes
    when RecBole asks whether it runs distributed.
    """
    import torch.distributed as dist
    from recbole.data.dataset.dataset import Dataset

    original = Dataset._download

    @functools.wraps(original)
    def download(self: Any) -> None:
        try:
            original(self)
        except (ValueError, RuntimeError, AttributeError) as error:
            if (dist.is_available() and dist.is_initialized()) or "barrier" not in _innermost(
                error
            ):
                raise

    Dataset._download = download


def _innermost(error: BaseException) -> str:
    """The source line of RecBole's dataset module that raised the error."""
    import traceback

    lines = [
        f.line or "" for f in traceback.extract_tb(error.__traceback__) if "recbole" in f.filename
    ]
    return lines[-1] if lines else ""


def collector_of_counts() -> None:
    """ItemCoverage, AveragePopularity, ShannonEntropy, GiniIndex and TailPercentage fail.

    The collector calls ``.cpu()`` on everything it holds, counts and counters of items included. Goes
    when RecBole moves tensors only.
    """
    import copy

    import torch
    from recbole.evaluator.collector import Collector

    def get_data_struct(self: Any) -> Any:
        held = self.data_struct._data_dict
        for key, value in held.items():
            if isinstance(value, torch.Tensor):
                held[key] = value.cpu()
        returned = copy.deepcopy(self.data_struct)
        for key in ("rec.topk", "rec.meanrank", "rec.score", "rec.items", "data.label"):
            held.pop(key, None)
        return returned

    Collector.get_data_struct = get_data_struct
