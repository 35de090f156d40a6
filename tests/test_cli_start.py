"""`joyctl` and `joyctl --help` start light: no heavy library is loaded to print text."""

from __future__ import annotations

import json
import subprocess
import sys

HEAVY = {
    "torch",
    "hydra",
    "submitit",
    "pandas",
    "lm_eval",
    "transformers",
    "datasets",
    "numpy",
    "torchtitan",
    "omegaconf",
}


def run(*words: str) -> subprocess.CompletedProcess[str]:
    code = (
        "import sys, json, atexit;"
        "atexit.register(lambda: print(json.dumps(sorted({m.split('.')[0] for m in sys.modules})), file=sys.stderr));"
        f"sys.argv = ['joyctl', *{list(words)!r}];"
        "from joyctl.cli.main import main; main()"
    )
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_help_and_welcome_load_nothing_heavy() -> None:
    for words in ([], ["--help"], ["sweep", "--help"], ["data", "--help"], ["compare", "--help"], ["--version"]):
        done = run(*words)
        assert done.returncode == 0 and done.stdout.strip()
        assert not HEAVY & set(json.loads(done.stderr.splitlines()[-1])), words


def test_every_command_stands_in_the_help() -> None:
    text = run("--help").stdout
    for command in ("plan", "sweep", "ablate", "status", "report", "compare", "show", "schema", "data"):
        assert f" {command} " in text


def test_an_unknown_command_is_a_usage_error() -> None:
    assert run("swep").returncode == 2
