"""What ``--help`` prints: commands, options, and every key with its default and its comment."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from recbole_fmrlrec.config.model_names import model_name
from recbole_fmrlrec.errors import RunError
from recbole_fmrlrec.keys.known import dataset_properties, our_model_file, recbole_model_file
from recbole_fmrlrec.keys.yaml_files import Entry, entries, properties_dir
from recbole_fmrlrec.model_api.registry import check_model_name, recbole_dir
from recbole_fmrlrec.program import usage_name

USAGE = """\
usage: {program} [COMMAND] [--KEY=VALUE | --KEY VALUE ...]

Without arguments: trains fMRLRec on ml-100k, which comes with RecBole, and prints its test metrics.
"""
OPTIONS = """\
options:
  --model NAME              the model; `models` lists them (fMRLRec)
  --dataset NAME            the dataset: a folder under data_path (ml-100k)
  --config_files FILE ...   YAML files with keys, the later ones over the earlier
  --resume [RUN_DIR]        continue the run of that folder, or the last one of this configuration
  --debug                   show the traceback of an error
  --version                 print the version
  -h, --help                this text; with --model=NAME the keys of that model, with
                            --dataset=NAME as a run on that dataset has them
  --KEY=VALUE               any key below; with dots an entry of a mapping: --eval_args.order=TO

The command line overrides files, files override this package's properties/, these RecBole's.
"""
_WIDTH = 100


TRAIN_USAGE = """\
usage: {program} [train] [--model=NAME] [--dataset=NAME] [--KEY=VALUE | --KEY VALUE ...]

{what} Test metrics are printed; everything else goes to a folder
of its own in checkpoint_dir (saved). Several names separated by commas make one table, as with
`compare`.
"""
MODELS_USAGE = """\
usage: {program} models

{what} It takes no options. `--help --model=NAME` lists the keys
of a model.
"""


def command_help(
    command: str, what: str, model: str | None = None, dataset: str | None = None
) -> str:
    """The help of a command whose options are keys: ``train`` or ``models``.

    Args:
        command: its name.
        what: what it does.
        model, dataset: as in `help_text`.

    Raises:
        UsageError: there is no such model.
    """
    shown = {"program": usage_name(), "what": what.strip()}
    if command == "models":
        return MODELS_USAGE.format(**shown).rstrip()
    return "\n".join([TRAIN_USAGE.format(**shown), OPTIONS, *_sections(model, dataset)])


def help_text(
    commands: Mapping[str, str], model: str | None = None, dataset: str | None = None
) -> str:
    """The whole help.

    Args:
        commands: name and description of each.
        model: whose keys to list; fMRLRec's by default.
        dataset: its properties override the model's, as in a run on it.

    Raises:
        UsageError: there is no such model.
    """
    parts = [USAGE.format(program=usage_name()), "commands:"]
    parts += [f"  {name:24}  {doc.splitlines()[0].rstrip('.')}" for name, doc in commands.items()]
    parts += ["", OPTIONS, *_sections(model, dataset)]
    return "\n".join(parts)


def _sections(model: str | None, dataset: str | None) -> list[str]:
    model = model or "fMRLRec"
    try:
        theirs = recbole_dir() / "properties"
    except RunError as error:
        return [f"RecBole's keys are not listed: {error}"]
    model = model_name(model)
    check_model_name(model)
    overall, ours = properties_dir() / "overall.yaml", our_model_file(model)
    files = [theirs / "overall.yaml", theirs / "dataset" / "sample.yaml", overall]
    general = _merged(files, skip={"model", "dataset"})
    own = _merged([file for file in (recbole_model_file(model), ours) if file])
    where = f", with their defaults on {dataset}:" if dataset else ", with their defaults:"
    for found in (own, general):
        _put_over(found, dataset_properties(model, dataset) if dataset else {})
    general = {key: entry for key, entry in general.items() if key not in own}
    return [
        f"keys of {model}{where}",
        *_lines(own.values()),
        "",
        "keys of all models:",
        *_lines(general.values()),
    ]


def _merged(files: Iterable[Path], skip: Iterable[str] = ()) -> dict[str, Entry]:
    found: dict[str, Entry] = {}
    for file in files:
        for entry in entries(file):
            known = found.get(entry.key)
            comment = entry.comment or (known.comment if known else "")
            found[entry.key] = Entry(entry.key, entry.default, comment)
    return {key: entry for key, entry in found.items() if key not in set(skip)}


def _put_over(entries: dict[str, Entry], values: Mapping[str, Any]) -> None:
    for key, value in values.items():
        if key in entries:
            entries[key] = replace(entries[key], default=_written(value))


def _written(value: Any) -> str:
    return yaml.safe_dump(value, default_flow_style=True, width=1000).splitlines()[0].strip()


def _lines(listed: Iterable[Entry]) -> list[str]:
    return [line for entry in listed for line in _line(entry)]


def _line(entry: Entry) -> list[str]:
    default = f" [{entry.default}]" if entry.default not in ("", "~") else ""
    comment = re.sub(r"\s+", " ", entry.comment)
    text = textwrap.wrap(comment + default, _WIDTH - 28) or [""]
    head = f"  --{entry.key}"
    if len(head) > 26:
        return [head, *(" " * 28 + line for line in text)]
    return [f"{head:28}{text[0]}", *(" " * 28 + line for line in text[1:])]
