"""The overlap check of a campaign's sources: from recipe and data folder to findings, on this machine."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from joyctl.campaign.grid import Point
from joyctl.campaign.spec import EvalSpec
from joyctl.data.folder import MARKER, DataFolder, tokenizer_digest
from joyctl.data.overlap.findings import Findings, read_findings
from joyctl.data.overlap.work import Looking, begin, overlap_folder
from joyctl.data.sidecar import AGAIN, SIDECAR, read_sidecar
from joyctl.data.work import Watch, run_here
from joyctl.errors import Missing
from joyctl.evals.items import gathered, name_of
from joyctl.store.files import DENIED

ALONE = 20_000_000
"""So many tokens one process looks through in less time than others take to start."""


def suites_of(points: Sequence[Point], data: DataFolder) -> list[EvalSpec]:
    """The different suites that points are scored on, without held-out losses."""
    found: dict[str, EvalSpec] = {}
    for point in points:
        if point.suite is None or not point.suite.tasks:
            continue
        spec = EvalSpec(
            suite=point.recipe.eval.suite,
            tasks=point.suite.tasks,
            heldout=False,
            include_path=point.suite.include_path,
            batch_size=1,
            data=point.benchmarks,
            data_folder=str(data.path.resolve()),
            data_sha256=data.tasks_sha256,
        )
        found.setdefault(spec.model_dump_json(), spec)
    return list(found.values())


def begin_check(
    suites: Sequence[EvalSpec],
    data: DataFolder,
    sources: Iterable[str],
    start: Literal["spawn", "forkserver"] = "spawn",
) -> Looking:
    """The check of these sources for the items of these suites, whose texts are gathered first; done or not.

    Raises Missing for benchmarks that are not there, and a data folder that cannot be written or contradicts itself.
    """
    folder, digests = overlap_folder(data.path), {name: data.sources[name].sha256 for name in sources}
    for name, digest in digests.items():
        if read_sidecar(data.path, name).sha256 != digest:
            path = data.path / "sources" / name / SIDECAR
            raise Missing(f"{path} describes other tokens than {data.path / MARKER}", hint=AGAIN)
    if tokenizer_digest(data.path) != data.tokenizer_sha256:  # its words would be none of the texts'
        raise Missing(f"{data.path / 'tokenizer'} is not the one that the tokens were made with", hint=AGAIN)
    with _allowed(folder):
        return begin(data.path, digests, gathered(suites, folder / "items", start))


@contextmanager
def _allowed(folder: Path) -> Iterator[None]:
    """Missing, where the block may not write into the folder of what is known of overlap, or not read what it needs."""
    try:
        yield
    except OSError as error:
        if error.errno not in DENIED:
            raise
        path = Path(error.filename or folder)
        kept = path.is_relative_to(folder)
        what = f"what is known of overlap cannot be kept in {folder}" if kept else f"{path} cannot be read"
        raise Missing(
            f"{what}: {error.strerror}",
            hint="Have whoever owns the data folder run: joyctl data overlap RECIPE",
        ) from error


def known(suites: Sequence[EvalSpec], data: DataFolder, sources: Iterable[str]) -> Findings | None:
    """The findings of that check where it is done; reads no benchmark."""
    folder = overlap_folder(data.path)
    if not (folder / "items" / name_of(suites)).is_file():
        return None
    return _read(begin_check(suites, data, sources).result)


def look(looking: Looking, watch: Watch = lambda reached: None, processes: int | None = None) -> Findings:
    """The findings of a check, after what is left of it. `processes` are as many as there are cores, if not given."""
    found = _read(looking.result)
    if found is not None:
        return found
    cores = processes or len(os.sched_getaffinity(0))
    with _allowed(overlap_folder(looking.data)):
        run_here(looking, 1 if sum(map(len, looking.tokens.values())) <= ALONE else cores, watch)
    return read_findings(looking.result)


def _read(path: Path) -> Findings | None:
    try:
        return read_findings(path)
    except Missing:
        return None
