"""Feeds torchtitan the rows that the data order names, as a function of the global row alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torchtitan.components.dataloader import BaseDataLoader

from joyctl.campaign.spec import OrderSpec
from joyctl.data.documents import positions, told
from joyctl.data.folder import tokens
from joyctl.data.order import Order, Rows
from joyctl.data.shards import open_source
from joyctl.errors import Refused

Batch = tuple[dict[str, torch.Tensor], torch.Tensor]
ROWS_AHEAD = 4096
"""Rows whose places are computed in one call of the data order."""


class OrderedLoader(BaseDataLoader):  # type: ignore[misc]
    """Step s trains on global rows [s * batch_size, (s + 1) * batch_size).

    Rank r of n takes the r-th n-th of them, in microbatches of `local_batch_size`, so neither the number of
    ranks nor gradient accumulation changes what a step sees. The state is one integer, the next global row,
    inside one opaque string: torchtitan's checkpoints flatten dictionaries into keys, and every key a
    checkpoint lacks is an error there.

    Yields ({"input": int64 [local_batch_size, seq_len]}, labels of the same shape), and with `positions` these too:
    they restart where a document begins; a row of a source that does not tell is one. Without them the model takes a
    row as one sequence from position 0.
    """

    @dataclass(kw_only=True, slots=True)
    class Config(BaseDataLoader.Config):  # type: ignore[misc]
        """What to read and in which order."""

        order: OrderSpec
        data_folder: str
        global_batch_size: int
        """Rows in one optimizer step, over all ranks and microbatches."""
        positions: bool = False
        """Whether each token's position in its document is given as well."""

    def __init__(
        self,
        config: Config,
        *,
        dp_world_size: int,
        dp_rank: int,
        tokenizer: object,
        seq_len: int,
        local_batch_size: int,
        snapshot_every_n_steps: int | None = None,
    ) -> None:
        self.batch_size = config.global_batch_size
        self.seq_len = seq_len
        self.local_batch_size = local_batch_size
        self.share = self.batch_size // dp_world_size
        self.first = dp_rank * self.share
        self.order = Order(config.order)
        folder = Path(config.data_folder)
        self._sources = [told(open_source(folder, name)) for name in self.order.names] if config.positions else []
        self.row = self.order.first
        self._tokens = [
            _open(Path(config.data_folder), name, config.order.rows[name], seq_len) for name in self.order.names
        ]
        self._ahead: tuple[int, Rows] | None = None

    def __iter__(self) -> Iterator[Batch]:
        while True:
            start = self.row + self.first
            for first in range(start, start + self.share, self.local_batch_size):
                batch = self._batch(first, first + self.local_batch_size)
                if first + self.local_batch_size == start + self.share:
                    # Before handing out the step's last microbatch: a checkpoint is taken while we wait here.
                    self.row += self.batch_size
                yield batch

    def state_dict(self) -> dict[str, Any]:
        """The next global row."""
        return {"joyctl": json.dumps({"row": self.row})}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on at a saved row."""
        self.row = json.loads(state_dict["joyctl"])["row"]

    def _batch(self, start: int, stop: int) -> Batch:
        source, row = self._places(start, stop)
        rows = np.empty((stop - start, self.seq_len + 1), np.int64)
        for i, (s, r) in enumerate(zip(source.tolist(), row.tolist(), strict=True)):
            rows[i] = self._tokens[s][r * self.seq_len : (r + 1) * self.seq_len + 1]
        batch = torch.from_numpy(rows)
        inputs = {"input": batch[:, :-1].contiguous()}
        if self._sources:
            inputs["positions"] = torch.from_numpy(
                np.stack([self._positions(s, r) for s, r in zip(source.tolist(), row.tolist(), strict=True)])
            )
        return inputs, batch[:, 1:].contiguous()

    def _positions(self, source: int, row: int) -> npt.NDArray[np.int64]:
        return positions(self._sources[source], row * self.seq_len, (row + 1) * self.seq_len)

    def _places(self, start: int, stop: int) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.int64]]:
        if self._ahead is None or not self._ahead[0] <= start <= stop <= self._ahead[0] + len(self._ahead[1].row):
            self._ahead = start, self.order.rows(start, max(stop, start + ROWS_AHEAD))
        base, rows = self._ahead
        return rows.source[start - base : stop - base], rows.row[start - base : stop - base]


def _open(folder: Path, source: str, rows: int, seq_len: int) -> npt.NDArray[np.uint16]:
    found = tokens(folder, source)
    there = (len(found) - 1) // seq_len
    if there != rows:
        raise Refused(
            f"{folder}: source '{source}' has {there} rows of {seq_len} tokens, the plan was made for {rows}",
            hint="The data changed after the campaign was planned: plan it again under another name.",
        )
    return found
