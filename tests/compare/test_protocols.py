"""A comparison shows the rankings with the users' histories and those without, each by its name."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest

from recbole_fmrlrec.compare import report
from recbole_fmrlrec.compare.analysis import analyse
from recbole_fmrlrec.compare.cells import Cell, read_record, write_record
from recbole_fmrlrec.compare.formats import latex, markdown, text
from recbole_fmrlrec.compare.gather import gather
from recbole_fmrlrec.compare.plan import Plan, Variant
from recbole_fmrlrec.compare.report import page, write_report
from recbole_fmrlrec.errors import RunError
from tests.compare.synthetic import make_plan, write_cell

POP = Variant("Pop", "Pop", baseline=True)
BPR = Variant("BPR", "BPR", baseline=True)
OURS = Variant("ours", "fMRLRec")
NAMES = ["N@2", "R@2", "N@10", "R@10"]


@pytest.fixture
def trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Plan, list[Cell]]:
    """Two models; without the histories Pop is the better one at rank 2, and ours with them."""
    monkeypatch.setattr(report, "write_plots", lambda analysis, folder: [])
    cells = [
        write_cell(
            tmp_path, POP, {0: [9, 9, 3, 20]}, masked={0: [1, 2, 2, 15]}, order=[3, 1, 0, 2]
        ),
        write_cell(tmp_path, OURS, {8: [1, 2, 9, 9]}, masked={8: [1, 2, 3, 9]}),
    ]
    return make_plan(tmp_path, [POP, OURS]), cells


def test_columns_of_both_side_by_side(trial: tuple[Plan, list[Cell]]) -> None:
    plan, cells = trial
    analysis = write_report(plan, cells)
    assert analysis["mains"] == ["ndcg@10", "masked_ndcg@10"] and not analysis["without_masked"]
    pop, ours = analysis["datasets"]["toy"]["systems"]
    assert (pop["metrics"]["recall@2"]["mean"], ours["metrics"]["recall@2"]["mean"]) == (0, 0.5)
    assert pop["metrics"]["masked_recall@2"]["mean"] == 0.75
    assert ours["metrics"]["masked_recall@2"]["mean"] == 0.5
    head = text(analysis).splitlines()[1]
    order = [head.index(f" {name} ") for name in (*NAMES, *(f"{n} masked" for n in NAMES[:3]))]
    assert order == sorted(order) and head.endswith("R@10 masked")
    assert "masked: without the items of the user's history" in text(analysis)


def test_every_output_names_them(trial: tuple[Plan, list[Cell]]) -> None:
    plan, cells = trial
    analysis = write_report(plan, cells)
    marked = markdown(analysis)
    assert "| N@10 | R@10 | N@2 masked | R@2 masked | N@10 masked | R@10 masked |" in marked
    assert "### Slices, N@10\n" in marked and "### Slices, N@10 masked\n" in marked
    assert "### Tests, N@10\n" in marked and "### Tests, N@10 masked\n" in marked
    assert "- Masked: the items that the user had before the target are left out" in marked
    tex = latex(analysis)
    assert "N@10 & R@10 & N@2 masked & R@2 masked & N@10 masked & R@10 masked" in tex
    assert "Masked: without the items of the user's history; the other columns rank them" in tex
    assert tex.count("{lrr" + "r" * 8 + "}") == 1
    assert ">N@10 masked<" in page(analysis, [])
    with (plan.output / "table.csv").open(encoding="utf-8") as file:
        lines = {(x["variant"], x["metric"]): x for x in csv.DictReader(file)}
    assert lines["Pop", "recall@2"]["history"] == "kept"
    assert lines["Pop", "masked_recall@2"]["history"] == "masked"
    assert float(lines["Pop", "masked_recall@2"]["mean"]) == 0.75


@pytest.mark.parametrize(
    ("history", "names"),
    [("keep", NAMES), ("mask", [f"{name} masked" for name in NAMES])],
)
def test_one_of_them_alone(trial: tuple[Plan, list[Cell]], history: str, names: list[str]) -> None:
    plan, cells = trial
    metric = "masked_NDCG@10" if history == "mask" else "NDCG@10"
    plan = replace(plan, history=history, valid_metric=metric)
    analysis = analyse(plan, gather(plan, cells))
    assert f"| {' | '.join(names)} |" in markdown({**analysis, "unfinished": []})
    assert analysis["mains"] == [metric.lower()]


def test_the_other_ranking_changes_nothing_in_a_test(trial: tuple[Plan, list[Cell]]) -> None:
    """Holm's correction is over one ranking's table."""
    plan, cells = trial
    kept = analyse(replace(plan, history="keep"), gather(plan, cells))["datasets"]["toy"]["tests"]
    both = analyse(plan, gather(plan, cells))["datasets"]["toy"]["tests"]
    assert kept and len(both) == 2 * len(kept)
    assert [test for test in both if not test["metric"].startswith("masked_")] == kept


def test_cells_of_an_earlier_version_are_named_with_the_way_out(
    trial: tuple[Plan, list[Cell]],
) -> None:
    plan, cells = trial
    old = write_cell(plan.output, BPR, {0: [1, 1, 2, 2]})
    plan = replace(plan, models=(*plan.models, BPR))
    analysis = write_report(plan, [*cells, old])
    assert analysis["metrics"] == ["ndcg@2", "recall@2", "ndcg@10", "recall@10"]
    assert analysis["without_masked"] == ["BPR on toy, seed 2020 (BPR2020)"]
    shown = markdown(analysis)
    assert (
        "There are no masked figures, because cells of an earlier version lack them: BPR on"
        in shown
    )
    assert "the `compare` command of this comparison computes them with this version" in shown
    for changes in ({"valid_metric": "masked_NDCG@10"}, {"history": "mask"}):
        wanted = replace(plan, **{"valid_metric": "masked_NDCG@10", **changes})
        with pytest.raises(RunError, match=r"needs ranks without .* BPR on toy.*`compare` command"):
            write_report(wanted, [*cells, old])


def test_old_ranks_without_the_history_are_not_taken_for_others(
    trial: tuple[Plan, list[Cell]],
) -> None:
    plan, cells = trial
    old = write_cell(plan.output, BPR, {0: [1, 1, 2, 2]})
    result = old.path / "result.json"
    content = json.loads(result.read_text(encoding="utf-8"))
    result.write_text(json.dumps({**content, "config": {"mask_history": True}}), encoding="utf-8")
    with pytest.raises(RunError, match=r"test_ranks\.npz: .*earlier version.*--redo=BPR2020"):
        write_report(plan, [*cells, old])


def test_a_stored_plan_of_an_earlier_version(trial: tuple[Plan, list[Cell]]) -> None:
    plan, cells = trial
    write_record(plan, cells)
    file = plan.output / "comparison.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    assert content["plan"].pop("history") == "both"
    file.write_text(json.dumps(content), encoding="utf-8")
    assert read_record(plan.output)[0] == plan


def test_both_plots_by_size(trial: tuple[Plan, list[Cell]]) -> None:
    pytest.importorskip("matplotlib")
    from recbole_fmrlrec.compare.plots import write_plots

    plan, cells = trial
    plots = write_plots(analyse(plan, gather(plan, cells)), plan.output / "plots")
    titles = [title for _, title, _ in plots]
    assert titles[:2] == ["Quality by size", "Quality by size, N@10 masked"]
    svg = (plan.output / "plots" / "toy-size-masked.svg").read_text(encoding="utf-8")
    assert svg.startswith("<?xml")
