"""Which run a cell is: what changes its key and what does not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from recbole_fmrlrec import compat
from recbole_fmrlrec.compare import plan_cells
from recbole_fmrlrec.compare.cells import Cell, choose, discard, read_record, write_record
from recbole_fmrlrec.compare.code_version import code_version
from recbole_fmrlrec.compare.plan import Variant
from recbole_fmrlrec.compare.plan_cells import make_cells
from recbole_fmrlrec.errors import RunError, UsageError
from recbole_fmrlrec.runs.lock import Lock
from recbole_fmrlrec.train import trainer
from tests import toy
from tests.compare.synthetic import make_plan


@pytest.fixture
def plan(tmp_path, monkeypatch):
    """Two models on the toy dataset."""
    compat.apply()
    monkeypatch.chdir(tmp_path)
    toy.write_toy(tmp_path / "dataset")
    models = [
        Variant("Pop", "Pop", baseline=True),
        Variant("ours", "fMRLRec", {"sizes": [2, 4, 8]}, independent=True),
    ]
    places = {"data_path": str(tmp_path / "dataset"), "use_gpu": False}
    return make_plan(tmp_path / "out", models, seeds=(1, 2), settings=places)


def keys(plan):
    return [cell.key for cell in make_cells(plan)]


def test_a_cell_for_each_seed_size_and_model(plan):
    found = make_cells(plan)
    assert [(cell.variant, cell.alone, cell.seed) for cell in found] == [
        *(("Pop", None, seed) for seed in (1, 2)),
        *(("ours", size, seed) for size in (None, 2, 4, 8) for seed in (1, 2)),
    ]
    assert len({cell.key for cell in found}) == len(found)
    assert found[4].settings["sizes"] == [2] and found[2].settings["sizes"] == [2, 4, 8]
    assert found[4].name == f"toy/fMRLRec-seed1-{found[4].key}"


def test_what_a_key_hangs_on(plan, tmp_path, monkeypatch):
    models = (plan.models[0], replace(plan.models[1], independent=False))
    plan = replace(plan, models=models, seeds=(1,))
    before = keys(plan)
    same = replace(plan, metrics=("mrr",), topk=(20,), bootstrap=500, output=tmp_path / "other")
    assert keys(same) == before
    assert keys(replace(plan, settings={**plan.settings, "num_threads": 1})) == before
    assert not set(keys(replace(plan, epochs=3))) & set(before)
    assert not set(keys(replace(plan, minutes=3.0))) & set(before)
    assert not set(keys(replace(plan, valid_metric="Recall@10"))) & set(before)
    monkeypatch.setattr(plan_cells, "code_version", lambda: "another")
    assert not set(keys(plan)) & set(before)
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    features = tmp_path / "dataset" / "toy" / "features" / "text.npy"
    content = bytearray(features.read_bytes())
    content[-1] ^= 1
    features.write_bytes(content)
    changed = [old != new for old, new in zip(before, keys(plan), strict=True)]
    assert changed == [False, True]  # Pop reads no features
    with (tmp_path / "dataset" / "toy" / "toy.inter").open("a", encoding="utf-8") as file:
        file.write("u0\ti7\t5000\n")
    assert not set(keys(plan)) & set(before)


def test_sizes_are_checked(plan):
    models, places = (replace(plan.models[1], sizes=(2, 5)),), {"sizes/ours": "a.yaml, line 7"}
    with pytest.raises(UsageError) as error:
        make_cells(replace(plan, models=models, places=places))
    assert str(error.value).startswith(
        "a.yaml, line 7: ours has no size 5 on toy; its sizes are [2, 4, 8]. "
    )
    assert "say `settings: {sizes: [2, 5]}`" in str(error.value)


def test_the_same_run_under_several_names_is_one_folder(plan):
    small = {"sizes": [2, 4, 8]}
    models = (
        Variant("all", "fMRLRec", small, independent=True),
        Variant("small", "fMRLRec", small, sizes=(2,)),
        Variant("four", "fMRLRec", {"sizes": [4]}),
        Variant("Pop", "Pop"),
        Variant("Popular", "Pop"),
    )
    found = {(cell.variant, cell.alone): cell for cell in make_cells(replace(plan, models=models))}
    same = [
        (("all", None), ("small", None)),
        (("all", 4), ("four", None)),
        (("Pop", None), ("Popular", None)),
    ]
    for one, other in same:
        assert found[one].path == found[other].path and found[one].key == found[other].key
    assert len({cell.path for cell in found.values()}) == len(found) - len(same)


def test_a_dataset_that_is_not_there_is_named_before_anything_is_made(plan, tmp_path):
    places = {"datasets/tyo": "a.yaml, line 3"}
    wrong = replace(plan, datasets={"toy": {}, "tyo": {}}, places=places)
    with pytest.raises(UsageError) as error:
        make_cells(wrong)
    folder = tmp_path / "dataset" / "tyo"
    assert str(error.value).startswith(
        f"a.yaml, line 3: there is no dataset `tyo`: tyo.inter is not in {folder}; "
    )


def test_rows_that_would_not_compare_are_refused(plan):
    theirs = {"eval_args": {"split": {"RS": [0.8, 0.1, 0.1]}, "mode": "full", "order": "TO"}}
    wrong = replace(plan.models[0], settings=theirs, where="a.yaml, line 4")
    with pytest.raises(UsageError, match=r"a\.yaml, line 4: Pop on toy: eval_args\.split: "):
        make_cells(replace(plan, models=(wrong,)))


def test_a_split_by_time_compares(plan):
    theirs = {"eval_args.split.time": [0.8, 0.9], "eval_args.context": "frozen"}
    made = make_cells(replace(plan, models=(replace(plan.models[0], settings=theirs),)))
    assert made[0].settings["eval_args.split.time"] == [0.8, 0.9]


def test_features_that_are_not_there_name_the_model(plan, tmp_path):
    items = tmp_path / "dataset" / "toy" / "toy.item"
    items.unlink(missing_ok=True)
    wrong = replace(plan.models[0], name="U", model="UniSRec", settings={}, where="a.yaml, line 7")
    with pytest.raises(UsageError, match=r"a\.yaml, line 7: U on toy: no item features in "):
        make_cells(replace(plan, models=(plan.models[0], wrong)))


def test_models_are_split_and_tested_alike(plan):
    by_time = {"eval_args.split.time": [0.8, 0.9], "eval_args.context": "frozen"}
    first = replace(plan.models[0], settings=by_time)
    default = replace(first, settings={**by_time, "eval_args.targets": "all"}, name="default")
    make_cells(replace(plan, models=(first, default)))
    for key, value, says in (
        ("eval_args.split.time", [0.7, 0.9], r"split\.time is \[0\.7, 0\.9\] for other and \[0\.8"),
        ("eval_args.context", "rolling", "context is rolling for other and frozen for Pop"),
        ("eval_args.cold", "drop", "cold is drop for other and keep for Pop"),
    ):
        settings = {**by_time, key: value}
        other = replace(first, name="other", settings=settings, where="a.yaml, line 5")
        with pytest.raises(UsageError, match=rf"a\.yaml, line 5: eval_args\.{says}"):
            make_cells(replace(plan, models=(first, other)))
    with pytest.raises(UsageError, match=r"split\.time is None for BPR and \[0\.8"):
        left_out = replace(first, name="BPR", settings={})
        make_cells(replace(plan, models=(first, left_out)))


def test_a_setting_that_cannot_be_names_the_model(plan):
    wrong = replace(plan.models[0], settings={"valid_metric_bigger": "no"}, where="a.yaml, line 3")
    with pytest.raises(UsageError, match=r"a\.yaml, line 3: Pop on toy: valid_metric_bigger"):
        make_cells(replace(plan, models=(wrong,)))


def test_time_is_kept_by_our_trainer_only(plan, monkeypatch):
    from recbole.trainer.trainer import DecisionTreeTrainer

    monkeypatch.setattr(trainer, "trainer_class", lambda config: DecisionTreeTrainer)
    tree = Variant("tree", "Pop", {}, where="a.yaml, line 3")
    with pytest.raises(UsageError, match=r"budget\.minutes: Pop has a trainer of RecBole's own"):
        make_cells(replace(plan, models=(tree,), minutes=1.0))


def test_choosing(plan):
    found = make_cells(plan)
    assert {cell.variant for cell in choose(found, ["Pop"], "--only")} == {"Pop"}
    assert choose(found, ["Pop", "ours", "seed2"], "--only") == [c for c in found if c.seed == 2]
    assert choose(found, ["Pop", "toy", "seed2"], "--only") == [found[1]]
    assert choose(found, [found[0].key, found[1].key], "--only") == found[:2]
    assert choose(found, ["all"], "--redo") == found
    with pytest.raises(UsageError, match=r"--only: no cell matches all of seed1, .*"):
        choose(found, ["seed1", found[1].key], "--only")
    with pytest.raises(UsageError, match=r"--only: there is no cell `pop`; known: .*Pop"):
        choose(found, ["pop"], "--only")


def test_discarding_needs_the_lock(plan):
    cell = make_cells(plan)[0]
    cell.path.mkdir(parents=True)
    other = Lock(cell.path)
    assert other.acquire() and cell.state().startswith("running (process ")
    free = Cell("toy", "BPR", "BPR", 1, None, {}, "key", plan.output)
    free.path.mkdir(parents=True)
    with pytest.raises(UsageError, match="--redo: Pop on toy, seed 1 is being computed by process"):
        discard([free, cell])
    assert free.path.exists() and not free.lock.is_held()  # all or none
    other.release()
    discard([free, cell, replace(cell, variant="the same run")])
    assert not cell.path.exists() and not free.path.exists() and cell.state() == "to do"
    assert not list(cell.path.parent.iterdir())


def test_the_record(plan):
    found = make_cells(plan)
    write_record(plan, found)
    assert read_record(plan.output) == (plan, found)


def test_a_damaged_record_is_named(plan):
    write_record(plan, make_cells(plan))
    file = plan.output / "comparison.json"
    content = file.read_text(encoding="utf-8")
    for wrong in ("", content[:-9], content.replace('"cells"', '"sells"'), "[]"):
        file.write_text(wrong, encoding="utf-8")
        with pytest.raises(RunError, match=r"comparison\.json: damaged .* writes it again"):
            read_record(plan.output)


def test_the_code_version_is_a_hash_of_what_runs():
    assert len(code_version()) == 12 and int(code_version(), 16) >= 0
