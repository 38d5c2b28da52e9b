"""The command line: ``python run_recbole.py [COMMAND] [--KEY=VALUE ...]``.

Answers ``--help`` without importing torch or RecBole.
"""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Callable, Sequence

from recbole_fmrlrec import torchrun
from recbole_fmrlrec.config import command_line
from recbole_fmrlrec.config.command_line import Arguments
from recbole_fmrlrec.errors import UsageError, missing_package, plain_errors, usage_errors
from recbole_fmrlrec.files.disk import path_error
from recbole_fmrlrec.train.threads import wait_passively

#: Seconds after which another process than the first says its error, if it is still there.
PATIENCE = 5.0
DONE, FAILED, WRONG_USE, INTERRUPTED = 0, 1, 2, 130


def parse(argv: Sequence[str]) -> Arguments:
    """Take a command line apart.

    Raises:
        UsageError: an unknown command, an option without its value, a value without its option, or
            a key that is given two values.
    """
    return command_line.parse(argv, [*COMMANDS, *OWN_OPTIONS])


def train(arguments: Arguments) -> int:
    """Train and test one model on one dataset."""
    from recbole_fmrlrec.train.run import run

    keys = dict(arguments.keys)
    if "," in keys.get("model", "") or "," in keys.get("dataset", ""):
        return _several(arguments)
    result = run(
        model=keys.pop("model", None),
        dataset=keys.pop("dataset", None),
        config_file_list=arguments.config_files,
        config_dict={},
        cli_args=keys,
        resume=arguments.resume,
    )
    if torchrun.is_first():
        print(result.table())
    return DONE


def _several(arguments: Arguments) -> int:
    """Several models or datasets, separated by commas: one table."""
    _require_one_process("the comparison of several models")
    if arguments.config_files or arguments.resume:
        raise UsageError(
            "--config_files and --resume are for one run; several models are compared by a file of "
            "`compare`, and the same command continues a comparison"
        )
    model = {"model": "fMRLRec"} if "model" not in arguments.keys else {}
    return compare([f"--{key}={value}" for key, value in {**model, **arguments.keys}.items()])


def models(arguments: Arguments) -> int:
    """List the models, ours and RecBole's."""
    from recbole_fmrlrec.model_api.registry import list_models

    if arguments.keys or arguments.config_files:
        raise UsageError("models takes no options")
    for kind, names in list_models().items():
        print(f"{kind}:\n    " + " ".join(names))
    return DONE


def export(words: Sequence[str]) -> int:
    """Write a trained model at any of its sizes, to serve without RecBole."""
    from recbole_fmrlrec.export.command import main

    return main(words)


def recommend(words: Sequence[str]) -> int:
    """Recommend items with an exported model, to one user or a file of them."""
    from recbole_fmrlrec.cli.recommend import main

    return main(words)


def serve(words: Sequence[str]) -> int:
    """Serve exported models over HTTP, with sessions and a page."""
    from recbole_fmrlrec.cli.serve import main

    return main(words)


def tune(words: Sequence[str]) -> int:
    """Search the parameters of a model by the validation metric."""
    from recbole_fmrlrec.tuning.command import main

    return main(words)


def compare(words: Sequence[str]) -> int:
    """Compare models on datasets: tables, tests of significance, plots."""
    from recbole_fmrlrec.compare.command import main

    return main(words)


def evaluate(words: Sequence[str]) -> int:
    """Measure a trained model again, by part, metric, size and slice."""
    from recbole_fmrlrec.compare.evaluate import main

    return main(words)


def report(words: Sequence[str]) -> int:
    """Rebuild the tables and plots of a comparison from its runs."""
    from recbole_fmrlrec.compare.command import report as main

    return main(words)


COMMANDS: dict[str, Callable[[Arguments], int]] = {"train": train, "models": models}

#: Commands whose options are no configuration keys; each has a ``--help`` of its own.
OWN_OPTIONS: dict[str, Callable[[Sequence[str]], int]] = {
    "compare": compare,
    "tune": tune,
    "evaluate": evaluate,
    "report": report,
    "export": export,
    "recommend": recommend,
    "serve": serve,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line (``sys.argv`` by default) and return its exit code.

    0: done; 1: failed; 2: wrong use; 130: interrupted. Where nobody reads the output to its end, as
    with ``| head``, the rest of it goes nowhere.
    """
    wait_passively()
    try:
        try:
            return _run(list(sys.argv[1:] if argv is None else argv))
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE


def _run(words: list[str]) -> int:
    debug = any(word == "--debug" or word.lower() == "--debug=true" for word in words)
    try:
        if words and words[0] in OWN_OPTIONS:
            _require_one_process(words[0])
            return OWN_OPTIONS[words[0]](words[1:])
        return _dispatch(parse(words))
    except KeyboardInterrupt as stop:
        if torchrun.is_first():  # Ctrl-C reaches all of them
            print("; ".join(["interrupted", *map(str, stop.args)]), file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        raise
    except Exception as raised:
        error = path_error(raised) or raised
        if debug:
            traceback.print_exc()
        wrong_use = isinstance(error, usage_errors())
        print(f"{_process()}error:", _message(error), file=sys.stderr, flush=True)
        if not debug and not wrong_use:
            print("--debug shows the traceback", file=sys.stderr)
        return WRONG_USE if wrong_use else FAILED


def _require_one_process(command: str) -> None:
    if torchrun.size() > 1:
        raise UsageError(
            f"{command} is one process, and torchrun started {torchrun.size()}: start it with "
            "python; torchrun is for the training of one model"
        )


def _process() -> str:
    """Which process of torchrun has an error; the first one needs no name.

    The same error is said once: the first process ends with it, and then torchrun ends the others
    while they wait here.
    """
    if torchrun.is_first():
        return ""
    time.sleep(PATIENCE)
    return f"process {torchrun.rank()}: "


def _message(error: Exception) -> str:
    if isinstance(error, plain_errors()):
        return str(error)
    if isinstance(error, ModuleNotFoundError) and error.name:
        return missing_package(error)
    return f"{type(error).__name__}: {error}"


def _dispatch(arguments: Arguments) -> int:
    if arguments.version:
        from recbole_fmrlrec.version import __version__

        print(f"recbole-fmrlrec {__version__}")
        return DONE
    if arguments.help:
        print(_help(arguments))
        return DONE
    return COMMANDS[arguments.command](arguments)


def _help(arguments: Arguments) -> str:
    from recbole_fmrlrec.cli.help import command_help, help_text

    documents = {name: do.__doc__ or "" for name, do in {**COMMANDS, **OWN_OPTIONS}.items()}
    model, dataset = (arguments.keys.get(key) for key in ("model", "dataset"))
    if arguments.named:
        return command_help(arguments.command, documents[arguments.command], model, dataset)
    return help_text(documents, model, dataset)


if __name__ == "__main__":
    sys.exit(main())
