"""A work for tests of how works are shared: each part leaves a file with its name, the end a file `finished`."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from joyctl.data.work import Part, Progress, Work
from joyctl.errors import Missing, Refused
from joyctl.launch.slurm.dataset import Asked


@dataclass(frozen=True)
class Counting:
    """Parts of the sizes that lie in `<folder>/sizes`; one is broken while `<folder>/broken-<name>` is there, and
    takes its time while `<folder>/slow` is."""

    folder: Path

    def parts(self) -> list[Part]:
        sizes = (self.folder / "sizes").read_text().split()
        return [Part(f"p{number}", int(size)) for number, size in enumerate(sizes)]

    def done(self, part: Part) -> bool:
        return (self.folder / part.name).exists()

    def do(self, part: Part, progress: Progress) -> None:
        progress(part.bytes)
        if (self.folder / f"broken-{part.name}").exists():
            raise Missing(f"{part.name} cannot be read", hint="Mend it.")
        while (self.folder / "slow").exists():
            time.sleep(0.01)
        (self.folder / part.name).touch()

    def finish(self) -> None:
        if not all(map(self.done, self.parts())):
            raise Refused("parts are missing")
        (self.folder / "finished").touch()


def open_work(folder: Path) -> Counting:
    if not (folder / "sizes").exists():
        raise Missing(f"nothing was begun in {folder}")
    return Counting(folder)


def asked(folder: Path, *sizes: int) -> Asked:
    """The counting of parts of these sizes in `folder`."""
    finished: Callable[[], bool] = (folder / "finished").exists

    def begin() -> Work | None:
        if finished():
            return None
        folder.mkdir(exist_ok=True)
        (folder / "sizes").write_text(" ".join(map(str, sizes)))
        return Counting(folder)

    return Asked("build", folder, finished, begin, lambda: open_work(folder), (folder / "closing").exists)
