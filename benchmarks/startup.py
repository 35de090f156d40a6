"""How long `joyctl --help` takes beside a bare typer program with the same settings: in turn, median ratio."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BARE = """
import typer
app = typer.Typer(help="bare", rich_markup_mode=None, pretty_exceptions_enable=False)
@app.command("a")
def a(name: str = "x") -> None:
    "A command."
@app.command("b")
def b(name: str = "x") -> None:
    "Another."
app()
"""
ROUNDS = 15


def seconds(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        bare = Path(folder) / "bare.py"
        bare.write_text(BARE, encoding="utf-8")
        ours = [sys.executable, "-c", "from joyctl.cli.main import main; main()", "--help"]
        theirs = [sys.executable, str(bare), "--help"]
        for command in (ours, theirs):
            seconds(command)
        pairs = [(seconds(ours), seconds(theirs)) for _ in range(ROUNDS)]
    mine, other = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratio = statistics.median(a / b for a, b in pairs)
    print(
        f"joyctl --help {mine * 1e3:.0f} ms, bare typer program {other * 1e3:.0f} ms, ratio {ratio:.2f} (at most 1.5)"
    )


if __name__ == "__main__":
    main()
