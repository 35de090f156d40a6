"""What must be said under a table: comparisons, seeds, few clusters, policies, mixes, missing scores."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from joyctl.campaign.documents import APART, JOINED
from joyctl.campaign.protocol import protocol_words
from joyctl.report.aggregate import RESCALED
from joyctl.report.datawords import data_notes
from joyctl.report.items import GOLD_BITS
from joyctl.report.judge import ALPHA
from joyctl.report.noise import Floor
from joyctl.report.power import POWER
from joyctl.report.published import Published
from joyctl.report.references import without_references
from joyctl.report.report import Report
from joyctl.report.sheet import Row

_PROXY_WORDS = {GOLD_BITS: "the bits per byte of its right answers", "norm_correct_prob": "norm_correct_prob"}


def holm_notes(report: Report) -> list[str]:
    """What the signs mean, and for how many comparisons the verdicts are corrected."""
    headline = [delta for delta in report.averages if delta.family == "headline"]
    if not headline:
        return []
    count = f"{len(headline)} comparison{'s' if len(headline) > 1 else ''}"
    level = f"{ALPHA * 100:.0f} %"
    found = [f"▲▼ better or worse than its control, Holm over {count} at {level}   · no detectable difference"]
    if any(delta.uncorrected for delta in headline):
        found.append("△▽ not detectable either: its own 95 % interval excludes 0, but not after Holm")
    return found


def detectable_notes(report: Report) -> list[str]:
    """Where nothing was detectable, how large a difference would have been seen."""
    parts = []
    for column in report.columns:
        sizes = [
            delta.detectable
            for delta in report.averages
            if (delta.family, delta.key, delta.verdict) == ("headline", column.key, "no detectable difference")
        ]
        if sizes:
            low, high = column.size(min(sizes)), column.size(max(sizes))
            parts.append(f"{column.label} {low if low == high else f'{low} to {high}'} {column.unit}")
    if not parts:
        return []
    return [f"· would have been seen with {POWER * 100:.0f} % probability, after Holm: {', '.join(parts)}"]


def noise_notes(report: Report) -> list[str]:
    """Run-to-run noise of the control's headline scores, phases and base runs apart."""
    labels = {column.key: column for column in report.columns}
    lines = []
    kinds: tuple[tuple[str, Callable[[Floor], tuple[float | None, int]]], ...] = (
        ("orders of data within a base run", lambda floor: (floor.phase_sd, floor.phase_df)),
        ("base runs", lambda floor: (floor.trunk_sd, floor.trunk_df)),
    )
    for name, of in kinds:
        found: dict[tuple[str, int], list[str]] = {}
        for floor in report.floors:
            sd, df = of(floor)
            if sd is not None and floor.key in labels:
                column = labels[floor.key]
                found.setdefault((floor.variant, df), []).append(f"{column.label} {column.amount(sd, '-')}")
        lines += [
            f"noise floor: {variant} moves between {name} by (standard deviation, {df} degrees of freedom) "
            + ", ".join(parts)
            for (variant, df), parts in found.items()
        ]
    return lines


def reference_notes(report: Report) -> list[str]:
    """For how many comparisons the verdicts about references are corrected."""
    count = sum(delta.family == "reference" for delta in report.averages)
    if not count:
        return []
    many = f"{count} comparison{'s' if count > 1 else ''}"
    return [f"references: other models, against the control; Holm over their own {many}, all scores counted"]


def interval_note() -> str:
    """What stands in brackets, and after the plus-minus sign."""
    return "[ ] 95 % interval of the difference, paired by item, clustered; ± one standard error"


def cluster_notes(report: Report) -> list[str]:
    """Benchmarks whose clusters are too few to generalise over."""
    few = {
        column.label: delta.clusters
        for column in report.columns
        if column.key[1] != RESCALED  # its benchmarks' clusters are not of one kind, and said in the full tables
        for delta in report.averages
        if delta.key == column.key and delta.few_clusters
    }
    return [
        f"{label}: {count} cluster{'s' if count > 1 else ''} of items (subjects) only: "
        f"verdicts hold for {'these' if count > 1 else 'it'}, not for others"
        for label, count in few.items()
    ]


def aggregate_notes(report: Report) -> list[str]:
    """What the average over categories is made of."""
    found = {}
    for one in report.composites:
        if one.overall:
            entries = one.protocol_parts["tasks"].values()
            categories = {entry["category"] for entry in entries}
            of = f" in {len(categories)} categories" if len(categories) > 1 else ""
            text = f"{len(entries)} benchmarks{of}, each rescaled: 0 is guessing, 100 all right"
            found[one.task] = f"{one.task}, version {one.protocol_parts['version']}: {text}"
    return list(found.values())


def chance_notes(report: Report) -> list[str]:
    """Benchmarks that the control answers no better than by guessing, and what to read instead."""
    labels = {column.key: column.label for column in report.columns}
    averaged = [task for task, entry in report.results.suite.items() if entry.category is not None]
    lines = []
    for one in report.chance:
        if one.key in labels:
            found = f"{one.value * 100:.1f} %, its interval from {one.low * 100:.1f}, guessing {one.baseline * 100:.4g}"
            read = " and ".join(_PROXY_WORDS[key[1]] for key in one.proxies)
            instead = f"read {read}, which count in the headline too" if read else "no proxy was scored beside it"
            lines.append(f"{labels[one.key]}: {one.control} is at chance ({found}): {instead}")
    low = [one.key[0] for one in report.chance if one.key not in labels and one.key[0] in averaged]
    if low:
        lines.append(f"at chance too: {', '.join(low)} ({len(low)} of the {len(averaged)} behind the average)")
    return lines


def scoring_notes(report: Report) -> list[str]:
    """What went otherwise than meant: rows shown again, leaked items, cut prompts, few items, code not confined,
    documents not apart."""
    results, ours = report.results, without_references(report.results)
    lines = data_notes(report)
    protocols = {score.task: results.protocols.get(score.protocol, {}) for score in ours.scores}
    for task in results.tasks:
        cut = {(s.truncated, s.items) for s in ours.scorings if s.task == task and s.truncated > 0}
        if cut:
            count, items = max(cut)
            of = f"{count:,} of {items:,}" if items else f"{count:,}"
            length = protocols.get(task, {}).get("max_length")
            room = f"{length:,} tokens" if isinstance(length, int) else "the model's context"
            lines.append(f"{'up to ' if len(cut) > 1 else ''}{of} prompts of {task} were cut to fit {room}")
    limits = sorted({run.eval.limit for run in results.runs if run.eval.limit is not None})
    if limits:
        lines.append(
            f"a quick look: only the first {' or '.join(f'{n:,}' for n in limits)} items of every task were scored"
        )
    bare: dict[str, list[str]] = {}
    for scoring in results.scorings:
        if scoring.sandbox == "none":
            bare.setdefault(scoring.task, []).append(scoring.run)
    for task, runs in bare.items():
        whole = len(runs) == sum(scoring.task == task for scoring in results.scorings)
        where = "in every run" if whole else f"in {', '.join(runs)}"
        lines.append(f"{task}: generated code ran unprotected {where} (--unsafe-code)")
    return lines + [f"training: {said}" for said in results.attention if said not in (APART, JOINED)]


def alone_note(report: Report) -> list[str]:
    """What `alone` means, where a variant is scored and its control is not."""
    alone = any(
        cell.absolute is not None and cell.delta is None and not row.is_control
        for row in report.rows
        for cell in row.cells.values()
    )
    return ["alone: the score itself, since its control is not scored yet"] if alone else []


def protocol_line(report: Report) -> str:
    """How the phases were trained and read off; all runs of a table alike."""
    return f"protocol: {protocol_words(report.protocol)}"


def claim_line(report: Report) -> list[str]:
    """What the differences are about, where there are any."""
    return [f"claim: {report.claim.words}"] if report.claim is not None else []


def seed_note(report: Report) -> str | None:
    """Whether run-to-run noise is in the intervals; None without any comparison."""
    ours = [delta for delta in report.averages if delta.family != "reference"]
    if not ours:
        return None
    seeds = {delta.seeds for delta in ours}
    trunks = {delta.trunks for delta in ours}
    if seeds == {1}:
        return "1 seed: no run-to-run noise in the intervals (--seeds 3)"
    counted = str(max(seeds)) if len(seeds) == 1 else f"{min(seeds)} to {max(seeds)}"
    if trunks == {1}:
        return f"average of {counted} seeds within one base run: noise between base runs is not in the intervals"
    note = f"average of {counted} seeds, run-to-run noise in the intervals"
    return note if min(seeds) > 1 else f"{note} where there are two or more"


def published_notes(one: Published) -> list[str]:
    """What published numbers beside measured ones do say and do not."""
    lines = [f"published: {one.source}, {one.model}, as differences in percentage points"]
    if one.second_hand:
        lines.append("second-hand: these numbers were read in another's excerpt, not in the publication itself")
    lines.append(
        "another model, scored in another way: only the direction compares, where one is detectable here. inside: the "
        "published difference lies in the measured 95 % interval, which tells of size only for equal models"
    )
    if one.not_run:
        lines.append(f"published too, but not compared here: {', '.join(one.not_run)}")
    return lines


def footnotes(rows: Sequence[Row]) -> dict[str, tuple[int, str]]:
    """For references, and for rows not compared with the plain control: a number and what is to be known, by variant.

    Rows with the same remark share a number.
    """
    numbers: dict[str, int] = {}
    found = {}
    controls = {row.variant: row.runs[0].duration for row in rows if row.is_control}
    main = next(iter(controls), None)
    for row in rows:
        if row.remark is not None:
            found[row.variant] = (numbers.setdefault(row.remark, len(numbers) + 1), row.remark)
            continue
        plain = bool(row.runs) and not row.runs[0].dropped and row.runs[0].added is None
        if row.control is None or not row.runs or (row.control == main and plain and not controls[main]):
            continue
        own = plain and controls.get(row.control, 0) == row.runs[0].duration and not row.runs[0].changed
        remark = "against the control of its duration" if own else f"against {row.control}"
        if row.runs[0].added is not None:
            share = f"{row.runs[0].share * 100:.4g} % " if row.runs[0].share is not None else ""
            remark = f"{share}{row.runs[0].added}, the rest {row.runs[0].beside or 'the base mix'}, {remark}"
        policy = row.runs[0].policy
        if policy is not None:
            remark += f", {policy_words(policy)}"
        found[row.variant] = (numbers.setdefault(remark, len(numbers) + 1), remark)
    return found


def policy_words(policy: str) -> str:
    """A drop policy in words."""
    kind, _, source = policy.partition(":")
    if kind == "replace":
        return f"its share given to {source}"
    if kind == "renormalise-category":
        return "its share spread over the others of its category"
    if kind == "shrink":
        return "its share left out: fewer tokens"
    return "its share spread over the others in proportion"


def mixes(report: Report) -> tuple[tuple[str, ...], list[tuple[str, tuple[float, ...]]]]:
    """(sources, rows): variants of the same mix together with its shares, in the order of the table."""
    sources = tuple(dict.fromkeys(name for run in report.results.runs for name in run.mix))
    groups: dict[tuple[float, ...], list[str]] = {}
    for row in report.rows:
        if row.runs and not row.is_reference:
            shares = tuple(row.runs[0].mix.get(name, 0.0) for name in sources)
            groups.setdefault(shares, []).append(row.variant)
    return sources, [(_together(variants), shares) for shares, variants in groups.items()]


def missing(report: Report) -> list[tuple[str, str]]:
    """(what, why) for every score that is not there, those with one reason together."""
    by_reason: dict[tuple[str | None, str], list[str]] = {}
    for lack in report.results.missing:
        by_reason.setdefault((lack.task, lack.reason), []).append(lack.run)
    merged: dict[tuple[tuple[str, ...], str], list[str]] = {}
    for (task, reason), runs in by_reason.items():
        merged.setdefault((tuple(runs), reason), []).extend([task] if task else [])
    everyone = len(report.results.expected)
    found = []
    place = report.results.expected.index
    for (named, reason), tasks in sorted(merged.items(), key=lambda entry: place(entry[0][0][0])):
        who = "every run" if len(named) == everyone > 1 else ", ".join(named)
        found.append((who if not tasks else f"{who}: {', '.join(tasks)}", reason))
    return found


def _together(variants: Iterable[str]) -> str:
    """`upsample-5, upsample-10` as `upsample-5, 10`: what they share is said once."""
    said: list[str] = []
    shared = ""
    for variant in variants:
        head, dash, tail = variant.rpartition("-")
        said.append(tail if dash and head == shared else variant)
        shared = head if dash else ""
    return ", ".join(said)
