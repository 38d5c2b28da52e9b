"""RecBole 1.2.1 on current numpy, scipy, pandas and torch, without ray.

:func:`apply` patches RecBole in memory, one function per fault; each says what breaks, why, and
when it is obsolete. No file of RecBole is changed, and what still works with the installed
versions is left alone. Faults that pandas 3 brings are in :mod:`recbole_fmrlrec.compat.pandas`,
those of single models and of trainers in :mod:`recbole_fmrlrec.compat.models`, BERT4Rec's in
:mod:`recbole_fmrlrec.compat.bert4rec`, sampling that never ends in
:mod:`recbole_fmrlrec.compat.sampling`, metrics that it does not know in
:mod:`recbole_fmrlrec.compat.metrics`, the cost of imports in
:mod:`recbole_fmrlrec.compat.imports`, and code that RecBole would execute while reading a file in
:mod:`recbole_fmrlrec.compat.safety`.
"""

from __future__ import annotations

import copy
import functools
import sys
import traceback
import types
from pathlib import Path
from typing import Any

_applied = False


def apply() -> None:
    """Patch RecBole in this process. Calling it again does nothing.

    Raises:
        ImportError: RecBole or one of the libraries it needs is not installed.
    """
    global _applied
    if _applied:
        return
    numpy_aliases()  # before anything of RecBole runs
    from recbole_fmrlrec.compat import bert4rec as compat_bert4rec
    from recbole_fmrlrec.compat import imports as compat_imports

    compat_imports.sklearn_on_demand()
    from recbole_fmrlrec.compat import metrics as compat_metrics
    from recbole_fmrlrec.compat import models as compat_models
    from recbole_fmrlrec.compat import pandas as compat_pandas
    from recbole_fmrlrec.compat import safety as compat_safety
    from recbole_fmrlrec.compat import sampling as compat_sampling

    scipy_dok_update()
    compat_safety.torch_load_of_recbole()
    compat_safety.numpy_load_of_recbole()
    compat_safety.saved_data_of_recbole()
    compat_safety.teacher_of_kd_dagfm()
    compat_safety.checkpoints_of_ours()
    gradient_scaler()
    compat_models.clipping_of_scaled_gradients()
    anomaly_detection()
    unknown_model_name()
    download_in_one_process()
    collector_of_counts()
    compat_metrics.more_metrics()
    preloaded_weights()
    compat_models.interactions_of_pop()
    compat_bert4rec.masks_alone_are_ranked()
    compat_bert4rec.oldest_item_is_read()
    compat_models.advice_on_divergence()
    compat_sampling.samplers_end()
    compat_sampling.users_of_all_items()
    compat_sampling.popularity_without_alias()
    compat_sampling.masks_end()
    compat_bert4rec.whole_histories_are_masked()
    compat_sampling.line_ends()
    compat_models.bars_that_go_away()
    compat_models.batches_without_waiting()
    compat_pandas.missing_values()
    compat_pandas.table_reader()
    compat_pandas.parquet_alone()
    compat_pandas.lengths_of_sequences()
    compat_pandas.writable_columns()
    compat_imports.quick_start_without_ray()  # last: it takes names that are patched above
    _applied = True


def numpy_aliases() -> None:
    """``Config()`` fails: numpy 2 has no ``float_``, ``complex_`` and ``unicode_``.

    RecBole's ``Config`` sets ``np.float`` and others; ``Interaction`` and the metrics use
    ``np.float`` even without a ``Config``. Obsolete when RecBole uses numpy 2's names.
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
    """LightGCN, NGCF, NCL, GCMC, SpectralCF, KGIN and MCCLK fail: no ``dok_matrix._update``.

    Since scipy 1.13 a ``dok_matrix`` holds a dictionary instead of being one. Obsolete when RecBole
    builds its adjacency matrices with public functions.
    """
    from scipy.sparse import dok_matrix

    if not hasattr(dok_matrix, "_update"):
        dok_matrix._update = lambda self, data: self._dict.update(data)


def gradient_scaler() -> None:
    """Every epoch warns that ``torch.cuda.amp.GradScaler`` and ``autocast`` are deprecated.

    Obsolete when RecBole uses ``torch.amp``.
    """
    import recbole.trainer.trainer
    import torch

    if hasattr(torch.amp, "GradScaler"):
        recbole.trainer.trainer.amp = types.SimpleNamespace(
            GradScaler=functools.partial(torch.amp.GradScaler, "cuda"),
            autocast=functools.partial(torch.amp.autocast, "cuda"),
        )


def anomaly_detection() -> None:
    """Every training is a fifth slower: each gradient is searched for NaN.

    ``sine.py`` turns torch's anomaly detection on for the whole process as soon as RecBole's
    sequential models are imported, whichever model is used. Calls from RecBole's own modules are
    ignored; calls from anywhere else work. Obsolete when RecBole removes that line.
    """
    import torch

    class set_detect_anomaly(torch.autograd.set_detect_anomaly):
        def __init__(self, mode: bool, check_nan: bool = True) -> None:
            caller = sys._getframe(1).f_globals.get("__name__", "")
            if caller.partition(".")[0] != "recbole":
                super().__init__(mode, check_nan)

    torch.autograd.set_detect_anomaly = set_detect_anomaly  # type: ignore[misc]


def unknown_model_name() -> None:
    """An unknown model name gives "No module named 'lightgbm'", a wrong case an obscure error.

    RecBole's look-up goes through its packages to the last one, which imports lightgbm. Obsolete
    when RecBole reports an unknown name itself.
    """
    import recbole.config.configurator
    import recbole.model
    import recbole.utils.utils

    original = recbole.utils.utils.get_model
    folder = Path(recbole.model.__path__[0])

    @functools.wraps(original)
    def get_model(model_name: str) -> type:
        unknown = ValueError(f"`model_name` [{model_name}] is not the name of an existing model.")
        try:
            return original(model_name)
        except ModuleNotFoundError:
            if any(folder.glob(f"*_recommender/{model_name.lower()}.py")):
                raise  # the model exists, and a package that it needs does not
            raise unknown from None
        except AttributeError as error:
            if error.name == model_name:
                raise unknown from None
            raise

    for module in (recbole.utils.utils, recbole.utils, recbole.config.configurator):
        module.get_model = get_model


def download_in_one_process() -> None:
    """A download ends in "Default process group has not been initialized".

    RecBole waits for other processes although there are none; the download is complete by then.
    Obsolete when RecBole checks whether it runs distributed.
    """
    import torch.distributed as dist
    from recbole.data.dataset import Dataset

    original = Dataset._download

    @functools.wraps(original)
    def download(self: Any) -> None:
        try:
            original(self)
        except (ValueError, RuntimeError, AttributeError) as error:
            calls = [frame.line or "" for frame in traceback.extract_tb(error.__traceback__)]
            alone = not (dist.is_available() and dist.is_initialized())
            if not (alone and any("barrier()" in line for line in calls)):
                raise

    Dataset._download = download


def collector_of_counts() -> None:
    """ItemCoverage, AveragePopularity, GiniIndex and TailPercentage fail.

    The collector calls ``.cpu()`` on everything it holds, including numbers and counters of items.
    Obsolete when RecBole moves tensors only.
    """
    import torch
    from recbole.evaluator import Collector

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


def preloaded_weights() -> None:
    """KSR fails: "expected m1 and m2 to have the same dtype, but got: float != double".

    Preloaded weights are float64 arrays, and KSR multiplies them with its float32 parameters.
    Obsolete when RecBole stores float32.
    """
    import numpy as np
    from recbole.data.dataset import Dataset

    original = Dataset.get_preload_weight

    @functools.wraps(original)
    def get_preload_weight(self: Any, field: str) -> Any:
        return original(self, field).astype(np.float32)

    Dataset.get_preload_weight = get_preload_weight
