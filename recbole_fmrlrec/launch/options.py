"""``--launcher`` and ``--launcher_options``, by the names of submitit and of sbatch."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Mapping
from typing import Any

from recbole_fmrlrec.errors import UsageError
from recbole_fmrlrec.keys.yaml_files import parse_value
from recbole_fmrlrec.model_api.registry import nearest
from recbole_fmrlrec.rules import is_whole, shown

LAUNCHERS = ("local", "slurm")
#: Options that submitit knows for every cluster, with what they are when nothing is said. Its own
#: limit of time is five minutes.
GENERIC = ("timeout_min", "mem_gb", "cpus_per_task", "gpus_per_node", "name", "stderr_to_stdout")
DEFAULTS = {"timeout_min": 1440, "name": "recbole_fmrlrec", "max_num_timeout": 20}
#: A cell or a worker is one process.
_ONE = ("nodes", "tasks_per_node", "ntasks_per_node")
_LISTS = ("setup", "teardown", "srun_args")


def parse_options(text: str | None) -> dict[str, Any]:
    """``partition=gpu,gpus_per_node=1`` as a mapping; commas inside a value are kept.

    Raises:
        UsageError: it is no list of NAME=VALUE.
    """
    found: dict[str, str] = {}
    name = ""
    for part in text.split(",") if text is not None else ():
        if "=" in part:
            name, _, value = part.partition("=")
            name = name.strip()
            if not name or name in found:
                raise UsageError(f"--launcher_options: `{part}`: a name is missing, or given twice")
            found[name] = value
        elif name:
            found[name] += f",{part}"  # as of exclude=node1,node2
        else:
            raise UsageError(
                f"--launcher_options: `{part}` is not NAME=VALUE, such as partition=gpu"
            )
    return {key: value if "," in value else parse_value(value) for key, value in found.items()}


def checked_options(options: Mapping[str, Any], launcher: str) -> dict[str, Any]:
    """The options as `submitit.AutoExecutor` takes them, defaults added.

    Args:
        options: by the names of submitit and of sbatch.
        launcher: one of `LAUNCHERS`; those of sbatch are checked for the other one too.

    Raises:
        UsageError: there is no such option, its value cannot be, or the cluster is not there.
        ModuleNotFoundError: submitit is not installed.
    """
    if importlib.util.find_spec("submitit") is None:
        raise ModuleNotFoundError("a launcher needs submitit", name="submitit")
    from submitit import SlurmExecutor

    if launcher == "slurm" and not (shutil.which("sbatch") and shutil.which("srun")):
        raise UsageError(
            "--launcher=slurm: there is no sbatch or no srun here; submit from a machine of the "
            "cluster, or rehearse with --launcher=local"
        )
    known = {*GENERIC, *DEFAULTS, *SlurmExecutor._valid_parameters()} - {*_ONE, "job_name", "time"}
    for name, value in options.items():
        if name in _ONE:
            if value != 1:
                raise UsageError(
                    f"launcher_options: {name} = {shown(value)}: each job is one process; train "
                    "in several with torchrun"
                )
        elif name not in known:
            near = nearest(name, sorted(known), 1)
            says = f": did you mean {near[0]}?" if near else f"; known: {', '.join(sorted(known))}"
            raise UsageError(f"launcher_options: unknown option `{name}`{says}")
    return {key: _typed(key, value) for key, value in {**DEFAULTS, **options}.items()}


def _typed(name: str, value: Any) -> Any:
    whole = ("timeout_min", "cpus_per_task", "gpus_per_node", "max_num_timeout")
    least = 0 if name in ("gpus_per_node", "max_num_timeout") else 1
    if name in whole and not (is_whole(value) and value >= least):
        raise UsageError(
            f"launcher_options: {name} = {shown(value)}: must be a whole number from {least}"
        )
    return [str(value)] if name in _LISTS and not isinstance(value, list) else value


def for_executor(options: Mapping[str, Any]) -> dict[str, Any]:
    """Checked options by the names of `AutoExecutor.update_parameters`."""
    kept = {k: v for k, v in options.items() if k not in ("max_num_timeout", *_ONE)}
    return {k if k in GENERIC else f"slurm_{k}": v for k, v in kept.items()}
