"""Steps a second through joyctl against torchtitan's bare Trainer: same model, tokens, settings and threads.

Both train the demo's model in this one process, taking turns; what is timed are the steps after the warm-up, from the
end of one to the end of the next, so neither building nor saving nor torchtitan's sleep at its end counts. The bare
side has the same rows ready in memory and logs every tenth step, as torchtitan does by default; joyctl's side reads
them from disk in the order of the mix and writes a line a step. Prints medians over all timed steps, and their ratio;
once by the clock on the wall and once by the processor time of this process, which others on the machine spoil less.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import json
import os
import socket
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

import joyctl.train  # noqa: F401  prepares torchtitan
from joyctl.campaign.spec import OrderPhase, OrderSpec, SegmentSpec
from joyctl.recipe.load import load_recipe
from joyctl.train import ranks
from joyctl.train.config import trainer_config
from joyctl.train.loader import OrderedLoader

WEIGHTS = {"code": 2, "facts": 4, "math": 5, "web": 89}
WARM_STEPS = 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=80)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        spec = _segment(Path(folder), given.steps)
        found: dict[tuple[str, str], list[float]] = defaultdict(list)
        for turn in range(given.rounds):
            for side in ("joyctl", "bare") if turn % 2 else ("bare", "joyctl"):
                for clock, seconds in _timed(side, spec, Path(folder) / f"{side}-{turn}", given.threads).items():
                    found[side, clock] += seconds
    for clock in ("wall", "processor"):
        joyctl, bare = (statistics.median(found[side, clock]) for side in ("joyctl", "bare"))
        print(
            f"{clock:<9}  joyctl {joyctl * 1e3:.2f} ms a step, bare {bare * 1e3:.2f} ms, medians of "
            f"{len(found['bare', clock])} steps with {given.threads} threads; ratio {bare / joyctl:.3f} (at least 0.98)"
        )


def _segment(folder: Path, steps: int) -> SegmentSpec:
    """The demo's model and batch on random tokens."""
    recipe = load_recipe("tiny")
    seq_len, batch_size = recipe.training.seq_len, recipe.training.batch_size
    digests, rows = {}, {}
    for number, name in enumerate(WEIGHTS):
        tokens = np.random.default_rng(number).integers(0, recipe.model.vocab_size, 400_000)
        path = folder / "data" / "sources" / name / "train.bin"
        path.parent.mkdir(parents=True)
        path.write_bytes(tokens.astype("<u2").tobytes())
        digests[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        described = {"name": name, "tokens": len(tokens), "sha256": digests[name]}
        (path.parent / "source.json").write_text(json.dumps(described))
        rows[name] = (len(tokens) - 1) // seq_len
    return SegmentSpec(
        id="trunk/s0/x", parent=None, start_step=0, end_step=steps, total_steps=steps,
        order=OrderSpec(rows=rows, phases=(OrderPhase(start_row=0, weights=WEIGHTS),), seed=0),
        model=recipe.model, training=recipe.training.model_copy(update={"tokens": steps * seq_len * batch_size}),
        optimizer=recipe.optimizer, schedule=recipe.schedule, init_seed=0, source_sha256=digests, tokenizer_sha256="",
        data_folder=str(folder / "data"),
    )  # fmt: skip


def _timed(side: str, spec: SegmentSpec, folder: Path, threads: int) -> dict[str, list[float]]:
    """Seconds of every step after the warm-up, by two clocks."""
    with ranks.session(threads):
        config = trainer_config(spec, folder, None, ranks=1)
        folder.mkdir()
        trainer = config.build() if side == "joyctl" else _bare(config)
        ends: list[tuple[float, float]] = []
        step = trainer.lr_schedulers.step

        def stepped() -> None:
            step()
            ends.append((time.perf_counter(), time.process_time()))

        trainer.lr_schedulers.step = stepped
        try:
            if side == "joyctl":
                trainer.run(lambda: False, save_seconds=1e9, save_share=0.01)
            else:
                trainer.train()
        finally:
            trainer.close()
    gc.collect()
    spans = [np.subtract(b, a) for a, b in pairwise(ends[WARM_STEPS:])]
    return {clock: [float(span[i]) for span in spans] for i, clock in enumerate(("wall", "processor"))}


def _bare(config: Any) -> Any:
    """torchtitan's own Trainer with its own metrics and checkpointer, and rows that lie ready."""
    import torch.distributed as dist
    from torchtitan.components.checkpointer import CheckpointManager
    from torchtitan.components.dataloader import BaseDataLoader
    from torchtitan.components.metrics import MetricsProcessor
    from torchtitan.trainer import Trainer

    class Ready(BaseDataLoader):
        """The very rows of joyctl's side, read before the first step."""

        @dataclass(kw_only=True, slots=True)
        class Config(BaseDataLoader.Config):
            rows: OrderedLoader.Config
            steps: int

        def __init__(self, config: Config, **given: Any) -> None:
            batches = iter(OrderedLoader(config.rows, **given))
            self._batches = [next(batches) for _ in range(config.steps)]

        def __iter__(self) -> Iterator[Any]:
            yield from self._batches

        def state_dict(self) -> dict[str, Any]:
            return {}

        def load_state_dict(self, state_dict: dict[str, Any]) -> None:
            pass

    if not hasattr(dist, "set_timeout"):  # torchtitan 0.3 calls it, torch 2.13 has it under another name
        dist.set_timeout = dist.distributed_c10d._set_pg_timeout
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        meet = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(s.getsockname()[1])}
    os.environ.update({**meet, "RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"})
    same = ("model_spec", "hf_assets_path", "dump_folder", "tokenizer", "loss", "optimizer", "lr_scheduler", "training")
    same += ("parallelism", "activation_checkpoint", "comm", "debug")
    return Trainer.Config(
        **{key: getattr(config, key) for key in same},
        dataloader=Ready.Config(rows=config.dataloader, steps=config.segment.end_step),
        metrics=MetricsProcessor.Config(log_freq=10),
        checkpoint=CheckpointManager.Config(enable=False),
    ).build()


if __name__ == "__main__":
    sys.exit(main())
