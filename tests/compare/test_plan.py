"""The file of a comparison: what it means, and errors with their lines."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from recbole_fmrlrec.compare.command import build_parser
from recbole_fmrlrec.compare.plan import Plan, Variant
from recbole_fmrlrec.compare.plan_file import read_plan
from recbole_fmrlrec.compare.plan_options import plan_from_file, plan_from_options
from recbole_fmrlrec.errors import UsageError
from recbole_fmrlrec.keys.yaml_files import properties_dir

GOOD = """\
datasets:
  ml-100k: {MAX_ITEM_LIST_LENGTH: 20}
seeds: [1, 2]
metrics: [Recall, MRR]
topk: [5]
budget: {epochs: 3, minutes: 1.5}
settings: {num_threads: 1}
models:
  SASRec:
    settings: {n_layers: 1}
    tuned: n_layers on validation
  small:
    model: fMRLRec
    show_sizes: [64, 16]
    independent: true
"""


def write(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "mine.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def test_a_file_is_read(tmp_path):
    file = write(tmp_path, GOOD)
    plan = read_plan(file)
    assert (plan.name, plan.output) == ("mine", Path("comparisons/mine"))
    assert plan.columns == ["recall@5", "mrr@5", "masked_recall@5", "masked_mrr@5"]
    assert plan.main == "ndcg@10" and plan.mains == ["ndcg@10", "masked_ndcg@10"]
    theirs, ours = plan.models
    assert theirs == Variant(
        "SASRec",
        "SASRec",
        settings={"n_layers": 1},
        baseline=True,
        tuned="n_layers on validation",
        where=f"{file}, line 9",
    )
    assert (ours.model, ours.sizes, ours.independent, ours.baseline) == (
        "fMRLRec",
        (16, 64),
        True,
        False,
    )


def test_later_settings_win_and_the_metric_is_watched(tmp_path):
    text = GOOD.replace("{n_layers: 1}", "{n_layers: 1, epochs: 7, MAX_ITEM_LIST_LENGTH: 9}")
    plan = read_plan(write(tmp_path, text))
    assert plan.settings_of("ml-100k", plan.models[0]) == {
        "epochs": 7,
        "max_minutes": 1.5,
        "num_threads": 1,
        "MAX_ITEM_LIST_LENGTH": 9,
        "n_layers": 1,
        "metrics": ["NDCG"],
        "topk": [10],
        "valid_metric": "NDCG@10",
    }
    assert plan.settings_of("ml-100k", plan.models[1])["epochs"] == 3


@pytest.mark.parametrize(
    ("old", "new", "line", "says"),
    [
        ("seeds:", "seads:", 3, "unknown key `seads`: did you mean `seeds`?"),
        ("[1, 2]", "[1, -2]", 3, "seeds: -2 must be an integer of at least 0"),
        ("[1, 2]", "[1, 1]", 3, "given once"),
        ("[Recall, MRR]", "[Recall, GAUC]", 4, "the metric 'GAUC': must be one of NDCG"),
        ("epochs: 3", "epochs: 0", 6, "budget.epochs = 0: must be an integer of at least 1"),
        ("minutes: 1.5", "hours: 1", 6, "unknown key `hours`"),
        ("minutes: 1.5", "train_batch_size: 8", 6, "`train_batch_size`: there are epochs, minutes"),
        (
            "topk: [5]",
            "train_batch_size: 8",
            5,
            "unknown key `train_batch_size`: a key of the runs stands under `settings`, "
            "`settings: {train_batch_size: ...}`",
        ),
        ("tuned: n", "n_layers: 2\n    tuned: n", 11, "`settings`, `settings: {n_layers: ...}`"),
        ("num_threads: 1", "num_threads: 0", 7, "num_threads = 0"),
        (
            "num_threads: 1",
            "seed: 3",
            7,
            "`seed` is not a setting here; set it with the key `seeds` at the top",
        ),
        (
            "num_threads: 1",
            "topk: [5]",
            7,
            "set it with the key `topk` at the top level of this file",
        ),
        ("num_threads: 1", "max_minutes: 1", 7, "`budget: {minutes: ...}` at the top level"),
        ("num_threads: 1", "eval_args: {mode: uni100}", 7, "eval_args.mode: uni100 for the test"),
        ("n_layers: 1}", "eval_args.mode.test: pop10}", 10, "eval_args.mode: pop10 for the test"),
        ("n_layers: 1}", "eval_args.split.RS: [0.8, 0.1, 0.1]}", 10, "eval_args.split: {'RS'"),
        ("n_layers: 1}", "eval_args.order: RO}", 10, "eval_args.order: RO draws other"),
        ("  SASRec:", "  SASREC:", 9, "unknown model `SASREC`: it is spelled `SASRec`"),
        ("n_layers: 1}", "n_layer: 1}", 10, "unknown key `n_layer`"),
        ("tuned: n", "sizes: [8]\n    tuned: n", 11, "`sizes` is for models with sizes; SASRec"),
        ("show_sizes: [64, 16]", "sizes: some", 14, "sizes = 'some': must be all, or a list"),
        ("[64, 16]", "some", 14, "show_sizes = 'some': must be all, or a list"),
        ("[64, 16]", "[16]\n    sizes: [8]", 14, "`show_sizes` and `sizes` say the same"),
        ("independent: true", "independent: 3", 15, "`independent` must be true or false"),
        ("  small:\n", "  SASRec:\n", 12, "duplicate key `SASRec`, also on line 9"),
        ("  small:\n", "  a/b:\n", 12, "'a/b' cannot be a name"),
        ("  SASRec:\n", "  small 64:\n    model: SASRec\n", 9, "a size of small 'small 64' too"),
        ("  small:\n", "  _b:\n", 12, "'_b': a model's name cannot begin with _"),
        ("[Recall, MRR]", "[]", 4, "`metrics` is empty"),
        ("topk: [5]", "valid_metric: NDCG@²", 5, "valid_metric = 'NDCG@²': must be a metric"),
        ("topk: [5]", "history: hide", 5, "history = 'hide': must be keep (the user's"),
        (
            "topk: [5]",
            "history: keep\nvalid_metric: masked_NDCG@10",
            6,
            "which `history: keep` does not show: set history to both or mask",
        ),
        ("num_threads: 1", "history: keep", 7, "set it with the key `history` at the top"),
        ("num_threads: 1", "mask_history: True", 7, "set it with `valid_metric: masked_NDCG@10`"),
        ("topk: [5]", "bootstrap: [200, 300]", 5, "`bootstrap` is one number of resamples"),
    ],
)
def test_errors_have_the_line(tmp_path, old, new, line, says):
    file = write(tmp_path, GOOD.replace(old, new, 1))
    with pytest.raises(UsageError) as error:
        read_plan(file)
    assert f"{file}, line {line}: " in str(error.value) or f"({file}, line {line})" in str(
        error.value
    )
    assert says in str(error.value)


def test_what_is_missing_and_lists(tmp_path):
    with pytest.raises(UsageError, match="`models` is missing"):
        read_plan(write(tmp_path, "datasets: [a]\n"))
    plan = read_plan(write(tmp_path, "datasets: a\nmodels: [Pop, fMRLRec]\n"))
    assert list(plan.datasets) == ["a"] and [m.baseline for m in plan.models] == [True, False]
    with pytest.raises(UsageError, match="line 2: duplicate model Pop"):
        read_plan(write(tmp_path, "datasets: a\nmodels: [Pop, Pop]\n"))


def test_the_old_word_for_the_sizes_shown_works_and_says_what_it_does(tmp_path, capsys):
    now = read_plan(write(tmp_path, GOOD))
    assert capsys.readouterr().err == ""
    old = read_plan(write(tmp_path, GOOD.replace("show_sizes", "sizes")))
    assert old.models == now.models and old.models[1].sizes == (16, 64)
    assert capsys.readouterr().err == (
        f"note: {tmp_path / 'mine.yaml'}, line 14: `sizes: [64, 16]` under a model chooses what "
        "the tables show, and the model is trained at all its sizes. Write `show_sizes: [64, 16]` "
        "for that, or `settings: {sizes: [64, 16]}` to train these sizes only\n"
    )


@pytest.mark.parametrize("name", ["ml-100k-quick", "paper-table", "strongest", "modalities"])
def test_shipped_files(name):
    plan = read_plan(properties_dir() / "comparison" / f"{name}.yaml")
    assert plan.name == name
    if name == "modalities":
        assert [m.name for m in plan.models] == ["text", "image", "both", "ids", "hybrid"]
    elif name == "strongest":
        assert {m.model for m in plan.models} == {
            *("SASRecM", "LRURec", "gSASRec", "eSASRec", "BSARec", "UniSRec", "DIFF"),
            "fMRLRecID",
        }
        assert [m.name for m in plan.models if not m.baseline] == ["fMRLRecID"]
    else:
        assert {m.name for m in plan.models} >= {"SASRec", "fMRLRec", "fMRLRecID"}


def test_a_plan_survives_json(tmp_path):
    plan = read_plan(write(tmp_path, GOOD))
    stored = json.loads(json.dumps(plan.to_json()))
    assert Plan.from_json(stored, plan.output) == plan


def test_places_and_names_that_yaml_takes_for_other_values(tmp_path):
    file = write(
        tmp_path,
        "datasets: [a, b]\nmodels:\n  1: {model: Pop}\n  1.0: {model: BPR}\n"
        "  true: {model: fMRLRec, show_sizes: [16]}\n  True: {model: FPMC}\n",
    )
    plan = read_plan(file)
    assert [v.name for v in plan.models] == ["1", "1.0", "true", "True"]
    assert plan.line_of("sizes", "true") == f"{file}, line 5" == plan.models[2].where
    assert plan.line_of("datasets", "b") == f"{file}, line 1"
    assert Plan.from_json(json.loads(json.dumps(plan.to_json())), plan.output) == plan


def quick(*words):
    return plan_from_options(*build_parser().parse_known_args(words))


def test_a_quick_plan():
    plan = quick("--model=fMRLRec, SASRec", "--dataset=a,b", "--epochs=2", "--seeds=1,2")
    assert plan.output == Path("comparisons/fMRLRec-SASRec-a-b") and plan.seeds == (1, 2)
    assert [(m.name, m.baseline) for m in plan.models] == [("fMRLRec", False), ("SASRec", True)]
    assert plan.settings == {"epochs": 2} and plan.metrics == ("ndcg", "recall")


def test_what_a_comparison_says_itself_is_heard_in_the_quick_form():
    plan = quick(
        "--model=fMRLRec",
        "--seed=3",
        "--metrics=MRR,Hit",
        "--topk=[3,7]",
        "--valid_metric=MRR@5",
        "--max_minutes=1.5",
        "--sizes=16",
        "--eval_args.mode.valid=uni100",
    )
    assert (plan.seeds, plan.metrics, plan.topk) == ((3,), ("mrr", "hit"), (3, 7))
    assert (plan.valid_metric, plan.minutes) == ("MRR@5", 1.5)
    assert plan.settings == {"sizes": [16], "eval_args.mode.valid": "uni100"}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--seeds=1,1"], "command line: seeds: 1 must be an integer of at least 0, given once"),
        (["--seed=1", "--seeds=2"], "--seed and --seeds: give one of them"),
        (["--metrics=AUC"], "the metric 'AUC': must be one of"),
        (["--topk=0"], "topk: 0 must be an integer of at least 1"),
        (["--valid_metric=NDCG"], "must be a metric with its K"),
        (["--checkpoint_dir=x"], "`checkpoint_dir` is not a setting here; set it with --output"),
        (["--worker=2"], "--worker is not an option of compare: did you mean --workers?"),
        (["--ouput=x"], "--ouput is not an option of compare: did you mean --output?"),
        (["--dataset=a,,b"], "a name is missing between the commas"),
        (["--dataset=a,a"], "duplicate dataset a"),
        (["--eval_args.mode=uni100"], "eval_args.mode: uni100 for the test"),
    ],
)
def test_wrong_words_of_the_quick_form(words, says):
    with pytest.raises(UsageError) as error:
        quick("--model=Pop", *words)
    assert says in str(error.value)


def over(tmp_path, text, *words):
    return plan_from_file(*build_parser().parse_known_args([str(write(tmp_path, text)), *words]))


def test_the_command_line_stands_above_the_file(tmp_path):
    text = GOOD + "  third: {model: fMRLRec, settings: {epochs: 9, eval_args: {order: TO}}}\n"
    words = ["--epochs=1", "--eval_args.mode.valid=uni100", "--seeds=3", "--max_minutes=2"]
    words += ["--dataset=ml-100k,other", "--metrics=Hit", "--output=there"]
    plan = over(tmp_path, text, *words)
    assert (plan.seeds, plan.metrics, plan.topk, plan.minutes) == ((3,), ("hit",), (5,), 2)
    assert plan.output == Path("there")
    assert plan.datasets == {"ml-100k": {"MAX_ITEM_LIST_LENGTH": 20}, "other": {}}
    for variant in plan.models:
        settings = plan.settings_of("ml-100k", variant)
        assert (settings["epochs"], settings["max_minutes"]) == (1, 2)
        assert settings["num_threads"] == 1
    # The change of one entry comes after the mapping that it changes.
    assert list(settings).index("eval_args") < list(settings).index("eval_args.mode.valid")
    assert plan.in_force(plan.models[2].settings) == {"eval_args": {"order": "TO"}}
    assert Plan.from_json(plan.to_json(), plan.output) == plan


def test_places_of_a_file_under_the_command_line(tmp_path):
    with pytest.raises(UsageError, match=r"LENGTH = .bad. .*mine\.yaml, line 2"):
        over(tmp_path, GOOD.replace("LENGTH: 20", "LENGTH: bad"), "--dataset=ml-100k")
    with pytest.raises(UsageError, match="command line: duplicate dataset a"):
        over(tmp_path, "models: [Pop]\n", "--dataset=a,a")


def test_a_key_like_an_option_is_heard_where_a_model_has_it(tmp_path):
    text = "datasets: [ml-100k]\nmodels: [DiffRec]\n"
    assert over(tmp_path, text, "--steps=5").overrides == {"steps": 5}


def test_without_words_the_file_is_the_plan(tmp_path):
    assert over(tmp_path, GOOD) == read_plan(write(tmp_path, GOOD))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--n_layers=2"], "unknown key `n_layers`"),
        (["--topk=0"], "command line: topk: 0 must be"),
        (["--eval_args.mode=uni100"], "command line: eval_args.mode: uni100 for the test"),
        (["--model=Pop"], "--only=NAME,.. chooses"),
        (["--epochs=x"], "epochs"),
        (["--checkpoint_dir=x"], "`checkpoint_dir` is not a setting here; set it with --output"),
    ],
)
def test_wrong_words_beside_a_file(tmp_path, words, says):
    with pytest.raises(UsageError) as error:
        over(tmp_path, GOOD, *words)
    assert says in str(error.value)


def test_a_key_of_some_models_is_told_where_it_can_stand(tmp_path):
    way = (
        "it is a key of fMRLRec, fMRLRecID, not of SASRec; settings of some of the models stand in "
        "a comparison's file, below each of them: `models: {%s: {settings: {sizes: [8]}}}`"
    )
    options = build_parser().parse_args(["--model=SASRec,fMRLRec"])
    with pytest.raises(UsageError) as error:
        plan_from_options(options, ["--sizes=[8]"])
    assert str(error.value) == f"unknown key `sizes` (command line): {way % 'fMRLRec'}"
    text = "datasets: [ml-100k]\nmodels:\n  SASRec:\n  Ours: {model: fMRLRec}\n"
    with pytest.raises(UsageError) as error:
        over(tmp_path, text, "--sizes=[8]")
    assert str(error.value) == f"unknown key `sizes` (command line): {way % 'Ours'}"
    for more in ("settings: {sizes: [8]}", "datasets: {ml-100k: {sizes: [8]}}"):
        file = write(tmp_path, text.replace("datasets: [ml-100k]\n", "") + f"{more}\n")
        if "datasets" not in more:
            file.write_text(file.read_text() + "datasets: [ml-100k]\n")
        with pytest.raises(UsageError) as error:
            read_plan(file)
        assert str(error.value) == f"unknown key `sizes` ({file}, line 4): {way % 'Ours'}"
    own = text.replace("SASRec:", "SASRec: {settings: {sizes: [8]}}")
    with pytest.raises(UsageError, match=r"not of SASRec$"):  # there it stands below its model
        read_plan(write(tmp_path, own))


def test_the_example_of_the_documentation(tmp_path):
    page = (Path(__file__).resolve().parents[2] / "docs/compare.md").read_text(encoding="utf-8")
    example = page.split("```yaml\n")[1].split("```")[0]
    plan = read_plan(write(tmp_path, example))
    assert [model.name for model in plan.models] == ["SASRec", "SASRec-1-layer", "fMRLRec"]
    assert plan.models[2].sizes == (16, 64, 128) and plan.minutes == 60
