"""The notes below every table: what was compared, how, and what was tuned."""

from __future__ import annotations

from typing import Any

from recbole_fmrlrec.compare.analysis import MASKED_AGAIN
from recbole_fmrlrec.compare.beyond import LISTS_AGAIN
from recbole_fmrlrec.compare.significance import LEVEL
from recbole_fmrlrec.compare.tables import short, unfinished
from recbole_fmrlrec.evaluation.list_metric_names import (
    is_of_all_lists,
    is_of_lists,
    metric_name,
)
from recbole_fmrlrec.evaluation.protocol import is_masked


def notes(analysis: dict[str, Any]) -> list[str]:
    """The notes below every table: what was compared, how, and what was tuned."""
    found = [
        *unfinished_notes(analysis),
        "All models were tested on the same rows (same users, same targets), each target ranked "
        f"against all items{_but_cold(analysis)}.",
        *_ranked_notes(analysis),
        *_split_notes(analysis),
        *_history_notes(analysis),
        *_lists_notes(analysis),
        _seeds_note(analysis["seeds"]),
        *_tests_notes(analysis),
        f"Intervals: 95 %, percentile bootstrap over users, {analysis['bootstrap']:,} resamples.",
        *_cut_short(analysis),
        *_settings_notes(analysis),
    ]
    return [" ".join(note.split()) for note in found]  # a text of the user's may have lines


def _but_cold(analysis: dict[str, Any]) -> str:
    splits = [dataset["split"] for dataset in analysis["datasets"].values()]
    dropping = any(split and split["cold"] == "drop" for split in splits)
    return " that training has seen" if dropping else ""


def _ranked_notes(analysis: dict[str, Any]) -> list[str]:
    """Where models rank different numbers of items."""
    found = []
    for name, dataset in analysis["datasets"].items():
        if dataset["ranked"]:
            ranked = ", ".join(f"{model} {n:,}" for model, n in dataset["ranked"].items())
            found.append(
                f"Items of {name} that each model ranks: {ranked}. RecBole counts the items of the "
                "columns that a model reads among them, also those without any interaction."
                f"{_whole_note(analysis, dataset)}"
            )
    return found


def _whole_note(analysis: dict[str, Any], dataset: dict[str, Any]) -> str:
    """Out of how many items coverage and Gini are, where models know different numbers."""
    metrics = [m for m in analysis["metrics"] if metric_name(m) in ("itemcoverage", "giniindex")]
    if not metrics:
        return ""
    names = sorted({short(metric).partition("@")[0] for metric in metrics})
    return (
        f" {' and '.join(names)} of all models are out of {dataset['catalogue']:,} items, so "
        "the results of the runs themselves can differ from these."
    )


def _split_notes(analysis: dict[str, Any]) -> list[str]:
    """Where a dataset is split in time, and what of its test training has never seen."""
    found = []
    for name, dataset in analysis["datasets"].items():
        split = dataset["split"]
        if split is None:
            continue
        cold = f"{split['cold_items']:,} items are in no training interaction"
        if split["cold"] == "drop":
            cold += f": {split['dropped']['test']:,} test interactions with them are left out"
        else:
            cold += f", and are the targets of {split['cold_targets']['test']:,} test rows"
            if split["ids_only"] and split["cold_items"]:
                cold += f"; known by their ids alone they rank last: {', '.join(split['ids_only'])}"
        found.append(
            f"{name} is split by time: training before {split['valid_from']}, validation before "
            f"{split['test_from']}, test from then on (targets: {split['targets']}, context: "
            f"{split['context']}). {split['without_past']['test']:,} test interactions have "
            f"nothing before them and are no rows. {cold}. {split['new_users']['test']:,} test "
            "rows are of users that training never saw."
        )
    return found


def _history_notes(analysis: dict[str, Any]) -> list[str]:
    """Which rankings the columns are of, and which cells do not have both."""
    kinds = {is_masked(metric) for metric in analysis["metrics"]}
    found = []
    if kinds != {True}:
        found.append(
            "Figures without a word beside them: the items of the user's history are ranked too, "
            "as in RecBole's evaluation of sequential models."
        )
    if True in kinds:
        found.append(
            "Masked: the items that the user had before the target are left out of the ranking "
            "(the target itself never is). Of one model the ranks, and so the metrics of hits, "
            "are never worse than with the history; a masked figure cannot be compared with one "
            "that is not."
        )
    if analysis["without_masked"]:
        found.append(
            "There are no masked figures, because cells of an earlier version lack them: "
            f"{', '.join(analysis['without_masked'])}; {MASKED_AGAIN}."
        )
    return found


def _lists_notes(analysis: dict[str, Any]) -> list[str]:
    """What metrics of recommended items are, and what they do not have."""
    columns, found = [m for m in analysis["metrics"] if is_of_lists(m)], []
    if columns:
        found.append(
            "Metrics of recommended items do not ask for the target. The smaller value counts as "
            "the better one of Gini and Popularity, the larger one of the others, as in RecBole: "
            "neither is a merit by itself."
        )
    whole = sorted({short(m).partition("@")[0] for m in columns if is_of_all_lists(m)})
    if whole:
        found.append(
            f"{', '.join(whole)}: one value for the lists of all users together, so there are "
            "no values per user, and neither an interval nor a test."
        )
    for name, dataset in analysis["datasets"].items():
        groups = [
            f"{one['interactions']:,} interactions for {', '.join(one['models'])}"
            for one in dataset["counting"]
        ]
        if groups:
            found.append(
                f"Popularity, Tail and Novelty on {name} go by how often training has an item. "
                f"RecBole counts {'; '.join(groups)}: sequence models do not predict a user's "
                f"first interaction. Here the {dataset['counting'][0]['interactions']:,} count "
                "for all models, so the results of the runs themselves, and curves of validation, "
                "can differ from these."
            )
        if dataset["without_pairs"]:
            found.append(_pairs_note(name, dataset["without_pairs"]))
    for metric, cells in analysis["without_lists"].items():
        found.append(f"There is no {metric}: no lists in {', '.join(cells)}; {LISTS_AGAIN}.")
    return found


def _pairs_note(name: str, without: dict[str, dict[str, float]]) -> str:
    shares = (
        f"{100 * share:.3g} % of {label} ({short(metric)})"
        for label, found in without.items()
        for metric, share in found.items()
    )
    return (
        "Diversity is that of lists in which at least two items have features, and tests are of "
        "users of whom both models have such a list; with several seeds a user's values are "
        "averaged first, and a seed without such a list is not in the deviation. "
        f"On {name} the other lists are {', '.join(shares)}."
    )


def unfinished_notes(analysis: dict[str, Any]) -> list[str]:
    """Which cells are in no table, and which rows have not all their seeds."""
    missing = analysis.get("unfinished", [])
    rows = [
        f"{system['label']} on {name}{unfinished(system)}"
        for name, dataset in analysis["datasets"].items()
        for system in dataset["systems"]
        if system["missing_seeds"]
    ]
    found = [f"Not finished, and in no table: {', '.join(missing)}."] if missing else []
    if rows:
        found.append(
            f"Rows of fewer seeds than the others: {', '.join(rows)}. They are neither tested nor "
            "ranked among the best and the second; the `compare` command of this comparison "
            "finishes them."
        )
    return found


def _seeds_note(seeds: list[int]) -> str:
    if len(seeds) == 1:
        return (
            f"One seed ({seeds[0]}): the variation between trainings of one model is not measured."
        )
    return (
        f"Mean ± standard deviation over the seeds {', '.join(map(str, seeds))}; for tests and "
        "intervals each user's metric is first averaged over the seeds."
    )


def _tests_notes(analysis: dict[str, Any]) -> list[str]:
    """What the marks mean, and what their correction is over; nothing where nothing is tested."""
    kinds = {
        dataset["against"]
        for dataset in analysis["datasets"].values()
        if any(test["family"] == "best" for test in dataset["tests"])
    }
    if not kinds:
        return []
    best = " or ".join(sorted(kinds))
    return [
        f"Marks: better than the best {best} with p < {LEVEL}, * by the Wilcoxon signed-rank "
        "test, which drops ties first, † by the paired t-test; two-sided, by user. The best "
        f"{best} is the best on the test rows, metric by metric.",
        "Holm's correction is over one dataset's table: over all its models, sizes and "
        f"metrics, by itself for the tests against the best {best}, against each, and of "
        "nested against trained alone, and for masked figures and the others."
        f"{_lists_family(analysis)}",
    ]


def _lists_family(analysis: dict[str, Any]) -> str:
    of_lists = any(is_of_lists(metric) for metric in analysis["metrics"])
    return " Metrics of recommended items are corrected by themselves too." * of_lists


def _cut_short(analysis: dict[str, Any]) -> list[str]:
    """Which trainings the budget has ended, and which were best at their very end."""
    found: dict[str, None] = {}
    for name, dataset in analysis["datasets"].items():
        for system in dataset["systems"]:
            cost = system["cost"]
            epochs = cost["epochs_run"]
            # The sizes of one training have its epochs in common.
            label = f"{system['label' if system['alone'] else 'variant']} on {name}"
            if system["out_of_time"]:
                found[f"{label}: its time limit was reached after {epochs:g} epochs."] = None
            if epochs is not None and epochs > 1 and cost["best_epoch"] == epochs:
                last = f"its last epoch, {epochs:g}, was its best; more epochs may be better"
                found[f"{label}: {last}."] = None
    return list(found)


def _settings_notes(analysis: dict[str, Any]) -> list[str]:
    """What each model was run with and what was tuned."""
    shared, *models = analysis["settings"]
    found = []
    if shared["settings"]:
        found.append(f"For all models: {_listed(shared['settings'])}.")
    for dataset, settings in shared["datasets"].items():
        if settings:
            found.append(f"For all models on {dataset}: {_listed(settings)}.")
    for model in models:
        name = model["variant"]
        named = name if name == model["model"] else f"{name} ({model['model']})"
        changed = f", with {_listed(model['settings'])}" if model["settings"] else ""
        tuned = (
            f"tuned: {model['tuned'].strip()}"
            if model["tuned"]
            else "not tuned for this comparison"
        )
        encoders = " and ".join(model.get("text_encoders", []))
        begun = f"on {encoders}, not pre-trained on recommendation data; " if encoders else ""
        found.append(f"{named}: {begun}{model['defaults']}{changed}; {tuned}.")
    return found


def _listed(settings: dict[str, Any]) -> str:
    return ", ".join(f"{key}: {value}" for key, value in settings.items())
