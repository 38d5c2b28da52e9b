"""The files of a model as data: what they ask for is checked before a library follows it.

sentence-transformers imports the classes that ``modules.json`` names and hands on what
``sentence_bert_config.json`` says to ``from_pretrained``. A stranger's model may not choose
freely there: a class of that library may be any name that one of its modules knows, and
``weights_only: false`` would run a pickle.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from dataset_tools.errors import UsageError

CONFIGS = ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
_STEPS = (
    *("Transformer", "CLIPModel", "StaticEmbedding", "Pooling", "WeightedLayerPooling"),
    *("Dense", "LayerNorm", "Dropout", "Normalize"),
)
_STEP = re.compile(
    r"sentence_transformers\.(?:models|base\.modules|sentence_transformer\.modules)(?:\.\w+)?"
    rf"\.(?P<step>{'|'.join(_STEPS)})"
)
_READERS = ("Transformer", "CLIPModel")
_ACTIVATION = re.compile(r"torch\.nn\.(?:modules\.(?:activation|linear)\.)?[A-Z]\w*")
# What a model may say to from_pretrained: nothing that names files or code, or loads otherwise.
_ARGUMENTS = {
    *("add_pooling_layer", "attn_implementation", "dtype", "torch_dtype", "hidden_size"),
    *("do_lower_case", "model_max_length", "padding_side", "truncation_side", "use_fast"),
    *("add_prefix_space", "clean_up_tokenization_spaces", "strip_accents", "is_causal"),
    *("use_cache", "output_hidden_states", "max_position_embeddings", "fix_mistral_regex"),
}
_ATTENTION = ("eager", "sdpa", "flash_attention_2")
_METHOD = re.compile(r"forward|get_(?:text|image)_features")


def read_json_file(model: str, name: str, revision: str | None) -> Any:
    """A JSON file of a model, or None where it has none.

    Raises:
        UsageError: the file is cut off or no JSON.
    """
    path = _path(model, name, revision)
    if path is None:
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path}: cut off or not JSON ({error}); fetch the model again") from None


def _path(model: str, name: str, revision: str | None) -> Path | None:
    if Path(model).is_dir():
        path = Path(model) / name
        return path if path.is_file() else None
    from transformers.utils import cached_file

    found = cached_file(
        model,
        name,
        revision=revision,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
        _raise_exceptions_for_gated_repo=False,
    )
    return Path(found) if found else None


def read_object(model: str, name: str, revision: str | None) -> dict[str, Any]:
    """A JSON object of a model; empty where the file is not there.

    Raises:
        UsageError: as ``read_json_file``, or the file holds something else.
    """
    content = read_json_file(model, name, revision)
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise UsageError(f"{model}: {name} is not a JSON object; fetch the model again")
    return content


def check_config(model: str, revision: str | None) -> None:
    """Raise ``UsageError`` where config.json asks for compiled code of the hub (``ORG/KERNEL``)."""
    _check_kernels(model, read_object(model, "config.json", revision))


def _check_kernels(model: str, config: dict[str, Any]) -> None:
    for key, value in config.items():
        if key.endswith("_implementation") and "/" in str(value):
            raise UsageError(
                f"{model}: config.json sets {key} to {value!r}; code that is fetched for a model "
                "is never run"
            )
        if isinstance(value, dict):
            _check_kernels(model, value)


def has_steps(model: str, revision: str | None) -> bool:
    """Whether a model was saved by sentence-transformers, its steps checked.

    Raises:
        UsageError: a file is damaged, or asks for what is not known or would run code.
    """
    modules = read_json_file(model, "modules.json", revision)
    if modules is None:
        return False
    if not isinstance(modules, list) or not modules or not all(map(_is_module, modules)):
        raise UsageError(f"{model}: modules.json is not a list of modules; fetch the model again")
    kind = read_object(model, "config_sentence_transformers.json", revision).get("model_type")
    if kind not in (None, "SentenceTransformer"):
        raise UsageError(f"{model}: a {kind}, which does not give one vector per text")
    for module in modules:
        _check_step(model, revision, module)
    return True


def _is_module(module: object) -> bool:
    if not isinstance(module, dict):
        return False
    return all(isinstance(module.get(key), str) for key in ("type", "path"))


def _check_step(model: str, revision: str | None, module: dict[str, Any]) -> None:
    known = _STEP.fullmatch(module["type"])
    if known is None:
        raise UsageError(
            f"{model}: modules.json asks for {module['type']}, which is not known here; code that "
            f"comes with a model is never run. Known are {', '.join(_STEPS)} of "
            "sentence_transformers"
        )
    folder = module["path"]
    if Path(folder).is_absolute() or ".." in Path(folder).parts:
        raise UsageError(f"{model}: modules.json leads out of the model to {folder!r}")
    prefix = f"{folder}/" if folder else ""
    if known["step"] == "Dense":
        name = read_object(model, f"{prefix}config.json", revision).get("activation_function")
        if name is not None and not _ACTIVATION.fullmatch(str(name)):
            raise UsageError(f"{model}: {prefix}config.json asks for the function {name!r}")
    if known["step"] in _READERS:
        for kind in CONFIGS:
            name = f"{prefix}sentence_{kind}_config.json"
            _check_reader(model, name, read_object(model, name, revision))


def _check_reader(model: str, name: str, config: dict[str, Any]) -> None:
    groups = [
        f"{part}_{kind}" for part in ("model", "tokenizer", "config") for kind in ("args", "kwargs")
    ]
    for group in (*groups, "processor_args", "processor_kwargs"):
        for key, value in (config.get(group) or {}).items():
            attention = key != "attn_implementation" or value in _ATTENTION
            # The library itself takes this one out again.
            allowed = key in _ARGUMENTS or key == "trust_remote_code"
            if not allowed or not attention or isinstance(value, (dict, list)):
                raise UsageError(
                    f"{model}: {name} sets {group}.{key} to {value!r}, which a model may not "
                    "choose here"
                )
    if config.get("tokenizer_name_or_path"):
        raise UsageError(f"{model}: {name} names another model's tokenizer, which is not read")
    for entry in (config.get("modality_config") or {}).values():
        method = entry.get("method") if isinstance(entry, dict) else None
        if not _METHOD.fullmatch(str(method)):
            raise UsageError(f"{model}: {name} asks for the method {method!r} of the model")
