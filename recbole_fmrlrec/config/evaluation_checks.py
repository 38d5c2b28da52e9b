"""How a run is to be measured and on what it is trained, checked before there is any training."""

from __future__ import annotations

import inspect
import logging
import sys
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from recbole.utils import InputType, ModelType

from recbole_fmrlrec.errors import DataError, UsageError
from recbole_fmrlrec.keys.schema import NO_K_METRICS, VALUE_METRICS
from recbole_fmrlrec.keys.time_split import CHOICES

#: Optimisers that have a second beta.
ADAMS = ("adam", "adamw", "sparse_adam")
#: Metrics that take a label for the answer to a yes-or-no question.
_OF_CLASSES = {"auc", "gauc", "logloss"}


def check_modes(values: Mapping[str, Any]) -> None:
    """Refuse metrics that do not go with one another or with ``eval_args.mode``.

    Raises:
        UsageError: it names both keys, and what goes together.
    """
    metrics = values["metrics"]
    of_values = [name for name in metrics if name.lower() in VALUE_METRICS]
    ranking = [name for name in metrics if name.lower() not in VALUE_METRICS]
    if of_values and ranking:
        raise UsageError(
            f"metrics = {metrics}: {', '.join(of_values)} compare values and {', '.join(ranking)} "
            "rank; a run measures one kind only"
        )
    for phase, mode in evaluation_modes(values).items():
        if mode == "labeled" and ranking:
            raise UsageError(
                f"eval_args.mode = labeled ({phase}) cannot be combined with the ranking metrics "
                f"{', '.join(ranking)}: labeled rows are measured by AUC, LogLoss, MAE and RMSE "
                "(metrics, valid_metric); ranking takes mode full, uniN or popN"
            )
        if mode == "full" and of_values:
            raise UsageError(
                f"metrics = {', '.join(of_values)} cannot be combined with eval_args.mode = full "
                f"({phase}), which ranks all items: set eval_args.mode to labeled, or to uniN or "
                "popN, or take ranking metrics such as NDCG"
            )


def evaluation_modes(values: Mapping[str, Any]) -> dict[str, str]:
    """``eval_args.mode`` of validation and of test."""
    mode = (values["eval_args"] or {}).get("mode") or "full"
    if isinstance(mode, str):
        return {"valid": mode, "test": mode}
    given = mode.get("valid", mode.get("test", "full"))
    return {"valid": mode.get("valid", given), "test": mode.get("test", given)}


def check_time_split(values: Mapping[str, Any]) -> None:
    """Refuse a split by time where there is no order of time, and its keys without it.

    Raises:
        UsageError: it names the keys, and the way out.
    """
    arguments = values["eval_args"]
    by_time = "time" in (arguments["split"] or {})
    for key in CHOICES:
        if key in arguments and not by_time:
            raise UsageError(
                f"eval_args.{key} = {arguments[key]} belongs to a split by time, and eval_args."
                f"split is {arguments['split']}: set it to {{time: [0.8, 0.9]}}, or leave {key} out"
            )
    if not by_time:
        return
    if arguments["order"] != "TO":
        raise UsageError(
            f"eval_args.split = {arguments['split']} needs eval_args.order = TO, not "
            f"{arguments['order']}"
        )
    if values["benchmark_filename"]:
        raise UsageError(
            f"eval_args.split = {arguments['split']} and benchmark_filename exclude each other: "
            "the files of benchmark_filename are a split already"
        )


def check_masking(values: Mapping[str, Any]) -> None:
    """Refuse a ``transform`` without its share, and a ``mask_ratio`` that masks no item.

    Raises:
        UsageError: it names both keys.
    """
    ratio, length = values.get("mask_ratio"), values["MAX_ITEM_LIST_LENGTH"]
    needed = {"mask_itemseq": "mask_ratio", "crop_itemseq": "eta", "reorder_itemseq": "beta"}
    key = needed.get(values.get("transform") or "")
    if key and not isinstance(values.get(key), int | float):
        raise UsageError(f"transform = {values['transform']} needs {key}, a share of the items")
    if key != "mask_ratio" or not isinstance(ratio, int | float):
        return
    if not 0 < ratio <= 1 or int(ratio * length) < 1:
        raise UsageError(
            f"mask_ratio = {ratio} of MAX_ITEM_LIST_LENGTH = {length} items is "
            f"{ratio * length:g} masked items; the ratio is above 0 and at most 1, and at least "
            "one item must be masked"
        )


def check_training(values: Mapping[str, Any], model: str, model_class: type) -> None:
    """Refuse losses and ways to draw negatives that a model of RecBole's cannot take.

    Raises:
        UsageError: it names the key, and what is allowed.
    """
    negatives, loss = values.get("train_neg_sample_args") or {}, values.get("loss_type")
    if negatives.get("dynamic") and not negatives.get("candidate_num"):
        raise UsageError(
            "train_neg_sample_args.dynamic = True takes the hardest of candidate_num negatives: "
            "set train_neg_sample_args.candidate_num to at least 1"
        )
    theirs = model_class.__module__.startswith("recbole.model.sequential")
    if theirs and loss not in (None, "CE", "BPR") and not hasattr(model_class, "input_type"):
        raise UsageError(f"loss_type = {loss}: {model} of RecBole takes CE or BPR")
    if values["MODEL_TYPE"] == ModelType.SEQUENTIAL and values["eval_args"]["order"] != "TO":
        raise UsageError(
            f"eval_args.order = {values['eval_args']['order']}: {model} is a sequential model, "
            "which needs the interactions in order of time: set it to TO"
        )
    learner = str(values["learner"]).lower()
    if values.get("adam_beta2") is not None and learner not in ADAMS:
        raise UsageError(
            f"adam_beta2 = {values['adam_beta2']}: {learner} has no second beta; set it to null, "
            f"or learner to one of {', '.join(ADAMS)}"
        )
    if values["normalize_all"] and values["normalize_field"]:
        raise UsageError("normalize_all and normalize_field exclude each other: set one of them")


def check_names(values: Mapping[str, Any]) -> None:
    """Refuse names of made columns that would take the place of others.

    Raises:
        UsageError: it names the key.
    """
    for key in ("LIST_SUFFIX", "NEG_PREFIX", "ITEM_LIST_LENGTH_FIELD", "LABEL_FIELD"):
        if not values[key]:
            raise UsageError(f"{key} is empty: it names columns that RecBole adds")
    fields = {
        key: values[key]
        for key in ("USER_ID_FIELD", "ITEM_ID_FIELD", "TIME_FIELD", "ITEM_LIST_LENGTH_FIELD")
    }
    for key, field in fields.items():
        others = [other for other, name in fields.items() if name == field and other != key]
        if others:
            raise UsageError(f"{key} and {others[0]} are both {field!r}; each names another column")


def check_labels(config: Any, dataset: Any) -> None:
    """Refuse data without what the training or the measuring compares a prediction with.

    Raises:
        DataError: it names the keys that give labels or negatives.
    """
    feat, label = dataset.inter_feat, config["LABEL_FIELD"]
    ways = (
        f"threshold: {{{config['RATING_FIELD']}: 3}} makes labels of a column of numbers, "
        f"LABEL_FIELD names a column of 0 and 1 that load_col loads"
    )
    labelled, modes = label in feat, evaluation_modes(config.final_config_dict)
    if "labeled" in modes.values() and not labelled:
        raise DataError(f"eval_args.mode = labeled needs labels, and there is no {label!r}: {ways}")
    used = {metric.lower() for metric in config["metrics"]} & _OF_CLASSES
    if labelled and used and "labeled" in modes.values():
        found = torch.tensor(feat[label].tolist())
        wrong = not ((found == 0) | (found == 1)).all()
        if wrong or (found == found[0]).all():
            what = "has values other than 0 and 1" if wrong else f"is {int(found[0])} everywhere"
            raise DataError(
                f"metrics: {', '.join(sorted(used))} distinguish 0 from 1, and {label} {what} "
                f"(threshold: {config['threshold']}); {ways}"
            )
    if config["train_neg_sample_args"]["distribution"] != "none":
        return
    if _reads(config, "LABEL", InputType.POINTWISE) and not labelled:
        raise DataError(
            f"{config['model']} learns from labels, and there is no {label!r}: {ways}, or "
            "train_neg_sample_args: {distribution: uniform, sample_num: 1} draws negatives"
        )
    if _reads(config, "NEG_ITEM_ID", InputType.PAIRWISE):
        raise DataError(
            f"train_neg_sample_args: None: {config['model']} compares each item with a negative; "
            "set it to {distribution: uniform, sample_num: 1}"
        )


def _reads(config: Any, name: str, kind: InputType) -> bool:
    """Whether a model of RecBole's or ours that takes such input reads a column, by its source."""
    model_class = config.model_class
    known = model_class.__module__.startswith(("recbole.model", "recbole_fmrlrec.models"))
    if config["MODEL_INPUT_TYPE"] != kind or not known:
        return False
    if config["MODEL_TYPE"] == ModelType.CONTEXT and name == "LABEL":
        return True
    return f"self.{name}" in inspect.getsource(sys.modules[model_class.__module__])


def check_topk(config: Any, dataset: Any) -> None:
    """Refuse a K above the number of items that are ranked, for there every model finds them all.

    Our own default of ``topk`` is let pass with a warning: small datasets are for trying things.

    Raises:
        DataError: it names ``topk``, the mode and the number.
    """
    if all(metric.lower() in NO_K_METRICS for metric in config["metrics"]):
        return
    for phase, mode in evaluation_modes(config.final_config_dict).items():
        drawn = int(mode[3:]) if mode[:3] in ("uni", "pop") else 0
        items = dataset.item_num - 1
        ranked = min(drawn + 1, items) if drawn else items
        above = [k for k in config["topk"] if k > ranked]
        if not above:
            continue
        fault = (
            f"topk = {config['topk']}: {above[0]} is above the {ranked} items that "
            f"eval_args.mode = {mode} ({phase}) ranks"
        )
        if "topk" in getattr(config, "_given", ()):
            raise DataError(f"{fault}; take a smaller K for topk, and for valid_metric")
        logging.getLogger().warning("%s, so that every model finds all there", fault)
        return


def check_best_lists(config: Any, loaders: Iterable[Any]) -> None:
    """Refuse a K that is above the number of all items where RecBole lists the best K of them.

    Where ranks are counted there are no such lists, and any K will do.

    Raises:
        DataError: it names ``topk`` and what would count ranks.
    """
    from recbole_fmrlrec.evaluation.trainer_mixin import serves_ranks

    if all(metric.lower() in NO_K_METRICS for metric in config["metrics"]):
        return
    most = max(config["topk"])
    for loader in loaders:
        items = loader._dataset.item_num - 1
        if len(loader._dataset) and most > items + 1 and not serves_ranks(config, loader):
            raise DataError(
                f"topk = {config['topk']}: RecBole's evaluator lists the best {most} items, and "
                f"there are {items}; set topk and the K of valid_metric to at most {items}"
            )


def check_clusters(config: Any, dataset: Any) -> None:
    """Refuse more clusters of NCL than there are users or items to put into them.

    Raises:
        DataError: it names ``num_clusters`` and the largest number there can be.
    """
    if config["model"] != "NCL":
        return
    most = min(dataset.user_num, dataset.item_num)  # padding is clustered too
    if config["num_clusters"] > most:
        raise DataError(
            f"num_clusters = {config['num_clusters']}: NCL puts the {dataset.user_num - 1} users "
            f"and the {dataset.item_num - 1} items into that many clusters each; set it to at most "
            f"{most}"
        )


def check_list_names(dataset: Any) -> None:
    """Refuse columns of a sequential dataset that bear the name of one that is to be made.

    Raises:
        DataError: it names the column and the key.
    """
    config = dataset.config
    if not hasattr(dataset, "item_list_length_field") or config["benchmark_filename"]:
        return
    columns = set(dataset.inter_feat)
    made = {field + config["LIST_SUFFIX"]: "LIST_SUFFIX" for field in columns}
    made[dataset.item_list_length_field] = "ITEM_LIST_LENGTH_FIELD"
    for name in sorted(columns & set(made)):
        raise DataError(
            f"column {name!r} of the interactions has the name of a column that is made from "
            f"{made[name]} = {config[made[name]]!r}: change the key, or leave the column out with "
            "load_col"
        )
