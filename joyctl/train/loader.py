"""Feeds torchtitan the rows that the data order names, as a function of the global row alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torchtitan.components.dataloader import BaseDataLoader

from joyctl.campaign.spec import OrderSpec
from joyctl.data.order import Order
from joyctl.data.rows import open_rows

Batch = tuple[dict[str, torch.Tensor], torch.Tensor]
ROWS_AHEAD = 64
"""Rows of this rank that are on their way from disk at least, where they have to come from there."""


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
        self.row = self.order.first
        self.positions = config.positions
        self._rows = open_rows(self.order, Path(config.data_folder), seq_len, positions=config.positions)

    def __iter__(self) -> Iterator[Batch]:
        ahead = -(-ROWS_AHEAD // self.share) * self.batch_size
        for start in range(self.row + self.first, self.row + ahead, self.batch_size):
            self._rows.expect(start, start + self.share)
        while True:
            start = self.row + self.first
            for first in range(start, start + self.share, self.local_batch_size):
                batch = self._batch(first, first + self.local_batch_size)
                self._rows.expect(first + ahead, first + ahead + self.local_batch_size)
                if first + self.local_batch_size == start + self.share:
                    # Before handing out the step's last microbatch: a checkpoint is taken while we wait here.
                    self.row += self.batch_size
                yield batch

    def take_shown(self) -> list[int]:
        """Rows that this rank has been given since it asked last, by source in the order of `order.names`."""
        shown, self._rows.shown = self._rows.shown, [0] * len(self.order.names)
        return shown

    def state_dict(self) -> dict[str, Any]:
        """The next global row."""
        return {"joyctl": json.dumps({"row": self.row})}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on at a saved row."""
        self.row = json.loads(state_dict["joyctl"])["row"]

    def _batch(self, start: int, stop: int) -> Batch:
        rows = self._rows.batch(start, stop, positions=self.positions)
        given = {"input": torch.from_numpy(rows.inputs)}
        if rows.positions is not None:
            given["positions"] = torch.from_numpy(rows.positions)
        return given, torch.from_numpy(rows.labels)
