"""What the user may set: unknown keys, impossible values, how text is read and merged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recbole_fmrlrec.config.settings import (
    apply,
    check_together,
    from_dict,
    from_files,
    read,
    with_entry,
)
from recbole_fmrlrec.errors import UsageError
from recbole_fmrlrec.keys import known
from recbole_fmrlrec.keys.known import check_key, general_keys, model_keys, rule_of
from recbole_fmrlrec.keys.schema import RULES
from recbole_fmrlrec.keys.yaml_files import load_yaml, properties_dir
from recbole_fmrlrec.model_api.registry import OUR_MODELS, SHIPPED, recbole_models


def refusal(model: str, values: dict[str, Any], start: dict[str, Any] | None = None) -> str:
    with pytest.raises(UsageError) as error:
        apply(from_dict(values, "command line", is_text=True), start or {}, model)
    return str(error.value)


@pytest.mark.parametrize(
    ("model", "key", "says"),
    [
        ("fMRLRec", "lerning_rate", "the nearest known keys are learning_rate, lr_min_ratio"),
        ("fMRLRec", "Sizes", "the nearest known keys are sizes"),
        ("SASRec", "sizes", "it is a key of fMRLRec, fMRLRecID, not of SASRec"),
        ("fMRLRec", "n_facet", "it is a key of GRU4RecCPR, SASRecCPR, not of fMRLRec"),
        (
            "Pop",
            "hidden_act",
            "it is a key of BERT4Rec, CORE, FDSA, FEARec, GCSAN, LightSANs ..., not of Pop",
        ),
        ("BPR", "neg_sampling", "`train_neg_sample_args` has replaced it"),
        ("BPR", "qqqqqq", "no known key is similar; `--help` lists them"),
    ],
)
def test_unknown_keys(model: str, key: str, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Whatever baselines there are: the owners of a key among the models that always were.
    monkeypatch.setattr(known, "SHIPPED", OUR_MODELS)
    assert refusal(model, {key: "1"}) == f"unknown key `{key}` (command line): {says}"


def test_an_unknown_key_of_a_file_is_named_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "my.yaml"
    file.write_text("# mine\nepochs: 3\n\nlerning_rate: 0.1\n", encoding="utf-8")
    with pytest.raises(UsageError, match="unknown key `lerning_rate`") as error:
        apply(from_files([file]), {}, "SASRec")
    assert f"({file}, line 4)" in str(error.value)


def test_keys_that_recbole_reads_without_a_yaml_file_are_known() -> None:
    for key in ("encoding", "benchmark_filename", "tail_ratio", "threshold"):
        check_key(key, "here", "Pop")
    check_key("has_residual", "here", "AutoInt")
    check_key("loss_type", "here", "SASRec")
    check_key("eta", "here", "SASRec", transform="crop_itemseq")
    with pytest.raises(UsageError, match="unknown key `eta`"):
        check_key("eta", "here", "SASRec")


@pytest.mark.parametrize(
    ("key", "text", "says"),
    [
        ("sizes", "[8,8]", "[8, 8]: must be a list of strictly ascending integers of at least 1"),
        ("sizes", "16,8", "[16, 8]: must be a list of strictly ascending integers of at least 1"),
        ("sizes", "0", "[0]: must be a list of strictly ascending integers of at least 1"),
        ("sizes", "[]", "[]: must be a list of strictly ascending integers of at least 1"),
        ("dropout_prob", "1.5", "1.5: must be a number in [0, 1)"),
        ("dropout_prob", "1", "1: must be a number in [0, 1)"),
        ("dropout_prob", "nan", "'nan': must be a number in [0, 1)"),
        ("dropout_prob", ".nan", "nan: must be a number in [0, 1)"),
        ("self_distillation", "-0.1", "-0.1: must be a number in [0, 1]"),
        ("r_max", "0", "0: must be a number in (0, 1]"),
        ("learning_rate", "0", "0: must be a number above 0"),
        ("learning_rate", "fast", "'fast': must be a number above 0"),
        ("epochs", "-1", "-1: must be an integer of at least 1"),
        ("epochs", "1.5", "1.5: must be an integer of at least 1"),
        ("epochs", "True", "True: must be an integer of at least 1"),
        ("epochs", "", "None: must be an integer of at least 1"),
        ("topk", "[5,0]", "[5, 0]: must be a list of integers of at least 1"),
        ("use_gpu", "1", "1: must be True or False"),
        ("training_windows", "all", "'all': must be one of overlap, latest, prefix"),
        ("lr_scheduler", "step", "'step': must be one of constant, linear, cosine"),
        ("adam_beta2", "1", "1: must be a number in (0, 1)"),
        ("learner", "lion", "'lion': must be one of adam, adamw, sgd, adagrad, rmsprop"),
        (
            "metrics",
            "[Recall,Foo]",
            "['Recall', 'Foo']: must be a list of metrics out of Recall, MRR",
        ),
        ("valid_metric", "NDCG", "'NDCG': must be a metric with its K such as NDCG@10"),
        ("valid_metric", "AUC@5", "'AUC@5': must be a metric with its K such as NDCG@10"),
        ("user_inter_num_interval", "5", "'5': must be an interval such as [5,inf) as text"),
        ("eval_args", "full", "'full': must be a mapping with the keys split, group_by, order"),
        ("clip_grad_norm", "5", "5: must be a mapping such as {max_norm: 5.0}, or null"),
    ],
)
def test_impossible_values(key: str, text: str, says: str) -> None:
    assert f"{key} = {says}" in refusal("fMRLRec", {key: text}).replace(
        f" (command line): {key} must", ": must"
    )


@pytest.mark.parametrize(
    ("key", "text", "says"),
    [
        ("eval_args.mode.valid", "ful", "eval_args.mode.valid must be full, labeled, uniN or popN"),
        ("eval_args.mode.vaild", "full", "eval_args.mode.vaild is not a key; known: valid, test"),
        ("eval_args.splt", "x", "eval_args.splt is not a key; known: split, group_by, order, mode"),
        ("eval_args.order", "to", "eval_args.order must be one of RO, TO"),
        ("eval_args.split.LS", "all", "eval_args.split must be one of {RS: [0.8, 0.1, 0.1]}"),
        ("eval_args.split.RS", "[8, 2]", "eval_args.split must be one of {RS: [0.8, 0.1, 0.1]}"),
        ("clip_grad_norm.max_norm", "0", "clip_grad_norm.max_norm must be a number above 0"),
        ("clip_grad_norm.max", "1", "clip_grad_norm.max is not a key; known: max_norm, norm_type"),
        ("train_neg_sample_args.sample_num", "0", "sample_num must be an integer of at least 1"),
    ],
)
def test_impossible_entries(key: str, text: str, says: str) -> None:
    start = {"eval_args": {"mode": "full"}, "clip_grad_norm": None, "train_neg_sample_args": {}}
    assert says in refusal("BPR", {key: text}, start)


def test_other_keys_must_have_the_type_of_their_default() -> None:
    defaults = {"n_layers": 2, "reg_weight": 2, "hidden_act": "gelu", "mlp_hidden_size": [64, 64]}
    assert "n_layers must be an integer" in refusal("SASRec", {"n_layers": "2.5"}, dict(defaults))
    assert "hidden_act must be a string" not in refusal("SASRec", {"n_layers": "x"}, dict(defaults))
    values = dict(defaults)
    apply(from_dict({"mlp_hidden_size": "32,16"}, "", is_text=True), values, "NeuMF")
    assert values["mlp_hidden_size"] == [32, 16]
    says = refusal("NeuMF", {"mlp_hidden_size": "32,wide"}, defaults)
    assert says == (
        "mlp_hidden_size = [32, 'wide'] (command line): mlp_hidden_size must be a list of integers"
    )
    apply(from_dict({"reg_weight": "0.5"}, "", is_text=True), values, "DCN")
    assert values["reg_weight"] == 0.5  # DCN's default is the whole number 2


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("learning_rate", "1e-3", 0.001),
        ("topk", "5", [5]),
        ("topk", "5,10", [5, 10]),
        ("topk", "[5, 10]", [5, 10]),
        ("metrics", "NDCG,Recall", ["NDCG", "Recall"]),
        ("metrics", "['NDCG']", ["NDCG"]),
        ("modalities", "auto", "auto"),
        ("modalities", "text", ["text"]),
        ("modalities", "text,image", ["text", "image"]),
        ("gpu_id", "0", "0"),
        ("gpu_id", "0,1", "0,1"),
        ("gpu_id", "", ""),
        ("checkpoint_dir", "2024", "2024"),
        ("user_inter_num_interval", "[5,inf)", "[5,inf)"),
        ("user_inter_num_interval", "[5,10]", "[5,10]"),
        ("user_inter_num_interval", "None", None),
        ("num_threads", "~", None),
        ("rm_dup_inter", "None", None),
        ("threshold", "{'rating':4}", {"rating": 4}),
        ("use_gpu", "false", False),
        ("field_separator", "\t", "\t"),
    ],
)
def test_text_is_read_as_the_key_means_it(key: str, text: str, value: Any) -> None:
    assert read(rule_of(key, None), text, is_text=True) == value
    assert type(read(rule_of(key, None), text, is_text=True)) is type(value)


def test_text_is_never_evaluated() -> None:
    says = refusal("SASRec", {"epochs": "__import__('os').getpid()"})
    assert says.startswith("epochs = \"__import__('os').getpid()\"")


@given(st.recursive(st.integers() | st.text() | st.none(), st.lists, max_leaves=5), st.integers())
def test_with_entry_changes_one_entry_and_not_the_original(other: Any, value: int) -> None:
    old = {"a": {"b": 0, "other": other}, "other": other}
    new = with_entry(old, ["key", "a", "b"], value, "here")
    assert new == {"a": {"b": value, "other": other}, "other": other}
    assert old["a"]["b"] == 0


def test_entries_of_a_plain_value_are_refused() -> None:
    says = refusal("SASRec", {"seed.x": "1"}, {"seed": 2020})
    assert says == "`seed.x` (command line): `seed` is 2020, which has no entries"


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"topk": [5, 20]}, "add 10 to topk, or set valid_metric to, for example, NDCG@5"),
        ({"metrics": ["Hit"]}, "add NDCG to metrics, or set valid_metric to one of them"),
        ({"r_min": 0.9, "r_max": 0.9}, "r_min = 0.9 must be below r_max = 0.9"),
        ({"use_features": False, "use_id_embedding": False}, "neither features nor ids"),
    ],
)
def test_settings_must_agree(changed: dict[str, Any], says: str) -> None:
    good = {"metrics": ["ndcg"], "valid_metric": "NDCG@10", "topk": [5, 10]}
    check_together(good)
    with pytest.raises(UsageError) as error:
        check_together(good | changed)
    assert says in str(error.value)


def test_our_own_properties_keep_the_rules() -> None:
    for file in [*properties_dir().glob("*/*.yaml"), properties_dir() / "overall.yaml"]:
        if file.parent.name not in ("model", "dataset", "properties"):
            continue
        values = load_yaml(file)
        sections = values.pop("models", None) or {}
        values.pop("source", None)
        for model in sections or [file.stem if file.parent.name == "model" else "fMRLRec"]:
            found = values | (sections.get(model) or {})
            apply(from_dict(found, str(file)), {}, model, any_key=False)


def test_every_rule_is_for_a_key_that_some_model_knows() -> None:
    every = set(general_keys()).union(*map(model_keys, [*SHIPPED, *recbole_models()]))
    assert set(RULES) <= every


@pytest.mark.parametrize(
    ("model", "value", "allowed"),
    [
        ("fMRLRec", "CE", True),
        ("fMRLRecID", "sampled_in_batch", True),
        ("fMRLRec", "BPR", False),
        ("SASRec", "BPR", True),
        ("SASRec", "sampled_in_batch", False),
        ("ModelOfMyOwn", "BPR", True),
        ("ModelOfMyOwn", "sampled_uniform", True),
    ],
)
def test_each_model_has_the_loss_types_that_it_knows(model, value, allowed) -> None:
    assert rule_of("loss_type", "CE", model).accepts(value) is allowed
