"""Long pieces of work on a data folder, cut into parts that processes or the jobs of an array share.

`python -m joyctl.data.work FOLDER build|overlap --share I/N` does every N-th part from the I-th on, I from 0, parts in
the order of their size; `--finish` puts the results together once all parts are done.
"""

from __future__ import annotations

import argparse
import importlib
import multiprocessing
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Protocol, cast

from joyctl.errors import JoyctlError, Missing

WORKS = {"build": "joyctl.data.tokenise.work:open_work", "overlap": "joyctl.data.overlap.work:open_work"}
"""What `open_work` finds by name: functions that take the work's folder."""


@dataclass(frozen=True)
class Part:
    """What one process does in one go."""

    name: str
    bytes: int
    """How much it reads: longest first; 0 where that is not known."""


class Progress(Protocol):
    """Hears what a part has got through since it was last told."""

    def __call__(self, tokens: int, documents: int = 0) -> None:
        """So many more."""


class Work(Protocol):
    """A piece of work whose state is files alone: whoever opens its folder sees what is done.

    It can be pickled: processes get it that way.
    """

    @property
    def folder(self) -> Path:
        """Where its parts leave their results; shared by all who take part."""

    def parts(self) -> Sequence[Part]:
        """All of them, done or not, in a fixed order."""

    def done(self, part: Part) -> bool:
        """Whether the part's result is whole."""

    def do(self, part: Part, progress: Progress) -> None:
        """Do one part; its last act makes it done. `progress` hears of tokens as they come. Again is harmless."""

    def finish(self) -> None:
        """With all parts done: put their results together, so that the whole counts as finished."""


@dataclass(frozen=True)
class Reached:
    """How far a piece of work is."""

    parts: int
    parts_done: int
    share: float
    """Of all parts, by what they read; parts under way count by their tokens, as far as can be guessed."""
    begun_at: float
    """What the share was when this command began."""
    tokens: int = 0
    """Got through by this command."""
    documents: int = 0


Watch = Callable[[Reached], None]


def _unwatched(_: Reached) -> None:
    return None


def open_work(folder: Path, name: str) -> Work:
    """The work `name` (one of WORKS) in `folder`. Raises Missing where that folder holds none."""
    module, _, function = WORKS[name].partition(":")
    return cast(Work, getattr(importlib.import_module(module), function)(folder))


def run_here(work: Work, processes: int, progress: Watch = _unwatched) -> None:
    """Do all parts that are not done in so many processes of this machine, then finish.

    With 1 everything happens in this process. The first error of a part ends it and is raised; what is done stays
    done. Processes whose parent is gone end with their next word of progress.
    """
    do_parts(work, work.parts(), processes, progress)
    work.finish()


def do_parts(work: Work, mine: Sequence[Part], processes: int, progress: Watch = _unwatched) -> None:
    """Do those of `mine` that are not done, longest first; raises as `run_here` does."""
    done = {part.name for part in mine if work.done(part)}
    watched = _Watched(mine, done, progress)
    left = [part for part in longest_first(mine) if part.name not in done]
    if processes <= 1 or len(left) <= 1:
        for part in left:
            work.do(part, watched.hears(part))
            watched.is_done(part)
        return
    with _pool(work, min(processes, len(left))) as pool:
        waiting, busy = iter(left), dict[Connection, Part]()
        for pipe in pool:
            busy[pipe] = next(waiting)
            pipe.send(busy[pipe])
        while busy:
            for ready in wait(list(busy)):
                pipe = cast(Connection, ready)
                word = _word(pipe, pool[pipe], busy[pipe])
                if isinstance(word, tuple):
                    watched.hears(busy[pipe])(*word)
                    continue
                watched.is_done(busy.pop(pipe))
                if (following := next(waiting, None)) is not None:
                    busy[pipe] = following
                    pipe.send(following)


def longest_first(parts: Sequence[Part]) -> list[Part]:
    """The order in which parts are begun and shared out."""
    return sorted(parts, key=lambda part: (-part.bytes, part.name))


class _Watched:
    """Adds up what parts tell."""

    def __init__(self, parts: Sequence[Part], done: set[str], watch: Watch) -> None:
        self._all = sum(self._size(part) for part in parts)
        self._read = sum(self._size(part) for part in parts if part.name in done)
        self._tokens_done = 0  # of parts that this command has done, with what they have read
        self._read_here = 0.0
        self._under_way: dict[str, int] = {}
        self._sizes = {part.name: self._size(part) for part in parts}
        share = self._read / self._all if self._all else 1.0
        self._reached = Reached(len(parts), len(done), share, share)
        self._watch = watch
        watch(self._reached)

    @staticmethod
    def _size(part: Part) -> int:
        return part.bytes or 1

    def hears(self, part: Part) -> Progress:
        """What a part tells its progress."""

        def hear(tokens: int, documents: int = 0) -> None:
            self._under_way[part.name] = self._under_way.get(part.name, 0) + tokens
            now = self._reached
            self._tell(replace(now, tokens=now.tokens + tokens, documents=now.documents + documents))

        return hear

    def is_done(self, part: Part) -> None:
        self._tokens_done += self._under_way.pop(part.name, 0)
        self._read += self._size(part)
        self._read_here += self._size(part)
        self._tell(replace(self._reached, parts_done=self._reached.parts_done + 1))

    def _tell(self, reached: Reached) -> None:
        # Before a part is done, four bytes a token are as good a guess as any.
        each = self._read_here / self._tokens_done if self._tokens_done else 4.0
        parts = sum(min(0.99 * self._sizes[name], tokens * each) for name, tokens in self._under_way.items())
        self._reached = replace(reached, share=(self._read + parts) / self._all if self._all else 1.0)
        self._watch(self._reached)


def start_deaf(process: BaseProcess) -> None:
    """Start a process that never hears Ctrl-C, not even while it begins: who started it does, and ends it."""
    resource_tracker.ensure_running()  # started first: it lets the signal through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # which the new process inherits
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _pool(work: Work, size: int) -> Iterator[dict[Connection, BaseProcess]]:
    """Processes that wait for parts, by the pipes to them; none of them is left behind."""
    # Not forked: this process may have threads, and libraries that forbid it.
    context = multiprocessing.get_context("spawn")
    pool: dict[Connection, BaseProcess] = {}
    try:
        for _ in range(size):
            here, there = context.Pipe()
            child = context.Process(target=_serve, args=(work, there), daemon=True)
            start_deaf(child)
            there.close()
            pool[here] = child
        yield pool
        for pipe in pool:
            pipe.send(None)
        for process in pool.values():
            process.join()
    finally:
        for process in pool.values():
            process.terminate()
        for pipe, process in pool.items():
            process.join()
            pipe.close()


def _serve(work: Work, pipe: Connection) -> None:
    """Do parts as they come. An error of the user's goes back as it is; another ends the process with its traceback."""

    def progress(tokens: int, documents: int = 0) -> None:
        pipe.send((tokens, documents))

    try:
        while (part := pipe.recv()) is not None:
            try:
                work.do(part, progress)
            except BrokenPipeError:
                return
            except (JoyctlError, OSError) as error:
                pipe.send(error)
            else:
                pipe.send(None)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return  # its parent is gone


def _word(pipe: Connection, process: BaseProcess, part: Part) -> tuple[int, int] | None:
    """What a process says: progress, or None when its part is done. Raises the error that it met, or its death."""
    try:
        word = pipe.recv()
    except (EOFError, ConnectionResetError):
        process.join()
        code = process.exitcode or 0
        if code >= 0:
            raise RuntimeError(f"the process of part {part.name} ended with exit code {code}; see above") from None
        name = signal.Signals(-code).name
        raise Missing(
            f"the process of part {part.name} was killed ({name})",
            hint="If memory ran out, give fewer --processes. What is done is kept, the same command goes on.",
        ) from None
    if isinstance(word, BaseException):
        raise word
    return cast("tuple[int, int] | None", word)


def _share(text: str) -> tuple[int, int]:
    index, slash, number = text.partition("/")
    if not (slash and index.isdigit() and number.isdigit() and int(index) < int(number)):
        raise argparse.ArgumentTypeError(f"'{text}': give I/N with I from 0 to N-1")
    return int(index), int(number)


def main(arguments: Sequence[str] | None = None) -> int:
    """Do a share of a work's parts, or finish it; gives the exit code. What is done already is left as it is."""
    parser = argparse.ArgumentParser(prog="python -m joyctl.data.work", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("work", choices=sorted(WORKS))
    parser.add_argument("--share", type=_share, metavar="I/N")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--finish", action="store_true")
    given = parser.parse_args(arguments)
    if given.share is None and not given.finish:
        parser.error("give --share I/N, --finish or both")
    try:
        work = open_work(given.folder, given.work)
        if given.share is not None:
            index, number = given.share
            do_parts(work, longest_first(work.parts())[index::number], given.processes)
        if given.finish:
            work.finish()
    except JoyctlError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
