"""What must hold between torchtitan's settings in a cluster file, its processes and the recipe: pure checks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from joyctl.recipe.rules import Finding

if TYPE_CHECKING:
    from joyctl.recipe.scaling import Torchtitan
    from joyctl.recipe.training import Model, Training

_PARALLELISM = ("torchtitan", "parallelism")


def check_torchtitan(settings: Torchtitan, processes: int, where: str) -> Iterator[Finding]:
    """What contradicts without any recipe; `processes` train together, as the keys `where` say."""
    shared = settings.parallelism
    no_pipeline = "pipeline parallelism is not supported: joyctl's model cannot be cut into stages; give 1"
    no_context = "context parallelism is not supported: joyctl's rows carry no positions, which it needs; give 1"
    for key, why in (("pipeline_parallel_degree", no_pipeline), ("context_parallel_degree", no_context)):
        if getattr(shared, key) > 1:
            yield Finding((*_PARALLELISM, key), f"{getattr(shared, key)}; {why}")
    if shared.data_parallel_shard_degree == 0:
        message = "0 processes; give -1 for all that are left, or a number of 1 or more"
        yield Finding((*_PARALLELISM, "data_parallel_shard_degree"), message)
        return
    yield from _degrees(settings, processes, where)
    if settings.compile.enable_async_tensor_parallel:
        compiled = settings.compile.enable and "model" in settings.compile.components
        if not compiled or shared.tensor_parallel_degree == 1:
            message = "needs 'compile.enable' with component 'model', and 'tensor_parallel_degree' above 1"
            yield Finding(("torchtitan", "compile", "enable_async_tensor_parallel"), message)


def _degrees(settings: Torchtitan, processes: int, where: str) -> Iterator[Finding]:
    """Degrees multiply to the number of processes; points at the one that is set farthest from 1."""
    shared = settings.parallelism
    named = {
        "data_parallel_replicate_degree": shared.data_parallel_replicate_degree,
        "data_parallel_shard_degree": shared.data_parallel_shard_degree,
        "tensor_parallel_degree": shared.tensor_parallel_degree,
    }
    fixed = {key: degree for key, degree in named.items() if degree > 0}
    product = 1
    for degree in fixed.values():
        product *= degree
    free = shared.data_parallel_shard_degree == -1
    if product == processes or (free and processes % product == 0):
        return
    key = max(fixed, key=lambda name: fixed[name])
    factors = " x ".join(str(degree) for degree in fixed.values())
    needs = f"a multiple of {product}" if free else f"{product}"
    message = f"degrees {factors} need {needs} processes; a training has {processes} ({where})"
    others = tuple((*_PARALLELISM, other) for other in fixed if other != key)
    yield Finding((*_PARALLELISM, key), message, others)


def check_fit(
    settings: Torchtitan, processes: int, model: Model, training: Training, where: str, at: tuple[str, ...]
) -> Iterator[Finding]:
    """What contradicts between the cluster's settings and one recipe; every finding is at a key of the cluster file.

    `where` names the keys that say how many `processes` there are, the first of which is `at`.
    """
    tensor = settings.parallelism.tensor_parallel_degree
    for key in ("n_heads", "n_kv_heads"):
        heads = getattr(model, key)
        if heads % tensor:
            message = f"{tensor} does not divide the recipe's model.{key}, which is {heads}"
            yield Finding((*_PARALLELISM, "tensor_parallel_degree"), message)
            return
    if tensor > 1 and settings.parallelism.enable_sequence_parallel and training.seq_len % tensor:
        message = f"{tensor} does not divide the recipe's training.seq_len, which is {training.seq_len}; or set "
        yield Finding((*_PARALLELISM, "tensor_parallel_degree"), message + "'enable_sequence_parallel: false'")
    ranks = settings.data_parallel(processes)
    if training.batch_size % ranks:
        message = (
            f"the recipe's training.batch_size, {training.batch_size} rows a step, cannot be shared evenly by {ranks} "
            f"training processes ({where})"
        )
        yield Finding(at, message, ((*_PARALLELISM, "tensor_parallel_degree"),))
        return
    rows, local = training.batch_size // ranks, settings.training.local_batch_size
    if local is not None and rows % local:
        message = f"{local} does not divide the {rows} rows that each process has of a step"
        yield Finding(("torchtitan", "training", "local_batch_size"), message)
