"""What one job runs: `python -m joyctl.worker <folder> <stage>...`; a person can run it by hand.

`<folder>` is a segment's or a run's folder inside a campaign. Everything a stage needs stands in its
segment.json or run.json; success is its marker, DONE.<stage>.json, written last.

Training can be several processes that torchrun starts with this same command. Only rank 0 then holds the folder
and writes attempts and marker, and a clean stop is exit code 0 of every rank: torchrun kills the others when one
ends with another code, and rank 0 may still be writing.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

from filelock import FileLock, Timeout

from joyctl.campaign.protocol import protocol_words
from joyctl.campaign.spec import RunSpec, SegmentSpec, Stage
from joyctl.errors import Interrupted, JoyctlError, Refused
from joyctl.recipe.scaling import PLAIN, Scaling
from joyctl.store import attempts, layout
from joyctl.store.campaign import read_campaign_json
from joyctl.store.files import sha256_file, write_json

Progress = Callable[[str, int, int], None]
"""Called with (what, done, of)."""

# A worker whose launcher was killed saves and stops by itself; its successor waits that long for it. On a cluster
# a dead node's hold on a file of NFS ends with its lease, which is 90 seconds long.
_LOCK_SECONDS, _LOCK_SECONDS_SUPERVISED = 60.0, 150.0


@dataclass(frozen=True)
class _How:
    """With what a stage is done; none of it is part of a result."""

    threads: int
    processes: int = 1
    progress: Progress | None = None
    scaling: Scaling = PLAIN


@dataclass(frozen=True)
class _Made:
    """What a stage leaves."""

    files: Path
    """A file, or a folder of them."""
    said: Mapping[str, str] = field(default_factory=dict)
    """What its marker says of it besides."""


def run_stage(
    folder: Path,
    stage: Stage,
    *,
    threads: int = 1,
    processes: int = 1,
    progress: Progress | None = None,
    price: attempts.Price | None = None,
    scaling: Scaling = PLAIN,
) -> None:
    """Do one stage of one run or segment, and mark it done; already done is nothing to do. `processes` score together.

    Every start and its end is a line of attempts.jsonl, with the `price` of an hour of a thread, if given; `scaling` is
    how the cluster file has it trained. Raises JoyctlError for what the user can mend and Interrupted when it was asked
    to stop; anything else is a bug.
    """
    with _held(folder), _kept_errors(folder, stage):
        if not layout.marker(folder, stage).exists():
            _attempt(folder, stage, _How(threads, processes, progress, scaling), price)


def main(arguments: list[str] | None = None) -> int:
    """Run stages one after the other from the command line; gives the exit code."""
    parser = argparse.ArgumentParser(prog="python -m joyctl.worker", description=__doc__)
    parser.add_argument("folder", type=Path, help="a segment's or run's folder inside a campaign")
    parser.add_argument("stages", nargs="+", choices=get_args(Stage), metavar="stage", help=", ".join(get_args(Stage)))
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="CPU threads")
    parser.add_argument("--to-log", action="store_true", help="write what is said to log/<stage>.log in the folder")
    parser.add_argument("--processes", type=int, default=1, help="processes that score the model together, one a GPU")
    parser.add_argument("--scaling", type=Scaling.model_validate_json, default=PLAIN, metavar="JSON",
                        help="sections torchtitan and trackers of a cluster file")  # fmt: skip
    given = parser.parse_args(arguments)
    folder, together = given.folder.resolve(), "MASTER_ADDR" in os.environ and "WORLD_SIZE" in os.environ
    if together and given.stages != ["train"]:
        parser.error("only training can be several processes")
    try:
        for stage in given.stages:
            if given.to_log:
                _log_to(folder, stage)
            if together:
                _train_together(folder, given.threads, given.scaling)
            else:
                run_stage(folder, stage, threads=given.threads, processes=given.processes, scaling=given.scaling)
    except JoyctlError as error:
        print(error, file=sys.stderr)
        return 0 if together and isinstance(error, Interrupted) else error.exit_code
    return 0


def _train_together(folder: Path, threads: int, scaling: Scaling) -> None:
    """Be one of the processes of a training."""
    how = _How(threads, scaling=scaling)
    # Imported before rank 0 writes down that it starts: from then on a signal is to find a listener.
    from joyctl.train import ranks, segment  # noqa: F401

    if ranks.index() > 0:
        with _kept_errors(folder, "train"):
            if ranks.told_by_first() == "train":
                signal.signal(signal.SIGTERM, signal.SIG_IGN)  # its part done, it does not pull rank 0 down with it
                _train(folder, how)
        return
    with _held(folder), _kept_errors(folder, "train"):
        done = layout.marker(folder, "train").exists()
        ranks.tell_others("done" if done else "train")
        if not done:
            _attempt(folder, "train", how, None)


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Be the only one to work on a folder."""
    lock = FileLock(folder / ".lock", timeout=_LOCK_SECONDS_SUPERVISED if attempts.supervised() else _LOCK_SECONDS)
    try:
        lock.acquire()
    except Timeout as error:
        raise Refused(f"another process is working on {folder}", hint="Wait for it or end it.") from error
    with lock:
        yield


@contextmanager
def _kept_errors(folder: Path, stage: Stage) -> Iterator[None]:
    try:
        yield
    except Interrupted:
        raise
    except BaseException as error:
        attempts.record_error(folder, stage, error)
        raise


def _log_to(folder: Path, stage: Stage) -> None:
    """Append all output of this process to log/<stage>.log, or log/<stage>-<rank>.log on other ranks than the first."""
    rank = int(os.environ.get("RANK", "0"))
    path = folder / "log" / (f"{stage}-{rank}.log" if rank else f"{stage}.log")
    path.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    with path.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)


def _attempt(folder: Path, stage: Stage, how: _How, price: attempts.Price | None) -> None:
    started = attempts.begin(folder, stage, how.threads, price)
    try:
        # Training listens for itself and saves first; the other stages are short and start again.
        signal.signal(signal.SIGTERM, _interrupt)
        if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # a launcher tells by SIGTERM alone
            signal.signal(signal.SIGINT, _interrupt)
        made = _STAGES[stage](folder, how)
        write_json(
            layout.marker(folder, stage),
            {
                "stage": stage,
                "files": _digests(folder, made.files),
                "seconds": time.time() - started["start"],
                "threads": how.threads,
                **made.said,
            },
        )
    except Interrupted as error:
        attempts.finish(folder, started, "interrupted", error.message)
        raise
    except BaseException as error:
        if not attempts.supervised():
            attempts.finish(folder, started, "failed", attempts.words(error, folder))
        raise
    attempts.finish(folder, started, "done", None)


def _interrupt(number: int, frame: object) -> None:
    raise Interrupted("stopped as asked", hint="The same command goes on from there.")


def _train(folder: Path, how: _How) -> _Made:
    from joyctl.train.segment import train_segment

    spec = SegmentSpec.model_validate_json((folder / layout.SEGMENT).read_bytes())
    parent = None
    campaign = layout.campaign_of(folder)
    if spec.parent is not None:
        parent = layout.checkpoint(campaign / spec.parent, spec.start_step)
    said = train_segment(spec, folder, parent, threads=how.threads, scaling=how.scaling, project=campaign.name)
    files = folder / layout.CHECKPOINTS if spec.average else layout.checkpoint(folder, spec.end_step)
    return _Made(files, {"attention": said})


def _export(folder: Path, how: _How) -> _Made:
    from joyctl.train.export import export_model

    run = RunSpec.model_validate_json((folder / layout.RUN).read_bytes())
    if run.segment is None:
        raise Refused(f"{run.id} is a reference: there is nothing of it to export", hint="Its first stage is eval.")
    campaign = layout.campaign_of(folder)
    trained = campaign / run.segment
    spec = SegmentSpec.model_validate_json((trained / layout.SEGMENT).read_bytes())
    *earlier, last = (layout.checkpoint(trained, step) for step in spec.kept_steps)
    export_model(
        spec,
        last,
        folder / "hf",
        averaged_with=earlier,
        tokenizer=Path(spec.data_folder) / "tokenizer",
        card=_card(run, spec, _recipe_name(campaign), campaign.name),
    )
    return _Made(folder / "hf")


def _evaluate(folder: Path, how: _How) -> _Made:
    from joyctl.evals.harness import evaluate
    from joyctl.evals.references import folder_of

    run = RunSpec.model_validate_json((folder / layout.RUN).read_bytes())
    evaluate(
        folder / "hf" if run.reference is None else folder_of(run.reference),
        run.eval,
        folder / "eval",
        prompts=layout.campaign_of(folder) / layout.PROMPTS,
        threads=how.threads,
        processes=how.processes,
        on_progress=how.progress,
    )
    return _Made(folder / "eval")


def _score(folder: Path, how: _How) -> _Made:
    from joyctl.evals.harness import execute
    from joyctl.evals.sandbox import UNSAFE

    run = RunSpec.model_validate_json((folder / layout.RUN).read_bytes())
    unsafe = os.environ.get(UNSAFE) == "1"
    execute(run.eval, folder / "eval", threads=how.threads, unsafe=unsafe, on_progress=how.progress)
    return _Made(folder / "eval")


_STAGES: dict[Stage, Callable[[Path, _How], _Made]] = {
    "train": _train,
    "export": _export,
    "eval": _evaluate,
    "score": _score,
}


def _digests(folder: Path, made: Path) -> dict[str, dict[str, object]]:
    """Size and SHA-256 of every file a stage made, by its path below `folder`."""
    return {
        str(path.relative_to(folder)): {"bytes": path.stat().st_size, "sha256": sha256_file(path)}
        for path in sorted(made.rglob("*"))
        if path.is_file()
    }


def _recipe_name(campaign: Path) -> str:
    kept = read_campaign_json(campaign) or {}
    return str(kept.get("recipe", {}).get("name", "unknown"))


def _trained_elsewhere(spec: SegmentSpec) -> str:
    base = spec.base
    if base is None:
        return ""
    anew = "; the optimizer started anew there" if base.kind == "hf" else ""
    name = base.hub or Path(base.path).name
    return f"\nThe first {base.step:,} steps were trained elsewhere: `{name}`, digest `{base.sha256}`{anew}.\n"


def _card(run: RunSpec, spec: SegmentSpec, recipe: str, campaign: str) -> str:
    """Model card of an exported run: what it is, its recipe, its mix, its base."""
    mix = "\n".join(f"| {name} | {share:.2%} |" for name, share in run.mix.items())
    phase = f"the last {run.end_step - run.branch_step:,} on this mix" if run.branch_step else "all on this mix"
    dropped = f"\nLeft out: {', '.join(run.dropped)} (policy {run.policy}).\n" if run.dropped else ""
    if run.added is not None and run.share is not None:
        beside = run.beside or "the base mix"
        dropped = f"\nA probe of {run.added}: {run.share * 100:.4g} % of the phase, the rest {beside}.\n"
    return f"""---
library_name: transformers
tags: [joyctl]
---
# {run.variant} ({run.id.rpartition("/")[2]})

A final phase of pretraining, made by joyctl to measure what data is worth. Not a model for use.
Recipe `{recipe}`, campaign `{campaign}`, run `{run.id}`.

{run.end_step:,} steps of {spec.training.batch_size} x {spec.training.seq_len} tokens, {phase}.

| source | share of tokens |
|---|---|
{mix}
{dropped}{_trained_elsewhere(spec)}
Protocol: {protocol_words(run.protocol)}.
Base: trunk seed {run.trunk_seed}{f", branched at step {run.branch_step:,}" if run.branch_step else ""}.
Fingerprint of the weights: `{run.fingerprint}`.
"""


if __name__ == "__main__":
    sys.exit(main())
