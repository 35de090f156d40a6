"""What `joyctl doctor` has run on a node: looks around, writes down what it sees, judges nothing.

`python -m joyctl.launch.slurm.probe --folder F [--folder G] --name train [--torch] [--sandbox]`
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import socket
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import joyctl
from joyctl.store.files import write_json

HERE = "here"
"""File in each folder with a word that the node repeats."""
PACKAGES = (
    "torch", "torchtitan", "transformers", "datasets", "lm-eval", "accelerate", "numpy", "scipy", "safetensors",
    "tokenizers", "pydantic", "hydra-core", "submitit",
)  # fmt: skip
"""What jobs import."""

Facts = dict[str, Any]


def facts_file(folder: Path, name: str) -> Path:
    """Where the node of that name says what it saw."""
    return folder / f"there.{name}.json"


def read_facts(folder: Path, name: str) -> Facts | None:
    """What the node of that name saw, once it has said so."""
    path = facts_file(folder, name)
    # Listing a folder makes a network file system look again; asking for one file may not.
    if path.name not in {p.name for p in folder.iterdir()}:
        return None
    found: Facts = json.loads(path.read_bytes())
    return found


def read_word(folder: Path, name: str) -> str | None:
    """The word that the node of that name repeated."""
    path = folder / f"{name}.{HERE}"
    return path.read_text(encoding="utf-8") if path.exists() else None


def main(words: Sequence[str] | None = None) -> None:
    """Write what this node is like to the first folder, last of all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, action="append", required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--torch", action="store_true", help="import torch and count its GPUs")
    parser.add_argument("--sandbox", action="store_true", help="try the sandbox for generated code")
    given = parser.parse_args(words)
    found = look(torch=given.torch, sandbox=given.sandbox)
    found["folders"] = {str(folder): visit(folder, given.name) for folder in given.folder}
    write_json(facts_file(given.folder[0], given.name), found)


def look(*, torch: bool, sandbox: bool) -> Facts:
    """What this machine and its Python are like."""
    hub = hub_cache(os.environ)
    found: Facts = {
        "node": os.environ.get("SLURMD_NODENAME") or socket.gethostname(),
        "python": platform.python_version(),
        "executable": sys.executable,
        "joyctl": joyctl.__version__,
        "joyctl_file": joyctl.__file__,
        "packages": packages(),
        "cores": len(os.sched_getaffinity(0)),
        "driver": any(map(os.path.exists, ("/proc/driver/nvidia/version", "/dev/kfd"))),
        "cuda_visible": os.environ.get("CUDA_VISIBLE_DEVICES"),
        "sbatch": shutil.which("sbatch") is not None,
        "hub": {"path": str(hub), "there": hub.is_dir()},
    }
    if torch:
        found["torch"] = _torch()
    if sandbox:
        from joyctl.evals.sandbox import probe

        found["sandbox"] = probe()
    return found


def packages() -> dict[str, str | None]:
    """Installed versions without their local part: `2.13.0+cpu` and `2.13.0+cu128` are the same torch."""
    found: dict[str, str | None] = {}
    for name in PACKAGES:
        try:
            found[name] = version(name).partition("+")[0]
        except PackageNotFoundError:
            found[name] = None
    return found


def hub_cache(environment: os._Environ[str] | dict[str, str]) -> Path:
    """Where Hugging Face's libraries keep what they downloaded."""
    home = environment.get("HF_HOME") or str(Path(environment.get("XDG_CACHE_HOME", "~/.cache")) / "huggingface")
    return Path(home).expanduser()


def _torch() -> Facts:
    try:
        import torch
    except (ImportError, OSError) as error:  # OSError: a library of its own is missing or does not fit
        return {"error": f"{type(error).__name__}: {error}"}
    count = torch.cuda.device_count()
    return {
        "version": torch.__version__,
        "gpus": count,
        "names": sorted({torch.cuda.get_device_name(i) for i in range(count)}),
        "built_for_gpus": torch.version.cuda is not None or getattr(torch.version, "hip", None) is not None,
    }


def visit(folder: Path, name: str) -> Facts:
    """Read the word that lies in a folder, and leave it in a file of our own there."""
    try:
        word = (folder / HERE).read_text(encoding="utf-8")
        (folder / f"{name}.{HERE}").write_text(word, encoding="utf-8")
        return {"word": word, "free": shutil.disk_usage(folder).free}
    except OSError as error:
        return {"error": f"{error.strerror or error}: {error.filename or folder}"}


if __name__ == "__main__":
    main()
