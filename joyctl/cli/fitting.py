"""Whether a recipe and a cluster file fit together: said at the cluster file's line before anything is made."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec

from joyctl.errors import Missing, RecipeError
from joyctl.recipe.cluster import PROCESSES
from joyctl.recipe.load import LoadedCluster
from joyctl.recipe.scaling_rules import check_fit
from joyctl.recipe.types import Recipe


def require_fit(loaded: LoadedCluster, recipes: Iterable[Recipe]) -> None:
    """Raise RecipeError where training as the cluster file has it cannot train one of the recipes."""
    cluster = loaded.value
    at = ("stages", "train") if cluster.kind == "slurm" else ()
    problems = [
        loaded.problem(finding)
        for recipe in recipes
        for finding in check_fit(
            cluster.torchtitan, cluster.training_processes, recipe.model, recipe.training, PROCESSES[cluster.kind], at
        )
    ]
    if problems:
        raise RecipeError(list(dict.fromkeys(problems)))


def require_trackers(loaded: LoadedCluster) -> None:
    """Raise Missing for a tracker whose package is not installed here, unless jobs run in another Python."""
    cluster = loaded.value
    if cluster.kind == "slurm" and (cluster.python is not None or cluster.container is not None):
        return
    missing = [name for name in cluster.trackers if find_spec(name) is None]
    if missing:
        raise Missing(
            f"trackers of the cluster file are not installed: {', '.join(missing)}",
            hint="Install them: pip install 'joyctl[trackers]'      Or take them out of 'trackers'.",
        )
