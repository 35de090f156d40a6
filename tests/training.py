"""A small world to train in, and trainings each in a process of its own, as the launcher starts them."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer, models

from joyctl.campaign.spec import BaseSpec, OrderPhase, OrderSpec, SegmentSpec
from joyctl.data.order import Order, Rows
from joyctl.recipe.types import Model, Optimizer, Schedule, Training
from joyctl.store.digest import folder_digest
from joyctl.store.files import read_lines, write_text

SEQ, BATCH, TOTAL = 32, 4, 30
SIZES = {"code": 3000, "math": 2000, "web": 6000}  # tokens by source
BASE = {"code": 1, "math": 2, "web": 7}
BOUNDARY = {"token": 0, "begins": True}
MODEL = Model(dim=32, n_layers=2, n_heads=4, n_kv_heads=2, ffn_hidden=64, vocab_size=64, max_seq_len=64)

TOKENIZER = {"model": {"vocab": {f"w{i}": i for i in range(64)}, "merges": []}, "added_tokens": []}


def make_data(folder: Path) -> Path:
    """Three sources, each with a habit of its own that a model can learn."""
    for number, (name, size) in enumerate(sorted(SIZES.items())):
        rng = np.random.default_rng(number)
        tokens = rng.integers(0, 64, size)
        habit = rng.random(size) < 0.7
        for i in np.flatnonzero(habit[1:]):
            tokens[i + 1] = (tokens[i] * 3 + number) % 64
        tokens[rng.random(size) < 0.1] = BOUNDARY["token"]  # documents of about ten tokens
        path = folder / "sources" / name / "train.bin"
        path.parent.mkdir(parents=True)
        path.write_bytes(tokens.astype("<u2").tobytes())
        described: dict[str, object] = {"name": name, "tokens": size}
        described["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
        described["boundary"] = BOUNDARY
        write_text(path.parent / "source.json", json.dumps(described))
    return folder


def make_tokenizer(folder: Path) -> Path:
    """Letters, a token that begins and ends texts, one that fills them up."""
    whole = Tokenizer(models.BPE(vocab={chr(97 + i): i for i in range(26)}, merges=[]))
    whole.add_special_tokens(["<bos>", "<pad>"])
    whole.save(str(folder / "tokenizer.json"))
    names = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<bos>",
        "eos_token": "<bos>",
        "pad_token": "<pad>",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(names))
    return folder


def segment(
    data: Path,
    start: int,
    end: int,
    *,
    phase: dict[str, int] | None = None,
    phase_from: int = 0,
    lr: float = 5e-3,
    name: str = "trunk/s0/x",
    total: int = TOTAL,
    model: Model = MODEL,
    seq_len: int = SEQ,
    batch_size: int = BATCH,
    **settings: object,
) -> SegmentSpec:
    """Steps start..end of the base run, or of a branch that trains on weights `phase` from step `phase_from`.

    `settings` are further keys of SegmentSpec, or take the place of the ones made here.
    """
    phases = [OrderPhase(start_row=0, weights=BASE)]
    if phase is not None:
        phases.append(OrderPhase(start_row=phase_from * batch_size, weights=phase))
    digests, rows = {}, {}
    for source in BASE:
        described = json.loads((data / "sources" / source / "source.json").read_text())
        digests[source], rows[source] = described["sha256"], (described["tokens"] - 1) // seq_len
    made: dict[str, object] = {
        "id": name,
        "parent": None if start == 0 else "trunk",
        "start_step": start,
        "end_step": end,
        "total_steps": total,
        "order": OrderSpec(rows=rows, phases=tuple(phases), seed=7),
        "model": model,
        "training": Training(tokens=total * batch_size * seq_len, seq_len=seq_len, batch_size=batch_size),
        "optimizer": Optimizer(lr=lr, weight_decay=0.05, betas=(0.9, 0.98)),
        "schedule": Schedule(warmup=0.1),
        "init_seed": 3,
        "source_sha256": digests,
        "tokenizer_sha256": "",
        "data_folder": str(data),
    }
    return SegmentSpec.model_validate({**made, **settings})


def hf_base(spec: SegmentSpec, at: Path, folder: Path, rewarm: int) -> BaseSpec:
    """The model in the checkpoint `at` of `spec`, at its end, as a Hugging Face folder to go on from."""
    from joyctl.train.export import export_model

    tokenizer = Path(spec.data_folder) / "tokenizer"
    if not tokenizer.exists():
        tokenizer.mkdir()
        make_tokenizer(tokenizer)
    export_model(spec, at, folder, tokenizer=tokenizer, card="")
    return BaseSpec(kind="hf", path=str(folder), step=spec.end_step, sha256=folder_digest(folder), rewarm=rewarm)


def from_base(spec: SegmentSpec, base: BaseSpec) -> SegmentSpec:
    """`spec`, whose start is the base's step, going on from there."""
    row = base.step * spec.training.batch_size
    phases = tuple(phase.model_copy(update={"start_row": row}) for phase in spec.order.phases)
    order = spec.order.model_copy(update={"start_row": row, "phases": phases})
    return spec.model_copy(update={"parent": None, "base": base, "init_seed": 0, "order": order})


def checkpoint(folder: Path, step: int) -> Path:
    return folder / "checkpoint" / f"step-{step}"


def metrics(folder: Path) -> list[dict[str, object]]:
    """Lines of metrics.jsonl without times and speeds; floats keep every bit."""
    clocks = ("time", "tokens_per_second", "mfu")
    return [{k: v for k, v in line.items() if k not in clocks} for line in read_lines(folder / "metrics.jsonl")]


_server = multiprocessing.get_context("forkserver")
_server.set_forkserver_preload(["joyctl.train.preload"])


def start(
    spec: SegmentSpec,
    folder: Path,
    parent: Path | None = None,
    environment: dict[str, str] | None = None,
    **settings: object,
):
    """Begin a training in a process forked from a warm server."""
    folder.mkdir(parents=True, exist_ok=True)
    arguments = (spec.model_dump_json(), folder, parent, environment or {}, settings)
    child = _server.Process(target=_work, args=arguments)
    child.start()
    return child


def train(spec: SegmentSpec, folder: Path, parent: Path | None = None, **settings: object) -> str:
    """Train in another process; returns 'done', or the class and text of the error of ours that it raised."""
    child = start(spec, folder, parent, **settings)
    return finish(child, folder)


def finish(child, folder: Path) -> str:
    child.join(60)
    if child.is_alive():
        child.kill()
        raise AssertionError("training did not end within 60 seconds")
    if child.exitcode != 0:
        return f"exit code {child.exitcode}"
    return (folder / "outcome").read_text()


def train_in_turn(specs: list[tuple[SegmentSpec, Path, Path | None]]) -> None:
    """Train several segments one after the other in one process."""
    for _, folder, _ in specs:
        folder.mkdir(parents=True, exist_ok=True)
    child = _server.Process(target=_work_in_turn, args=(specs,))
    child.start()
    child.join(60)
    assert child.exitcode == 0


def outcomes_in_turn(specs: list[tuple[SegmentSpec, Path, Path | None]]) -> list[str]:
    """Try to train several segments one after the other in one process; what `train` says of each."""
    child = _server.Process(target=_try_in_turn, args=(specs,))
    child.start()
    child.join(60)
    assert child.exitcode == 0
    return [(folder / "outcome").read_text() for _, folder, _ in specs]


def _try_in_turn(specs: list[tuple[SegmentSpec, Path, Path | None]]) -> None:
    for spec, folder, parent in specs:
        folder.mkdir(parents=True, exist_ok=True)
        _work(spec.model_dump_json(), folder, parent, {}, {})


def _work_in_turn(specs: list[tuple[SegmentSpec, Path, Path | None]]) -> None:
    import gc

    import torch

    environment = dict(os.environ)
    for spec, folder, parent in specs:
        _work(spec.model_dump_json(), folder, parent, {}, {})
        assert (folder / "outcome").read_text() == "done"
        assert gc.isenabled() and not torch.distributed.is_initialized() and dict(os.environ) == environment


def _work(spec_json: str, folder: Path, parent: Path | None, environment: dict[str, str], settings: dict) -> None:
    from joyctl.errors import JoyctlError
    from joyctl.train.segment import train_segment

    os.environ.update(environment)
    if "JOYCTL_TEST_SEALED" in environment:
        _seal(folder / "sealed")
    if hidden := environment.get("JOYCTL_TEST_HIDDEN"):
        _hide(hidden)
    if "JOYCTL_TEST_CODE_FOR_MATH" in environment:
        _give_code_for_math()
    try:
        train_segment(SegmentSpec.model_validate_json(spec_json), folder, parent, **settings)
        outcome = "done"
    except JoyctlError as error:
        outcome = f"{type(error).__name__}: {error}"
    write_text(folder / "outcome", outcome)


def _seal(told: Path) -> None:
    """From now on this process reaches nothing but this machine; what it tries beyond is a line of `told`."""
    told.touch()

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "socket.getaddrinfo":
            host = arguments[0]
        elif event in ("socket.connect", "socket.sendto"):
            host = arguments[1][0] if isinstance(arguments[1], tuple) else None
        else:
            return
        if host not in (None, "", "localhost", "127.0.0.1", "::1", socket.gethostname()):
            with told.open("a") as file:
                file.write(f"{event} {arguments[1:]}\n")
            raise OSError(f"sealed: {event} {host}")

    sys.addaudithook(watch)


def _hide(package: str) -> None:
    """Make a tracker's package look as if it were not installed."""
    from importlib.util import find_spec

    from joyctl.train import trackers

    trackers.find_spec = lambda name: None if name == package else find_spec(name)


def _give_code_for_math() -> None:
    """Let the order of rows go wrong: where math is due it names rows of code."""
    right = Order.rows

    def wrong(self: Order, start: int, stop: int) -> Rows:
        rows, code, math = right(self, start, stop), self.names.index("code"), self.names.index("math")
        source = np.where(rows.source == math, code, rows.source).astype(np.int16)
        return replace(rows, source=source, row=rows.row % self.spec.rows["code"])

    Order.rows = wrong


def train_on_two(spec: SegmentSpec, folder: Path, parent: Path | None = None) -> None:
    """Train with two gloo processes."""
    train_on(2, spec, folder, parent)


def train_on(processes: int, spec: SegmentSpec, folder: Path, parent: Path | None = None, **settings: object) -> None:
    """Train with gloo processes that are told what torchrun would tell them, without its start-up time."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        meet = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(s.getsockname()[1]), "WORLD_SIZE": str(processes)}
    ranks = [{**meet, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(processes)]
    children = [start(spec, folder, parent, rank, **settings) for rank in ranks]
    assert [finish(child, folder) for child in children] == ["done"] * processes


def train_under_torchrun(spec: SegmentSpec, folder: Path, parent: Path | None = None) -> None:
    """Train under torchrun with two gloo processes."""
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "segment.json", spec.model_dump_json())
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", __file__]
    done = subprocess.run(
        [*command, str(folder), str(parent or "")], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr[-3000:]


def wait_for_step(folder: Path, step: int, child, seconds: float = 60) -> None:
    """Until metrics.jsonl has that step."""
    end = time.monotonic() + seconds
    while not any(line["step"] >= step for line in metrics(folder)):
        assert time.monotonic() < end and child.is_alive(), "training ended or hung too early"
        time.sleep(0.01)


def send(child, number: signal.Signals) -> None:
    os.kill(child.pid, number)


if __name__ == "__main__":  # under torchrun
    from joyctl.train.segment import train_segment

    where = Path(sys.argv[1])
    text = (where / "segment.json").read_text()
    train_segment(SegmentSpec.model_validate_json(text), where, Path(sys.argv[2]) if sys.argv[2] else None)
