"""Tables, results, plots and page out of cells whose ranks are known."""

from __future__ import annotations

import copy
import csv
import json
import math
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from recbole_fmrlrec.cli.main import main
from recbole_fmrlrec.compare import report
from recbole_fmrlrec.compare.cell_files import read_ranks, read_rows
from recbole_fmrlrec.compare.cells import read_record, write_record
from recbole_fmrlrec.compare.formats import latex, markdown
from recbole_fmrlrec.compare.measure import write_arrays
from recbole_fmrlrec.compare.plan import Variant
from recbole_fmrlrec.compare.report import write_report
from recbole_fmrlrec.compare.tables import marks, number
from recbole_fmrlrec.errors import RunError
from tests.compare.synthetic import make_plan, write_cell
from tests.page_checks import check_page

ROOT = Path(__file__).resolve().parents[2]
SASREC = Variant("SASRec", "SASRec", {"n_layers": 1}, baseline=True, tuned="n_layers on validation")
POP = Variant("Pop", "Pop", baseline=True)
OURS = Variant("ours", "fMRLRec", independent=True)
PLAIN = Variant("plain", "fMRLRec")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A plan, its cells, and the analysis that was written."""
    tmp_path = tmp_path_factory.mktemp("trial") / "comparison"
    plan = make_plan(tmp_path, [POP, SASREC, OURS])
    cells = [
        write_cell(tmp_path, POP, {0: [20, 20, 20, 20]}, order=[3, 1, 0, 2]),
        write_cell(tmp_path, SASREC, {0: [1, 4, 2, 11]}),
        write_cell(tmp_path, OURS, {8: [2, 11, 11, 11], 16: [1, 2, 1, 3]}, training=30.0),
        write_cell(tmp_path, OURS, {8: [1, 11, 11, 11]}, alone=8, training=20.0),
        write_cell(tmp_path, OURS, {16: [1, 2, 1, 2]}, alone=16, training=25.0),
    ]
    write_record(plan, cells)
    return plan, cells, write_report(plan, cells)


@pytest.fixture
def trial(written):
    """The same with an analysis of the test's own."""
    plan, cells, analysis = written
    return plan, cells, copy.deepcopy(analysis)


@pytest.fixture
def no_plots(monkeypatch):
    """Reports without plots: they take a second or two."""
    monkeypatch.setattr(report, "write_plots", lambda analysis, folder: [])


def of(analysis, label):
    systems = analysis["datasets"]["toy"]["systems"]
    return next(system for system in systems if system["label"] == label)


def test_metrics_are_means_over_users(trial):
    _, _, analysis = trial
    labels = [system["label"] for system in analysis["datasets"]["toy"]["systems"]]
    assert labels == ["Pop", "SASRec", "ours 8", "ours 16", "ours 8 alone", "ours 16 alone"]
    sasrec = of(analysis, "SASRec")
    assert sasrec["metrics"]["recall@2"]["mean"] == 0.5
    expected = (1 + 1 / math.log2(5) + 1 / math.log2(3)) / 4
    assert sasrec["metrics"]["ndcg@10"]["mean"] == pytest.approx(expected)
    low, high = sasrec["metrics"]["ndcg@10"]["interval"]
    assert low < expected < high
    assert of(analysis, "Pop")["metrics"]["ndcg@10"]["interval"] == (0.0, 0.0)


def test_slices_and_cost(trial):
    _, _, analysis = trial
    sizes = analysis["datasets"]["toy"]["slices"]
    # a has 9 of 15 training interactions, b and another item 3 each: b ends the second third.
    assert sizes == {
        "history 1-5": 1,
        "history 6-10": 1,
        "history 11-20": 1,
        "history 51 and more": 1,
        "head": 1,
        "middle": 2,
        "cold": 1,
        "without image": 2,
    }
    ours = of(analysis, "ours 16")
    assert ours["slices"]["cold"]["ndcg@10"] == 0.5
    assert ours["slices"]["without image"]["recall@2"] == 1.0
    cost = ours["cost"]
    assert (cost["latency_ms"], cost["bytes_per_item"], cost["seconds_to_best"]) == (17, 64, 8)
    assert ours["parameters"] == 1016


def test_tests_against_the_best_baseline_each_and_the_model_alone(trial):
    _, _, analysis = trial
    tests = [t for t in analysis["datasets"]["toy"]["tests"] if t["metric"] == "ndcg@10"]
    pairs = {family: set() for family in ("best", "each", "nesting")}
    for test in tests:
        pairs[test["family"]].add((test["system"], test["against"]))
    ours = ["ours 8", "ours 16", "ours 8 alone", "ours 16 alone"]
    assert pairs["best"] == {(name, "SASRec") for name in ours}
    assert pairs["each"] == {(name, other) for name in ours for other in ("Pop", "SASRec")}
    assert pairs["nesting"] == {("ours 8", "ours 8 alone"), ("ours 16", "ours 16 alone")}
    test = next(t for t in tests if (t["family"], t["system"]) == ("best", "ours 16"))
    assert (test["wins"], test["ties"], test["losses"]) == (3, 1, 0)
    assert test["wilcoxon_p"] == 0.25 and test["wilcoxon_holm"] == 1.0
    (saved,) = analysis["datasets"]["toy"]["training"]
    assert saved["together_seconds"] == 30 and saved["alone_total_seconds"] == 45


def test_markdown_and_csv(trial):
    plan, _, analysis = trial
    text = (plan.output / "table.md").read_text(encoding="utf-8")
    row = next(line for line in text.splitlines() if line.startswith("| ours | 16 |"))
    best = number(of(analysis, "ours 16")["metrics"]["ndcg@2"]["mean"])
    assert row.split(" | ")[3] == f"<u>{best}</u>"
    assert "SASRec: RecBole's defaults, with n_layers: 1; tuned: n_layers on validation." in text
    assert "Pop: RecBole's defaults; not tuned for this comparison." in text
    assert "One seed (2020)" in text
    with (plan.output / "table.csv").open(encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 6 * 4
    line = next(x for x in lines if (x["variant"], x["metric"]) == ("SASRec", "recall@2"))
    assert float(line["mean"]) == 0.5 and line["baseline"] == "True"


def test_latex_is_a_booktabs_table(trial):
    plan, _, analysis = trial
    text = (plan.output / "table.tex").read_text(encoding="utf-8")
    body = text[text.index(r"\begin{table}") :]
    assert re.findall(r"\\(?:top|bottom)rule", body) == [r"\toprule", r"\bottomrule"]
    rows = [line for line in body.splitlines() if line.endswith(r"\\")]
    assert {line.count(" & ") for line in rows} == {6} and len(rows) == 7
    assert r"\begin{tabular}{lrrrrrr}" in body and r"\textbf{" in body and r"\underline{" in body
    assert body.count("{") == body.count("}")
    analysis["datasets"] = {"a_b&c": analysis["datasets"]["toy"]}
    assert r"\caption{Test metrics on a\_b\&c, 4 test rows." in latex(analysis)
    assert r"\label{tab:a-b-c}" in latex(analysis)


def test_marks_need_both_direction_and_a_corrected_p(trial):
    _, _, analysis = trial
    dataset = analysis["datasets"]["toy"]
    test = next(t for t in dataset["tests"] if t["family"] == "best" and t["system"] == "ours 16")
    metric = test["metric"]
    assert marks(dataset, "ours 16", metric) == ""
    test.update(wilcoxon_holm=0.01, t_holm=0.2)
    assert marks(dataset, "ours 16", metric) == "*"
    assert r"$^{*}$" in latex(analysis) and r"\*" in markdown(analysis)
    test.update(t_holm=0.01)
    assert marks(dataset, "ours 16", metric) == "*†"
    test.update(difference=-1.0)
    assert marks(dataset, "ours 16", metric) == ""


def test_holm_goes_over_the_table_of_one_dataset(written, tmp_path, no_plots):
    _, _, analysis = written
    tests = [t for t in analysis["datasets"]["toy"]["tests"] if t["family"] == "best"]
    assert len(tests) == 4 * 4  # systems and metrics
    least = min(tests, key=lambda test: test["t_p"])
    assert least["t_holm"] == pytest.approx(min(1.0, 16 * least["t_p"]))
    two = replace(make_plan(tmp_path, [SASREC, PLAIN]), datasets={"toy": {}, "more": {}})
    cells = [
        write_cell(tmp_path, variant, {0: ranks}, dataset=dataset)
        for dataset in two.datasets
        for variant, ranks in ((SASREC, [1, 4, 2, 11]), (PLAIN, [1, 3, 3, 1]))
    ]
    both = write_report(two, cells)["datasets"]
    assert both["toy"]["tests"] == both["more"]["tests"]
    one = write_report(replace(two, datasets={"toy": {}}), cells)["datasets"]
    assert one["toy"]["tests"] == both["toy"]["tests"]


def test_baselines_alone(tmp_path, no_plots):
    bpr = Variant("BPR", "BPR", baseline=True)
    plan = make_plan(tmp_path, [POP, SASREC, bpr])
    cells = [
        write_cell(tmp_path, POP, {0: [9, 9, 9, 9]}),
        write_cell(tmp_path, SASREC, {0: [1, 1, 1, 1]}),
        write_cell(tmp_path, bpr, {0: [2, 2, 2, 2]}),
    ]
    analysis = write_report(plan, cells)
    toy = analysis["datasets"]["toy"]
    tests = [t for t in toy["tests"] if t["metric"] == "ndcg@10"]
    best = [(t["system"], t["against"]) for t in tests if t["family"] == "best"]
    assert best == [("Pop", "SASRec"), ("SASRec", "BPR")]  # and BPR with SASRec is no second test
    text = markdown(analysis)
    assert "| SASRec | BPR (best other) |" in text and "(best) |" not in text
    assert text.count("| BPR | SASRec") == 0 and text.count("| Pop | BPR |") == 1
    assert "better than the best other model with p" in text and "best baseline" not in text
    assert "better than the best other model, $p" in latex(analysis)
    for test in tests:
        test.update(wilcoxon_holm=0.01, t_holm=0.01)
    found = {label: marks(toy, label, "ndcg@10") for label in ("Pop", "SASRec", "BPR")}
    assert found == {"Pop": "", "SASRec": "*†", "BPR": ""}
    alone = write_report(make_plan(tmp_path, [POP]), cells[:1])
    assert "better than" not in latex(alone) and "better than" not in markdown(alone)


def test_a_text_of_several_lines_stays_one_note(tmp_path, no_plots):
    tuned = Variant("Pop", "Pop", tuned="by hand:\n\n- <b>one\n| two\\end{table}\n")
    plan = make_plan(tmp_path, [tuned])
    analysis = write_report(plan, [write_cell(tmp_path, tuned, {0: [1, 2, 3, 4]})])
    said = "tuned: by hand: - {}b>one | two\\end{{table}}.\n"
    assert said.format("&lt;") in markdown(analysis)
    comments, table = latex(analysis).split("\\begin{table}")
    assert said.format("<") in comments and "by hand" not in table
    assert all(line.startswith("%") for line in comments.strip().splitlines())
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "&lt;b&gt;one" in page and "<b>one" not in page


@pytest.mark.parametrize("name", ["cost.json", "result.json", "rows.npz", "test_ranks.npz"])
def test_a_damaged_file_of_a_cell_is_named_with_the_way_out(tmp_path, no_plots, name):
    plan = make_plan(tmp_path, [POP, SASREC])
    cells = [write_cell(tmp_path, variant, {0: [1, 2, 3, 4]}) for variant in (POP, SASREC)]
    file = cells[1].path / name
    content = file.read_bytes()
    damages = [b"", content[: len(content) // 2], content.replace(b"s", b"\xff"), b"[]", b"{}"]
    for wrong in damages:
        file.write_bytes(wrong)
        with pytest.raises(RunError) as error:
            write_report(plan, cells)
        assert str(error.value).startswith(f"{file}: missing or damaged (")
        assert f"--redo={cells[1].key} computes" in str(error.value)
    if name != "cost.json":  # without it the cell is not finished
        file.unlink()
        with pytest.raises(RunError, match=f"{re.escape(str(file))}: missing or damaged"):
            write_report(plan, cells)


def test_all_damaged_files_are_named_at_once_and_once(tmp_path, no_plots, capsys):
    twin = replace(POP, name="Popular")
    plan = make_plan(tmp_path, [POP, twin, SASREC])
    cells = [write_cell(tmp_path, variant, {0: [1, 2, 3, 4]}) for variant in (POP, SASREC)]
    cells.insert(1, replace(cells[0], variant="Popular"))
    write_record(plan, cells)
    for cell in cells:
        (cell.path / "result.json").write_bytes(b"\0" * 100)
    assert main(["report", str(tmp_path)]) == 1
    *faults, way = capsys.readouterr().err.splitlines()[:3]
    for fault, cell in zip(faults, (cells[0], cells[2]), strict=True):
        assert f"{cell.path / 'result.json'}: missing or damaged (JSONDecodeError" in fault
    assert way == f"`compare` with --redo={cells[0].key},{cells[2].key} computes these cells again"
    (tmp_path / "comparison.json").write_bytes(b'{"plan": {')
    assert main(["report", str(tmp_path)]) == 1
    assert f"error: {tmp_path / 'comparison.json'}: damaged (" in capsys.readouterr().err


def test_rows_of_another_run_are_damage(tmp_path, no_plots):
    plan = make_plan(tmp_path, [POP, SASREC])
    cells = [write_cell(tmp_path, variant, {0: [1, 2, 3, 4]}) for variant in (POP, SASREC)]
    other = {**read_rows(cells[0]), "without_text": np.zeros(4, dtype=bool)}  # most is known of it
    other["targets"] = other["targets"][::-1]
    write_arrays(cells[1].path / "rows.npz", other)
    with pytest.raises(RunError, match=r"rows\.npz: missing or damaged \(its rows are not those"):
        write_report(plan, cells)


@pytest.mark.parametrize("read", [read_ranks, read_rows])
def test_no_flipped_byte_is_taken_for_a_number(tmp_path, read):
    cell = write_cell(tmp_path, POP, {0: [1, 2, 3, 4]}, masked={0: [1, 1, 2, 4]})
    file = cell.path / {read_ranks: "test_ranks.npz", read_rows: "rows.npz"}[read]
    content, whole = file.read_bytes(), values(read(cell))
    refused = 0
    for at in range(0, len(content), 3):
        file.write_bytes(content[:at] + bytes([content[at] ^ 0x41]) + content[at + 1 :])
        try:
            found = values(read(cell))
            assert found == {name: whole[name] for name in found}
        except RunError:
            refused += 1
    assert refused > len(content) / 9


def values(stored):
    columns = stored if isinstance(stored, dict) else vars(stored)
    return {name: column.tolist() for name, column in columns.items()}


def test_seeds_are_averaged_by_user(tmp_path, no_plots):
    plan = make_plan(tmp_path, [POP, SASREC], seeds=(1, 2))
    cells = [
        write_cell(tmp_path, variant, {0: ranks}, seed=seed)
        for variant, seed, ranks in [
            (POP, 1, [11, 11, 11, 11]),
            (POP, 2, [11, 11, 11, 11]),
            (SASREC, 1, [1, 11, 11, 11]),
            (SASREC, 2, [1, 1, 1, 11]),
        ]
    ]
    analysis = write_report(plan, cells)
    metric = of(analysis, "SASRec")["metrics"]["recall@10"]
    assert metric["by_seed"] == [0.25, 0.75] and metric["mean"] == 0.5
    assert metric["seed_deviation"] == pytest.approx(np.std([0.25, 0.75], ddof=1))
    (test,) = [
        t
        for t in analysis["datasets"]["toy"]["tests"]
        if t["metric"] == "recall@10" and t["family"] == "each"
    ]
    assert abs(test["difference"]) == 0.5 and test["ties"] == 1
    assert "| SASRec |  | 1,000 | **.5000 ± .3536** |" in markdown(analysis)


def test_seeds_that_are_not_finished_are_in_no_note(tmp_path, no_plots):
    plan = make_plan(tmp_path, [POP], seeds=(7, 8))
    analysis = write_report(plan, [write_cell(tmp_path, POP, {0: [1, 2, 3, 4]}, seed=7)])
    assert "One seed (7)" in markdown(analysis)


def test_other_rows_are_refused(tmp_path):
    plan = make_plan(tmp_path, [POP, SASREC])
    cells = [
        write_cell(tmp_path, POP, {0: [1, 1, 1, 1]}),
        write_cell(tmp_path, SASREC, {0: [1, 1, 1, 1]}, targets=["a", "b", "b", "a"]),
    ]
    with pytest.raises(RunError) as error:
        write_report(plan, cells)
    assert str(error.value).startswith(
        "no table: Pop on toy, seed 2020 and SASRec on toy, seed 2020 were tested on different "
        "rows (4 and 4; 1 and 1 of them not in the other, such as user u4 with item c)"
    )
    assert not (tmp_path / "table.md").exists()


BY_TIME = {
    "valid_from": "1998-03-01 00:00",
    "test_from": "1998-04-01 00:00",
    "targets": "all",
    "context": "rolling",
    "cold": "keep",
    "cold_items": 1,
    "rows": {"valid": 3, "test": 4},
    "without_past": {"valid": 0, "test": 2},
    "dropped": {"valid": 0, "test": 0},
    "cold_targets": {"valid": 0, "test": 1},
    "new_users": {"valid": 0, "test": 2},
    "ids_only": False,
}


def _split_by_time(cell, history=(3, 6, 11, 60), **facts):
    """Let a cell be one of a split by time."""
    content = json.loads((cell.path / "result.json").read_text())
    written = json.dumps({**content, "split": {**BY_TIME, **facts}})
    (cell.path / "result.json").write_text(written)
    rows = {**read_rows(cell), "history": np.array(history), "new_user": np.array([0, 0, 1, 1])}
    write_arrays(cell.path / "rows.npz", rows)


def test_notes_say_how_data_is_split_by_time(tmp_path, no_plots):
    plan = make_plan(tmp_path, [POP, PLAIN])
    cells = [
        write_cell(tmp_path, POP, {0: [2, 2, 2, 2]}),
        write_cell(tmp_path, PLAIN, {8: [1, 2, 3, 4]}),
    ]
    _split_by_time(cells[0], ids_only=True)
    _split_by_time(cells[1])
    text = markdown(write_report(plan, cells))
    assert (
        "toy is split by time: training before 1998-03-01 00:00, validation before 1998-04-01 "
        "00:00, test from then on (targets: all, context: rolling). 2 test interactions have "
        "nothing before them and are no rows. 1 items are in no training interaction, and are the "
        "targets of 1 test rows; known by their ids alone they rank last: Pop. 2 test rows are of "
        "users that training never saw." in text
    )
    assert "4 test rows, 4 items." in text and "ranked against all items." in text
    for cell in cells:
        _split_by_time(cell, cold="drop", dropped={"valid": 0, "test": 5})
    text = markdown(write_report(plan, cells))
    assert "4 test rows, 3 items." in text
    assert "ranked against all items that training has seen." in text
    assert "in no training interaction: 5 test interactions with them are left out." in text


def test_other_histories_of_the_same_rows_are_refused(tmp_path):
    plan = make_plan(tmp_path, [POP, PLAIN])
    cells = [
        write_cell(tmp_path, POP, {0: [2, 2, 2, 2]}),
        write_cell(tmp_path, PLAIN, {8: [1, 2, 3, 4]}),
    ]
    _split_by_time(cells[0])
    _split_by_time(cells[1], history=[3, 6, 11, 59], context="frozen")
    says = r"Pop .* and plain .* differ in the interactions that a test row is predicted from"
    with pytest.raises(RunError, match=says):
        write_report(plan, cells)


def test_unfinished_cells_are_named(tmp_path, no_plots):
    plan = make_plan(tmp_path, [POP, SASREC])
    cells = [write_cell(tmp_path, variant, {0: [1, 2, 3, 4]}) for variant in (POP, SASREC)]
    (cells[1].path / "cost.json").unlink()
    analysis = write_report(plan, cells)
    assert "Not finished, and in no table: SASRec on toy, seed 2020." in markdown(analysis)
    (cells[0].path / "cost.json").unlink()
    with pytest.raises(RunError, match="no cell is finished"):
        write_report(plan, cells)


def test_the_page_stands_alone(trial):
    plan, _, _ = trial
    page = (plan.output / "report.html").read_text(encoding="utf-8")
    assert '<meta name="viewport" content="width=device-width, initial-scale=1">' in page
    assert page.count("<svg ") == 5 and page.count("<figure>") == 5
    check_page(page)
    names = {file.name for file in (plan.output / "plots").iterdir()}
    kinds = ("size", "latency", "bytes", "epochs", "seconds")
    assert names == {f"toy-{kind}.{end}" for kind in kinds for end in ("svg", "png")}


def test_report_makes_the_same_again_without_recbole(trial, tmp_path, capsys):
    plan = trial[0]
    names = ["table.md", "table.csv", "table.tex", "results.json", "plots/toy-size.svg"]
    before = {name: (plan.output / name).read_bytes() for name in names}
    for name in names:
        (plan.output / name).unlink()
    code = (
        "import sys\nfrom recbole_fmrlrec.cli.main import main\n"
        f"assert main(['report', {str(plan.output)!r}]) == 0\n"
        "print(sorted({'torch', 'recbole', 'pandas'} & set(sys.modules)))"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"
    assert {name: (plan.output / name).read_bytes() for name in names} == before
    assert json.loads(before["results.json"])["name"] == "trial"
    assert main(["report", str(tmp_path / "nothing")]) == 2
    assert "no comparison in" in capsys.readouterr().err


def test_a_comparison_may_move(written, tmp_path):
    plan, cells, _ = written
    shutil.copytree(plan.output, tmp_path / "moved")
    stored, again = read_record(tmp_path / "moved")
    assert stored.output == tmp_path / "moved"
    assert [cell.finished for cell in again] == [True] * len(cells)


def test_trainings_that_ended_early_are_named(trial):
    _, _, analysis = trial
    assert "was its best" not in markdown(analysis)
    for label in ("ours 8", "ours 16"):
        of(analysis, label)["out_of_time"] = True
        of(analysis, label)["cost"]["best_epoch"] = 3
    text = markdown(analysis)
    assert text.count("- ours on toy: its time limit was reached after 3 epochs.\n") == 1
    assert (
        text.count("- ours on toy: its last epoch, 3, was its best; more epochs may be better.\n")
        == 1
    )


@pytest.fixture
def half_done(tmp_path):
    """SASRec has both seeds; ours, better, has one of two, and Pop has none."""
    folder = tmp_path / "half"
    plan = make_plan(folder, [SASREC, OURS, POP, PLAIN], seeds=(1, 2))
    cells = []
    for seed in plan.seeds:
        cells.append(write_cell(folder, SASREC, {0: [1, 4, 2, 11]}, seed=seed))
        cells.append(write_cell(folder, OURS, {8: [1, 1, 1, 1]}, seed=seed))
        cells.append(write_cell(folder, OURS, {8: [1, 2, 1, 1]}, seed=seed, alone=8))
        cells.append(write_cell(folder, POP, {0: [9, 9, 9, 9]}, seed=seed))
        cells.append(write_cell(folder, PLAIN, {8: [2, 2, 2, 2]}, seed=seed))
    write_record(plan, cells)
    for at in (3, 6, 8):  # Pop of both seeds, ours of seed 2
        (cells[at].path / "cost.json").unlink()
    return folder


def test_a_row_without_all_its_seeds_is_marked_and_not_judged(half_done, no_plots, capsys):
    assert main(["report", str(half_done)]) == 0
    shown = capsys.readouterr()
    marked = "ours (unfinished: 1 of 2 seeds)"
    assert f"\n{marked} " in shown.out
    assert "warning: Rows of fewer seeds than the others: ours 8 on toy (unfinished: 1 of 2 se" in (
        shown.err
    )
    assert "warning: Not finished, and in no table: ours on toy, seed 2, Pop on toy, seed" not in (
        shown.err
    )
    assert "warning: Not finished, and in no table: Pop on toy, seed 1, ours on toy, seed 2" in (
        shown.err
    )
    toy = json.loads((half_done / "results.json").read_text(encoding="utf-8"))["datasets"]["toy"]
    missing = {system["label"]: system["missing_seeds"] for system in toy["systems"]}
    assert missing == {"SASRec": [], "ours 8": [2], "ours 8 alone": [], "plain 8": []}
    tested = {label for test in toy["tests"] for label in (test["system"], test["against"])}
    assert tested == {"SASRec", "ours 8 alone", "plain 8"}  # and no nesting
    assert {test["family"] for test in toy["tests"]} == {"best", "each"} and toy["training"] == []
    text = (half_done / "table.md").read_text(encoding="utf-8")
    row = next(line for line in text.splitlines() if line.startswith(f"| {marked} | 8 |"))
    assert "1.0000" in row and "**" not in row and "<u>" not in row
    assert "| ours, alone | 8 | 1,008 | **" in text
    tex = (half_done / "table.tex").read_text(encoding="utf-8")
    assert f"{marked} & 8 & 1,008 & 1.0000 & 1.0000" in tex and r"\textbf{1.0000}" not in tex
    with (half_done / "table.csv").open(encoding="utf-8") as file:
        rows = {(r["variant"], r["alone"]): r["missing_seeds"] for r in csv.DictReader(file)}
    assert rows == {
        ("SASRec", "False"): "",
        ("ours", "False"): "2",
        ("ours", "True"): "",
        ("plain", "False"): "",
    }
    assert marked in (half_done / "report.html").read_text(encoding="utf-8")
