"""Continuous companions of accuracy, from the log-likelihoods that accuracy is computed of (PURE).

A small model answers MMLU at chance long before the probability of the right answer stops rising: these say so.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

GOLD_BITS = "gold_bits_per_byte"
CHOICE_METRICS = ("correct_prob", "norm_correct_prob", "margin")
Row = dict[str, float]


def of_gold(log_likelihood: float, text: str) -> Row:
    """What bits per byte of a gold answer are made of: `gold_nll` in nats, and `gold_bytes` of its UTF-8 text.

    Over items, bits per byte are sum(gold_nll) / (ln 2 * sum(gold_bytes)).
    """
    return {"gold_nll": -log_likelihood, "gold_bytes": len(text.encode("utf-8", "surrogatepass"))}


def of_choices(log_likelihoods: Sequence[float], gold: int) -> Row:
    """Proxies of one multiple-choice item, from the log-likelihoods (nats) of its choices and the right one's number.

    `correct_prob` is the probability of the right choice, `norm_correct_prob` its share of all choices'
    probabilities, `margin` what it is above the likeliest wrong one (arXiv 2406.04391).
    """
    top = max(log_likelihoods)
    shares = [math.exp(value - top) for value in log_likelihoods]
    probabilities = [math.exp(value) for value in log_likelihoods]
    wrong = max(p for number, p in enumerate(probabilities) if number != gold)
    return {
        "correct_prob": probabilities[gold],
        "norm_correct_prob": shares[gold] / math.fsum(shares),
        "margin": probabilities[gold] - wrong,
    }
