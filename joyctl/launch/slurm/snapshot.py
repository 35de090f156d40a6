"""The code that jobs run: a copy of joyctl as it was when they were submitted, named by its digest.

Jobs may wait for days; what they run must not change while somebody edits the checkout.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import distributions
from pathlib import Path

from joyctl.recipe.locate import PLACES, Kind, builtin_folder
from joyctl.store.files import fsync_folder, write_json, write_text

MARKER = "SNAPSHOT.json"


def take(root: Path) -> str:
    """Copy the running joyctl to `root`/<digest>, unless it is there already; returns the digest.

    Beside the package lie SNAPSHOT.json (written last: git commit, whether it was dirty, Python), packages.txt
    (every installed distribution with its version, as `pip freeze` has them) and, when dirty, changes.diff.
    """
    files = dict(_files())
    digest = _digest(files)
    target = root / digest
    if (target / MARKER).exists():
        return digest
    root.mkdir(parents=True, exist_ok=True)
    stage = Path(tempfile.mkdtemp(prefix=f".{digest}.", dir=root))
    try:
        for name, content in files.items():
            path = stage / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        packages = sorted({f"{d.metadata['Name']}=={d.version}" for d in distributions()}, key=str.lower)
        write_text(stage / "packages.txt", "\n".join(packages) + "\n")
        commit, dirty, changes = _git(Path(__file__).parents[2])
        if changes:
            write_text(stage / "changes.diff", changes)
        facts = {"digest": digest, "git": commit, "dirty": dirty, "python": sys.version, "packages": len(packages)}
        write_json(stage / MARKER, facts)
        stage.chmod(0o755)
        if target.exists():  # torn: it has no marker
            shutil.rmtree(target)
        try:
            stage.rename(target)
        except OSError:  # another one was faster
            if not (target / MARKER).exists():
                raise
        fsync_folder(root)
    finally:
        shutil.rmtree(stage, ignore_errors=True)
    return digest


def digest() -> str:
    """Digest of the joyctl that runs here: the name its snapshot has."""
    return _digest(dict(_files()))


def _files() -> Iterator[tuple[str, bytes]]:
    """(path in the snapshot, content) of the package and all built-in files: recipes, suites, published, clusters."""
    package = Path(__file__).parents[2]
    for folder, _, names in sorted(os.walk(package)):
        for name in sorted(names):
            if not name.endswith((".pyc", "~")):
                path = Path(folder) / name
                yield str(Path(package.name) / path.relative_to(package)), path.read_bytes()
    tops: tuple[Kind, ...] = ("recipe", "cluster")  # the others lie in their subfolders
    for kind in tops:
        top = builtin_folder(kind)
        if not top.is_relative_to(package):
            for path in sorted(top.rglob("*.yaml")):
                yield f"{PLACES[kind]}/{path.relative_to(top)}", path.read_bytes()


def _digest(files: dict[str, bytes]) -> str:
    together = hashlib.sha256()
    for name, content in sorted(files.items()):
        together.update(f"{name}\0{len(content)}\0".encode())
        together.update(content)
    return together.hexdigest()[:16]


def _git(package: Path) -> tuple[str | None, bool, str]:
    """(commit, whether anything is not committed, changes as a diff) of the package's checkout; nothing outside one."""

    def git(*words: str) -> str | None:
        try:
            done = subprocess.run(["git", *words], cwd=package, capture_output=True, text=True, timeout=30, check=False)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout if done.returncode == 0 else None

    # An installed package may lie below some other project's checkout, which says nothing about it.
    if not git("ls-files", "--error-unmatch", "__init__.py"):
        return None, False, ""
    commit, changes = git("rev-parse", "HEAD"), git("diff", "HEAD") or ""
    return (commit.strip() if commit else None), bool(git("status", "--porcelain", "--", ".") or changes), changes
