"""Writes a campaign's folder as sweep, worker and harness leave it, with answers drawn from a seed."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from joyctl.campaign.spec import EvalSpec, Protocol, RunSpec

STEPS, SEQ_LEN, BATCH = 1_000, 128, 8
BASE = {"web": 0.9, "math": 0.045, "facts": 0.04, "code": 0.015}
UPSAMPLED = {"web": 0.1, "math": 0.37, "facts": 0.38, "code": 0.15}
RECIPE: dict[str, Any] = {
    "name": "tiny",
    "sources": {
        "web": {"category": "large_cc"},
        "math": {"category": "domain"},
        "facts": {"category": "domain"},
        "code": {"category": "code"},
    },
    "training": {"tokens": STEPS * SEQ_LEN * BATCH, "seq_len": SEQ_LEN, "batch_size": BATCH},
}
CLUSTERS = {"micro_mc": 4, "micro_math": 150, "micro_code": 120, "heldout_web": 200, "heldout_math": 200}
SIZES = {"micro_mc": 400, "micro_math": 400, "micro_code": 164, "heldout_web": 200, "heldout_math": 200}
GOES_ON = Protocol()


@dataclass
class Arm:
    """One variant of the made-up campaign and how well it does."""

    variant: str
    duration: float
    control: str | None
    accuracy: Mapping[str, float]
    """True pass rate by benchmark, and bits per byte by held-out source."""
    dropped: tuple[str, ...] = ()
    policy: str | None = None
    mix: Mapping[str, float] = field(default_factory=lambda: UPSAMPLED)
    added: str | None = None
    share: float | None = None
    beside: str | None = None
    protocol: Protocol = GOES_ON

    @property
    def is_phase(self) -> bool:
        """Whether it trains a segment of its own, and is not the trunk's end."""
        return self.control is not None or self.duration > 0


def arm(
    variant: str, duration: float, control: str | None, mc: float, math_: float, code: float, web: float, **more: Any
) -> Arm:
    """An arm with its true scores."""
    heldout = {"heldout_web": web, "heldout_math": 1.2 - duration}
    return Arm(variant, duration, control, {"micro_mc": mc, "micro_math": math_, "micro_code": code, **heldout}, **more)


ARMS = (
    arm("control", 0.0, None, 0.45, 0.28, 0.50, 1.561, mix=BASE),
    arm("upsample-10", 0.1, "control", 0.56, 0.40, 0.68, 1.608),
    arm("upsample-20", 0.2, "control", 0.66, 0.53, 0.88, 1.663),
    arm(
        "drop-math-20",
        0.2,
        "upsample-20",
        0.67,
        0.04,
        0.90,
        1.645,
        dropped=("math",),
        policy="renormalise",
        mix={"web": 0.159, "facts": 0.603, "code": 0.238},
    ),
)


def write_campaign(folder: Path, arms: tuple[Arm, ...] = ARMS, seeds: int = 1, scored: bool = True) -> Path:
    """A complete campaign; tests take files away from it."""
    runs = [f"{a.variant}/s{seed}" for seed in range(seeds) for a in arms]
    segments = [f"trunk/s{seed}/0-{STEPS}" for seed in range(seeds)]
    segments += [f"runs/{a.variant}/s{seed}" for seed in range(seeds) for a in arms if a.is_phase]
    campaign = {
        "campaign": "tiny",
        "recipe": RECIPE,
        "hypothesis": "does upsampling math, code and facts at the end pay?",
        "runs": runs,
        "segments": segments,
    }
    put(folder / "campaign.json", campaign)
    for seed in range(seeds):
        put(folder / f"trunk/s{seed}/0-{STEPS}" / "DONE.train.json", {})
        for one in arms:
            write_run(folder, one, seed)
            if scored:
                for task in SIZES:
                    write_scores(folder / "runs" / one.variant / f"s{seed}", one, task, seed)
    return folder


def write_run(folder: Path, one: Arm, seed: int) -> RunSpec:
    """run.json and the markers of a complete run."""
    start = round(STEPS * (1 - one.duration)) if one.is_phase else None
    spec = RunSpec(
        id=f"{one.variant}/s{seed}",
        variant=one.variant,
        trunk_seed=seed,
        seed=0,
        control=f"{one.control}/s{seed}" if one.control else None,
        duration=one.duration,
        dropped=one.dropped,
        policy=one.policy,
        changed={},
        added=one.added,
        share=one.share,
        beside=one.beside,
        protocol=one.protocol,
        mix=dict(one.mix),
        branch_step=start,
        end_step=STEPS,
        segment=f"runs/{one.variant}/s{seed}" if one.is_phase else f"trunk/s{seed}/0-{STEPS}",
        fingerprint="f" * 64,
        eval=EvalSpec(suite="micro", batch_size=64, data_folder="/data", data_sha256="d" * 64),
    )
    here = folder / "runs" / spec.id
    put(here / "run.json", spec.model_dump(mode="json"))
    for stage in ("train", *spec.stages) if one.is_phase else spec.stages:
        put(here / f"DONE.{stage}.json", {})
    return spec


def write_scores(here: Path, one: Arm, task: str, seed: int) -> None:
    """results.json and samples.jsonl of one task: the same items for every arm, abilities shared by seed."""
    items = np.random.default_rng([len(task), SIZES[task]])
    answers = np.random.default_rng([seed, len(one.variant), round(one.duration * 100), len(task)])
    hard = items.uniform(size=SIZES[task])
    truth = one.accuracy[task]
    samples: list[dict[str, Any]] = []
    lines: list[tuple[str, str, float, float]] = []
    if task.startswith("heldout_"):
        size = items.integers(100, 900, SIZES[task])
        bits = size * (truth + (hard - 0.5) * 0.4 + answers.normal(0, 0.02, SIZES[task]))
        for i in range(SIZES[task]):
            samples.append(sample(i, task, "none", f"d{i}", nll=bits[i] * math.log(2), bytes=int(size[i])))
        lines.append(("bits_per_byte", "none", float(bits.sum() / size.sum()), 0.01))
    else:
        metric, filters = {
            "micro_mc": ("acc", ("none",)),
            "micro_math": ("exact_match", ("strict-match", "flexible-extract")),
            "micro_code": ("pass@1", ("create_test",)),
        }[task]
        right = (0.75 * hard + 0.25 * answers.uniform(size=SIZES[task])) < truth
        for name in filters:
            for i in range(SIZES[task]):
                leaf = f"{task}_{i % CLUSTERS[task]}" if task == "micro_mc" else task
                samples.append(sample(i, leaf, name, f"c{i % CLUSTERS[task]}", **{metric: float(right[i])}))
            lines.append((metric, name, float(right.mean()), float(right.std(ddof=1) / len(right) ** 0.5)))
    scores = [
        {"metric": m, "filter": f, "value": v, "stderr": e, "n": SIZES[task], "higher_is_better": m[:4] != "bits"}
        for m, f, v, e in lines
    ]
    parts = {"task": task, "num_fewshot": 0, "lm_eval": "0.4.13"}
    digest = hashlib.sha256(task.encode()).hexdigest()
    result = {"task": task, "status": "ok", "reason": None, "protocol": digest, "protocol_parts": parts}
    result |= {"scores": scores, "seconds": 1.0}
    put(here / "eval" / task / "results.json", result)
    (here / "eval" / task / "samples.jsonl").write_text("".join(json.dumps(s) + "\n" for s in samples))


def give_suite(
    folder: Path, tasks: Sequence[Mapping[str, Any]], aggregate: Mapping[str, Any] | None, **more: Any
) -> None:
    """Write these suite entries, and other keys of `eval`, into every run.json."""
    for path in folder.glob("runs/*/*/run.json"):
        run = json.loads(path.read_text())
        put(path, {**run, "eval": {**run["eval"], "tasks": list(tasks), "aggregate": aggregate, **more}})


def write_choices(
    folder: Path, task: str, accuracy: Mapping[str, float], n: int = 300, metric: str = "acc", **result: Any
) -> None:
    """Multiple-choice results of every run with their proxies, as the harness writes them; `accuracy` by variant.

    Further keys go into results.json.
    """
    for here in folder.glob("runs/*/*"):
        variant, seed = here.parts[-2:]
        truth = accuracy.get(variant)
        if truth is None:
            continue
        items = np.random.default_rng([n, len(task)])
        answers = np.random.default_rng([int(seed[1:]), sum(map(ord, variant)), len(task)])
        hard, size = items.uniform(size=n), items.integers(3, 30, n)
        right = (0.75 * hard + 0.25 * answers.uniform(size=n)) < truth
        share = np.clip(0.25 + 0.4 * (truth - hard) + answers.normal(0, 0.02, n), 0.01, 0.99)
        rows = [
            sample(
                i,
                task,
                "none",
                str(i),
                **{metric: float(right[i])},
                correct_prob=share[i] / 10,
                norm_correct_prob=share[i],
                margin=share[i] / 10 - 0.05,
                gold_nll=-math.log(share[i]) * size[i] / 4,
                gold_bytes=int(size[i]),
            )
            for i in range(n)
        ]
        means = {name: float(np.mean([r[name] for r in rows])) for name in (metric, *PROXIES)}
        bits = sum(r["gold_nll"] for r in rows) / math.log(2) / sum(r["gold_bytes"] for r in rows)
        scores = [score_line(name, value, n) for name, value in means.items()]
        scores.append({**score_line("gold_bits_per_byte", bits, n), "higher_is_better": False})
        digest = hashlib.sha256(task.encode()).hexdigest()
        parts = {"task": task, "n_shot": 5, "max_length": 2048, "truncation": "left", "tokenizer_sha256": "t" * 64}
        value = {"task": task, "status": "ok", "reason": None, "protocol": digest, "protocol_parts": parts}
        value |= {"scores": scores, "n_items": n, "truncated_prompts": 0, "sandbox": None, "seconds": 1.0, **result}
        put(here / "eval" / task / "results.json", value)
        (here / "eval" / task / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


GOLDEN = Path(__file__).parent / "golden"
PROXIES = ("correct_prob", "norm_correct_prob", "margin")


def score_line(metric: str, value: float, n: int) -> dict[str, Any]:
    """One score of results.json."""
    return {"metric": metric, "filter": "none", "value": value, "stderr": 0.01, "n": n, "higher_is_better": True}


def sample(number: int, task: str, filter_: str, cluster: str, **values: float) -> dict[str, Any]:
    """One line of samples.jsonl."""
    names = {"doc_id": number, "task": task, "filter": filter_, "cluster": cluster, "hash": f"{task}-{number}"}
    return {**names, **values}


def put(path: Path, value: object) -> None:
    """Write JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def same_as_golden(name: str, text: str) -> None:
    """Compare with tests/golden/<name>; a wanted change is made by removing the file and running again."""
    path = GOLDEN / name
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        pytest.fail(f"{path} was not there and has been written: look at it and run again")
    assert text == path.read_text(encoding="utf-8")
