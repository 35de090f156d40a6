"""Scores a Hugging Face folder on a suite and writes each task's results as soon as it has them.

Two steps, so that a GPU generates code and a processor executes it: `evaluate`, then `execute`. Both let lm-eval score
the answers that a model gave; `evaluate` first has the model give those that are not there yet.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from joyctl.campaign.spec import EvalSpec
from joyctl.errors import Missing, Problem, RecipeError, Refused
from joyctl.evals.answers import ANSWERS, Header, Journal, read_answers
from joyctl.evals.protocol import model_digest, protocol_hash, tokenizer_digest
from joyctl.evals.sandbox import probe
from joyctl.store.files import sha256_file, write_json, write_text
from joyctl.store.fingerprint import changed_keys

if TYPE_CHECKING:
    from joyctl.evals.encode import Encoder
    from joyctl.evals.pool import Pool
    from joyctl.evals.prompts import Prompts
    from joyctl.evals.scoring import Outcome
    from joyctl.evals.tasks import Loaded
    from joyctl.evals.units import Unit
    from joyctl.evals.vllm import Vllm

RESULTS, SAMPLES = "results.json", "samples.jsonl"
_AGAIN = "Have them made again: remove DONE.eval.json of the run and repeat the command."
Progress = Callable[[str, int, int], None]
"""Called with (task, items done, items)."""


def evaluate(
    model_folder: Path,
    spec: EvalSpec,
    out: Path,
    *,
    prompts: Path,
    threads: int = 1,
    processes: int = 1,
    on_progress: Progress | None = None,
    lm_eval_files: bool = False,
) -> None:
    """Score the model on every task of the suite into `out`/<task>/{results.json, samples.jsonl}.

    Scores are lm-eval's own for these tasks, model and batch size. Prompts are kept in the folder `prompts`, answers in
    `out`/<task>/answers.jsonl until the task is scored: what is complete, of the same weights and the same protocol, is
    left alone, and of what was interrupted only the rest is computed. A task that runs code ends with its answers;
    `execute` makes its results of them, and any there of before are removed unless they are complete. `processes` share
    the work, one a GPU. With `lm_eval_files`, `out` also gets the files that lm-eval's command line writes.
    `on_progress` gets (task, items done, items).

    Raises Missing when the model, its tokenizer, task files or datasets are not there, RecipeError for an unknown task,
    or one that the model's length has no room for; nothing is written then.
    """
    _check_model(model_folder)
    model = model_digest(model_folder)
    # The libraries behind this take seconds to import: not before the inputs are known to be there.
    from joyctl.evals import preload  # noqa: F401 - sets what the libraries read from the environment
    from joyctl.evals.encode import Encoder
    from joyctl.evals.pool import Pool
    from joyctl.evals.quick import quick_and_quiet
    from joyctl.evals.tasks import load, names_of

    if spec.backend == "vllm":
        from joyctl.evals.vllm import require_vllm

        require_vllm()
    with quick_and_quiet(threads):
        encoder = Encoder(model_folder)
        entries = [load(entry, spec) for entry in names_of(spec)]
        for loaded in entries:
            _check_room(loaded, encoder)
        pool = Pool(model_folder, spec.batch_size, processes, threads)
        work = _Work(spec, out, model_folder, model, encoder, pool, prompts, on_progress)
        try:
            if spec.backend == "vllm":
                # It takes the GPUs' memory for good: what transformers has to score comes first, of all tasks.
                for loaded in entries:
                    work.score_pairs(loaded)
                pool.close()
            for loaded in entries:
                outcome = work.do(loaded)
                if lm_eval_files and outcome is not None:
                    _write_lm_eval_files(out, outcome, str(model_folder))
        finally:
            pool.close()


@dataclass
class _Work:
    """One model on one suite."""

    spec: EvalSpec
    out: Path
    model_folder: Path
    model: str
    encoder: Encoder
    pool: Pool
    prompts: Path
    on_progress: Progress | None

    @cached_property
    def _vllm(self) -> Vllm:
        from joyctl.evals.vllm import Vllm

        return Vllm(self.model_folder, self.pool.processes, self.encoder.max_length)

    def do(self, loaded: Loaded) -> Outcome | None:
        """Bring one entry as far as `evaluate` does; None where it was there before, or code is to be executed."""
        start = time.monotonic()
        folder, parts = self.out / loaded.name, self._parts(loaded)
        if is_complete(folder, protocol_hash(parts), self.model):
            return None
        asked = self._prompts(loaded, parts)
        journal = self._answered(loaded, asked, parts)
        if loaded.entry.runs_code:
            # What is not of these answers may not stand beside them, nor change under the stage's marker later.
            for name in (RESULTS, SAMPLES):
                (folder / name).unlink(missing_ok=True)
            return None
        from joyctl.evals.scoring import score

        asked.attach(loaded)
        outcome = score(loaded, asked.leaves, journal.answers)
        _write(folder, journal.header, outcome=outcome, seconds=time.monotonic() - start)
        (folder / ANSWERS).unlink()
        return outcome

    def score_pairs(self, loaded: Loaded) -> None:
        """Bring one entry as far as log-likelihoods go."""
        parts = self._parts(loaded)
        if not is_complete(self.out / loaded.name, protocol_hash(parts), self.model):
            self._answered(loaded, self._prompts(loaded, parts), parts, texts=False)

    def _parts(self, loaded: Loaded) -> dict[str, Any]:
        """The protocol: what of it the tasks determine, and what comes with the model and the campaign."""
        from joyctl.evals.engine import scoring_dtype

        how = {
            "tokenizer_sha256": self.encoder.tokenizer_sha256,
            "max_length": self.encoder.max_length,
            "truncation": "left",
            "batch_size": self.spec.batch_size,
            "dtype": scoring_dtype(self.encoder.config),
            "backend": self.spec.backend,
        }
        return _plain({**loaded.protocol(), **how})

    def _prompts(self, loaded: Loaded, parts: Mapping[str, object]) -> Prompts:
        from joyctl.evals.prompts import cached

        # Neither how batches are formed nor what computes them changes a prompt.
        depends = {key: value for key, value in parts.items() if key not in ("batch_size", "dtype", "backend")}
        asked = cached(self.prompts, depends, loaded, self.encoder)
        _check_tails(loaded, asked, self.encoder.max_length)
        return asked

    def _answered(self, loaded: Loaded, asked: Prompts, parts: dict[str, Any], *, texts: bool = True) -> Journal:
        """A journal that holds all answers, those found and those that were missing; without `texts` all but those."""
        units, truncated = self._units(asked, texts=texts)
        header = Header(loaded.name, protocol_hash(parts), parts, self.model, asked.sha256, truncated)
        journal = Journal(self.out / loaded.name, header)
        left = [unit for unit in units if any(key not in journal.answers for key in unit.keys)]
        wanted = len(asked.pair_keys) + len(asked.generation_keys)
        done = wanted - sum(len(unit.keys) for unit in left)
        tell = _of_task(self.on_progress, loaded.name)
        for answers in self._answers(left):
            journal.add(answers)
            done += len(answers)
            tell(min(loaded.items, done * loaded.items // max(1, wanted)), loaded.items)
        journal.close()
        return journal

    def _units(self, asked: Prompts, *, texts: bool) -> tuple[list[Unit], int]:
        """All units of an entry, and how many of its items have a prompt that does not fit."""
        from joyctl.evals.units import batches, cut_items, generations, sequences

        lengths = self.encoder.lengths(asked.texts, asked.generation_texts.tolist())
        room = {
            leaf: self.encoder.room(settings) for leaf, settings in enumerate(asked.settings) if settings is not None
        }
        rows = sequences(asked, self.encoder.max_length)
        made: list[Unit] = [*batches(rows, self.spec.batch_size)]
        if texts:
            made += generations(asked, lengths, self.spec.batch_size)
        return made, cut_items(asked, self.encoder.max_length, lengths, room)

    def _answers(self, units: list[Unit]) -> Any:
        """Answers to units as they come; text from vLLM where the campaign wants that."""
        from joyctl.evals.units import Texts

        texts = [unit for unit in units if isinstance(unit, Texts)]
        if self.spec.backend == "vllm" and texts:
            yield from self._vllm.answer(texts)
            units = [unit for unit in units if not isinstance(unit, Texts)]
        yield from self.pool.answer(units)


def execute(
    spec: EvalSpec,
    out: Path,
    *,
    threads: int = 1,
    unsafe: bool = False,
    on_progress: Progress | None = None,
    lm_eval_files: bool = False,
) -> None:
    """Execute the generated programs that `evaluate` left in `out`, and write the results of their tasks.

    Needs the answers and the tasks, not the model. Where programs cannot be confined, the task is written as `not run`
    with the reason, unless `unsafe`. Complete results of the same answers are left alone, as are complete ones without
    answers. `threads` programs run at once. `on_progress` gets (task, items done, items).

    Raises Missing when answers, task files or datasets are not there, Refused for answers to other prompts or of
    another protocol; nothing is written then.
    """
    for entry in spec.tasks:
        if not entry.runs_code:
            continue
        start = time.monotonic()
        folder = out / entry.task
        stored, done = read_answers(folder), _complete(folder)
        if stored is None and done is None:
            raise Missing(f"nothing to execute: {folder} holds no answers of a model", hint="Run the stage eval first.")
        if stored is None or done == (stored[0].protocol, stored[0].model):
            continue
        header, answers, _ = stored
        why = None if unsafe else probe()
        if why is not None:
            _write(folder, header, reason=f"no sandbox: {why}")
            continue
        from joyctl.evals.prompts import keys_of, requests_of, texts_digest
        from joyctl.evals.quick import quick_and_quiet
        from joyctl.evals.scoring import score
        from joyctl.evals.tasks import load

        with quick_and_quiet(threads):
            loaded = load(entry, spec)
            changes = changed_keys({**header.protocol_parts}, {**header.protocol_parts, **_plain(loaded.protocol())})
            if changes:
                raise Refused(
                    f"the answers in {folder} are of another protocol; changed: {', '.join(c[0] for c in changes)}",
                    hint=_AGAIN,
                )
            requests = requests_of(loaded)
            if texts_digest(requests) != header.prompts_sha256:
                raise Refused(
                    f"the answers in {folder} are to other prompts than {entry.task} asks now",
                    hint=_AGAIN,
                )
            missing = len(keys_of(loaded) - answers.keys())
            if missing:
                raise Missing(
                    f"nothing to execute: {folder} lacks {missing:,} of {missing + len(answers):,} answers of a model",
                    hint=_AGAIN,
                )
            programs = sum(len(some) * int(some[0].repeats or 1) for some in requests.values())
            tell = _Counted(_of_task(on_progress, entry.task), loaded.items, programs)
            outcome = score(loaded, list(requests), answers, threads=threads, unsafe=unsafe, count=tell.more)
            tell.more(programs)
        sandbox = "none" if unsafe else "bubblewrap"
        _write(folder, header, outcome=outcome, seconds=time.monotonic() - start, sandbox=sandbox)
        if lm_eval_files:
            _write_lm_eval_files(out, outcome, header.model)


class _Counted:
    """Programs executed, as items done."""

    def __init__(self, tell: Callable[[int, int], None], items: int, programs: int) -> None:
        self._tell, self._items, self._programs, self._done = tell, items, max(1, programs), 0

    def more(self, programs: int) -> None:
        """So many more are done."""
        self._done += programs
        self._tell(min(self._items, self._done * self._items // self._programs), self._items)


def is_complete(folder: Path, protocol: str, model: str) -> bool:
    """Whether a task's folder holds whole results of this protocol for these weights."""
    return _complete(folder) == (protocol, model)


def _complete(folder: Path) -> tuple[str, str] | None:
    """Protocol and model of the whole results in a task's folder; None when there are none."""
    try:
        results = json.loads((folder / RESULTS).read_bytes())
        if (results["status"], results["samples_sha256"]) != ("ok", sha256_file(folder / SAMPLES)):
            return None
        return results["protocol"], results["model"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _of_task(on_progress: Progress | None, task: str) -> Callable[[int, int], None]:
    def progress(done: int, total: int) -> None:
        if on_progress is not None:
            on_progress(task, done, total)

    return progress


def _plain(parts: Mapping[str, object]) -> dict[str, Any]:
    """As it will be read back from JSON."""
    plain: dict[str, Any] = json.loads(json.dumps(parts))
    return plain


def _write(
    folder: Path,
    header: Header,
    *,
    outcome: Outcome | None = None,
    seconds: float = 0.0,
    reason: str | None = None,
    sandbox: str | None = None,
) -> None:
    """Write samples first and results last: results name the digest of their samples, and so vouch for them."""
    rows = outcome.rows if outcome else []
    write_text(folder / SAMPLES, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    write_json(
        folder / RESULTS,
        {
            "task": header.task,
            "status": "ok" if reason is None else "not run",
            "reason": reason,
            "protocol": header.protocol,
            "protocol_parts": header.protocol_parts,
            "model": header.model,
            "scores": outcome.scores if outcome else [],
            "n_items": outcome.items if outcome else 0,
            "truncated_prompts": header.truncated,
            "sandbox": sandbox,
            "samples_sha256": sha256_file(folder / SAMPLES),
            "seconds": round(seconds, 3),
        },
    )


def _write_lm_eval_files(out: Path, outcome: Outcome, model: str) -> None:
    """lm-eval's own files; one date for all tasks of a folder, that of the first."""
    from joyctl.evals.scoring import write_lm_eval_files

    dates = sorted(path.stem.removeprefix("results_") for path in out.glob("results_*.json"))
    date = dates[-1] if dates else datetime.now(UTC).replace(tzinfo=None).isoformat().replace(":", "-")
    write_lm_eval_files(out, outcome.raw, model, date)


def _check_room(loaded: Loaded, encoder: Encoder) -> None:
    for name, task in loaded.leaves.items():
        settings = task.config.generation_kwargs if task.OUTPUT_TYPE == "generate_until" else None
        if settings is not None and encoder.room(settings) <= 0:
            wanted = encoder.max_length - encoder.room(settings)
            message = f"{name} generates up to {wanted:,} tokens, but the model's context is {encoder.max_length:,}"
            remedy = "Set max_gen_toks of the task in the suite, or leave the task out."
            raise RecipeError([Problem("suite", f"tasks, {loaded.name}", message)], hint=remedy)


def _check_tails(loaded: Loaded, asked: Prompts, max_length: int) -> None:
    """Where a continuation alone is longer than the model accepts, lm-eval stops with an assertion."""
    lengths = asked.tails.lengths
    if len(lengths) and (longest := int(lengths.max())) > max_length:
        leaf, doc, _, _ = asked.pair_keys[int(lengths.argmax())].tolist()
        message = f"an answer of {asked.leaves[leaf]} (item {doc}) has {longest:,} tokens, the context {max_length:,}"
        remedy = "Leave the task out of the suite, or give a model with a longer context."
        raise RecipeError([Problem("suite", f"tasks, {loaded.name}", message)], hint=remedy)


def _check_model(folder: Path) -> None:
    if not folder.is_dir():
        raise Missing(f"no model: {folder} is no folder", hint="give a Hugging Face folder, as `runs/<id>/hf`")
    if not (folder / "config.json").is_file():
        raise Missing(f"{folder} is no Hugging Face folder: it has no config.json")
    tokenizer_digest(folder)
