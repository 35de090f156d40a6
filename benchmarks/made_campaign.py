"""A finished campaign of made-up answers in the real shapes and sizes: MMLU, GSM8K and HumanEval of every run.

Planned from the recipe `tiny` by joyctl itself: the control, six durations and three sources left out, on each of
several base runs. Everything is a function of fixed seeds; what the models answered is drawn for every run apart.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from joyctl.campaign.grid import DataFacts, Grid, Point
from joyctl.campaign.plan import plan
from joyctl.campaign.spec import RunSpec, SegmentSpec
from joyctl.launch.disk import write_plan
from joyctl.recipe.load import load_recipe_grid

START = 1_700_000_000.0
SETTINGS = ("eval.suite=core", "training.tokens=20_000_000", "campaign=made")
DURATIONS = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3)
SUBJECTS = (
    *((100,) * 10 + (102, 103, 108, 110, 112, 114, 121, 126, 131, 135, 144, 145, 151, 152, 163, 165, 166, 171, 173)),
    *(193, 198, 201, 203, 204, 216, 223, 234, 235, 237, 238, 245, 265, 270, 272, 282, 306, 310, 311, 324, 346, 378),
    *(390, 545, 612, 783, 895, 1534),
)
"""Questions of MMLU's 57 subjects, 14,042 in all."""
PROBLEMS, PROGRAMS = 1_319, 164
PROXIES = ("correct_prob", "norm_correct_prob", "margin")
TEXTS = 2_000
"""Different answers in words, shared out at random."""


def write(folder: Path, trunk_seeds: int) -> int:
    """Write the campaign into `folder`, ten runs for every base run; gives the number of runs."""
    (point,) = load_recipe_grid("tiny", SETTINGS)
    sources = sorted(point.recipe.sources)
    digests = {name: _digest(name) for name in sources}
    data = DataFacts("/data", dict.fromkeys(sources, 30_000_000), digests, _digest("tokenizer"), _digest("tasks"))
    drops = tuple((name,) for name in ("math", "code", "facts"))
    grid = Grid(durations=DURATIONS, drops=drops, drop_at=(0.2,), trunk_seeds=trunk_seeds)
    planned = plan(point.recipe, [Point(point.recipe, point.changed, point.suite)], grid, data)
    write_plan(folder, planned, "joyctl sweep tiny", {})
    for segment in planned.segments:
        _train(folder / segment.id, segment)
    shapes = _Shapes()
    for number, run in enumerate(planned.runs):
        here = folder / "runs" / run.id
        for stage in run.stages:
            _done(here, stage, 100.0)
        shapes.answer(here, run, number)
    return len(planned.runs)


def _train(here: Path, segment: SegmentSpec) -> None:
    step = segment.training.seq_len * segment.training.batch_size
    steps = np.arange(segment.start_step + 1, segment.end_step + 1)
    losses = 1.0 + 5.0 / np.sqrt(steps)
    lines = [
        f'{{"step": {n}, "loss": {loss!r}, "lr": 0.0025, "grad_norm": 0.4178437590599, "tokens": {n * step}, '
        f'"rows": {{"code": {n}, "facts": {n}, "math": {n}, "web": {5 * n}}}, "time": {START + 0.05 * n}}}\n'
        for n, loss in zip(steps.tolist(), losses.tolist(), strict=True)
    ]
    (here / "metrics.jsonl").write_text("".join(lines), encoding="utf-8")
    _done(here, "train", 0.05 * len(lines))


def _done(here: Path, stage: str, seconds: float) -> None:
    begun = {"stage": stage, "start": START, "pid": 1, "host": "n1", "threads": 1, "job": None, "restart": 0}
    begun |= {"nodes": ["n1"], "part": 1}
    ended = {**begun, "end": START + seconds, "outcome": "done", "error": None, "seconds": seconds}
    with (here / "attempts.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(begun) + "\n" + json.dumps(ended) + "\n")
    (here / f"DONE.{stage}.json").write_text(json.dumps({"stage": stage, "files": {}, "seconds": seconds}))


class _Shapes:
    """What is the same in every run: the beginnings of the lines, and how hard each item is."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        subjects = [f"mmlu_subject_{number:02d}" for number in range(len(SUBJECTS))]
        self.mmlu = [
            _head(i, name, "none", name.removeprefix("mmlu_"))
            for name, size in zip(subjects, SUBJECTS, strict=True)
            for i in range(size)
        ]
        self.problems = {
            name: [_head(i, "gsm8k_cot", name, str(i)) for i in range(PROBLEMS)]
            for name in ("strict-match", "flexible-extract", "gold")
        }
        self.programs = {
            name: [_head(i, "humaneval", name, str(i)) for i in range(PROGRAMS)] for name in ("create_test", "gold")
        }
        self.hard = {n: rng.uniform(size=n) for n in (len(self.mmlu), PROBLEMS, PROGRAMS)}
        self.bytes = {n: rng.integers(2, 400, n) for n in self.hard}
        words = [
            "There",
            "are",
            "apples",
            "so",
            "Anna’s",
            "total",
            "is",
            "£",
            "then",
            "each",
            "gives",
            "left",
            "×",
            "é",
        ]
        lengths = rng.integers(150, 600, TEXTS)
        self.texts = [
            json.dumps(
                " ".join(f"{words[w]} {w * 7}" for w in rng.integers(0, len(words), length // 7)) + "\n#### 42",
                ensure_ascii=False,
            )
            for length in lengths
        ]

    def answer(self, here: Path, run: RunSpec, number: int) -> None:
        """Write samples.jsonl and results.json of all three benchmarks."""
        rng = np.random.default_rng([1, number])
        able = 0.3 + run.duration - 0.1 * len(run.dropped) + 0.01 * run.trunk_seed
        self._choices(here / "eval" / "mmlu", rng, able)
        self._texts(here / "eval" / "gsm8k_cot", rng, able, self.problems, "exact_match", PROBLEMS)
        self._texts(here / "eval" / "humaneval", rng, able, self.programs, "pass@1", PROGRAMS)

    def _right(self, rng: np.random.Generator, able: float, n: int) -> Any:
        return (0.7 * self.hard[n] + 0.3 * rng.uniform(size=n) < able).astype(np.float64)

    def _choices(self, here: Path, rng: np.random.Generator, able: float) -> None:
        n = len(self.mmlu)
        share = rng.uniform(0.01, 0.99, n)
        columns = {
            "acc": self._right(rng, able, n),
            "correct_prob": share * 0.9,
            "norm_correct_prob": share,
            "margin": share - 0.5,
            "gold_nll": -np.log(share),
        }
        sizes = np.full(n, 2)
        lines = [
            f'{head}, "acc": {a}, "correct_prob": {c!r}, "norm_correct_prob": {s!r}, "margin": {m!r}, '
            f'"gold_nll": {g!r}, "gold_bytes": 2}}\n'
            for head, a, c, s, m, g in zip(self.mmlu, *(column.tolist() for column in columns.values()), strict=True)
        ]
        scores = [_mean("acc", "none", columns["acc"])]
        scores += [_bits("none", columns["gold_nll"], sizes)]
        scores += [_mean(name, "none", columns[name]) for name in PROXIES]
        _write(here, lines, scores, n)

    def _texts(
        self, here: Path, rng: np.random.Generator, able: float, heads: Mapping[str, list[str]], metric: str, n: int
    ) -> None:
        chosen = rng.integers(0, len(self.texts), n).tolist()
        lines, scores = [], []
        for name, of_filter in heads.items():
            if name == "gold":
                nats = rng.uniform(0.2, 1.2, n) * self.bytes[n]
                numbers = zip(of_filter, nats.tolist(), self.bytes[n].tolist(), strict=True)
                lines += [f'{head}, "gold_nll": {nll!r}, "gold_bytes": {size}}}\n' for head, nll, size in numbers]
                scores.append(_bits(name, nats, self.bytes[n]))
                continue
            right = self._right(rng, able, n)
            told = zip(of_filter, right.tolist(), chosen, strict=True)
            lines += [f'{head}, "{metric}": {r}, "response": {self.texts[text]}}}\n' for head, r, text in told]
            scores.append(_mean(metric, name, right))
        _write(here, lines, scores, n)


def _head(number: int, task: str, filter_: str, cluster: str) -> str:
    names = {"doc_id": number, "task": task, "filter": filter_, "cluster": cluster}
    return json.dumps({**names, "hash": _digest(f"{task} {number}")}).removesuffix("}")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _mean(metric: str, filter_: str, values: Any) -> dict[str, Any]:
    error = float(values.std(ddof=1) / np.sqrt(len(values)))
    return _score(metric, filter_, float(values.mean()), error, len(values), better=True)


def _bits(filter_: str, nats: Any, sizes: Any) -> dict[str, Any]:
    value = float(nats.sum() / np.log(2) / sizes.sum())
    return _score("gold_bits_per_byte", filter_, value, 0.01, len(nats), better=False)


def _score(metric: str, filter_: str, value: float, stderr: float, n: int, *, better: bool) -> dict[str, Any]:
    return {"metric": metric, "filter": filter_, "value": value, "stderr": stderr, "n": n, "higher_is_better": better}


def _write(here: Path, lines: Sequence[str], scores: Sequence[Mapping[str, Any]], items: int) -> None:
    here.mkdir(parents=True)
    text = "".join(lines)
    (here / "samples.jsonl").write_text(text, encoding="utf-8")
    leaves = dict.fromkeys(
        (f"mmlu_subject_{i:02d}" for i in range(len(SUBJECTS))) if here.name == "mmlu" else [here.name], "d" * 64
    )
    parts = {"task": here.name, "lm_eval": "0.4.13", "max_length": 4096, "documents": leaves, "tasks": leaves}
    result = {
        "task": here.name,
        "status": "ok",
        "reason": None,
        "protocol": _digest(here.name),
        "protocol_parts": parts,
        "model": "m" * 64,
        "scores": scores,
        "n_items": items,
        "truncated_prompts": 0,
        "sandbox": None,
        "samples_sha256": _digest(text),
        "seconds": 1.0,
    }
    (here / "results.json").write_text(json.dumps(result, indent=1), encoding="utf-8")
