"""What `joyctl doctor` makes of what was seen: each check with its remedy. Pure, but for sizes of file systems."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from joyctl.campaign.grid import DataFacts, Grid, Point
from joyctl.campaign.plan import parameters, plan
from joyctl.launch.slurm.probe import Facts
from joyctl.recipe.types import Recipe

State = Literal["ok", "failed", "skipped"]


@dataclass(frozen=True)
class Check:
    """One thing looked at."""

    name: str
    state: State
    seen: str
    remedy: str | None = None
    where: str | None = None
    """Line of the cluster file that is at fault; None when the file is not."""

    def to_json(self) -> dict[str, Any]:
        """As `joyctl doctor --json` gives it."""
        return {k: getattr(self, k) for k in ("name", "state", "seen", "remedy", "where")}


def exit_code(checks: list[Check]) -> int:
    """0 when nothing failed, 3 when the cluster file must change, 6 when something is missing."""
    failed = [c for c in checks if c.state == "failed"]
    return 0 if not failed else 3 if any(c.where for c in failed) else 6


def python_check(name: str, there: Facts, here: Mapping[str, str | None], code: Path | None = None) -> Check:
    """Whether Python there has what is here; `code` is the folder that joyctl must come from."""
    packages: dict[str, str | None] = there["packages"]
    missing = [p for p, found in packages.items() if found is None]
    if missing:
        seen = f"{there['executable']} has no {', '.join(missing)}"
        return Check(
            name, "failed", seen, "Install joyctl there, or set 'python' in the cluster file to one that has it."
        )
    if code is not None and not Path(there["joyctl_file"]).is_relative_to(code):
        seen = f"joyctl comes from {Path(there['joyctl_file']).parent}, not from the snapshot {code}"
        return Check(
            name, "failed", seen, "Something puts another joyctl first: see 'setup' and 'env' in the cluster file."
        )
    other = [f"{p} {there_} there, {here.get(p)} here" for p, there_ in packages.items() if there_ != here.get(p)]
    if other:
        return Check(name, "failed", "; ".join(other), "Use one environment for both: 'python' in the cluster file.")
    return Check(name, "ok", f"{there['python']}, joyctl {there['joyctl']}, torch {packages['torch']}: {_same(code)}")


def _same(code: Path | None) -> str:
    return "all that it needs is installed" if code is None else "packages as here"


def folder_check(name: str, there: Facts, words: Mapping[Path, str], back: Mapping[Path, str | None]) -> Check:
    """Whether what was left in every folder was seen there, and what was left there is seen here."""
    for folder, word in words.items():
        found: dict[str, str] = there["folders"].get(str(folder), {})
        root = folder.parent
        shared = "Use a folder that all nodes see: --results, or 'shared_root' in the cluster file."
        if "error" in found:
            return Check(name, "failed", f"{root} on {there['node']}: {found['error']}", shared)
        if found.get("word") != word or back.get(folder) != word:
            return Check(name, "failed", f"{root} on {there['node']} is another folder than here", shared)
    return Check(name, "ok", f"{' and '.join(str(f.parent) for f in words)}: written on {there['node']}, seen here")


def gpu_check(name: str, there: Facts, asked: int) -> Check:
    """Whether the GPUs asked for are there, for Slurm and for torch."""
    torch: dict[str, Any] = there["torch"]
    if "error" in torch:
        return Check(
            name, "failed", f"torch cannot be imported: {torch['error']}", "Install a torch that fits the node."
        )
    given = [word for word in (there["cuda_visible"] or "").split(",") if word]
    kinds = f" ({', '.join(torch['names'])})" if torch["names"] else ""
    if not asked:
        cores = f"{there['cores']} core{'s' if there['cores'] != 1 else ''}"
        seen = f"{torch['gpus']}{kinds}" if torch["gpus"] else f"none, none asked for; {cores}"
        return Check(name, "ok", seen)
    if len(given) < asked:
        remedy = "Ask for GPUs in the site's own words: 'gres' instead of 'gpus_per_node'."
        return Check(name, "failed", f"{asked} asked for; CUDA_VISIBLE_DEVICES has {len(given)}", remedy)
    if not torch["built_for_gpus"]:
        seen = f"{len(given)} given by Slurm; torch {torch['version']} there is for processors only and uses none"
        state: State = "failed" if there["driver"] else "skipped"
        return Check(name, state, seen, "Install a torch built for the node's GPUs, if they are to be used.")
    if torch["gpus"] < asked:
        seen = f"{asked} asked for; torch {torch['version']} sees {torch['gpus']}"
        return Check(
            name, "failed", seen, "The driver may not fit this torch, or the container lacks it: run nvidia-smi there."
        )
    return Check(name, "ok", f"{torch['gpus']}{kinds}")


def hub_check(name: str, there: Facts, here: Path, *, here_exists: bool) -> Check:
    """Whether downloaded benchmarks and models are seen there. Scoring itself never goes to the network."""
    path = there["hub"]["path"]
    if there["hub"]["there"]:
        return Check(name, "ok", f"cache {path} is there; scoring stays offline")
    if here_exists:
        remedy = "Put it where nodes see it, and name that in the cluster file: env: {HF_HOME: /shared/hf}"
        return Check(name, "failed", f"cache {here} is here, and on {there['node']} there is no {path}", remedy)
    return Check(name, "skipped", f"no cache, here or there ({path}); needed only for benchmarks from the hub")


def sandbox_check(name: str, there: Facts) -> Check:
    """Whether generated code can be executed there."""
    why: str | None = there["sandbox"]
    if why is None:
        return Check(name, "ok", f"holds on {there['node']}: generated code can be scored")
    what, _, remedy = why.partition("; ")
    return Check(name, "failed", f"{what}: code would not be scored", remedy or "Score code on another kind of node.")


def space_check(results: Path, recipe: Recipe | None) -> Check:
    """Whether a campaign's checkpoints and exported models fit; `results` or one above it must exist."""
    folder = next(f for f in (results.absolute(), *results.absolute().parents) if f.exists())
    free = shutil.disk_usage(folder).free
    if recipe is None:
        return Check("space", "ok", f"{size(free)} free in {results}")
    need = campaign_bytes(recipe)
    seen = f"{size(free)} free in {results}; {recipe.name} needs about {size(need)}"
    remedy = "Free some, or keep results elsewhere with --results. A quota may leave less than the file system has."
    return Check("space", "ok", seen) if need < free else Check("space", "failed", seen, remedy)


def campaign_bytes(recipe: Recipe) -> int:
    """What all durations of a recipe take on disk at most.

    A checkpoint holds a parameter three times in float32, itself and AdamW's two moments; every segment keeps one, or
    all that are averaged, and has another while it writes. An exported model is in float32 as well.
    """
    grid = Grid(durations=recipe.phase.durations, trunk_seeds=recipe.seeds.trunk, phase_seeds=recipe.seeds.phase)
    plenty = DataFacts("", dict.fromkeys(recipe.sources, 10**15), dict.fromkeys(recipe.sources, ""), "", "")
    planned = plan(recipe, [Point(recipe)], grid, plenty)
    checkpoints = sum(len(segment.kept_steps) + 1 for segment in planned.segments)
    return 4 * parameters(recipe.model) * (3 * checkpoints + len(planned.runs))


def size(count: int) -> str:
    """Bytes as people say them: `1.5 GB`."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if value < 1000 or unit == "TB":
            break
        value /= 1000
    return f"{value:,.1f} {unit}" if value < 10 and unit != "B" else f"{value:,.0f} {unit}"
