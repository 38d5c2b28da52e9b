"""Where RecBole 1.2.1 would execute code from a file: a part of :mod:`recbole_fmrlrec.compat`."""

from __future__ import annotations

import functools
import pickle
import sys
import types
from pathlib import Path
from typing import Any

from recbole_fmrlrec.compat.imports import when_imported
from recbole_fmrlrec.errors import RunError, UsageError
from recbole_fmrlrec.files import trust
from recbole_fmrlrec.keys.schema import TEACHERS

_KD_DAGFM = "recbole.model.context_aware_recommender.kd_dagfm"


def torch_load_of_recbole() -> None:
    """The best checkpoint cannot be loaded: torch >= 2.6 reads tensors and plain values only.

    RecBole's checkpoints hold its ``Config``, pickled. ``torch.load`` called from RecBole's own
    modules reads them if this process wrote the file or the user named it in this command; for all
    other files and callers torch's safe default holds. Obsolete when RecBole saves plain values.
    """
    import torch

    load_before, save_before = torch.load, torch.save

    @functools.wraps(load_before)
    def load(*args: Any, **kwargs: Any) -> Any:
        if not _is_recbole(sys._getframe(1)):
            return load_before(*args, **kwargs)
        file = args[0] if args else kwargs.get("f")
        kwargs["weights_only"] = not trust.may_execute(file)
        try:
            return load_before(*args, **kwargs)
        except pickle.UnpicklingError as error:
            if not kwargs["weights_only"]:
                raise
            raise UsageError(_refused(file)) from error

    @functools.wraps(save_before)
    def save(*args: Any, **kwargs: Any) -> Any:
        done = save_before(*args, **kwargs)
        file = args[1] if len(args) > 1 else kwargs.get("f")
        if _is_recbole(sys._getframe(1)) and isinstance(file, str | Path):
            trust.wrote(file)
        return done

    torch.load, torch.save = load, save


def _refused(file: Any) -> str:
    return (
        f"{file}: holds more than tensors and plain values, and reading that can run code. RecBole "
        f"reads such a file only if this command names it ({', '.join(trust.FILE_KEYS)}); in "
        "Python, recbole_fmrlrec.files.trust.name(FILE) says that you trust it"
    )


def checkpoints_of_ours() -> None:
    """RecBole's ``load_data_and_model`` fails on our checkpoints with an obscure error.

    They hold plain values where RecBole's hold a pickled ``Config``. The error now says so, and
    what reads them. Patched when ``recbole.quick_start`` is imported. Obsolete when RecBole saves
    plain values.
    """
    when_imported("recbole.quick_start.quick_start", _name_our_reader)


def _name_our_reader(module: Any) -> None:
    original = module.load_data_and_model

    @functools.wraps(original)
    def load_data_and_model(model_file: Any) -> Any:
        if _is_ours(model_file):
            raise UsageError(
                f"{model_file}: a checkpoint of recbole_fmrlrec, which RecBole's "
                "load_data_and_model cannot read. `run_recbole.py evaluate --checkpoint=FILE` "
                "measures it and `export --checkpoint=FILE` deploys one with sizes. From Python "
                "recbole_fmrlrec.train.restore reads it: config, state = saved_config(Path(FILE)); "
                "with the loaders of data_preparation(config, create_dataset(config)), "
                "saved_model(Path(FILE), config, state, loaders[0]) is the model"
            )
        return original(model_file)

    module.load_data_and_model = load_data_and_model


def _is_ours(file: Any) -> bool:
    from recbole_fmrlrec.files.checkpoint import load_checkpoint

    try:
        load_checkpoint(Path(file))
    except RunError:
        return False
    return True


def numpy_load_of_recbole() -> None:
    """LDiffRec reads a dataset's ``item_emb.npy`` with pickle, which can run code.

    It needs a plain array anyway, for torch. Obsolete when RecBole leaves ``allow_pickle`` out.
    """
    import numpy as np

    before = np.load

    @functools.wraps(before)
    def load(*args: Any, **kwargs: Any) -> Any:
        if not _is_recbole(sys._getframe(1)):
            return before(*args, **kwargs)
        kwargs["allow_pickle"] = False
        try:
            return before(*args, **kwargs)
        except ValueError as error:
            file = args[0] if args else kwargs.get("file")
            raise UsageError(f"{file}: not a plain array of numbers ({error})") from error

    np.load = load


def saved_data_of_recbole() -> None:
    """``create_dataset`` and ``load_split_dataloaders`` unpickle files found in ``checkpoint_dir``.

    Without a key they look for a file by its default name. Only files that the user names in this
    command, or that this process wrote, are read. Obsolete when RecBole saves plain values.
    """
    import recbole.data.dataset.dataset
    import recbole.data.utils

    def load(file: Any) -> Any:
        if not trust.may_execute(file.name):
            raise UsageError(_refused(file.name))
        return pickle.load(file)

    def dump(value: Any, file: Any) -> None:
        pickle.dump(value, file)
        file.flush()
        trust.wrote(file.name)

    guarded = types.SimpleNamespace(load=load, dump=dump)
    for module in (recbole.data.utils, recbole.data.dataset.dataset):
        module.pickle = guarded


def _is_recbole(frame: Any) -> bool:
    return str(frame.f_globals.get("__name__", "")).partition(".")[0] == "recbole"


def teacher_of_kd_dagfm() -> None:
    """KD_DAGFM evaluates the text of ``teacher`` as Python.

    The module gets its own ``eval``, which looks the name up. Patched when the module is imported,
    as importing it takes a second. Obsolete when RecBole looks the class up by name.
    """
    when_imported(_KD_DAGFM, _look_up)


def _look_up(module: Any) -> None:
    def find(name: str) -> Any:
        if name not in TEACHERS:
            raise UsageError(f"teacher = {name[:200]!r}: must be one of {', '.join(TEACHERS)}")
        return vars(module)[name]

    module.eval = find
