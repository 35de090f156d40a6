"""Rows come out as the order names them, whatever files they lie in, and positions restart with every document."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from joyctl.campaign.spec import OrderPhase, OrderSpec
from joyctl.data import rows as module
from joyctl.data.order import Order
from joyctl.data.rows import RowReader
from joyctl.data.shards import Boundary, Ids, Int64, SourceTokens

SEQ = 8
SOURCES = {"code": ("<u2", 50), "math": ("<i4", 83), "web": ("<u4", 170)}
"""Type of an id and number of tokens."""
WEIGHTS = {"code": 2, "math": 3, "web": 5}


class Indexed(SourceTokens):
    """Tokens whose documents are told by where they end."""

    def document_starts(self, start: int, stop: int) -> Int64:
        everywhere = document_starts(self)
        return everywhere[(everywhere >= start) & (everywhere < stop)]


def document_starts(source: SourceTokens) -> Int64:
    """Slow and obvious: where documents begin in the whole source."""
    found = [0]
    for i, (array, ends) in enumerate(zip(source.arrays, source.ends, strict=True)):
        first = int(source.first[i])
        if ends is not None:
            found += [first, *(first + ends).tolist()]
            continue
        assert source.boundary is not None
        for k, token in enumerate(array.tolist()):
            if token == source.boundary.token:
                found.append(first + k if source.boundary.begins else first + k + 1)
    return np.unique(found)


def sources(cuts: int, boundary: Boundary | None, indexed: bool = False, seed: int = 0) -> list[SourceTokens]:
    """Every source in `cuts` + 1 files, with few different tokens, so that documents are short."""
    rng = np.random.default_rng(seed)
    made: list[SourceTokens] = []
    for dtype, size in SOURCES.values():
        whole = rng.integers(0, 6, size).astype(dtype)
        arrays = np.split(whole, np.sort(rng.integers(0, size + 1, cuts)))
        ends = [np.sort(rng.integers(0, len(a) + 1, len(a) // 5)) if indexed else None for a in arrays]
        made.append(Indexed(arrays, ends, boundary))
    return made


def reader(made: list[SourceTokens], start: int = 0) -> RowReader:
    rows = {name: (size - 1) // SEQ for name, (_, size) in SOURCES.items()}
    phases = (OrderPhase(start_row=start, weights=WEIGHTS), OrderPhase(start_row=20, weights={"web": 1}))
    order = OrderSpec(rows=rows, phases=phases, seed=3)
    if start:
        order = order.model_copy(update={"start_row": start, "seen": {"web": start}})
    return RowReader(Order(order), made, SEQ)


def expected(made: list[SourceTokens], rows: RowReader, start: int, stop: int) -> tuple[Ids, Int64]:
    """Ids and positions, one row after another."""
    named = rows.order.rows(start, stop)
    ids, positions = [], []
    for s, r in zip(named.source.tolist(), named.row.tolist(), strict=True):
        whole = np.concatenate([a.astype(np.int64) for a in made[s].arrays])
        ids.append(whole[r * SEQ : (r + 1) * SEQ + 1])
        begins, last, counted = set(document_starts(made[s]).tolist()), r * SEQ, []
        for k in range(r * SEQ, (r + 1) * SEQ):
            last = k if k in begins else last
            counted.append(k - last)
        positions.append(counted)
    return np.array(ids), np.array(positions)


@settings(deadline=None, max_examples=60)
@given(
    cuts=st.integers(0, 5),
    told=st.sampled_from(["first", "last", "index", "index and last", "first, or last"]),
    start=st.integers(0, 60),
    count=st.integers(1, 30),
    seed=st.integers(0, 99),
)
def test_ids_and_positions_are_those_of_the_order_one_by_one(
    cuts: int, told: str, start: int, count: int, seed: int
) -> None:
    boundary = None if told == "index" else Boundary(5, begins=told.startswith("first"))
    made = sources(cuts, boundary, told.startswith("index"), seed)
    if told == "first, or last":  # tokenised by different tools
        made[1].boundary = Boundary(0, begins=False)
    rows = reader(made)
    ids, positions = expected(made, rows, start, start + count)
    batch = rows.batch(start, start + count, positions=True)
    assert batch.inputs.tolist() == ids[:, :-1].tolist()
    assert batch.labels.tolist() == ids[:, 1:].tolist()
    assert batch.positions is not None
    assert batch.positions.tolist() == positions.tolist()
    assert {a.dtype for a in batch if a is not None} == {np.dtype(np.int64)}
    assert all(a.flags.c_contiguous for a in batch if a is not None)
    assert rows.ids(start, start + count).tolist() == ids.tolist()
    assert rows.inputs(start, start + count).tolist() == ids[:, :-1].tolist()


def test_any_batches_in_any_order_are_the_same_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    made = sources(2, None)
    rows = reader(made)
    monkeypatch.setattr(rows, "_stride", 7)  # many stretches, more than are kept; batches lie across them
    whole, _ = expected(sources(2, Boundary(5, True)), rows, 0, 90)
    for start, stop in [(80, 90), (0, 4), (3, 30), (60, 61), (0, 90), (6, 8), (7, 14)]:
        assert rows.ids(start, stop).tolist() == whole[start:stop].tolist()


def test_after_a_base_the_first_row_is_the_first_that_the_base_left() -> None:
    made = sources(1, None)
    rows = reader(made, start=5)
    whole, _ = expected(sources(1, Boundary(5, True)), rows, 5, 40)
    assert rows.ids(5, 12).tolist() == whole[:7].tolist()
    with pytest.raises(ValueError, match="row 4 was the base's"):
        rows.ids(4, 6)


def test_a_row_without_positions_has_none() -> None:
    assert reader(sources(0, None)).batch(0, 4).positions is None


def test_large_ids_stay_what_they_are() -> None:
    made = [SourceTokens([np.full(size, 60_000 + i, dtype)]) for i, (dtype, size) in enumerate(SOURCES.values())]
    made[2] = SourceTokens([np.full(170, 4_000_000_000, "<u4")])
    rows = reader(made)
    sources_of = rows.order.rows(0, 20).source
    assert rows.batch(0, 20).inputs[:, 0].tolist() == [(60_000, 60_001, 4_000_000_000)[s] for s in sources_of]


def test_a_batch_is_its_readers_alone() -> None:
    rows = reader(sources(0, Boundary(5, True)))
    first = rows.batch(0, 4, positions=True)
    kept = [a.copy() for a in first if a is not None]
    rows.batch(4, 8, positions=True).inputs[:] = 99
    assert [a.tolist() for a in first if a is not None] == [a.tolist() for a in kept]


def test_files_are_mapped_only_when_rows_of_them_are_read() -> None:
    made = sources(0, None)
    asked: list[int] = []

    class Arrays(tuple[Ids, ...]):
        def __getitem__(self, i: object) -> object:
            asked.append(i)  # type: ignore[arg-type]
            return super().__getitem__(i)  # type: ignore[index]

    made[0].arrays = Arrays(made[0].arrays)
    rows = reader(made)
    rows.ids(60, 70)  # the second phase has only web
    assert asked == []
    rows.ids(0, 20)
    assert asked == [0]


@pytest.mark.parametrize("cuts", [0, 3])
def test_rows_that_are_expected_are_on_their_way_from_disk(tmp_path: Path, cuts: int) -> None:
    made = sources(cuts, None)
    mapped = []
    for i, source in enumerate(made):
        arrays = []
        for j, array in enumerate(source.arrays):
            if not len(array):
                arrays.append(array)
                continue
            file = tmp_path / f"{i}-{j}.bin"
            file.write_bytes(bytes(64) + array.tobytes())
            arrays.append(np.memmap(file, array.dtype, "r", offset=64))
        mapped.append(SourceTokens(arrays))
    told: list[tuple[int, int]] = []
    rows = reader(mapped)
    rows.expect(0, 40)  # the kernel takes it: no error for any page
    assert rows.ids(0, 40).tolist() == reader(made).ids(0, 40).tolist()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_will_need", lambda ids, address, start, stop: told.append((start, stop)))
        rows.expect(0, 40)
        assert sum(stop - start for start, stop in told) == 40 * (SEQ + 1)


def test_the_kernel_is_told_only_while_the_disk_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    faults, told = [0], []
    monkeypatch.setattr(module, "_major_faults", lambda: faults[0])
    monkeypatch.setattr(module, "_will_need", lambda ids, address, start, stop: told.append(start))
    rows = reader(sources(0, None))

    def advised(steps: int) -> int:
        before = len(told)
        for _ in range(steps):
            rows.ids(0, 64)
            rows.expect(64, 65)
        return len(told) - before

    assert 200 < advised(300) < 300  # at the beginning nobody knows
    assert advised(10) == 0
    faults[0] += 1
    assert advised(10) == 10
    assert 200 < advised(300) < 300
    assert advised(10) == 0


def test_positions_of_long_rows_do_not_go_round() -> None:
    length = 70_000
    ids = np.zeros(2 * length + 1, np.uint16)
    ids[[5, length + 66_000]] = 1
    order = OrderSpec(rows={"web": 2}, phases=(OrderPhase(start_row=0, weights={"web": 1}),), seed=0)
    rows = RowReader(Order(order), [SourceTokens([ids], boundary=Boundary(1, True))], length)
    positions = rows.batch(0, 2, positions=True).positions
    assert positions is not None
    ends = sorted(row[[4, 5, 65_999, 66_000, -1]].tolist() for row in positions)
    assert ends == [[4, 0, 65_994, 65_995, 69_994], [4, 5, 65_999, 0, 3_999]]


def test_positions_of_the_longest_row_counted_in_two_bytes() -> None:
    length = 1 << 16
    order = OrderSpec(rows={"web": 3}, phases=(OrderPhase(start_row=0, weights={"web": 1}),), seed=0)
    source = SourceTokens([np.zeros(3 * length + 1, np.uint16)], boundary=Boundary(1, True))
    positions = RowReader(Order(order), [source], length).batch(0, 3, positions=True).positions
    assert positions is not None
    assert (positions == np.arange(length)).all()
