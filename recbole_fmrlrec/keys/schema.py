"""The values that each key may have, ours and RecBole's general ones."""

from __future__ import annotations

import io
import re
from typing import Any

from recbole_fmrlrec.evaluation.list_metric_names import OURS
from recbole_fmrlrec.evaluation.protocol import HISTORY, MASKED, is_masked, plain_name
from recbole_fmrlrec.files.names import name_fault
from recbole_fmrlrec.keys import time_split
from recbole_fmrlrec.rules import (
    Rule,
    choice,
    flag,
    is_number,
    is_whole,
    list_of,
    mapping,
    null_or,
    number,
    text,
    whole,
)

METRICS = ["Recall", "MRR", "NDCG", "Hit", "Precision", "MAP", "GAUC", "AUC", "LogLoss", "MAE"]
METRICS += ["RMSE", "ItemCoverage", "AveragePopularity", "ShannonEntropy", "GiniIndex"]
METRICS += ["TailPercentage", *OURS]
MAX_SEED = 2**32 - 1  # numpy takes none above
VALUE_METRICS = {"auc", "logloss", "mae", "rmse"}  # the others rank
NO_K_METRICS = VALUE_METRICS | {"gauc"}


def _is_metric(value: Any) -> bool:
    return isinstance(value, str) and value.lower() in {name.lower() for name in METRICS}


def _is_valid_metric(value: Any) -> bool:
    if not isinstance(value, str):
        return False
    name, at, k = plain_name(value).partition("@")
    if not _is_metric(name) or (is_masked(value) and name.lower() in VALUE_METRICS):
        return False
    if name.lower() in NO_K_METRICS:
        return not at
    return k.isdigit() and int(k) > 0


def _is_split(value: Any) -> bool:
    if not isinstance(value, dict) or len(value) != 1:
        return False
    kind, how = next(iter(value.items()))
    if kind == "LS":
        return how in ("valid_and_test", "valid_only", "test_only")
    if kind == "time":
        return True  # a rule of its own
    shares = isinstance(how, list) and len(how) == 3 and all(is_number(x) and x >= 0 for x in how)
    return kind in ("RS", "TS") and shares and sum(how) > 0


_INTERVAL = re.compile(r"[\[(]([^,;]+),([^,;]+)[\])]")


def is_interval(value: str) -> bool:
    """Whether a text is an interval such as ``[5,inf)``, or several with ``;`` between them."""
    parts = [_INTERVAL.fullmatch(part) for part in value.replace(" ", "").split(";")]
    try:
        return all(part and float(part[1]) <= float(part[2]) for part in parts)
    except ValueError:
        return False


_mode = Rule(
    "full, labeled, uniN or popN (uni100: 100 uniform negatives)",
    lambda value: (
        isinstance(value, str) and bool(re.fullmatch(r"full|labeled|(uni|pop)[1-9]\d*", value))
    ),
)
_modes = Rule(
    f"{_mode.says}, or {{valid: ..., test: ...}} of these",
    lambda value: _mode.accepts(value) or isinstance(value, dict),
    inner={"valid": _mode, "test": _mode},
    open=False,
)
_eval_args = mapping(
    "a mapping with the keys split, group_by, order, mode, and for a split by time targets, "
    "context, cold",
    {
        "split": Rule(
            "one of {RS: [0.8, 0.1, 0.1]} (three shares), {TS: [...]} (likewise), "
            "{LS: valid_and_test} (or valid_only, test_only), {time: [VALID_FROM, TEST_FROM]}",
            _is_split,
            inner={"time": time_split.MOMENTS},
        ),
        "group_by": choice("user", "none", None),
        "order": choice("RO", "TO"),
        "mode": _modes,
        **time_split.RULES,
    },
    open=False,
)
_train_neg_sample_args = null_or(
    mapping(
        "a mapping with the keys distribution, sample_num, alpha, dynamic, candidate_num",
        {
            "distribution": choice("uniform", "popularity", "none", "None", None),
            "sample_num": Rule(
                "an integer of at least 1, or none",
                lambda v: v == "none" or (is_whole(v) and v > 0),
            ),
            "alpha": Rule(
                "a number of at least 0, or none",
                lambda v: v == "none" or (is_number(v) and v >= 0),
            ),
            "dynamic": flag(),
            "candidate_num": whole(0),
        },
        open=False,
    )
)
_clip_grad_norm = null_or(
    mapping(
        "a mapping such as {max_norm: 5.0}",
        {
            "max_norm": number(0, above=True),
            "norm_type": number(0),
            "error_if_nonfinite": flag(),
            "foreach": null_or(flag()),
        },
        open=False,
    )
)

_interval = null_or(
    Rule(
        "an interval such as [5,inf) as text, its lower end first, or several with ; between them",
        lambda value: isinstance(value, str) and is_interval(value),
        text=True,
    )
)
_names = null_or(list_of(text(), "a list of names"))
_file_names = null_or(
    list_of(Rule("a name", lambda v: name_fault(v) is None), "a list of names, not paths")
)
_path = null_or(text("a path"))
_open_mapping = null_or(mapping("a mapping"))
_dropout = number(0, 1, below=True)


def _in_any_case(*values: str) -> Rule:
    return Rule(
        "one of " + ", ".join(values),
        lambda value: isinstance(value, str) and value.lower() in {v.lower() for v in values},
    )


def _is_names(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(name_fault(x) is None for x in value)


def _is_encoding(value: Any) -> bool:
    try:
        io.TextIOWrapper(io.BytesIO(), encoding=value)
    except (LookupError, TypeError, ValueError):
        return False
    return isinstance(value, str)


_separator = Rule(
    "a string of one character or more, without line breaks and double quotes",
    lambda value: isinstance(value, str) and bool(value) and not set(value) & set('\r\n"'),
    text=True,
)

#: Processes that load data, and torch's threads: a machine gives up at more, if not before.
MAX_WORKERS, MAX_THREADS = 256, 1024

GENERAL: dict[str, Rule] = {
    "gpu_id": Rule(
        "the numbers of GPUs with commas, such as 0 or 0,1",
        lambda v: isinstance(v, str) or is_whole(v),
        text=True,
    ),
    **dict.fromkeys(["use_gpu", "reproducibility", "show_progress", "save_dataset"], flag()),
    **dict.fromkeys(["save_dataloaders", "log_wandb", "shuffle", "mask_history"], flag()),
    "trim_batches": flag(),
    "shard_items": null_or(flag()),
    "seed": whole(0, MAX_SEED),
    "worker": whole(0, MAX_WORKERS),
    "state": _in_any_case("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"),
    **dict.fromkeys(["data_path", "checkpoint_dir"], text("a path")),
    **dict.fromkeys(["dataset_save_path", "dataloaders_save_path"], _path),
    "wandb_project": text(),
    "encoding": Rule(
        "the name of a text encoding such as utf-8 or latin-1", _is_encoding, text=True
    ),
    "init_from": null_or(text("the path of a checkpoint")),
    "continue_from": null_or(text("the folder of a run, or its best.pth")),
    "continue_optimizer": flag(),
    "num_threads": null_or(whole(1, MAX_THREADS)),
}

#: ``loss_type`` of RecBole's models, and of ours beside CE.
LOSSES = ["CE", "BPR", "BCE", "MSE"]
SAMPLED_LOSSES = ["sampled_uniform", "sampled_in_batch", "sampled_popularity"]

#: The networks that KD_DAGFM can learn from.
TEACHERS = ("CrossNet", "CIN")

TRAINING: dict[str, Rule] = {
    "epochs": whole(1),
    "max_minutes": null_or(number(0, above=True)),
    **dict.fromkeys(["train_batch_size", "eval_batch_size"], whole(1)),
    "learner": _in_any_case("adam", "adamw", "sgd", "adagrad", "rmsprop", "sparse_adam"),
    "learning_rate": number(0, above=True),
    "weight_decay": number(0),
    "lr_scheduler": choice("constant", "linear", "cosine"),
    "warmup_steps": whole(0),
    "lr_min_ratio": number(0, 1),
    "adam_beta2": null_or(number(0, 1, above=True, below=True)),
    "train_neg_sample_args": _train_neg_sample_args,
    **dict.fromkeys(["eval_step", "stopping_step", "loss_decimal_place"], whole(0)),
    "clip_grad_norm": _clip_grad_norm,
    **dict.fromkeys(["require_pow", "enable_amp", "enable_scaler", "allow_tf32"], flag()),
    "amp_dtype": choice("bfloat16", "float16"),
    "transform": null_or(
        choice("mask_itemseq", "inverse_itemseq", "crop_itemseq", "reorder_itemseq", "user_defined")
    ),
    "loss_type": choice(*LOSSES),
}

EVALUATION: dict[str, Rule] = {
    "eval_args": _eval_args,
    **dict.fromkeys(["repeatable", "valid_metric_bigger"], flag()),
    "metrics": list_of(
        Rule("a metric", _is_metric), "a list of metrics out of " + ", ".join(METRICS)
    ),
    "topk": list_of(whole(1), "a list of integers of at least 1"),
    "valid_metric": Rule(
        "a metric with its K such as NDCG@10 ("
        + ", ".join(METRICS)
        + "; AUC, GAUC, LogLoss, MAE and "
        f"RMSE without @K), or {MASKED}NDCG@10 and the like for the ranking without the user's "
        "history",
        _is_valid_metric,
        text=True,
    ),
    "metric_decimal_place": whole(0),
    "tail_ratio": number(0, above=True),
    "history": choice(*HISTORY),
}

_FIELDS = ["USER_ID_FIELD", "ITEM_ID_FIELD", "RATING_FIELD", "TIME_FIELD", "LABEL_FIELD"]
_FIELDS += ["NEG_PREFIX", "LIST_SUFFIX", "ITEM_LIST_LENGTH_FIELD", "POSITION_FIELD"]
_FIELDS += ["HEAD_ENTITY_ID_FIELD", "TAIL_ENTITY_ID_FIELD", "RELATION_ID_FIELD", "ENTITY_ID_FIELD"]

DATASET: dict[str, Rule] = {
    **dict.fromkeys(_FIELDS, text()),
    "field_separator": _separator,
    "seq_separator": _separator,
    "MAX_ITEM_LIST_LENGTH": whole(1),
    "rm_dup_inter": choice("first", "last", None),
    **dict.fromkeys(
        ["seq_len", "threshold", "load_col", "unload_col", "unused_col"], _open_mapping
    ),
    **dict.fromkeys(["val_interval", "preload_weight", "discretization"], _open_mapping),
    **dict.fromkeys(["user_inter_num_interval", "item_inter_num_interval"], _interval),
    **dict.fromkeys(["entity_kg_num_interval", "relation_kg_num_interval"], _interval),
    **dict.fromkeys(["filter_inter_by_user_or_item", "kg_reverse_r"], flag()),
    "normalize_all": null_or(flag()),
    "numerical_features": Rule("a list of names", lambda v: isinstance(v, list), listed=True),
    "normalize_field": _names,
    **dict.fromkeys(["additional_feat_suffix", "benchmark_filename"], _file_names),
    **dict.fromkeys(
        [f"alias_of_{kind}_id" for kind in ("user", "item", "entity", "relation")], _names
    ),
}

MODEL: dict[str, Rule] = {
    "sizes": list_of(
        whole(1),
        "a list of strictly ascending integers of at least 1, such as [16, 32, 64]",
        ascending=True,
    ),
    "num_blocks": whole(1),
    **dict.fromkeys(["dropout_prob", "input_dropout_prob", "item_dropout_prob"], _dropout),
    **dict.fromkeys(["hidden_dropout_prob", "attn_dropout_prob"], _dropout),
    "recurrence_dropout_prob": _dropout,
    "adaptor_dropout_prob": _dropout,
    "critic_dropout_prob": Rule(
        "two rates, each at least 0 and below 1, such as [0.31, 0.5]",
        lambda v: isinstance(v, list) and len(v) == 2 and all(map(_dropout.accepts, v)),
        listed=True,
    ),
    **dict.fromkeys(["temperature", "gumbel_temperature"], number(0, above=True)),
    "critic_learning_rate": number(0, above=True),
    "graph_share": number(0, 1),
    **dict.fromkeys(["n_exps", "code_dim"], whole(1)),
    "code_cap": choice(*(2**bits for bits in range(1, 13))),
    "r_min": number(0, 1, below=True),
    "r_max": number(0, 1, above=True),
    "modalities": Rule(
        "auto, or a list of modalities such as [text, image]",
        lambda value: value == "auto" or (_is_names(value) and "auto" not in value),
        listed=True,
    ),
    **dict.fromkeys(["use_features", "use_id_embedding", "predict_first_item"], flag()),
    "history_bias": flag(),
    "self_distillation": number(0, 1),
    "feature_scale": number(0, above=True),
    "training_windows": choice("overlap", "latest", "prefix"),
    "feature_path": _path,
    "max_missing_features": number(0, 1),
    **dict.fromkeys(["loss_block_size", "feature_block_size"], null_or(whole(1))),
    **dict.fromkeys(["num_sampled_items", "num_negatives"], whole(1)),
    "gbce_t": number(0, 1),
    "reuse_item_embeddings": flag(),
    **dict.fromkeys(["embedding_size", "mf_embedding_size", "mlp_embedding_size"], whole(1)),
    **dict.fromkeys(["hidden_size", "inner_size", "attention_size", "latent_dimension"], whole(1)),
    **dict.fromkeys(["n_heads", "num_heads", "num_layers", "k"], whole(1)),
    "n_layers": whole(0),
    "layer_norm_eps": number(0, above=True),
    "initializer_range": number(0),
    **dict.fromkeys(["feature_memory_mb", "interaction_memory_mb"], whole(0)),
    "pooling_mode": choice("sum", "mean", "max"),
    "alignment_weight": number(0),
    "alignment_temperature": number(0, above=True),
    "encoder": _path,
    "text_columns": Rule(
        "auto, or a list of columns such as [title, brand]",
        lambda value: value == "auto" or (_is_names(value) and "auto" not in value),
        listed=True,
    ),
    **dict.fromkeys(["max_attribute_tokens", "encoding_batch_size"], whole(1)),
    "max_tokens": whole(2),
    "first_stage_epochs": null_or(whole(1)),
    "attention_window": Rule(
        "an even integer of at least 2", lambda v: is_whole(v) and v > 0 and v % 2 == 0
    ),
}

#: ``selected_features`` of our models; RecBole's know no ``auto``.
SIDE_COLUMNS = null_or(
    Rule(
        "auto, or a list of columns such as [categories, brand]",
        lambda v: v == "auto" or (isinstance(v, list) and all(isinstance(x, str) for x in v)),
        listed=True,
    )
)

RULES: dict[str, Rule] = GENERAL | TRAINING | EVALUATION | DATASET | MODEL
