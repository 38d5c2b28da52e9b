"""Parameters: ranges, conditions, grids, and the two kinds of file that describe them."""

from __future__ import annotations

import itertools
import math
from decimal import Decimal
from pathlib import Path
from typing import Any

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recbole_fmrlrec.errors import UsageError
from recbole_fmrlrec.tuning.search_file import read_drafts
from recbole_fmrlrec.tuning.space import Parameter, Space

ID = Parameter("use_id_embedding", "choice", (True, False))
DROPOUT = Parameter(
    "input_dropout_prob", "choice", (0.0, 0.5), {"use_id_embedding": (True,)}, "f, line 3"
)
BLOCKS = Parameter("num_blocks", "int", (1, 3))


def test_a_grid_leaves_out_what_does_not_count() -> None:
    points = Space.of([DROPOUT, ID]).points()
    assert points == [
        {"use_id_embedding": True, "input_dropout_prob": 0.0},
        {"use_id_embedding": True, "input_dropout_prob": 0.5},
        {"use_id_embedding": False},
    ]


def test_a_condition_on_what_does_not_count_does_not_hold() -> None:
    below = Parameter("r_min", "choice", (0.0, 0.1), {"input_dropout_prob": (0.5,)})
    points = Space.of([below, DROPOUT, ID]).points()
    assert len(points) == 4 and points[-1] == {"use_id_embedding": False}


@given(st.lists(st.integers(1, 4), min_size=1, max_size=4))
def test_a_grid_without_conditions_is_the_product(counts: list[int]) -> None:
    parameters = [Parameter(f"p{i}", "int", (0, n, n)) for i, n in enumerate(counts)]
    points = Space.of(parameters).points()
    values = [tuple(point.values()) for point in points]
    assert values == list(itertools.product(*([0, n] for n in counts)))
    space = Space.of(parameters)
    assert space.covered_by(None) and space.covered_by(len(points))
    assert not space.covered_by(len(points) - 1)


@pytest.mark.parametrize(
    ("kind", "values", "expected"),
    [
        ("int", (1, 3), [1, 2, 3]),
        ("int", (16, 80, 32), [16, 48, 80]),
        ("uniform", (0.1, 0.5, 0.1), [0.1, 0.2, 0.3, 0.4, 0.5]),
        ("choice", ([16], [16, 32]), [[16], [16, 32]]),
    ],
)
def test_values_of_a_grid(kind: str, values: tuple[Any, ...], expected: list[Any]) -> None:
    assert Parameter("p", kind, values).grid() == expected


@pytest.mark.parametrize(
    ("values", "stored", "meant"),
    [
        ((0.1, 0.7, 0.1), 0.1 + 2 * 0.1, 0.3),
        ((0.0, 0.9, 0.1), 7 * 0.1, 0.7),
        ((0.05, 0.95, 0.15), 0.05 + 3 * 0.15, 0.5),
        ((1e-5, 1e-4, 1e-5), 3 * 1e-5, 3e-5),
        ((0.25, 2.0, 0.25), 1.75, 1.75),
        ((0, 1, 0.1), 6 * 0.1, 0.6),
    ],
)
def test_a_value_on_a_step_has_the_places_of_the_step(
    values: tuple[Any, ...], stored: float, meant: float
) -> None:
    parameter = Parameter("p", "uniform", values)
    assert parameter.suggest(optuna.trial.FixedTrial({"p": stored})) == meant
    assert Space.of([parameter]).tidy({"p": stored, "other": stored}) == {
        "p": meant,
        "other": stored,
    }
    assert str(meant) in [str(value) for value in parameter.grid()]


@given(st.integers(1, 9), st.integers(0, 4), st.integers(0, 50))
def test_steps_of_tenths_are_never_spelt_out(step: int, places: int, count: int) -> None:
    """What decimal arithmetic gives, whatever the step."""
    width = Decimal(step).scaleb(-places)
    meant = [float(width * index) for index in range(count + 2)]
    ends = (0.0, meant[-1], float(width))
    assert Parameter("p", "uniform", ends).grid() == meant


def test_a_range_without_steps_keeps_every_digit() -> None:
    parameter = Parameter("p", "uniform", (0.1, 0.7))
    assert parameter.tidy(0.1 + 2 * 0.1) == 0.1 + 2 * 0.1


def test_lists_come_back_from_optuna_as_lists() -> None:
    parameter = Parameter("sizes", "choice", ([16], [16, 32]))
    assert parameter.suggest(optuna.trial.FixedTrial({"sizes": "[16, 32]"})) == [16, 32]


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        (lambda: [Parameter("p", "choice", ())], "a choice needs values without duplicates"),
        (lambda: [Parameter("p", "choice", (1, 1))], "without duplicates"),
        (lambda: [Parameter("p", "int", (1, 2.5))], r"int needs \[low, high\], or .* of integers"),
        (lambda: [Parameter("p", "uniform", (1.0, 0.5))], "low must be below high"),
        (lambda: [Parameter("p", "uniform", (0.1, 0.5, 0))], "a step above 0"),
        (lambda: [Parameter("p", "loguniform", (0, 1))], "needs a low above 0"),
        (lambda: [Parameter("p", "loguniform", (1, 2, 1))], r"needs \[low, high\] of numbers"),
        (lambda: [DROPOUT], r"f, line 3\): `when` names `use_id_embedding`, which is not a param"),
        (lambda: [Parameter("q", "int", (1, 2), {"num_blocks": (4,)}), BLOCKS], "is never 4; it"),
        (
            lambda: [
                Parameter("a", "int", (1, 2), {"b": (1,)}),
                Parameter("b", "int", (1, 2), {"a": (1,)}),
            ],
            "the conditions of a, b depend on one another in a circle",
        ),
    ],
)
def test_impossible_parameters(parameters: Any, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        Space.of(parameters())


def test_grids_that_cannot_be() -> None:
    with pytest.raises(UsageError, match="a grid needs a step"):
        Space.of([Parameter("p", "uniform", (0.0, 1.0))]).points()
    with pytest.raises(UsageError, match="more than 100,000 points"):
        Space.of([Parameter(f"p{i}", "int", (1, 100)) for i in range(9)]).points()
    assert not Space.of([Parameter("p", "uniform", (0.0, 1.0))]).covered_by(None)
    large = Space.of([Parameter(f"p{i}", "int", (1, 100)) for i in range(9)])
    assert not large.covered_by(None) and not large.covered_by(10**9)


RANGES = """\
learning_rate choice [0.01, 0.001]
dropout_prob uniform 0.1,0.5

weight_decay loguniform -8,0
embedding_size quniform 60,130,32
reg_weight quniform 0.1,0.4,0.1
mlp_hidden_size choice ['[64,64]','[128]']
  # note
"""


def test_recboles_range_file(tmp_path: Path) -> None:
    file = tmp_path / "hyper.test"
    file.write_text(RANGES)
    (draft,) = read_drafts(file)
    found = {p.name: (p.kind, p.values) for p in draft.parameters}
    assert found == {
        "learning_rate": ("choice", (0.01, 0.001)),
        "dropout_prob": ("uniform", (0.1, 0.5)),
        "weight_decay": ("loguniform", (math.exp(-8), 1.0)),
        # hyperopt: round(uniform(60, 130) / 32) * 32
        "embedding_size": ("int", (64, 128, 32)),
        "reg_weight": ("uniform", (0.1, 0.4, 0.1)),
        "mlp_hidden_size": ("choice", ("[64,64]", "[128]")),
    }
    assert draft.study == "hyper" and draft.parameters[2].where == f"{file}, line 4"


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("p choice [__import__('os').getcwd()]", r"hyper.test, line 1\): .* are not valid values"),
        ("p choice 5", "choice needs values with commas"),
        ("p normal 0,1", "normal is not a kind; known: choice, uniform, loguniform, quniform"),
        ("p uniform 0,1,2", "uniform needs low,high"),
        ("p quniform 0,1", "quniform needs low,high,q"),
        ("p quniform 0,1,0", "q must be above 0"),
        ("p uniform 0,1\np uniform 0,1", r"line 2\) is given twice"),
        (
            "p uniform 0,1\n\n q choice",
            r"'q choice' \(.*hyper.test, line 3\) is not `NAME KIND VAL",
        ),
        ("note", r"line 1\) is not `NAME KIND VALUES` such as .*; a comment begins with #"),
        ("# p uniform 0,1\n \n", "has no line such as"),
    ],
)
def test_range_files_that_cannot_be_read(tmp_path: Path, line: str, says: str) -> None:
    file = tmp_path / "hyper.test"
    file.write_text(line)
    with pytest.raises(UsageError, match=says):
        read_drafts(file)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("model: X\nparametres: {}", r"`parametres` \(.*, line 2\): there is parameters"),
        ("model: X", "line 1: `parameters` is missing"),
        ("parameters:\n  p: {choose: [1]}", r"p \(.*, line 2\) must be one of \{choice"),
        ("parameters:\n  p: {choice: [1], int: [1, 2]}", "must be one of"),
        ("parameters:\n  p: {choice: 1}", "choice needs a list"),
        (
            "parameters:\n  p: {choice: [1]}\n  p: {choice: [2]}",
            "line 3: duplicate key `p`, also on line 2",
        ),
        ("parameters:\n  p: {int: [3, 1]}", "line 2\\): low must be below high"),
        ("sampler: tpee", r"sampler = 'tpee' \(.*, line 1\): sampler must be one of grid, random"),
        ("\npruner: {name: median, warmup: 3}", r"line 2\): pruner.warmup is not a key; known:"),
        (
            "parameters: {p: {choice: [1]}}\npruner: {name: halving, startup_trials: 3}",
            r"pruner.startup_trials \(.*, line 2\): halving has no such setting",
        ),
        ("budget: {trials: 0}", "budget.trials must be an integer of at least 1"),
        ("objective: test NDCG@10", "objective must be a metric with its K such as NDCG@10"),
        ("models: {A: {}}\nparameters: {}", "with `models`, each model has its own"),
        ("models:\n  A: {epochs: 1}", r"`epochs` \(.*, line 2\): there is .*; keys of the model"),
    ],
)
def test_yaml_that_cannot_be(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "f.yaml"
    file.write_text(text)
    with pytest.raises(UsageError, match=says):
        read_drafts(file)


def test_a_file_of_several_models(tmp_path: Path) -> None:
    file = tmp_path / "some.yaml"
    file.write_text(
        "dataset: d\nsettings: {epochs: 9, seed: 1}\nsampler: random\nbudget: {hours: 2}\n"
        "models:\n  A: {parameters: {p: {choice: [1]}}}\n"
        "  B:\n    settings:\n      epochs: 3\n    parameters: {q: {int: [1, 2]}}\n"
        "    budget: {trials: 5}\n"
    )
    a, b = read_drafts(file)
    assert (a.study, a.model, a.dataset, a.sampler, a.hours) == ("some-A", "A", "d", "random", 2)
    assert {key: value for key, (value, _) in a.settings.items()} == {"epochs": 9, "seed": 1}
    assert b.settings["epochs"] == (3, f"{file}, line 9")
    assert b.settings["seed"] == (1, f"{file}, line 2")
    assert (b.trials, b.hours, b.parameters[0].name) == (5, None, "q")


def test_ends_of_a_range_file_are_as_written(tmp_path: Path) -> None:
    file = tmp_path / "hyper.test"
    file.write_text("p quniform 0.1,0.3,0.1\n")
    assert read_drafts(file)[0].parameters[0].values == (0.1, 0.3, 0.1)
