"""The rows a step sees do not depend on ranks, microbatches or restarts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import training as world

from joyctl.data.order import Order, Rows
from joyctl.data.rows import RowReader, open_rows
from joyctl.data.shards import Boundary, SourceTokens, open_source
from joyctl.errors import Missing, Refused
from joyctl.train.loader import OrderedLoader


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return world.make_data(tmp_path_factory.mktemp("world") / "data")


BEGINS = Boundary(7, begins=True)


def load(data: Path, rank: int = 0, ranks: int = 1, microbatches: int = 1, *, positions: bool = False) -> OrderedLoader:
    spec = world.segment(data, 0, world.TOTAL, phase={"code": 5, "web": 5}, phase_from=4, batch_size=8)
    loader = OrderedLoader(
        OrderedLoader.Config(order=spec.order, data_folder=spec.data_folder, global_batch_size=8, positions=positions),
        dp_world_size=ranks,
        dp_rank=rank,
        tokenizer=None,
        seq_len=world.SEQ,
        local_batch_size=8 // ranks // microbatches,
    )
    if positions:
        folder = Path(spec.data_folder)
        sources = [SourceTokens(open_source(folder, name).arrays, boundary=BEGINS) for name in loader.order.names]
        loader._rows = RowReader(loader.order, sources, world.SEQ)
    return loader


def steps(loader: OrderedLoader, count: int, microbatches: int = 1) -> list[torch.Tensor]:
    """Inputs of whole steps."""
    batches = iter(loader)
    return [torch.cat([next(batches)[0]["input"] for _ in range(microbatches)]) for _ in range(count)]


def test_rows_are_counted_as_they_are_given_out_each_on_one_rank(data: Path) -> None:
    loaders = [load(data, rank, 2, microbatches=2) for rank in range(2)]
    order = loaders[0].order
    for loader in loaders:
        loader.load_state_dict({"joyctl": '{"row": 16}'})
        steps(loader, 5, microbatches=2)
    shown = np.sum([loader.take_shown() for loader in loaders], axis=0).tolist()
    assert shown == [order.counts(56)[name] - order.counts(16)[name] for name in order.names]
    assert loaders[0].take_shown() == [0, 0, 0]


def test_what_is_counted_is_what_was_read_whatever_was_due(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loader, right = load(data), Order.rows

    def wrong(self: Order, start: int, stop: int) -> Rows:
        """Every row is one of the first source."""
        rows = right(self, start, stop)
        return replace(rows, source=rows.source * 0, row=rows.row % self.spec.rows[self.names[0]])

    monkeypatch.setattr(Order, "rows", wrong)
    steps(loader, 3)
    assert loader.take_shown() == [24, 0, 0]
    assert loader.order.counts(24) != {**dict.fromkeys(loader.order.names, 0), loader.order.names[0]: 24}


def test_inputs_and_shifted_labels_are_the_rows_that_the_order_names(data: Path) -> None:
    loader = load(data)
    rows = Order(loader.order.spec).rows(0, 8)
    inputs, labels = next(iter(loader))
    for i in range(8):
        source = loader.order.names[rows.source[i]]
        tokens = np.fromfile(data / "sources" / source / "train.bin", "<u2").astype(np.int64)
        start = int(rows.row[i]) * world.SEQ
        assert inputs["input"][i].tolist() == tokens[start : start + world.SEQ].tolist()
        assert labels[i].tolist() == tokens[start + 1 : start + world.SEQ + 1].tolist()


@pytest.mark.parametrize(("ranks", "microbatches"), [(2, 1), (4, 1), (1, 4), (2, 2)])
def test_ranks_and_microbatches_share_out_the_same_global_batches(data: Path, ranks: int, microbatches: int) -> None:
    expected = steps(load(data), 9)
    shares = [steps(load(data, rank, ranks, microbatches), 9, microbatches) for rank in range(ranks)]
    for step, whole in enumerate(expected):
        assert torch.equal(torch.cat([share[step] for share in shares]), whole)


def test_a_restart_goes_on_at_the_next_row(data: Path) -> None:
    expected = steps(load(data, microbatches=2), 9, 2)
    first = load(data, microbatches=2)
    steps(first, 4, 2)
    second = load(data, 1, 2)
    second.load_state_dict(first.state_dict())
    assert second.row == 32
    for step, got in enumerate(steps(second, 5)):
        assert torch.equal(got, expected[4 + step][4:])


def test_the_state_is_one_opaque_string(data: Path) -> None:
    assert load(data).state_dict() == {"joyctl": '{"row": 0}'}


def test_positions_restart_at_documents_for_every_rank_and_microbatch(data: Path) -> None:
    loader = load(data, positions=True)
    given, _ = next(iter(loader))
    for tokens, positions in zip(given["input"].tolist(), given["positions"].tolist(), strict=True):
        counted = 0
        for token, position in zip(tokens, positions, strict=True):
            counted = 0 if token == BEGINS.token else counted
            assert position == counted
            counted += 1
    assert (given["positions"][:, 1:] == 0).any()
    batches = iter(load(data, rank=1, ranks=2, microbatches=2, positions=True))
    share = torch.cat([next(batches)[0]["positions"] for _ in range(2)])
    assert torch.equal(share, given["positions"][4:])


def test_without_positions_the_model_is_given_none(data: Path) -> None:
    assert next(iter(load(data)))[0].keys() == {"input"}


def test_absent_and_shrunken_sources_are_named(data: Path, tmp_path: Path) -> None:
    world.make_data(tmp_path / "data")
    order = load(tmp_path / "data").order
    (tmp_path / "data/sources/web/train.bin").write_bytes(bytes(2000))
    with pytest.raises(Refused, match="'web' has 31 rows of 32 tokens, the plan was made for 187"):
        open_rows(order, tmp_path / "data", world.SEQ)
    (tmp_path / "data/sources/web/train.bin").unlink()
    with pytest.raises(Missing, match=r"train\.bin does not exist"):
        open_rows(order, tmp_path / "data", world.SEQ)
