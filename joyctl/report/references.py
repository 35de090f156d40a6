"""References beside the runs: which of their scores compare with the runs', and what their own models bring."""

from __future__ import annotations

from dataclasses import replace

from joyctl.campaign.spec import RunSpec
from joyctl.errors import Refused
from joyctl.report.pairing import check_pairable
from joyctl.report.results import CampaignResults, MissingScore, ModelPart, Score
from joyctl.store import layout
from joyctl.store.fingerprint import changed_keys

MODEL_PARTS = ("tokenizer_sha256", "max_length", "dtype")
"""Parts of a protocol that a model brings with it. In all others a reference must have been scored as the runs were."""


def is_reference(run: str) -> bool:
    """Whether an id, or a variant, is a reference's."""
    return run.startswith(layout.REFERENCE)


def admit(results: CampaignResults) -> CampaignResults:
    """The results with those scores of references only that compare with the runs'; the others are missing, and why.

    A score compares when it was asked the same, item by item (document, prompt, target, bytes), and its protocol is the
    runs' but for MODEL_PARTS; `model_parts` then says what of these is otherwise. Losses compare across tokenizers
    since all of them are bits per byte of text. Where no run has a score, a reference's stands alone.
    """
    controls = {run.id: run.control for run in results.runs if run.reference is not None}
    ours: dict[tuple[str, str, str, str], Score] = {}
    for score in results.scores:
        if score.run not in controls:
            ours[(score.run, *score.key)] = score
            ours.setdefault(("", *score.key), score)
    kept: list[Score] = []
    missing: dict[MissingScore, None] = {}
    parts: dict[ModelPart, None] = {}
    for score in results.scores:
        other = ours.get((controls.get(score.run) or "", *score.key)) or ours.get(("", *score.key))
        if score.run not in controls or other is None:
            kept.append(score)
            continue
        reason, found = _compared(score, other, results)
        if reason is not None:
            missing[MissingScore(score.run, score.task, reason)] = None
            continue
        kept.append(replace(score, compared_as=other.protocol))
        parts |= dict.fromkeys(found)
    return replace(
        results, scores=tuple(kept), missing=(*results.missing, *missing), model_parts=(*results.model_parts, *parts)
    )


def without_references(results: CampaignResults) -> CampaignResults:
    """The campaign's own runs alone."""
    return replace(
        results,
        expected=tuple(run for run in results.expected if not is_reference(run)),
        runs=tuple(run for run in results.runs if run.reference is None),
        scores=tuple(score for score in results.scores if not is_reference(score.run)),
        missing=tuple(lack for lack in results.missing if not is_reference(lack.run)),
        scorings=tuple(scoring for scoring in results.scorings if not is_reference(scoring.run)),
        model_parts=(),
    )


def remark(results: CampaignResults, run: RunSpec) -> str | None:
    """What a reader must know of a reference: which model it is, and what came with it; None for any other run."""
    if run.reference is None:
        return None
    commit = f" ({run.reference.commit[:12]})" if run.reference.commit else ""
    said = ["another model, not a run of this campaign", f"{run.reference.model}{commit}"]
    said += [run.reference.about] if run.reference.about else []
    against = next((other.variant for other in results.runs if other.id == run.control), None)
    if sum(other.variant == against for other in results.runs) > 1:
        said.append(f"against {run.control} alone")
    said += [_part_words(part) for part in results.model_parts if part.run == run.id]
    for scoring in results.scorings:
        if scoring.run == run.id and scoring.truncated:
            said.append(f"{scoring.truncated:,} of {scoring.items:,} prompts of {scoring.task} were cut")
    return "; ".join(said)


def _part_words(part: ModelPart) -> str:
    """`another tokenizer`, or what of the protocol else came with the model."""
    if part.part == "tokenizer_sha256":
        return "another tokenizer (losses are bits per byte, which compare across tokenizers)"
    if part.part == "max_length":
        return f"a context of {part.own} tokens, the runs' is {part.runs}"
    return f"scored in {part.own}, the runs in {part.runs}"


def _compared(score: Score, other: Score, results: CampaignResults) -> tuple[str | None, list[ModelPart]]:
    """Why a reference's score does not compare with a run's, or else what its model brings."""
    theirs, own = (dict(results.protocols.get(one.protocol, {})) for one in (other, score))
    changes = changed_keys(theirs, own)
    asked = [change for change in changes if change[0] not in MODEL_PARTS]
    if asked or (not changes and score.protocol != other.protocol):
        what = ", ".join(f"{key} {before} → {now}" for key, before, now in asked[:3]) or "its parts are not known"
        return f"scored under another protocol than the runs: {what}", []
    try:
        check_pairable(replace(score, compared_as=other.protocol), other)
    except Refused as error:
        return error.message, []
    return None, [ModelPart(score.run, *change) for change in changes]
