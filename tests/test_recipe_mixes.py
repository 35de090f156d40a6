"""What is wrong with mixes by category is told at its place; overrides of a category work and can be swept."""

# Messages stand here whole, as a user sees them.
# ruff: noqa: E501

from __future__ import annotations

from pathlib import Path

import pytest

from joyctl.errors import RecipeError
from joyctl.recipe.load import load_recipe, load_recipe_grid

RECIPE = """\
hypothesis: does it pay?
data: {folder: /data}
sources:
  web: {category: large_cc}
  math: {category: domain}
  facts: {category: domain, max_epochs: 2}
  books: {category: domain, in_mixes: false}
  code: {category: code}
mixes:
  by: category
  base: {large_cc: 0.9, domain: 0.1}
  upsampled: {large_cc: 0.2, domain: 0.8}
  within: {domain: tokens}
model: {dim: 32, n_layers: 1, n_heads: 2, n_kv_heads: 2, ffn_hidden: 64, vocab_size: 256}
training: {tokens: 100_000, seq_len: 128, batch_size: 8}
optimizer: {lr: 1e-3}
phase: {durations: [0.1]}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("x.yaml").write_text(RECIPE)


def problems(text: str) -> list[str]:
    Path("x.yaml").write_text(text)
    try:
        load_recipe("x.yaml")
    except RecipeError as error:
        return [str(problem) for problem in error.problems]
    return []


@pytest.mark.parametrize("way", ["tokens", "uniform", "temperature:3.3", "{math: 2, facts: 1}"])
def test_ways_to_hand_a_share_on(way: str) -> None:
    assert problems(RECIPE.replace("domain: tokens", f"domain: {way}")) == []


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("domain: 0.1}", "domian: 0.1}", "11:25 mixes.base.domian: unknown category 'domian'; did you mean 'domain'?"),
        (
            "domain: 0.1}",
            "zzz: 0.1}",
            "11:25 mixes.base.zzz: unknown category 'zzz'; the categories are large_cc, small_cc, domain, code",
        ),
        (
            "domain: 0.1}",
            "math: 0.1}",
            "11:25 mixes.base.math: unknown category 'math'; it is a source of category domain; its weight goes under within, and 0 here takes it out",
        ),
        (
            "domain: 0.8}",
            "small_cc: 0.8}",
            "12:30 mixes.upsampled.small_cc: no source is of category small_cc; give one under sources, or take the weight out",
        ),
        (
            "within: {domain: tokens}",
            "within: {code: tokens}",
            "13:12 mixes.within.code: category code has no weight in either mix",
        ),
        (
            "within: {domain: tokens}",
            "within: {domian: tokens}",
            "13:12 mixes.within.domian: 'domian' is not one of large_cc, small_cc, domain, code; did you mean 'domain'?",
        ),
        (
            "domain: tokens",
            "domain: {maht: 1}",
            "13:21 mixes.within.domain.maht: unknown source 'maht'; did you mean 'math'?",
        ),
        (
            "domain: tokens",
            "domain: {code: 1}",
            "13:21 mixes.within.domain.code: 'code' is of category code, not domain",
        ),
        (
            "domain: tokens",
            "domain: {books: 1}",
            "13:21 mixes.within.domain.books: 'books' is in no mix: sources.books.in_mixes is false",
        ),
        (
            "domain: tokens",
            "domain: {math: -1}",
            "13:20 mixes.within.domain: -1 is no weight of 'math'; give a number of 0 or more",
        ),
        (
            "domain: tokens",
            "domain: {math: 0}",
            "13:20 mixes.within.domain: weights sum to nothing; give at least one source a weight above 0",
        ),
        (
            "domain: tokens",
            "domain: unifrom",
            "13:20 mixes.within.domain: 'unifrom' does not do; give tokens, uniform, temperature:T or weights by source; did you mean 'uniform'?",
        ),
        (
            "domain: tokens",
            "domain: temperature:0",
            "13:20 mixes.within.domain: a temperature of 0 gives all to the largest source; give a number above 0, 1 is by tokens",
        ),
        (
            "domain: tokens",
            "domain: 3",
            "13:20 mixes.within.domain: 3; give tokens, uniform, temperature:T or weights by source",
        ),
        ("max_epochs: 2", "max_epochs: 0", "6:41 sources.facts.max_epochs: 0 is not a number above 0"),
        (
            "by: category",
            "by: categories",
            "10:7 mixes.by: 'categories' is not one of source, category; did you mean 'category'?",
        ),
    ],
)
def test_one_thing_wrong(old: str, new: str, expected: str) -> None:
    assert RECIPE.count(old) == 1
    found = problems(RECIPE.replace(old, new))
    assert f"x.yaml:{expected}" in found
    assert len(found) == 1 or old in ("by: category", "within: {domain: tokens}")


def test_shares_within_categories_are_for_mixes_by_category() -> None:
    by_source = RECIPE.replace("{large_cc: 0.9, domain: 0.1}", "{web: 1, domain: 0.1}")
    by_source = by_source.replace("{large_cc: 0.2, domain: 0.8}", "{math: 1, books: 1}").replace(
        "by: category", "by: source"
    )
    assert problems(by_source) == [
        "x.yaml:11:18 mixes.base.domain: unknown source 'domain'; it is a category: write 'by: category' under mixes",
        "x.yaml:12:24 mixes.upsampled.books: has weight, but sources.books.in_mixes is false",
        "x.yaml:13:3 mixes.within: shares within categories are for mixes 'by: category'",
    ]


def test_what_another_file_weighs_by_source_is_taken_out_with_0() -> None:
    Path("y.yaml").write_text(
        "defaults: [tiny, _self_]\nmixes:\n  by: category\n"
        "  base: {web: 0, math: 0, facts: 0, large_cc: 0.9, domain: 0.05, code: 0.05}\n"
        "  upsampled: {web: 0, math: 0, facts: 0, large_cc: 0.1, domain: 0.5, code: 0.4}\n"
    )
    assert load_recipe("y.yaml").mixes.upsampled["domain"] == 0.5


def test_a_category_can_be_set_and_swept() -> None:
    assert load_recipe("x.yaml", ["mixes.upsampled.domain=0.5"]).mixes.upsampled["domain"] == 0.5
    found = load_recipe_grid("x.yaml", ["mixes.within.domain=uniform,temperature:2"])
    assert [point.recipe.mixes.within["domain"] for point in found] == ["uniform", "temperature:2"]
