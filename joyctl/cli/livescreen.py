"""The screen while a campaign runs: a line for the trunk, a line a run, and how long it will take."""

from __future__ import annotations

import json
import time
from pathlib import Path

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from joyctl.campaign.spec import SegmentSpec
from joyctl.launch.board import Board, JobState
from joyctl.launch.disk import last_metrics
from joyctl.launch.local import STAGE_COST
from joyctl.launch.prepare import Prepared

_BAR_WIDTH = 30


class LiveScreen:
    """Keeps the last picture of a board; `update` reads the files, `render` gives the picture."""

    def __init__(self, prepared: Prepared) -> None:
        self.prepared = prepared
        self._picture: RenderableType = Text(f"{prepared.plan.campaign}: starting")
        self._steps = {s.id: s for s in prepared.plan.segments}

    def render(self) -> RenderableType:
        """The picture as of the last update."""
        return self._picture

    def update(self, board: Board) -> None:
        """Draw the board as it stands now."""
        by_folder: dict[str, list[JobState]] = {}
        for state in board.jobs:
            by_folder.setdefault(state.job.folder, []).append(state)
        table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 1))
        for column in range(5):
            table.add_column(no_wrap=True, justify="right" if column == 2 else "left")
        for trunk in dict.fromkeys(_trunk_of(s.id) for s in self.prepared.plan.segments if _trunk_of(s.id)):
            table.add_row(*self._trunk_row(trunk, board))
        for run in self.prepared.plan.runs:
            label = run.variant if run.id.endswith("/s0") else run.id
            table.add_row(*self._run_row(label, f"runs/{run.id}", by_folder.get(f"runs/{run.id}", [])))
        end = (
            "stopping: running jobs save first"
            if board.stopping
            else "Ctrl-C stops after saving; the same command goes on from there"
        )
        self._picture = Group(self._head(board), table, Text(end, style="dim"))

    def _head(self, board: Board) -> Text:
        elapsed = time.time() - board.started
        left = self._remaining(board)
        about = f" · about {_clock(left)} left" if left is not None else ""
        running = len(board.with_state("running"))
        return Text(f"{self.prepared.plan.campaign}   {_clock(elapsed)} elapsed{about} · {running} running", "bold")

    def _trunk_row(self, trunk: str, board: Board) -> list[RenderableType]:
        segments = [s for s in self.prepared.plan.segments if _trunk_of(s.id) == trunk]
        states = {s.job.folder: s for s in board.jobs}
        end = max(s.end_step for s in segments)
        step, loss = 0, ""
        done = True
        for segment in segments:
            state = states.get(segment.id)
            if state is None or state.state == "done":
                step = max(step, segment.end_step)
                continue
            done = False
            if state.state == "running" and (last := last_metrics(self.prepared.folder / segment.id)):
                step, loss = max(step, int(last["step"])), f"loss {last['loss']:.2f}"
        name = "trunk" if trunk == "trunk/s0" else trunk
        return [Text(f" {name}"), _bar(step, end), Text(f"{step:,}/{end:,}"), Text("✓ done" if done else loss), Text()]

    def _run_row(self, label: str, folder: str, states: list[JobState]) -> list[RenderableType]:
        row: list[RenderableType] = [Text(f" {label}"), Text(), Text(), Text(), Text()]
        failed = next((s for s in states if s.state in ("failed", "blocked", "stopped")), None)
        running = next((s for s in states if s.state == "running"), None)
        if failed is not None:
            row[1] = Text(f"{failed.state} {failed.job.stage}", style="red" if failed.state == "failed" else "dim")
        elif running is not None and running.job.stage == "train":
            segment = self._steps[folder]
            step, loss, left = self._training(folder, segment, running)
            row[1] = _bar(step, segment.end_step - segment.start_step)
            row[2] = Text(f"{step:,}/{segment.end_step - segment.start_step:,}")
            row[3], row[4] = Text(loss), Text(left)
        elif running is not None:
            what: str = running.job.stage
            if running.progress:
                task, done, of = running.progress
                what += f"  {task} {done:,}/{of:,}"
            row[1] = Text(what)
        elif all(s.state == "done" for s in states):
            row[1] = Text("✓  " + score_line(self.prepared.folder / folder), style="green")
        else:
            todo = next(s.job.stage for s in states if s.state != "done")
            row[1] = Text(f"{todo} waits", style="dim")
        return row

    def _training(self, folder: str, segment: SegmentSpec, state: JobState) -> tuple[int, str, str]:
        last = last_metrics(self.prepared.folder / folder)
        if last is None:
            return 0, "", ""
        step = int(last["step"]) - segment.start_step
        speed = step / max(time.time() - (state.started or 0.0), 1e-3)
        left = _clock((segment.end_step - segment.start_step - step) / speed) if step else ""
        return step, f"loss {last['loss']:.2f}", left

    def _remaining(self, board: Board) -> float | None:
        """Seconds left, from the speed of the jobs so far; None before anything is known."""
        spent = units = 0.0
        todo = 0.0
        for state in board.jobs:
            cost = float(state.job.steps or STAGE_COST[state.job.stage])
            share = 1.0 if state.state == "done" else 0.0
            if state.state == "running" and state.started:
                last = last_metrics(self.prepared.folder / state.job.folder) if state.job.steps else None
                if last is not None:
                    start = self._steps[state.job.folder].start_step
                    share = min(1.0, max(0.0, (int(last["step"]) - start) / state.job.steps))
                spent += (time.time() - state.started) * state.threads
            elif state.state == "done":
                spent += state.seconds * state.threads
            units += cost * share
            todo += cost * (1.0 - share) if state.state in ("waiting", "running") else 0.0
        if units < 50:
            return None
        return todo * spent / units / board.cores


def finished_line(state: JobState, campaign: Path) -> str:
    """One plain line about a job that started or ended."""
    text = f"{state.job.folder} {state.job.stage} {state.state}"
    if state.state == "done":
        text += f" in {state.seconds:.1f} s"
        if state.job.stage in ("eval", "score"):
            text += f": {score_line(campaign / state.job.folder)}"
    elif state.state == "running" and state.job.steps:
        text += f", {state.job.steps:,} steps, {state.threads} thread{'s' if state.threads > 1 else ''}"
    elif state.error:
        text += f": {state.error.splitlines()[0]}"
    return text


def score_line(run_folder: Path) -> str:
    """A run's benchmark scores in percent: `mc 72.7  math 52.0`; held-out losses are left to the report."""
    parts = []
    for path in sorted(run_folder.glob("eval/*/results.json")):
        try:
            result = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            continue
        scores = [s for s in result.get("scores", []) if s.get("higher_is_better")]
        if scores:
            name = str(result["task"]).removeprefix("micro_")
            parts.append(f"{name} {100 * scores[0]['value']:.1f}")
        elif result.get("status") == "not run":
            parts.append(f"{result['task']} not run")
    return "  ".join(parts)


def _trunk_of(identifier: str) -> str:
    """`trunk/s0/0-2050` -> `trunk/s0`; empty for a run's segment."""
    return identifier.rpartition("/")[0] if identifier.startswith("trunk/") else ""


def _bar(done: int, of: int) -> ProgressBar:
    return ProgressBar(total=max(of, 1), completed=done, width=_BAR_WIDTH)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
