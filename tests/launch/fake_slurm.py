"""A cluster of this one machine: sbatch, srun, sacct, scontrol and scancel, as submitit calls them.

One script under five names. A job of an array is a process of its own, which outlives the command
that submitted it; SLURM's variables, files and states are those that submitit reads.
"""

from __future__ import annotations

import sys
from pathlib import Path

SCRIPT = r"""#!{python}
import os, re, subprocess, sys
from pathlib import Path
STATES = Path({states!r})
NAME, WORDS = Path(sys.argv[0]).name, sys.argv[1:]


def sbatch(file):
    text = Path(file).read_text()
    number = 1000 + len(list(STATES.glob("*.sh")))
    (STATES / f"{{number}}.sh").write_text(text)
    array = re.search(r"--array=0-(\d+)", text)
    places = [None] if array is None else range(int(array[1]) + 1)
    for at in places:
        name = str(number) if at is None else f"{{number}}_{{at}}"
        (STATES / name).write_text("PENDING")
        environment = {{**os.environ, "SLURM_JOB_ID": str(number), "SLURM_JOB_NUM_NODES": "1"}}
        if at is not None:
            more = {{"SLURM_ARRAY_JOB_ID": str(number), "SLURM_ARRAY_TASK_ID": str(at)}}
            environment |= {{**more, "SLURM_JOB_ID": str(number * 100 + at)}}
        command = [sys.executable, __file__.replace(NAME, "node"), str(file), name]
        subprocess.Popen(command, env=environment, start_new_session=True,
                         stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                         stderr=subprocess.DEVNULL)
    print(f"Submitted batch job {{number}}")


def node(file, name):
    state = STATES / name
    while True:
        state.write_text("RUNNING")
        code = subprocess.run(["bash", file]).returncode
        if state.read_text() != "REQUEUED":
            state.write_text("COMPLETED" if code == 0 else "FAILED")
            return


def srun(*words):
    words, files = list(words), {{}}
    while words[0].startswith("--"):
        word = words.pop(0)
        if word in ("--output", "--error"):
            files[word] = words.pop(0)
    for old, new in (("%A", "SLURM_ARRAY_JOB_ID"), ("%a", "SLURM_ARRAY_TASK_ID"),
                     ("%j", "SLURM_JOB_ID")):
        files = {{k: v.replace(old, os.environ.get(new, "")) for k, v in files.items()}}
    out, err = (open(files[k].replace("%t", "0"), "a") for k in ("--output", "--error"))
    sys.exit(subprocess.run(words, stdout=out, stderr=err).returncode)


def sacct(*words):
    print("JobID|State|NodeList")
    for number in [words[at + 1] for at, word in enumerate(words) if word == "-j"]:
        for file in sorted(STATES.glob(f"{{number}}*")):
            if file.suffix != ".sh":
                print(f"{{file.name}}|{{file.read_text()}}|here")


def scontrol(verb, name):
    (STATES / name).write_text("REQUEUED")


def scancel(name):
    (STATES / name).write_text("CANCELLED by 0")


globals()[NAME](*WORDS)
"""


def install(folder: Path) -> Path:
    """Write the programs into a folder; returns the folder of states and of submitted scripts."""
    states = folder / "states"
    states.mkdir(parents=True)
    for name in ("sbatch", "srun", "sacct", "scontrol", "scancel", "node"):
        file = folder / name
        file.write_text(SCRIPT.format(python=sys.executable, states=str(states)))
        file.chmod(0o755)
    return states
