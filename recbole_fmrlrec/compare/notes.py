"""What stands below every table: what was compared, how, and what was tuned."""

from __future__ import annotations

from typing import Any

from recbole_fmrlrec.compare.analysis import LEVEL


def notes(analysis: dict[str, Any]) -> list[str]:
    """What stands below every table: what was compared, how, and what was tuned."""
    seeds = analysis["seeds"]
    several = len(seeds) > 1
    tests = {t["family"] for d in analysis["datasets"].values() for t in d["tests"]}
    missing = analysis.get("unfinished", [])
    found = [f"Not finished, and in no table: {', '.join(missing)}."] if missing else []
    found += [
        "All models were tested on the same rows (same users, same targets), each target ranked "
        "against all items.",
        (
            f"Mean ± standard deviation over the seeds {', '.join(map(str, seeds))}; for tests and "
            "intervals each user's metric is first averaged over the seeds."
            if several
            else f"One seed ({seeds[0]}): differences between trainings of one model are not seen."
        ),
    ]
    if "best" in tests:
        best = "baseline" if analysis["baselines"] else "other model"
        found.append(
            f"Marks: better than the best {best} with p < {LEVEL}, * by the Wilcoxon signed-rank "
            "test, † by the paired t-test; two-sided, by user, Holm-corrected over all such tests "
            f"of this page. The best {best} is the best on the test rows, metric by metric."
        )
    found.append(
        f"Intervals: 95 %, percentile bootstrap over users, {analysis['bootstrap']:,} resamples."
    )
    return [*found, *_cut_short(analysis), *_settings_notes(analysis)]


def _cut_short(analysis: dict[str, Any]) -> list[str]:
    """Which trainings the budget has ended, and whether they were still getting better."""
    found = []
    for name, dataset in analysis["datasets"].items():
        for system in dataset["systems"]:
            cost = system["cost"]
            if not system["out_of_time"]:
                continue
            rising = cost["best_epoch"] is not None and cost["best_epoch"] == cost["epochs_run"]
            end = "; its last epoch was its best, so that more may be better" if rising else ""
            epochs = f"{cost['epochs_run']:g} epochs"
            found.append(f"{system['label']} on {name} had no time for more than {epochs}{end}.")
    return found


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
        tuned = f"tuned: {model['tuned']}" if model["tuned"] else "not tuned for this comparison"
        found.append(f"{named}: {model['defaults']}{changed}; {tuned}.")
    return found


def _listed(settings: dict[str, Any]) -> str:
    return ", ".join(f"{key}: {value}" for key, value in settings.items())
