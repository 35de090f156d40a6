"""Parts of long work shared by processes: each done once, errors passed on, deaths noticed."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import Path

import pytest

from joyctl.data.work import Part, Progress, Reached, do_parts, longest_first, main, run_here
from joyctl.errors import Missing

SIZES = (5, 40, 0, 7, 7, 90)


@dataclass(frozen=True)
class Counting:
    """Writes a line for every part that is done; parts named so fail or die."""

    folder: Path
    sizes: tuple[int, ...] = SIZES
    fails: str = ""
    dies: str = ""

    def parts(self) -> list[Part]:
        return [Part(f"p{i}", size) for i, size in enumerate(self.sizes)]

    def done(self, part: Part) -> bool:
        return (self.folder / part.name).exists()

    def do(self, part: Part, progress: Progress) -> None:
        progress(part.bytes, 1)
        if part.name == self.dies:
            os.kill(os.getpid(), signal.SIGKILL)
        if part.name == self.fails:
            raise Missing(f"{part.name} is bad", hint="Mend it.")
        with (self.folder / part.name).open("a") as file:
            file.write("done\n")

    def finish(self) -> None:
        (self.folder / "finished").write_text("".join((self.folder / p.name).read_text() for p in self.parts()))


@pytest.mark.parametrize("processes", [1, 2])
def test_every_part_is_done_once_and_then_all_are_put_together(tmp_path: Path, processes: int) -> None:
    (tmp_path / "p1").write_text("done\n")  # by an earlier command
    heard: list[Reached] = []
    run_here(Counting(tmp_path), processes, heard.append)
    assert (tmp_path / "finished").read_text() == "done\n" * len(SIZES)
    first, last = heard[0], heard[-1]
    assert (first.parts_done, first.tokens) == (1, 0) and first.share == first.begun_at == pytest.approx(40 / 150)
    assert (last.parts_done, last.share, last.tokens, last.documents) == (6, 1, sum(SIZES) - 40, 5)
    assert all(0 <= reached.share <= 1 for reached in heard)
    run_here(Counting(tmp_path), processes)
    assert (tmp_path / "p5").read_text() == "done\n"


@pytest.mark.parametrize("processes", [1, 2])
def test_an_error_of_a_part_ends_it_and_what_is_done_stays(tmp_path: Path, processes: int) -> None:
    with pytest.raises(Missing, match="p1 is bad") as caught:
        run_here(Counting(tmp_path, fails="p1"), processes)
    assert caught.value.hint == "Mend it."
    assert not (tmp_path / "finished").exists()
    run_here(Counting(tmp_path), processes)
    assert (tmp_path / "finished").exists()


def test_a_process_that_is_killed_is_told_with_its_part(tmp_path: Path) -> None:
    with pytest.raises(Missing, match=r"the process of part p5 was killed \(SIGKILL\)") as caught:
        run_here(Counting(tmp_path, dies="p5"), 2)
    assert "--processes" in str(caught.value.hint)


def test_the_longest_parts_are_begun_first_and_shares_are_even() -> None:
    parts = [Part(f"p{i}", size) for i, size in enumerate(SIZES)]
    assert [part.bytes for part in longest_first(parts)] == [90, 40, 7, 7, 5, 0]
    shares = [longest_first(parts)[i::2] for i in range(2)]
    assert sorted(part.name for share in shares for part in share) == [part.name for part in parts]


def test_only_the_given_parts_are_done(tmp_path: Path) -> None:
    work = Counting(tmp_path)
    do_parts(work, work.parts()[:2], 1)
    assert [work.done(part) for part in work.parts()] == [True, True, False, False, False, False]


@pytest.mark.parametrize("share", ["2/2", "x/2", "1", "-1/2"])
def test_a_share_is_checked(tmp_path: Path, share: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([str(tmp_path), "build", f"--share={share}"])
    assert caught.value.code == 2 and "from 0 to N-1" in capsys.readouterr().err
