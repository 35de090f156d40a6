"""Mixes: normalised exactly, dropped by policy, written as small integers."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joyctl.campaign.mixture import MAX_PERIOD, drop, integer_weights, normalise

UP = normalise({"web": 0.1, "math": 0.37, "code": 0.15, "facts": 0.38})
CATEGORIES = {"web": "large_cc", "math": "domain", "code": "code", "facts": "domain"}
positive = st.floats(1e-6, 1e6, allow_nan=False)


def test_decimal_weights_are_taken_at_their_written_value() -> None:
    assert normalise({"a": 0.1, "b": 0.2}) == {"a": Fraction(1, 3), "b": Fraction(2, 3)}


def test_weights_that_sum_to_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="sum to nothing"):
        normalise({"a": 0.0})


def test_renormalise_lets_the_others_grow_in_proportion() -> None:
    left = drop(UP, ("math",), "renormalise", CATEGORIES)
    assert left.mix == {"web": Fraction(10, 63), "code": Fraction(15, 63), "facts": Fraction(38, 63)}
    assert left.length == 1


def test_replace_gives_the_share_to_one_source() -> None:
    left = drop(UP, ("math",), "replace:web", CATEGORIES)
    assert left.mix == {"web": Fraction(47, 100), "code": Fraction(15, 100), "facts": Fraction(38, 100)}
    assert left.length == 1


def test_shrink_shortens_the_phase_by_the_share() -> None:
    left = drop(UP, ("math", "code"), "shrink", CATEGORIES)
    assert left.length == Fraction(48, 100)
    assert left.mix == {"web": Fraction(10, 48), "facts": Fraction(38, 48)}


def test_dropping_all_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing to train on"):
        drop(UP, ("web", "math", "code", "facts"), "renormalise", CATEGORIES)
    with pytest.raises(ValueError, match="dropped itself"):
        drop(UP, ("math",), "replace:math", CATEGORIES)


def test_integer_weights_are_the_smallest_in_proportion() -> None:
    assert integer_weights(UP) == {"code": 15, "facts": 38, "math": 37, "web": 10}
    assert integer_weights(drop(UP, ("math",), "renormalise", CATEGORIES).mix) == {"code": 15, "facts": 38, "web": 10}


@given(st.dictionaries(st.sampled_from("abcdefgh"), positive, min_size=1))
def test_integer_weights_keep_every_share(weights: dict[str, float]) -> None:
    mix = normalise(weights)
    made = integer_weights(mix)
    period = sum(made.values())
    assert period <= MAX_PERIOD + len(mix) and set(made) == set(mix) and min(made.values()) >= 1
    assert all(abs(made[name] / period - float(share)) <= (len(mix) + 1) / MAX_PERIOD for name, share in mix.items())


@given(st.fixed_dictionaries(dict.fromkeys(sorted(CATEGORIES), positive)), st.sampled_from(["math", "facts"]))
def test_dropping_within_a_category_leaves_every_category_its_share(weights: dict[str, float], name: str) -> None:
    mix = normalise(weights)
    left = drop(mix, (name,), "renormalise-category", CATEGORIES)
    assert name not in left.mix and left.length == 1
    for category in CATEGORIES.values():
        before, after = (
            sum(share for source, share in shares.items() if CATEGORIES[source] == category)
            for shares in (mix, left.mix)
        )
        assert before == after


def test_a_category_that_is_dropped_whole_has_no_heir() -> None:
    with pytest.raises(ValueError, match="nothing else of category code has weight"):
        drop(UP, ("code",), "renormalise-category", CATEGORIES)
