"""A search checked against the model's keys; the stored study against the file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from recbole_fmrlrec.errors import UsageError
from recbole_fmrlrec.keys.yaml_files import properties_dir
from recbole_fmrlrec.tuning.plan import Given, Plan, make_plan
from recbole_fmrlrec.tuning.search_file import read_drafts
from recbole_fmrlrec.tuning.storage import open_storage
from recbole_fmrlrec.tuning.study import differences, open_study

FILE = """\
model: fMRLRec
dataset: ml-100k
settings:
  epochs: 3
parameters:
  learning_rate: {choice: [0.01, 0.001]}
"""


def plan_of(folder: Path, text: str = FILE, name: str = "f.yaml", **given: Any) -> Plan:
    file = folder / name
    file.write_text(text)
    (draft,) = read_drafts(file)
    return make_plan(draft, Given(**given))


def test_a_plan_knows_measure_direction_and_budget(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    assert (plan.study, plan.model, plan.dataset) == ("f", "fMRLRec", "ml-100k")
    assert (plan.metric, plan.maximize, plan.epochs) == ("NDCG@10", True, 3)
    assert (plan.sampler, plan.trials) == ("grid", 2)
    assert plan.output == Path("saved/tune/f")
    assert plan_of(tmp_path, FILE + "objective: MRR@5\n").metric == "MRR@5"


@pytest.mark.parametrize(
    ("budget", "sampler", "trials"),
    [
        ("", "grid", 2),
        ("budget: {hours: 1}", "grid", 2),
        ("budget: {trials: 2}", "grid", 2),
        ("budget: {trials: 9}", "grid", 2),
        ("budget: {trials: 1}", "tpe", 1),
        ("budget: {trials: 1}\nsampler: grid", "grid", 1),
    ],
)
def test_a_grid_is_taken_by_itself_only_where_the_budget_reaches_every_point(
    tmp_path: Path, budget: str, sampler: str, trials: int
) -> None:
    plan = plan_of(tmp_path, FILE + budget)
    assert (plan.sampler, plan.trials) == (sampler, trials)


def test_part_of_a_grid_varies_every_parameter_and_is_the_same_again(tmp_path: Path) -> None:
    more = "  num_blocks: {int: [1, 4]}\n  dropout_prob: {choice: [0.1, 0.2, 0.3, 0.4]}\n"
    text = FILE + more + "sampler: grid\n"
    plan = plan_of(tmp_path, text)
    points = plan.points()
    assert plan_of(tmp_path, text + "budget: {trials: 8}\n").points() == points
    assert plan_of(tmp_path, text + "seed: 5\n").points() != points != plan.space.points()
    assert sorted(points, key=repr) == sorted(plan.space.points(), key=repr)
    for name in plan.space.first():
        assert len({point[name] for point in points[:8]}) > 1


def test_the_command_line_stands_over_the_file_and_files_below_it(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("epochs: 9\nseed: 7\ndataset: other\n")
    keys = {"warmup_steps": "5", "clip_grad_norm.max_norm": "2.5", "epochs": "4"}
    files = (str(tmp_path / "base.yaml"),)
    plan = plan_of(tmp_path, config_files=files, keys=keys, dataset="ml-100k")
    assert plan.dataset == "ml-100k"
    assert plan.settings == {
        "epochs": 4,
        "seed": 7,
        "warmup_steps": 5,
        "clip_grad_norm": {"max_norm": 2.5},
    }


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("learning_rate:", "lerning_rate:", r"unknown key `lerning_rate` \(.*, line 6\).*learning"),
        ("learning_rate:", "n_heads:", r"unknown key `n_heads` \(.*, line 6\): it is a key of"),
        ("epochs: 3", "epoch: 3", r"unknown key `epoch` \(.*, line 4\): .* epochs"),
        ("epochs: 3", "epochs: x", r"epochs = 'x' \(.*, line 4\): epochs must be an integer"),
        ("0.001]", "-1]", r"learning_rate = -1 \(.*, line 6\): .* must be a number above 0"),
        ("{choice: [0.01, 0.001]}", "{uniform: [0, 1]}", "learning_rate = 0 .* above 0"),
        ("learning_rate: {choice: [0.01", "epochs: {choice: [1", "epochs = 0.001"),
        ("learning_rate: {choice: [0.01, 0.001]}", "epochs: {int: [1, 2]}", "a fixed setting too"),
        (
            "learning_rate: {choice: [0.01, 0.001]}",
            "topk: {choice: [5]}",
            "topk .* cannot be a parame",
        ),
        (
            "learning_rate: {choice: [0.01, 0.001]}",
            "mask_history: {choice: [True]}",
            "mask_history .* cannot be a parame",
        ),
        (
            "learning_rate: {choice: [0.01, 0.001]}",
            "seed: {choice: [1, 2]}",
            "seed .* is luck; set",
        ),
        ("model: fMRLRec\n", "", r"f.yaml names no model: write `model: NAME` into it, or give"),
        (
            "learning_rate: {choice: [0.01, 0.001]}",
            "gpu_id: {choice: [0]}",
            "gpu_id .* cannot be a para",
        ),
        ("epochs: 3", "eval_args.split: {LS: test_only}", "has no validation part"),
        ("epochs: 3", "valid_metric: NDCG@7", "add 7 to topk"),
        ("choice: [0.01, 0.001]", "loguniform: [0.001, 0.1]", "how long[?] Write `budget"),
        ("fMRLRec", "fMRLrec", "is spelled `fMRLRec`"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_starts(
    tmp_path: Path, old: str, new: str, says: str
) -> None:
    with pytest.raises(UsageError, match=says):
        plan_of(tmp_path, FILE.replace(old, new))


def test_a_model_that_the_file_does_not_search(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--model=SASRec: .* searches the parameters of fMRLRec"):
        plan_of(tmp_path, model="SASRec")


def test_a_range_file_takes_model_and_dataset_from_the_command_line(tmp_path: Path) -> None:
    text = "mlp_hidden_size choice ['[64,32]','[16]']\nlearning_rate choice [0.01]\n"
    plan = plan_of(tmp_path, text, "h.test", model="NeuMF", dataset="ml-100k")
    assert plan.space.first() == {"mlp_hidden_size": [64, 32], "learning_rate": 0.01}
    assert (plan.sampler, plan.trials) == ("grid", 2)
    with pytest.raises(UsageError, match=r"h\.test names no model: give --model=NAME"):
        plan_of(tmp_path, text, "h.test")


@pytest.mark.parametrize("file", sorted((properties_dir() / "grid").glob("*.yaml")), ids=str)
def test_shipped_files_keep_the_rules(file: Path) -> None:
    plans = [make_plan(draft, Given()) for draft in read_drafts(file)]
    if file.stem == "beauty-baselines":
        models = ["SASRec", "BERT4Rec", "GRU4Rec", "BPR", "FDSA"]
        assert [plan.model for plan in plans] == models
        assert [plan.trials for plan in plans] == [8, 8, 8, 12, 8]
    else:
        wanted = ("fMRLRecID", 30) if file.stem == "recipe" else (file.stem, 40)
        assert [(plan.model, plan.trials) for plan in plans] == [wanted]


def test_differences_name_key_and_values() -> None:
    stored = {"settings": {"epochs": 3, "seed": 1}, "sampler": "tpe"}
    wanted = {"settings": {"epochs": 4, "dropout_prob": 0.1}, "sampler": "tpe"}
    assert differences(stored, wanted) == [
        "settings.epochs: 3 in the study, 4 now",
        "settings.seed: 1 in the study, not there now",
        "settings.dropout_prob: not there in the study, 0.1 now",
    ]


def test_a_study_belongs_to_its_file(tmp_path: Path) -> None:
    storage = open_storage(f"sqlite:///{tmp_path / 'study.db'}")
    plan = replace(plan_of(tmp_path), fingerprint="a")
    open_study(storage, plan)
    elsewhere = plan_of(tmp_path, keys={"num_threads": "3", "data_path": "there"})
    open_study(storage, replace(elsewhere, fingerprint="a", trials=1))  # places and budget may
    for changed, says in [
        (FILE.replace("epochs: 3", "epochs: 4"), "  settings.epochs: 3 in the study, 4 now\nIts"),
        (FILE.replace("0.001]", "0.002]"), "parameters.learning_rate.choice: "),
        (FILE + "seed: 5", "  seed: 2020 in the study, 5 now"),
    ]:
        other = replace(plan_of(tmp_path, changed), fingerprint="b")
        with pytest.raises(UsageError, match=says) as error:
            open_study(storage, other)
        assert "the data, or" not in str(error.value)
        open_study(storage, replace(other, study=f"new {says}"))
    with pytest.raises(UsageError, match="the data, or defaults of the package: 'a' in"):
        open_study(storage, replace(plan, fingerprint="b"))


@pytest.mark.parametrize("url", ["nothing", "oracle9://x/y"])
def test_a_storage_that_is_none(url: str) -> None:
    with pytest.raises(UsageError, match="--storage"):
        open_storage(url)
