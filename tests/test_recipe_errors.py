"""Every problem of a recipe is told at once, in plain words, at its place: file, line, column or override."""

# Messages stand here whole, as a user sees them.
# ruff: noqa: E501

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from joyctl.errors import RecipeError
from joyctl.recipe.load import load_cluster, load_recipe

RECIPE = """\
hypothesis: does it pay?
data:
  world: {seed: 1}
sources:
  web: {category: large_cc}
  math: {category: domain}
mixes:
  base: {web: 0.9, math: 0.1}
  upsampled: {web: 0.1, math: 0.9}
model: {dim: 32, n_layers: 1, n_heads: 2, n_kv_heads: 2, ffn_hidden: 64, vocab_size: 256}
training:
  tokens: 100_000
  seq_len: 128
  batch_size: 8
optimizer:
  lr: 1e-3
phase:
  durations: [0.1, 0.2, 0.3]
  drop_at: [0.2]
eval:
  suite: micro
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("recipes").mkdir()
    return tmp_path


def problems(text: str, *overrides: str, path: str = "recipes/x.yaml") -> list[str]:
    """The problems of a recipe with that text, one a line; empty when it loads."""
    Path(path).write_text(text)
    return problems_of(path, *overrides)


def problems_of(name: str, *overrides: str) -> list[str]:
    try:
        load_recipe(name, overrides)
    except RecipeError as error:
        assert error.exit_code == 3
        return [str(problem) for problem in error.problems]
    return []


def test_the_recipe_that_the_tests_spoil_is_sound():
    assert problems(RECIPE) == []


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("  suite: micro", "  sweet: micro", "21:3 eval.sweet: unknown key; did you mean 'eval.suite'?"),
        (
            "  suite: micro",
            "  zzz: 1",
            "21:3 eval.zzz: unknown key; known here: suite, data, batch_size, backend, limit",
        ),
        ("eval:\n  suite: micro", "lr: 1", "20:1 lr: unknown key; did you mean 'optimizer.lr'?"),
        ("hypothesis:", "hypotesis:", "1:1 hypotesis: unknown key; did you mean 'hypothesis'?"),
        (
            "base: {web: 0.9, math: 0.1}",
            "base: {web: 0, math: 0}",
            "8:9 mixes.base: weights sum to nothing; give at least one source a weight above 0",
        ),
        (
            "base: {web: 0.9, math: 0.1}",
            "base: {}",
            "8:9 mixes.base: weights sum to nothing; give at least one source a weight above 0",
        ),
        ("web: 0.9", "web: -0.9", "8:15 mixes.base.web: -0.9 is negative; give a number of 0 or more"),
        ("web: 0.9", "web: .nan", "8:15 mixes.base.web: nan is not a finite number"),
        ("0.3]", "1.3]", "18:25 phase.durations[2]: 1.3 is not in (0, 1)"),
        ("0.3]", "0]", "18:25 phase.durations[2]: 0 is not in (0, 1)"),
        ("0.3]", "1]", "18:25 phase.durations[2]: 1 is not in (0, 1)"),
        ("0.3]", "30]", "18:25 phase.durations[2]: 30 is not in (0, 1); for 30 % write 0.3"),
        ("0.3]", "0.1]", "18:25 phase.durations[2]: 0.1 stands twice; it is phase.durations[0] already"),
        ("0.3]", "0.003]", "18:25 phase.durations[2]: 0.003 of 97 steps rounds to no step at all"),
        (
            "0.3]",
            "0.999]",
            "18:25 phase.durations[2]: 0.999 of 97 steps rounds to all of them; the trunk would have none",
        ),
        ("0.3]", "0.201]", "18:25 phase.durations[2]: 0.201 of 97 steps rounds to 19, as 0.2 does"),
        ("[0.1, 0.2, 0.3]", "[]", "18:14 phase.durations: an empty list; give a list, each a number in (0, 1)"),
        ("[0.1, 0.2, 0.3]", "0.1", "18:14 phase.durations: 0.1 is not a list, each a number in (0, 1); write [0.1]"),
        ("drop_at: [0.2]", "drop_at: [1.2]", "19:13 phase.drop_at[0]: 1.2 is not in (0, 1)"),
        (
            "drop_at: [0.2]",
            "drop_at: [0.2, 0.2]",
            "19:18 phase.drop_at[1]: 0.2 stands twice; it is phase.drop_at[0] already",
        ),
        ("drop_at: [0.2]", "drop_at: [0.001]", "19:13 phase.drop_at[0]: 0.001 of 97 steps rounds to no step at all"),
        (
            "drop_at: [0.2]",
            "policy: replace:maht",
            "19:11 phase.policy: unknown source 'maht'; did you mean 'math'?",
        ),
        (
            "drop_at: [0.2]",
            "policy: renormalize",
            "19:11 phase.policy: 'renormalize' does not do; give renormalise, renormalise-category, shrink or replace:<source>",
        ),
        ("math: 0.9", "maht: 0.9", "9:25 mixes.upsampled.maht: unknown source 'maht'; did you mean 'math'?"),
        ("math: 0.9", "books: 0.9", "9:25 mixes.upsampled.books: unknown source 'books'; the sources are math, web"),
        (
            "  math: {category: domain}",
            "  math: {category: domain}\n  books: {category: domain}",
            "7:3 sources.books: no data; the micro-world has web, math, code, facts",
        ),
        (
            "category: large_cc",
            "category: large",
            "5:19 sources.web.category: 'large' is not one of large_cc, small_cc, domain, code; did you mean 'large_cc'?",
        ),
        (
            "  world: {seed: 1}",
            "  folder: null",
            "2:1 data: no data; give 'world' (generate the micro-world), 'tokenizer' (build it from the sources) or 'folder' (tokenised data)",
        ),
        (
            "  world: {seed: 1}",
            "  world: {seed: 1}\n  folder: /data",
            "4:11 data.folder: 'world' and 'folder' are both given; keep one and set the other to null",
        ),
        ("n_heads: 2, n_kv", "n_heads: 6, n_kv", "10:40 model.n_heads: 6 does not divide model.dim, which is 32"),
        ("n_kv_heads: 2", "n_kv_heads: 3", "10:55 model.n_kv_heads: 3 does not divide model.n_heads, which is 2"),
        (
            "n_heads: 2, n_kv_heads: 2",
            "n_heads: 32, n_kv_heads: 2",
            "10:40 model.n_heads: heads are 32 / 32 = 1 wide; rotary positions need an even width",
        ),
        (
            "vocab_size: 256",
            "vocab_size: 256, max_seq_len: 64",
            "10:104 model.max_seq_len: 64 is less than training.seq_len, which is 128",
        ),
        ("dim: 32", "dim: 32.5", "10:14 model.dim: 32.5 is not a whole number above 0"),
        ("dim: 32", "dim: wide", "10:14 model.dim: 'wide' is not a whole number above 0"),
        ("dim: 32", "dim: -32", "10:14 model.dim: -32 is negative; give a whole number above 0"),
        ("dim: 32, ", "", "10:1 model.dim: missing; give a whole number above 0: width of the residual stream"),
        ("  lr: 1e-3", "  eps: 1e-8", "15:1 optimizer.lr: missing; give a number above 0: peak learning rate"),
        ("  lr: 1e-3", "", "15:11 optimizer: empty; give a section with lr"),
        (
            "optimizer:\n  lr: 1e-3\n",
            "",
            "1:1 optimizer: missing; give a section with lr: AdamW or LionW, with decoupled weight decay",
        ),
        (
            "  tokens: 100_000",
            "  tokens: 1000",
            "12:11 training.tokens: 1,000 tokens are less than one step, which takes seq_len x batch_size = 1,024",
        ),
        ("does it pay?", "7", "1:13 hypothesis: 7 is not text; put it in quotes"),
        (
            "hypothesis",
            "name: My Own\nhypothesis",
            "1:7 name: 'My Own' does not do; use lower-case letters, digits, '.', '_' and '-', beginning with a letter or digit",
        ),
        ("  math: {cat", "  Math: {cat", None),
        ("does it pay?", "${nothing}", "1:13 hypothesis: ${nothing} refers to no key"),
        ("does it pay?", "${nothing", "1:13 hypothesis: not an interpolation, or one that is not closed: '${nothing'"),
    ],
)
def test_one_thing_wrong(old: str, new: str, expected: str | None):
    assert RECIPE.count(old) == 1
    found = problems(RECIPE.replace(old, new))
    if expected is None:
        assert found == [
            "recipes/x.yaml:6:3 sources.Math: 'Math' cannot be a name here; use lower-case letters, digits and '_', beginning with a letter",
            "recipes/x.yaml:6:3 sources.Math: no data; the micro-world has web, math, code, facts; did you mean 'math'?",
            "recipes/x.yaml:8:20 mixes.base.math: unknown source 'math'; did you mean 'Math'?",
            "recipes/x.yaml:9:25 mixes.upsampled.math: unknown source 'math'; did you mean 'Math'?",
        ]
    else:
        assert found == [f"recipes/x.yaml:{expected}"]


@pytest.mark.parametrize(
    ("schedule", "phase", "expected"),
    [
        (
            "cooldown: 0.2",
            "",
            "18:13 schedule.cooldown: 0.2, but kind 'linear' decays all the way; give wsd or inverse_sqrt, or 0",
        ),
        ("cooldown: 1", "", "18:13 schedule.cooldown: 1 is not in [0, 1)"),
        ("cooldown: -1", "", "18:13 schedule.cooldown: -1 is not in [0, 1)"),
        ("cooldown_shape: sqrt", "", "18:19 schedule.cooldown_shape: 'sqrt' is not one of linear, one_minus_sqrt"),
        (
            "kind: wds",
            "",
            "18:9 schedule.kind: 'wds' is not one of linear, cosine, wsd, inverse_sqrt; did you mean 'wsd'?",
        ),
        (
            "kind: wsd\n  warmup: 0.5\n  cooldown: 0.6",
            "",
            "20:13 schedule.cooldown: 0.6 and the warm-up's 0.5 are more than all steps",
        ),
        (
            "kind: wsd\n  min_lr_factor: 0.1",
            "",
            "19:18 schedule.min_lr_factor: 0.1, but kind 'wsd' never falls without a 'cooldown'; give one, or 0",
        ),
        (
            "kind: inverse_sqrt\n  warmup: 0",
            "",
            "19:11 schedule.warmup: 0, but kind 'inverse_sqrt' falls as sqrt(warm-up steps / step); give a share above 0",
        ),
        (
            "kind: inverse_sqrt\n  warmup: 0.001",
            "",
            "19:11 schedule.warmup: 0.001 of 97 steps rounds to no step at all",
        ),
        ("kind: wsd\n  cooldown: 0.001", "", "19:13 schedule.cooldown: 0.001 of 97 steps rounds to no step at all"),
        (
            "cooldown_shape: one_minus_sqrt",
            "",
            "18:19 schedule.cooldown_shape: nothing falls by it; give 'cooldown', with kind wsd or inverse_sqrt, or phase.lr: redecay",
        ),
        (
            "kind: wsd\n  cooldown_shape: one_minus_sqrt",
            "  lr: continue\n",
            "19:19 schedule.cooldown_shape: nothing falls by it; give 'cooldown', with kind wsd or inverse_sqrt, or phase.lr: redecay",
        ),
        ("cooldown_shape: one_minus_sqrt", "  lr: redecay\n", None),
        ("kind: wsd", "", None),
        ("kind: wsd\n  cooldown: 0.2\n  cooldown_shape: one_minus_sqrt\n  min_lr_factor: 0.1", "", None),
        ("kind: inverse_sqrt\n  min_lr_factor: 0.1", "", None),
        ("warmup: 0.001", "", None),
    ],
)
def test_a_schedule_that_contradicts_itself(schedule: str, phase: str, expected: str | None):
    text = RECIPE.replace("phase:\n", f"schedule:\n  {schedule}\nphase:\n{phase}")
    assert problems(text) == ([f"recipes/x.yaml:{expected}"] if expected else [])


def test_everything_wrong_is_told_at_once_in_the_order_of_the_file():
    text = RECIPE.replace("0.9, math: 0.1}", "-1, maht: 0.1}").replace("dim: 32", "dims: 32")
    text = text.replace("100_000", "many").replace("0.3]", "1.3]").replace("drop_at", "policy: replace:maht\n  dropat")
    assert problems(text, "eval.sweet=core", "optimizer.lr=-1") == [
        "recipes/x.yaml:8:15 mixes.base.web: -1 is negative; give a number of 0 or more",
        "recipes/x.yaml:8:19 mixes.base.maht: unknown source 'maht'; did you mean 'math'?",
        "recipes/x.yaml:10:9 model.dims: unknown key; did you mean 'model.dim'?",
        "recipes/x.yaml:12:11 training.tokens: 'many' is not a whole number above 0",
        "recipes/x.yaml:18:25 phase.durations[2]: 1.3 is not in (0, 1)",
        "recipes/x.yaml:19:11 phase.policy: unknown source 'maht'; did you mean 'math'?",
        "recipes/x.yaml:20:3 phase.dropat: unknown key; did you mean 'phase.drop_at'?",
        "override 'optimizer.lr=-1': -1 is negative; give a number above 0",
        "override 'eval.sweet=core': unknown key; did you mean 'eval.suite'?",
    ]


def test_the_text_of_the_error_counts_the_problems():
    with pytest.raises(RecipeError) as caught:
        load_recipe("tiny", ["eval.sweet=core", "optimizer.lr=-1"])
    assert str(caught.value).endswith("\n2 errors, nothing was changed.")


def test_a_key_given_twice_is_told_with_both_places():
    text = RECIPE.replace("  math: {cat", "  web: {cat") + "phase: 1\n"
    assert problems(text) == [
        "recipes/x.yaml:6:3 sources.web: given twice; the other is at recipes/x.yaml:5:3",
        "recipes/x.yaml:22:1 phase: given twice; the other is at recipes/x.yaml:17:1",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "a: [1\nb: 2\n",
            "x.yaml:2:2 not valid YAML: expected ',' or ']', but got ':' (while parsing a flow sequence, begun at line 1)",
        ),
        (
            "a: b: c\n",
            "x.yaml:1:5 not valid YAML: a second ': ' where a value was expected; put the value in quotes, or check the indentation",
        ),
        ("a:\n\tb: 1\n", "x.yaml:2:1 not valid YAML: a tab; YAML indents with spaces"),
        ("a:\n  b: 1\n c: 2\n", "x.yaml:3:2 not valid YAML: indentation that fits no mapping or list above it"),
        ("- a\n", "x.yaml:1:1 the file should map keys to values; it is a list"),
        ("tiny\n", "x.yaml:1:1 the file should map keys to values; it is 'tiny'"),
        ("defaults: tiny\n", "x.yaml:1:11 defaults: 'tiny' is not a list; write [tiny, _self_]"),
        ("defaults: [tinny]\n", "x.yaml:1:12 defaults[0]: no file tinny.yaml here or built in; did you mean 'tiny'?"),
        ("defaults: [x]\n", "x.yaml:1:11 defaults: the file starts from itself"),
        ("defaults: [tiny]\na: &a {b: *a}\n", None),
    ],
)
def test_what_is_no_recipe_at_all(text: str, expected: str | None):
    found = problems(text, path="x.yaml")
    assert found == [expected] if expected else found


def test_an_unreadable_file_is_named():
    Path("x.yaml").write_bytes(b"name: \xff\n")
    assert problems_of("x.yaml") == ["x.yaml: is not UTF-8 text at byte 6"]


def test_an_empty_file_misses_every_section():
    found = problems("", path="x.yaml")
    assert [line.split(":")[2].split(" ")[1] for line in found] == [
        *("hypothesis", "data", "sources", "mixes", "model", "training", "optimizer", "phase")
    ]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("tinny", "recipe 'tinny': no built-in recipe has this name; did you mean 'tiny'?"),
        ("mine", "recipe 'mine': no built-in recipe has this name; did you mean 'recipes/mine.yaml'?"),
        ("zzz", "recipe 'zzz': no built-in recipe has this name"),
        ("recipes/mien.yaml", "recipe 'recipes/mien.yaml': no such file; did you mean 'recipes/mine.yaml'?"),
        ("mine.yaml", "recipe 'mine.yaml': no such file; did you mean 'recipes/mine.yaml'?"),
        ("./recipes", "recipe './recipes': this is a folder; give a YAML file in it"),
        ("old.yml", "recipe 'old.yml': a recipe file ends in .yaml; rename it to old.yaml"),
    ],
)
def test_a_recipe_that_is_not_there(name: str, expected: str):
    Path("recipes/mine.yaml").write_text(RECIPE)
    Path("old.yml").write_text(RECIPE)
    with pytest.raises(RecipeError) as caught:
        load_recipe(name)
    assert [str(problem) for problem in caught.value.problems] == [expected]
    names = "ladder-160m, ladder-1b, paper-7b, tiny"
    assert caught.value.hint == f"Built in: {names}. Give any other recipe by its path, such as ./mine.yaml"


def test_a_cluster_that_is_not_there_and_a_bad_one():
    with pytest.raises(RecipeError, match=r"cluster 'locl': no built-in cluster has this name; did you mean 'local'\?"):
        load_cluster("locl")
    Path("c.yaml").write_text("kind: local\ncors: 2\ncores: 0\n")
    with pytest.raises(RecipeError) as caught:
        load_cluster("./c.yaml")
    assert [str(problem) for problem in caught.value.problems] == [
        "./c.yaml:2:1 cors: unknown key; did you mean 'cores'?",
        "./c.yaml:3:8 cores: 0 is not a whole number above 0",
    ]


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("eval.sweet=core", "unknown key; did you mean 'eval.suite'?"),
        ("lr=3", "unknown key; did you mean 'optimizer.lr'?"),
        (
            "foo.bar=1",
            "foo: unknown key; known here: name, campaign, hypothesis, data, sources, mixes, model, training, optimizer, schedule, phase, base, seeds, eval, references, published",
        ),
        ("optimizer.lr=-1", "-1 is negative; give a number above 0"),
        ("optimizer=null", "empty; give a section with lr"),
        ("optimizer.lr.x=1", "optimizer.lr: a section is not a number above 0"),
        ("phase.durations=[0.1,1.3]", "phase.durations[1]: 1.3 is not in (0, 1)"),
        ("phase.durations.9=0.3", "list index out of range"),
        ("model.dim=130", "model.n_heads: 4 does not divide model.dim, which is 130"),
        ("training.seq_len=1024", "model.max_seq_len: 512 is less than training.seq_len, which is 1024"),
        ("training.tokens=1000", "1,000 tokens are less than one step, which takes seq_len x batch_size = 1,024"),
        ("training.tokens=10240", "phase.durations[0]: 0.05 of 10 steps rounds to no step at all"),
        ("mixes.upsampled.maht=0.3", "unknown source 'maht'; did you mean 'math'?"),
        (
            "mixes.base={web: 0, math: 0, code: 0, facts: 0}",
            "weights sum to nothing; give at least one source a weight above 0",
        ),
        ("phase.policy=replace:maht", "unknown source 'maht'; did you mean 'math'?"),
        ("data.folder=/data", "'world' and 'folder' are both given; keep one and set the other to null"),
        (
            "data.world=null",
            "data: no data; give 'world' (generate the micro-world), 'tokenizer' (build it from the sources) or 'folder' (tokenised data)",
        ),
        ("~optimizer.lr", "missing; give a number above 0: peak learning rate"),
        ("~optimizer.lrr", "there is no such key to take out; did you mean 'optimizer.lr'?"),
        ("+optimizer.lr=3", "there is such a key already; write 'optimizer.lr=3'"),
        ("optimizer.lr=1,2", "a sweep, where one value is needed"),
        ("foo", "not an override; write key=value, or ~key to take a key out"),
        ("=3", "no key; write key=value"),
        ("a b=c", "'a b' is not a key; write key=value with a key such as training.tokens"),
        (
            "optimizer.lr=[1",
            "not in Hydra's override grammar (no viable alternative at input '[1'); if it is text, quote it: \"optimizer.lr='[1'\"",
        ),
        (
            "hypothesis=is (it)?",
            "not in Hydra's override grammar (extraneous input '?'); if it is text, quote it: \"hypothesis='is (it)?'\"",
        ),
        ("optimizer.lr=twice(3)", "unknown function 'twice'"),
        ("hydra.run.dir=x", "Hydra's own settings have no effect here"),
    ],
)
def test_an_override_is_named_as_such(override: str, expected: str):
    found = problems_of("tiny", override)
    assert found[0] == f"override '{override}': {expected}"
    assert all(line.startswith(f"override '{override}': ") for line in found)


def test_the_remedy_for_text_that_is_no_override_works():
    assert problems_of("tiny", "hypothesis='is (it)?'") == []


def test_the_place_is_in_the_file_that_set_the_value():
    Path("house.yaml").write_text("defaults: [tiny]\noptimizer:\n  lr: -1\nphase: {durations: [0.1, 7]}\n")
    text = "defaults: [house, _self_]\nphase: {durations: [0.1, 0.2, 8]}\nmodel: {n_heads: 3}\n"
    assert problems(text, path="x.yaml") == [
        "house.yaml:3:7 optimizer.lr: -1 is negative; give a number above 0",
        "x.yaml:2:31 phase.durations[2]: 8 is not in (0, 1); for 8 % write 0.08",
        "x.yaml:3:18 model.n_heads: 3 does not divide model.dim, which is 128",
        "x.yaml:3:18 model.n_kv_heads: 4 does not divide model.n_heads, which is 3",
    ]


def test_the_place_in_a_file_of_a_config_group():
    Path("model").mkdir()
    Path("model/wide.yaml").write_text("dim: 256\nn_heds: 4\n")
    text = "defaults: [tiny, {model: wide}, _self_]\n"
    assert problems(text, path="x.yaml") == [
        "model/wide.yaml:2:1 model.n_heds: unknown key; did you mean 'model.n_heads'?"
    ]
    assert problems(text, "model=wild", path="x.yaml") == [
        "model/wide.yaml:2:1 model.n_heds: unknown key; did you mean 'model.n_heads'?",
        "override 'model=wild': no such choice; there are wide",
    ]


def test_a_value_still_to_be_given_is_missing():
    text = RECIPE.replace("100_000", "???")
    assert problems(text) == [
        "recipes/x.yaml:12:11 training.tokens: missing; give a whole number above 0:"
        " tokens of one full run, trunk and phase together"
    ]
    assert problems(text, "training.tokens=100000") == []


def test_a_file_name_that_cannot_be_a_campaigns():
    assert problems(RECIPE, path="My Own.yaml") == [
        "My Own.yaml:1:1 name: the file's name 'My Own' does not do; use lower-case letters, digits, '.', '_' and"
        " '-', beginning with a letter or digit; or give 'name' in the file"
    ]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 300) | st.floats(-2, 2) | st.sampled_from(["web", "math", "x", "???"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["web", "lr", "dim", "x"]), inner, max_size=3)
    ),
    max_leaves=4,
)
KEYS = [
    "data",
    "sources",
    "mixes",
    "mixes.base",
    "model",
    "training",
    "optimizer.lr",
    "phase",
    "phase.durations",
    "seeds",
    "eval.suite",
    "name",
]


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(key=st.sampled_from(KEYS), value=JSON)
def test_whatever_stands_in_a_recipe_it_loads_or_its_problems_have_places(key: str, value: object):
    import yaml

    values = yaml.safe_load(RECIPE)
    node = values
    *above, last = key.split(".")
    for part in above:
        node = node[part]
    node[last] = value
    for problem in problems(yaml.safe_dump(values)):
        assert problem.startswith("recipes/x.yaml:"), problem
