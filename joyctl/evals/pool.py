"""Units dealt to processes, one a GPU; or answered right here, where one process is enough."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from functools import cached_property
from pathlib import Path

import torch

from joyctl.errors import JoyctlError
from joyctl.evals.engine import Answer, Engine
from joyctl.evals.quick import quiet
from joyctl.evals.units import Unit

_AHEAD = 2
"""Units given to a process before it has answered the last."""


class Pool:
    """A model that answers units, in one process or in several.

    Units are dealt as processes become free, which balances uneven lengths; an answer does not depend on who gave it.
    """

    def __init__(self, folder: Path, batch_size: int, processes: int, threads: int) -> None:
        """Nothing is loaded before the first unit."""
        self._folder, self._batch_size = folder, batch_size
        self.processes, self._threads = processes, threads

    def answer(self, units: Sequence[Unit]) -> Iterator[list[Answer]]:
        """The answers to every unit, as they come.

        Raises Missing when the model does not load, ProcessLost when one of several processes is killed.
        """
        if self.processes == 1:
            for unit in units:
                yield self._engine.answer(unit)
            return
        left = iter(units)
        waiting: set[Future[list[Answer]]] = set()
        try:
            for unit in left:
                waiting.add(self._executor.submit(_answer, unit))
                if len(waiting) < self.processes * _AHEAD:
                    continue
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                for future in done:
                    yield future.result()
            for future in waiting:
                yield future.result()
        except BrokenProcessPool as error:
            raise ProcessLost(
                "a process that scores the model was killed, most likely for want of memory",
                hint="What it answered is kept: the same command goes on. A smaller eval.batch_size takes less memory.",
            ) from error

    def close(self) -> None:
        """End the processes, without waiting for units that nobody wants any more, and give memory back."""
        if "_engine" in vars(self):
            del self._engine
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
        if "_executor" in vars(self):
            children = list((self._executor._processes or {}).values())
            self._executor.shutdown(wait=False, cancel_futures=True)
            for child in children:
                child.terminate()
            self._executor.shutdown(wait=True)
            del self._executor

    @cached_property
    def _engine(self) -> Engine:
        return Engine(self._folder, self._batch_size)

    @cached_property
    def _executor(self) -> ProcessPoolExecutor:
        context = multiprocessing.get_context("spawn")
        numbers = context.SimpleQueue()
        for number in range(self.processes):
            numbers.put(number)
        arguments = (self._folder, self._batch_size, self._threads, numbers)
        return ProcessPoolExecutor(self.processes, context, initializer=_start, initargs=arguments)


class ProcessLost(JoyctlError):
    """One of the processes that score a model has ended."""

    exit_code = 5


_engine: Engine | JoyctlError | None = None
"""The model of a process of the pool, or why it has none."""


def _start(folder: Path, batch_size: int, threads: int, numbers: multiprocessing.queues.SimpleQueue[int]) -> None:
    quiet()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    global _engine
    torch.set_num_threads(threads)
    gpus = torch.cuda.device_count()
    number = numbers.get()
    try:
        _engine = Engine(folder, batch_size, device=f"cuda:{number % gpus}" if gpus else "cpu")
    except JoyctlError as error:  # raised here it would count as a process that was killed
        _engine = error


def _end_with_parent() -> None:
    """A killed parent says no good-bye, and its children would wait for units for ever, on their GPUs."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)


def _answer(unit: Unit) -> list[Answer]:
    if not isinstance(_engine, Engine):
        raise _engine or RuntimeError(f"process {os.getpid()} has no model")
    return _engine.answer(unit)
