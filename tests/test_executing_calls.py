"""Every place in RecBole and here that could execute what it reads, and why it may stand there.

A new one fails the test: it is looked at, and goes or gets its reason. docs/security.md says what
the reasons rest on.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import dataset_tools
import recbole_fmrlrec
from recbole_fmrlrec.files.trust import FILE_KEYS
from recbole_fmrlrec.keys.yaml_files import entries, properties_dir
from recbole_fmrlrec.model_api.registry import recbole_dir

_BUILT_IN = {"eval", "exec", "compile", "__import__", "execfile"}
_MODULES = {"pickle", "cPickle", "_pickle", "joblib", "importlib", "subprocess", "marshal", "dill"}
_MODULES |= {"shelve", "cloudpickle", "runpy", "ctypes", "code", "codeop", "imp", "multiprocessing"}
_MODULES |= {"submitit"}
_NAMES = {"torch.load", "torch.jit.load", "torch.hub.load", "numpy.load", "pandas.read_pickle"}
_NAMES |= {"os.system", "os.popen", "yaml.load", "yaml.full_load", "yaml.unsafe_load"}
_NAMES |= {"yaml.load_all", "yaml.FullLoader", "yaml.UnsafeLoader", "yaml.Loader"}
_HARMLESS = ("importlib.metadata", "importlib.util.find_spec", "importlib.machinery")
_HARMLESS += ("pickle.UnpicklingError", "pickle.PicklingError")

_GUARDED = "compat_safety: a safe load unless the file is named now or was written here"
_OURS = "not called: this package's Config and data.py take its place"
_NAMED = "trust: the key counts only when it is given now"
_REGISTRY = "the model's name is one of the registry's"

RECBOLE = {
    "configurator.py: Config._build_yaml_loader: yaml.FullLoader": "Config's own loader instead",
    "configurator.py: Config._convert_config_dict: eval": _OURS,
    "configurator.py: Config._load_config_files: yaml.load": _OURS,
    "configurator.py: Config._update_internal_config_dict: yaml.load": "RecBole's own files",
    "dataset.py: Dataset._get_download_url: yaml.load": "RecBole's own list of addresses",
    "dataset.py: Dataset.save: pickle.dump": "writes",
    "utils.py: create_dataset: getattr": _OURS,
    "utils.py: create_dataset: importlib.import_module": _OURS,
    "utils.py: create_dataset: pickle.load": f"dataset_save_path; {_GUARDED}",
    "utils.py: save_split_dataloaders: pickle.dump": "writes",
    "utils.py: load_split_dataloaders: pickle.load": f"dataloaders_save_path; {_GUARDED}",
    "utils.py: trunc: getattr": "the method is a word of RecBole's own code",
    "kd_dagfm.py: KD_DAGFM.__init__: eval": "compat_safety: looks up one of two names",
    "kd_dagfm.py: KD_DAGFM.__init__: torch.load": f"warm_up; {_GUARDED}",
    "convncf.py: ConvNCF.__init__: torch.load": f"pre_model_path; {_GUARDED}",
    "ldiffrec.py: LDiffRec.__init__: numpy.load": "compat_safety: never with pickle",
    "nais.py: NAIS._load_pretrain: torch.load": f"pretrain_path; {_GUARDED}",
    "neumf.py: NeuMF.load_pretrain: torch.load": f"mf_, mlp_pretrain_path; {_GUARDED}",
    "ract.py: RaCT.__init__: torch.load": f"pre_model_path; {_GUARDED}",
    "s3rec.py: S3Rec.__init__: torch.load": f"pre_model_path; {_GUARDED}",
    "quick_start.py: load_data_and_model: torch.load": _GUARDED,
    "hyper_tuning.py: HyperTuning._build_space_from_file: eval": "not called: tuning/ranges.py",
    "trainer.py: Trainer.resume_checkpoint: torch.load": _GUARDED,
    "trainer.py: Trainer.evaluate: torch.load": _GUARDED,
    "trainer.py: XGBoostTrainer.__init__: __import__": "a word of RecBole's own code",
    "trainer.py: LightGBMTrainer.__init__: __import__": "a word of RecBole's own code",
    "utils.py: get_model: importlib.import_module": _REGISTRY,
    "utils.py: get_model: getattr": _REGISTRY,
    "utils.py: get_trainer: importlib.import_module": "a word of RecBole's own code",
    "utils.py: get_trainer: getattr": _REGISTRY,
}
_OUTSIDE = "a model that the user gives with this command, or an installed package registers"
_JOBS = "functions of ours by name, with plain values; jobs read what the same user wrote"
OURS = {
    "allocator.py: keep_freed_memory: ctypes.CDLL": "the C library of this process",
    "checkpoint.py: load_checkpoint: torch.load": "weights_only=True",
    "convert.py: run: joblib.cpu_count": "a number",
    "record_blocks.py: _in_processes: joblib.externals.loky.ProcessPoolExecutor": (
        "the source's own functions, lines of text and what they came to, by pipes of its children"
    ),
    "runners.py: Pool: subprocess.Popen": "a type",
    "runners.py: Pool._process: subprocess.Popen": "this Python with a module of ours",
    "runners.py: Pool._process: subprocess.PIPE": "a constant",
    "jobs.py: Launcher.submit: submitit.AutoExecutor": _JOBS,
    "jobs.py: Launcher._again: submitit.slurm.slurm.SlurmJob": "asks SLURM's accounts",
    "jobs.py: Launcher.submit: submitit.helpers.clean_env": "variables",
    "jobs.py: Call.checkpoint: submitit.helpers.DelayedSubmission": _JOBS,
    "options.py: checked_options: submitit.SlurmExecutor._valid_parameters": "names",
    "cell_files.py: read_rows: numpy.load": "allow_pickle=False",
    "item_codes.py: kept_codes: numpy.load": "allow_pickle=False",
    "operator_routes.py: : importlib.resources.files": "the page of this package",
    "imports.py: _import_without: importlib.import_module": "a word of ours",
    "imports.py: _when_called.function: importlib.import_module": "a word of ours",
    "imports.py: _when_called.function: getattr": "a word of ours",
    "pandas.py: lengths_of_sequences: importlib.import_module": "a word of ours",
    "safety.py: torch_load_of_recbole: torch.load": "the guard itself",
    "safety.py: saved_data_of_recbole.load: pickle.load": "the guard itself",
    "safety.py: saved_data_of_recbole.dump: pickle.dump": "writes",
    "safety.py: numpy_load_of_recbole: numpy.load": "the guard itself",
    "loaders.py: dataset_class: importlib.import_module": "a word of ours",
    "loaders.py: dataset_class: getattr": _REGISTRY,
    "saved_data.py: _Pickler: pickle.Pickler": "writes",
    "saved_data.py: _load: pickle.load": f"dataset_save_path, dataloaders_save_path; {_NAMED}",
    "__init__.py: __getattr__: importlib.import_module": "a word of ours",
    "__init__.py: __getattr__: getattr": "a word of ours",
    "devices.py: emulates: getattr": "a word of ours",
    "exact_order.py: __getattr__: getattr": "unpickling a saved dataset, which was named now",
    "rank_record.py: read_arrays: numpy.load": "allow_pickle=False",
    "list_record.py: holds_lists: numpy.load": "allow_pickle=False",
    "outside.py: _file_module: importlib.util.module_from_spec": _OUTSIDE,
    "outside.py: _file_module: importlib.util.spec_from_file_location": _OUTSIDE,
    "outside.py: _package_module: importlib.import_module": _OUTSIDE,
    "outside.py: load: getattr": _OUTSIDE,
    "registry.py: get_model_class: importlib.import_module": _REGISTRY,
    "registry.py: get_model_class: getattr": _REGISTRY,
    "threads.py: usable_cpus: joblib.cpu_count": "counts",
    "team.py: work_together: multiprocessing.get_context": "starts workers of ours",
    "team.py: _child: multiprocessing.parent_process": "asks",
    "registry.py: _named_classes: importlib.import_module": "a module beside it",
    "shards.py: ShardStore.load: numpy.load": "allow_pickle=False",
    "pickles.py: : pickle._Unpickler": "a base that finds no class and no function below",
    "pickles.py: _PlainUnpickler: pickle.BYTEARRAY8": "a constant",
}


@pytest.mark.parametrize(
    ("folders", "reasons"),
    [
        ([recbole_dir()], RECBOLE),
        ([Path(package.__path__[0]) for package in (recbole_fmrlrec, dataset_tools)], OURS),
    ],
    ids=["RecBole", "ours"],
)
def test_every_such_place_has_its_reason(folders: list[Path], reasons: dict[str, str]) -> None:
    found = {place for folder in folders for file in folder.rglob("*.py") for place in places(file)}
    assert sorted(found - set(reasons)) == [], (
        "new: look at it, and give it a reason or another way"
    )
    assert sorted(set(reasons) - found) == [], "gone: take its reason out"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("import pickle as p\ndef f(x):\n    return p.load(x)\n", "f: pickle.load"),
        ("from pickle import loads\nclass A:\n    def f(self): loads(b'')\n", "A.f: pickle.loads"),
        ("from torch import load as read\nread('x')\n", ": torch.load"),
        ("import numpy as np\nreader = np.load\n", ": numpy.load"),
        ("def f(x):\n    return [eval(one) for one in x]\n", "f: eval"),
        ("import os\nos.execv('x', [])\n", ": os.execv"),
        ("import yaml\nyaml.load('x', yaml.Loader)\n", ": yaml.Loader"),
        ("import torch\ndef f(x):\n    return getattr(torch, x)\n", "f: getattr"),
    ],
)
def test_places_are_seen(tmp_path: Path, text: str, found: str) -> None:
    file = tmp_path / "a.py"
    file.write_text(text)
    assert f"a.py: {found}" in set(places(file))


def test_what_is_no_such_place(tmp_path: Path) -> None:
    file = tmp_path / "a.py"
    file.write_text(
        "model.eval()\nx = getattr(self, name)\nimport json\njson.load(f)\nyaml.dump(1)"
    )
    assert list(places(file)) == []


def test_every_key_that_names_a_file_is_known() -> None:
    """By RecBole's and our properties: a key is called so, or its comment speaks of a path."""
    folders = [recbole_dir() / "properties", properties_dir()]
    named = {
        entry.key
        for folder in folders
        for file in [*folder.glob("*.yaml"), *folder.glob("model/*.yaml")]
        for entry in entries(file)
        if "path" in entry.key or "file name" in entry.comment or "The path of" in entry.comment
    }
    # Folders of data, which nothing executes; atomic files and features are read as plain values.
    assert named - {"data_path", "checkpoint_dir", "feature_path"} <= set(FILE_KEYS)


def places(file: Path) -> Iterator[str]:
    """Where a source file names something that could execute: ``FILE: FUNCTION: NAME``."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    names = _imported(tree)

    def visit(node: ast.AST, where: tuple[str, ...]) -> Iterator[str]:
        for below in ast.iter_child_nodes(node):
            inside = where
            if isinstance(below, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                inside = (*where, below.name)
            if (name := _dotted(below, names)) and _could_execute(name):
                yield f"{file.name}: {'.'.join(inside)}: {name}"
            elif _is_look_up(below, names):
                yield f"{file.name}: {'.'.join(inside)}: getattr"
            if name is None or not isinstance(below, ast.Attribute):
                yield from visit(below, inside)

    return visit(tree, ())


def _imported(tree: ast.AST) -> dict[str, str]:
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for one in node.names:
                top = one.name.partition(".")[0]
                names[one.asname or top] = one.name if one.asname else top
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {one.asname or one.name: f"{node.module}.{one.name}" for one in node.names}
    return names


def _dotted(node: ast.AST, names: dict[str, str]) -> str | None:
    """The full name of ``a.b.c`` or ``a`` where it is read; None for anything else."""
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name) or isinstance(node.ctx, ast.Store):
        return None
    return ".".join([names.get(node.id, node.id), *reversed(parts)])


def _could_execute(name: str) -> bool:
    if name in _BUILT_IN or name in _NAMES or name.startswith(("os.exec", "os.spawn")):
        return True
    top, _, rest = name.partition(".")
    return top in _MODULES and bool(rest) and not name.startswith(_HARMLESS)


def _is_look_up(node: ast.AST, names: dict[str, str]) -> bool:
    """``getattr`` of a module, with a name that is no constant."""
    if not isinstance(node, ast.Call) or _dotted(node.func, names) != "getattr":
        return False
    of, *rest = node.args
    if not rest or isinstance(rest[0], ast.Constant):
        return False
    called = _dotted(of.func, names) if isinstance(of, ast.Call) else _dotted(of, names)
    first = (called or "").partition(".")[0]
    return "module" in (called or "") or first in {
        name.partition(".")[0] for name in names.values()
    }
