"""Tokens a second of joyctl's loader against bare numpy and against other loaders, and what each guarantees.

One process, rows of 4096 tokens, batches of 8, four sources, all read from the page cache; medians of rotated rounds.
The other loaders live in an environment of their own, with joyctl's packages behind it:

    python -m venv build/loader
    (cd build/loader/lib/python3*/site-packages && ls -d $OLDPWD/.venv/lib/python3*/site-packages > joyctl.pth)
    build/loader/bin/pip install --no-deps -r benchmarks/loader-requirements.txt
    PYTHONPATH=$PWD build/loader/bin/python benchmarks/loader.py

One that is not installed is said to be missing. Needs no network, and with the default sizes 1 GB of /tmp.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import logging
import os
import pickle
import statistics
import sys
import tempfile
import time
import tracemalloc
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from loader_contenders import (
    BASE,
    BATCH,
    CONTENDERS,
    LAST,
    NAMES,
    SEQ,
    UPSAMPLED,
    Contender,
    Megatron,
    Rows,
    Streaming,
    Titan,
    World,
    identify,
    make_world,
    source_json,
)  # fmt: skip

import joyctl.train  # noqa: F401  prepares torchtitan
from joyctl.campaign.spec import OrderPhase, OrderSpec
from joyctl.data.order import Order
from joyctl.data.rows import RowReader, open_rows
from joyctl.data.shards import Boundary, SourceTokens
from joyctl.train.loader import OrderedLoader

TRILLION = 250_000_000
"""Rows of 1 T tokens."""


class Joyctl:
    name, at = "joyctl", 0
    note = "OrderedLoader: inputs and labels, the two tensors that torchtitan is given"
    change = "another phase of the same order"

    def __init__(self, world: World) -> None:
        source_json(world)
        self.folder, self.rows = world.folder / "data", dict(zip(NAMES, world.rows, strict=True))

    def order(self, *phases: tuple[int, Sequence[float]]) -> OrderSpec:
        made = [OrderPhase(start_row=start, weights=whole(weights)) for start, weights in phases]
        return OrderSpec(rows=self.rows, phases=tuple(made), seed=7)

    def loader(self, order: OrderSpec, ranks: int = 1, rank: int = 0) -> OrderedLoader:
        return OrderedLoader(
            OrderedLoader.Config(order=order, data_folder=str(self.folder), global_batch_size=BATCH),
            dp_world_size=ranks, dp_rank=rank, tokenizer=None, seq_len=SEQ, local_batch_size=BATCH // ranks,
        )  # fmt: skip

    def stream(self, weights: Sequence[float], ranks: int = 1, rank: int = 0) -> Rows:
        return (given["input"] for given, _ in self.loader(self.order((0, weights)), ranks, rank))

    def plain(self, weights: Sequence[float]) -> Rows:
        """Inputs alone, as most others give them."""
        rows = open_rows(Order(self.order((0, weights))), self.folder, SEQ)
        for start in itertools.count(0, BATCH):
            yield torch.from_numpy(rows.inputs(start, start + BATCH))

    def changed(self, count: int) -> Rows:
        loader = self.loader(self.order((0, BASE), (count, UPSAMPLED)))
        loader.load_state_dict({"joyctl": f'{{"row": {count}}}'})
        return (given["input"] for given, _ in loader)


def whole(weights: Sequence[float]) -> dict[str, int]:
    """Weights in ten-thousandths."""
    return {name: round(weight * 10_000) for name, weight in zip(NAMES, weights, strict=True)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer rows and rounds: about a minute")
    parser.add_argument("--alone", action="store_true", help="joyctl and bare numpy only")
    given = parser.parse_args()
    rows, rounds, count = (6000, 3, 480) if given.quick else (20_000, 7, 2400)
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        world = make_world(Path(folder), rows)
        for s in range(len(NAMES)):
            world.tokens(s).sum()  # in the page cache, and mapped
        joyctl = Joyctl(world)
        speeds(world, joyctl, rounds)
        seek(Path(folder))
        found: list[Contender] = [joyctl]
        if not given.alone:
            found += contenders(world)
        others(joyctl, found, rounds, world)
        memory(Path(folder), found)
        guarantees(found, count)


def contenders(world: World) -> Iterator[Contender]:
    for kind in CONTENDERS:
        try:
            with quiet():
                made = kind(world)  # type: ignore[call-arg]
        except ImportError as error:
            print(f"{kind.name}: missing here ({error}); benchmarks/loader-requirements.txt has it")
            continue
        yield made


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Libraries greet on both streams."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


def medians(sides: dict[str, Callable[[], Any]], rounds: int, batches: int) -> dict[str, float]:
    """Million tokens a second of every side: `batches` calls a turn, in rotation.

    By the processor time of this one thread: nothing here waits, and others on the machine spoil it less.
    """
    taken: dict[str, list[float]] = defaultdict(list)
    names = list(sides)
    for turn in range(rounds):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            call, start = sides[name], time.thread_time()
            for _ in range(batches):
                call()
            taken[name].append(time.thread_time() - start)
    return {name: batches * BATCH * SEQ / statistics.median(spans) / 1e6 for name, spans in taken.items()}


def speeds(world: World, joyctl: Joyctl, rounds: int) -> None:
    """Against bare numpy, which has the numbers of the same rows ready."""
    order = Order(joyctl.order((0, BASE)))
    batches = 2048
    ready = order.rows(0, batches * BATCH * rounds + BATCH)
    tables, flat = [world.table(s) for s in range(4)], [world.tokens(s) for s in range(4)]
    together = np.concatenate(tables)
    row = ready.row.tolist()
    ramp, line = np.arange(BATCH * SEQ), np.arange(SEQ)
    boundary = Boundary(LAST, begins=False)

    def reader() -> RowReader:
        return RowReader(order, [SourceTokens([flat[NAMES.index(n)]], boundary=boundary) for n in order.names], SEQ)

    source = [NAMES.index(order.names[s]) for s in ready.source]
    place = np.cumsum([0, *(len(t) for t in tables)])[source] + ready.row
    probe = reader()
    starts = []  # of documents in each batch, as if somebody knew
    for g in range(0, min(batches, 256) * BATCH, BATCH):
        zeros = np.flatnonzero(probe.batch(g, g + BATCH, positions=True).positions == 0)  # type: ignore[arg-type]
        starts.append((zeros, np.diff(zeros, append=BATCH * SEQ)))

    def steps() -> Callable[[], int]:
        at = [-BATCH]

        def step() -> int:
            at[0] += BATCH
            return at[0]

        return step

    def side(work: Callable[[int], Any]) -> Callable[[], Any]:
        step = steps()
        return lambda: work(step())

    def files(g: int) -> torch.Tensor:
        out = np.empty((BATCH, SEQ), np.int64)
        for k in range(BATCH):
            out[k] = tables[source[g + k]][row[g + k]]
        return torch.from_numpy(out)

    def one(g: int) -> torch.Tensor:
        return torch.from_numpy(together[place[g : g + BATCH]].astype(np.int64))

    def pair(g: int) -> tuple[torch.Tensor, torch.Tensor]:
        x, y = np.empty((BATCH, SEQ), np.int64), np.empty((BATCH, SEQ), np.int64)
        for k in range(BATCH):
            ids, start = flat[source[g + k]], row[g + k] * SEQ
            x[k], y[k] = ids[start : start + SEQ], ids[start + 1 : start + SEQ + 1]
        return torch.from_numpy(x), torch.from_numpy(y)

    def counted(g: int) -> tuple[torch.Tensor, ...]:
        begins, lengths = starts[g // BATCH % len(starts)]
        positions = begins.repeat(lengths)
        np.subtract(ramp, positions, out=positions)
        return *pair(g), torch.from_numpy(positions.reshape(BATCH, SEQ))

    def straight(g: int) -> tuple[torch.Tensor, ...]:
        positions = np.empty((BATCH, SEQ), np.int64)
        positions[:] = line
        return *pair(g), torch.from_numpy(positions)

    plain, two, three = reader(), reader(), reader()
    got = medians(
        {
            "files": side(files),
            "one": side(one),
            "plain": side(lambda g: torch.from_numpy(plain.inputs(g, g + BATCH))),
            "pair": side(pair),
            "two": side(lambda g: [torch.from_numpy(a) for a in two.batch(g, g + BATCH)[:2]]),
            "counted": side(counted),
            "straight": side(straight),
            "three": side(lambda g: [torch.from_numpy(a) for a in three.batch(g, g + BATCH, positions=True)]),  # type: ignore[arg-type]
        },
        rounds,
        batches,
    )
    print(f"M tokens/s, the same rows in the same order; medians of {rounds} rounds of {batches} batches")
    limit = got["files"]
    print(f"  bare gather and cast into a fresh int64 tensor, from the four files: the limit  {limit:7,.0f}")
    print(f"  the same from one array of all rows, by one index                               {got['one']:7,.0f}")
    print(f"  joyctl, plain rows                                                              {got['plain']:7,.0f}")
    print(
        f"      {got['plain'] / limit:.2f} of the limit (at least 0.8), {got['plain'] / got['one']:.2f} of one array's"
    )
    print(
        f"  inputs and labels: bare numpy {got['pair']:,.0f}, joyctl {got['two']:,.0f}: {got['two'] / got['pair']:.2f}"
    )
    print(f"  inputs, labels, positions: bare numpy that knows where documents begin          {got['counted']:7,.0f}")
    print(f"  bare numpy with one document a row                                              {got['straight']:7,.0f}")
    print(f"  joyctl, which looks for them                                                    {got['three']:7,.0f}")
    same, single = got["three"] / got["counted"], got["three"] / got["straight"]
    print(f"      {same:.2f} of writing the same three tensors (at least 0.8), {single:.2f} of one document a row\n")


def trillion(folder: Path) -> tuple[Joyctl, OrderSpec]:
    """1 T tokens in files that are holes: reading them costs a page of zeros, never the disk."""
    world = World(folder / "trillion", tuple(int(TRILLION * share) for share in (0.35, 0.37, 0.08, 0.22)))
    for s, rows in enumerate(world.rows):
        world.file(s).parent.mkdir(parents=True, exist_ok=True)
        with world.file(s).open("wb") as file:
            file.truncate((rows * SEQ + 1) * 2)
    joyctl = Joyctl(world)
    return joyctl, joyctl.order((0, BASE), (200_000_000, UPSAMPLED))


def forget() -> None:
    """Nothing that the order remembers is left: a new process has none of it."""
    for name, module in list(sys.modules.items()):
        for member in list(vars(module).values()) if name.startswith("joyctl.data") else ():
            if hasattr(member, "cache_clear"):
                member.cache_clear()


def seek(folder: Path) -> None:
    """A new loader at row 250 million, with nothing remembered of the order."""
    joyctl, order = trillion(folder)
    opened, taken = [], []
    for _ in range(7):
        forget()
        start = time.perf_counter()
        loader = joyctl.loader(order)
        middle = time.perf_counter()
        loader.load_state_dict({"joyctl": f'{{"row": {TRILLION}}}'})
        next(iter(loader))
        taken.append(time.perf_counter() - middle)
        opened.append(middle - start)
    sought, whole_way = statistics.median(taken) * 1e3, statistics.median(np.add(taken, opened)) * 1e3
    print(f"seek to row 250 M of 1 T tokens (files of holes) and first batch: {sought:.1f} ms,")
    print(f"      {whole_way:.1f} ms with making the loader and its order (at most 60)\n")


def others(joyctl: Joyctl, found: list[Contender], rounds: int, world: World) -> None:
    print("M tokens/s of batches as each gives them, by the clock on the wall; one process, no workers")
    spans: dict[str, list[float]] = defaultdict(list)
    sides = {c.name: (c.stream, c.note, sum(world.rows) // 2 // BATCH) for c in found}
    sides = {"joyctl, plain rows": (joyctl.plain, "ids alone", sys.maxsize), **sides}
    sides["joyctl"] = (joyctl.stream, joyctl.note, sys.maxsize)
    for turn in range(rounds):
        for name in list(sides)[turn % len(sides) :] + list(sides)[: turn % len(sides)]:
            stream, _, most = sides[name]
            with quiet():
                batches = stream(BASE)
                next(batches)
                start, count = time.perf_counter(), 0
                while time.perf_counter() < start + 0.3 and count < most:
                    next(batches)
                    count += 1
                spans[name].append((time.perf_counter() - start) / count)
                del batches
    got = {name: BATCH * SEQ / statistics.median(taken) / 1e6 for name, taken in spans.items()}
    for name, (_, note, _) in sides.items():
        print(f"  {name:<22} {got[name]:9,.2f}   {note}")
    rest = [speed for name, speed in got.items() if not name.startswith("joyctl")]
    if rest:
        print(f"      plain rows: {got['joyctl, plain rows'] / max(rest):.1f} times the best other (at least 10)\n")


def memory(folder: Path, found: list[Contender]) -> None:
    joyctl, order = trillion(folder)
    forget()
    tracemalloc.start()
    loader = joyctl.loader(order)
    batches = iter(loader)
    for _ in range(3000):
        next(batches)
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    print("index memory for 1 T tokens beyond the mapped files")
    print(f"  {'joyctl':<22} {held / 1e6:10,.1f} MB, at most {peak / 1e6:.1f} MB for a moment: measured (at most 10)")
    for contender in found:
        if isinstance(contender, Megatron | Streaming):
            with quiet():
                size = contender.bytes_a_row() * TRILLION
            print(f"  {contender.name:<22} {size / 1e6:10,.0f} MB: extrapolated from its bytes a row here")
        elif isinstance(contender, Titan):
            made = contender._loader(BASE)
            next(iter(made))
            state = len(pickle.dumps(made.state_dict())) / 1e6
            print(f"  {contender.name:<22} {state:10.3f} MB of state: measured; no index of rows")
        elif contender.name != "joyctl":
            print(f"  {contender.name:<22} {'small':>10}: not measured; it has no index of rows")
    print()


def guarantees(found: list[Contender], count: int) -> None:
    print(f"{count:,} rows of the base mix, then as many of the upsampled one, all within an epoch of every source")
    print(f"  {'':<22} {'shown again':>12} {'twice before':>13} {'prefix error':>13}   another world size")
    for contender in found:
        some = min(count, 400) if isinstance(contender, Titan) else count
        with quiet():
            before = take(contender, contender.stream(BASE), some)
            after = take(contender, contender.changed(some), some)
            elsewhere = world_size(contender, before)
        known = set(before)
        again = sum(row in known for row in after)
        twice = len(before) - len(known)
        error = prefix_error([s for s, _ in before])
        print(
            f"  {contender.name:<22} {again / some:>11.1%} {twice:>13,} {error:>8.2f} rows   {elsewhere}"
            f"   ({contender.change}{f'; {some} rows' if some != count else ''})"
        )


def take(contender: Contender, batches: Rows, count: int) -> list[tuple[int, int]]:
    rows: list[tuple[int, int]] = []
    while len(rows) < count:
        rows += identify(next(batches), contender.at)
    return rows


def prefix_error(sources: list[int]) -> float:
    """Largest distance of a source's count from its exact share, over all prefixes."""
    counts = np.cumsum(np.array(sources)[:, None] == np.arange(len(BASE)), axis=0)
    share = np.array(BASE) / sum(BASE)
    return float(np.abs(counts - np.arange(1, len(sources) + 1)[:, None] * share).max())


def world_size(contender: Contender, before: list[tuple[int, int]]) -> str:
    """Whether two ranks see in every step what one sees."""
    steps = min(20, len(before) // BATCH)
    try:
        shares = [take(contender, contender.stream(BASE, 2, rank), steps * BATCH // 2) for rank in (0, 1)]
    except NotImplementedError as error:
        return str(error)
    half = BATCH // 2
    same = [
        set(before[i * BATCH : (i + 1) * BATCH])
        == {row for share in shares for row in share[i * half : (i + 1) * half]}
        for i in range(steps)
    ]
    if isinstance(contender, Titan):
        state = contender._loader(BASE).state_dict()
        try:
            contender._loader(BASE, 2, 0).load_state_dict(state)
        except AssertionError:
            return "other rows; refuses the state"
    return "the same rows in every step" if all(same) else f"other rows in {len(same) - sum(same)} of {steps} steps"


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    main()
