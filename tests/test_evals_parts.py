"""The pieces of scoring by themselves: shared beginnings, encoding, the file of answers, models that cannot share."""

from __future__ import annotations

import random
from itertools import pairwise
from pathlib import Path
from typing import Any

import evals_world as world
import numpy as np
import pytest

from joyctl.evals.answers import ANSWERS, Header, Journal, read_answers
from joyctl.evals.prefixes import fewest_tokens, groups, shared, sorted_order

# ---- shared beginnings


def draw(seed: int) -> tuple[list[np.ndarray[Any, Any]], list[int], int]:
    rng = random.Random(seed)
    distinct = {tuple(rng.randint(0, 1) for _ in range(rng.randint(1, 8))) for _ in range(rng.randint(1, 9))}
    sequences = [np.array(each) for each in distinct]
    return sequences, [len(each) - 1 - rng.randint(0, len(each) - 1) // 3 for each in sequences], rng.randint(0, 3)


def cost(sequences: list[np.ndarray[Any, Any]], chosen: list[tuple[int, list[int]]], overhead: int) -> int:
    return sum(
        prefix + sum(len(sequences[i]) - prefix for i in members) + (overhead if prefix else 0)
        for prefix, members in chosen
    )


def least_cost(sequences: list[np.ndarray[Any, Any]], limits: list[int], overhead: int) -> int:
    """Over all ways to cut the sorted sequences into runs."""
    order = sorted_order(sequences)
    best = [0]
    for end in range(1, len(order) + 1):
        ways = []
        for start in range(end):
            run = order[start:end]
            common = min([shared(sequences[a], sequences[b]) for a, b in pairwise(run)] + [limits[i] for i in run])
            prefix = common if len(run) > 1 else 0
            ways.append(best[start] + cost(sequences, [(prefix, run)], overhead))
        best.append(min(ways))
    return best[-1]


def test_groups_share_what_they_may_and_save_nearly_all_that_can_be_saved() -> None:
    over = total = 0
    for seed in range(600):
        sequences, limits, overhead = draw(seed)
        made = groups(sequences, limits, overhead)
        assert sorted(i for group in made for i in group.members) == list(range(len(sequences)))
        for group in made:
            first = sequences[group.members[0]][: group.prefix]
            assert all((sequences[i][: group.prefix] == first).all() for i in group.members)
            assert all(group.prefix <= limits[i] for i in group.members) or not group.prefix
        mine = cost(sequences, [(group.prefix, list(group.members)) for group in made], overhead)
        least = least_cost(sequences, limits, overhead)
        assert least <= mine <= sum(map(len, sequences))
        over, total = over + mine - least, total + least
    assert over / total < 0.005


def test_fewest_tokens_are_the_distinct_beginnings() -> None:
    for seed in range(200):
        sequences, _, _ = draw(seed)
        beginnings = {tuple(each[:size].tolist()) for each in sequences for size in range(1, len(each) + 1)}
        assert fewest_tokens(sequences) == len(beginnings)


# ---- encoding


def tokenizers_of_all_kinds(folder: Path, texts: list[str]) -> dict[str, Any]:
    """Byte-level with and without a first token, one that marks spaces and cuts nowhere, one that lowers letters."""
    import transformers
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

    made = {}
    for name in ("bytes", "first", "spaces", "lower"):
        tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
        trainer = trainers.BpeTrainer(
            vocab_size=600, special_tokens=["<unk>", "<s>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
        )
        if name == "spaces":
            tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
            tokenizer.decoder = decoders.Replace("▁", " ")
        else:
            tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
            tokenizer.decoder = decoders.ByteLevel()
        if name == "lower":
            tokenizer.normalizer = normalizers.Lowercase()
        tokenizer.train_from_iterator(texts, trainer)
        if name == "first":
            tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
        fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="<s>")
        fast.save_pretrained(folder / name)
        made[name] = folder / name
    return made


def save_shape(folder: Path, **changes: Any) -> Any:
    """A random model of 0.1 M parameters beside the tokenizer in `folder`."""
    import torch
    import transformers

    torch.manual_seed(0)
    size = len(transformers.AutoTokenizer.from_pretrained(folder))
    shape = {
        "vocab_size": size,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": 512,
        "initializer_range": 0.2,
    }
    kind = changes.pop("kind", "Llama")
    config = getattr(transformers, f"{kind}Config")(**{**shape, **changes})
    model = getattr(transformers, f"{kind}ForCausalLM")(config)
    model.save_pretrained(folder)
    return model


def test_pairs_are_cut_as_lm_eval_cuts_them(tmp_path: Path) -> None:
    from lm_eval.models.huggingface import HFLM

    from joyctl.evals.encode import Encoder

    rng = random.Random(3)
    words = [
        "An",
        "owl",
        "sees",
        "THE",
        "mill;",
        "what?",
        "…é",
        "  ",
        "x=1",
        "\n",
        "\n\n",
        ".\n",
        "don't",
        "A.",
        "B.",
        "7",
    ]
    lines = [" ".join(rng.choices(words, k=12)) for _ in range(400)]
    contexts = ["", " ", "Q", *("\n".join(rng.choices(lines, k=rng.randint(1, 30))) for _ in range(60))]
    pairs = [
        (context + end, answer)
        for context in contexts
        for end in ("\nAnswer:", "", " ", "\n")
        for answer in (" A", "A", " owl sees\nthe", "\n\nB.", "'t")
        if (context + end).strip() or context + end == ""
    ]
    cut = 0
    for name, folder in tokenizers_of_all_kinds(tmp_path, lines).items():
        model = save_shape(folder)
        encoder = Encoder(folder)
        cut += encoder._rules
        lm = HFLM(pretrained=model, tokenizer=str(folder), batch_size=1)
        seen: list[tuple[tuple[int, ...], list[int]]] = []

        def keep(requests: Any, seen: list[Any] = seen, **_: Any) -> list[tuple[float, bool]]:
            seen.extend((tuple(context), list(rest)) for _, context, rest in requests)
            return [(0.0, False)] * len(requests)

        lm._loglikelihood_tokens = keep
        from lm_eval.api.instance import Instance

        lm.loglikelihood([Instance("loglikelihood", {}, pair, 0) for pair in pairs], disable_tqdm=True)
        heads, tails = encoder.pairs(pairs)
        assert [(h, list(t)) for h, t in zip(heads, tails, strict=True)] == seen, name
    assert cut == 2  # the quick way was taken where it is safe, and only there


# ---- models whose cache cannot be shared


@pytest.mark.parametrize(
    ("kind", "changes", "shares"),
    [
        ("Llama", {}, True),
        ("GPTNeoX", {}, True),
        ("Qwen2", {}, True),
        ("Mistral", {"sliding_window": 8}, False),
        ("Mamba", {}, False),
    ],
)
def test_a_model_shares_beginnings_or_goes_lm_evals_way_with_the_same_numbers(
    kind: str, changes: dict[str, Any], shares: bool, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    import torch
    from lm_eval.models.huggingface import HFLM

    from joyctl.evals.engine import Engine
    from joyctl.evals.units import Batch, Row, Scored

    torch.set_num_threads(1)
    data = world.make_data(tmp_path / "data")
    folder = Path(__import__("shutil").copytree(data / "tokenizer", tmp_path / "model"))
    if kind == "GPTNeoX":
        changes = {"num_key_value_heads": None}
    save_shape(folder, kind=kind, **changes)
    rng = np.random.default_rng(0)
    beginning = rng.integers(5, 200, 40)
    rows = []
    for number in range(5):
        rest = rng.integers(5, 200, 3 + number)
        tails = [np.concatenate([rest[-2:], [last]]) for last in (7, 8)]
        pairs = tuple(Scored((0, number, index, 0), tail) for index, tail in enumerate(tails))
        rows.append(Row(np.concatenate([beginning, rest]), pairs))
    engine = Engine(folder, 8)
    found = {key: (value, greedy) for key, value, greedy in engine.answer(Batch(len(beginning), tuple(rows)))}
    lm = HFLM(pretrained=str(folder), device="cpu", dtype="float32", batch_size=8)
    requests = [(None, row.ids[:-2].tolist(), pair.tail.tolist()) for row in rows for pair in row.pairs]
    stock = lm._loglikelihood_tokens(requests, disable_tqdm=True)
    for pair, (value, greedy) in zip([p for row in rows for p in row.pairs], stock, strict=True):
        assert found[pair.key][0] == pytest.approx(value, abs=1e-4)
        assert found[pair.key][1] == greedy
    assert ("shared beginnings are off" in capfd.readouterr().err) is not shares


# ---- a diverged model


def test_proxies_of_a_diverged_model_are_no_numbers_rather_than_wrong_ones() -> None:
    from joyctl.evals import proxies
    from joyctl.evals.samples import mean_score, ratio_score
    from joyctl.evals.scoring import _finite

    for broken in (float("nan"), float("-inf")):
        of = {**proxies.of_choices([broken] * 4, 1), **proxies.of_gold(broken, " B")}
        row = _finite(of)
        assert row["gold_nll"] is None and row["norm_correct_prob"] is None and row["gold_bytes"] == 2
        sound = _finite({**proxies.of_choices([-1.0, -2.0, -3.0, -4.0], 1), **proxies.of_gold(-2.0, " B")})
        assert mean_score("norm_correct_prob", "none", [sound, row])["value"] is None
        assert ratio_score("gold_bits_per_byte", "none", [sound, row], "gold_nll", "gold_bytes")["value"] is None
        assert mean_score("norm_correct_prob", "none", [sound])["value"] == pytest.approx(sound["norm_correct_prob"])


# ---- the file of answers


HEADER = Header("t", "p" * 64, {"n_shot": {"t": 5}}, "m" * 64, "s" * 64, 0)
UNITS: list[list[tuple[Any, ...]]] = [
    [((0, 0, 0, 0), -1.5, True), ((0, 0, 1, 0), -2.25, False)],
    [((0, 1, 0, 0), "a text\n'é \u2028")],
    [((1, 0, 0, 3), float("-inf"), False)],
]


def test_answers_come_back_as_they_were(tmp_path: Path) -> None:
    first = Journal(tmp_path, HEADER)
    for unit in UNITS:
        first.add(unit)
    # not closed: a killed process does not close
    found = read_answers(tmp_path)
    assert found is not None and found[0] == HEADER and found[2] is False
    assert found[1] == {
        (0, 0, 0, 0): (-1.5, True),
        (0, 0, 1, 0): (-2.25, False),
        (0, 1, 0, 0): "a text\n'é \u2028",
        (1, 0, 0, 3): (float("-inf"), False),
    }


def test_a_torn_or_damaged_line_counts_as_not_there_and_is_taken_out(tmp_path: Path) -> None:
    first = Journal(tmp_path, HEADER)
    for unit in UNITS:
        first.add(unit)
    first.close()
    path = tmp_path / ANSWERS
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    for damaged in range(1, len(lines)):
        for content in (
            b"".join(lines[:damaged]) + lines[damaged][:-3],  # torn
            b"".join(lines[:damaged]) + lines[damaged].replace(b"0", b"1", 1) + b"".join(lines[damaged + 1 :]),
        ):
            path.write_bytes(content)
            again = Journal(tmp_path, HEADER)
            kept = {key for number, unit in enumerate(UNITS, 1) for key, *_ in unit if number != damaged}
            if content.endswith(lines[damaged][:-3]):
                kept = {key for number, unit in enumerate(UNITS, 1) for key, *_ in unit if number < damaged}
            assert again.answers.keys() == kept
            again.add(UNITS[damaged - 1])
            again.close()
            found = read_answers(tmp_path)
            assert found is not None and found[1].keys() == kept | {UNITS[damaged - 1][0][0], *again.answers}
            assert found[2] is False


def test_answers_to_something_else_are_not_taken(tmp_path: Path) -> None:
    first = Journal(tmp_path, HEADER)
    first.add(UNITS[0])
    first.close()
    other = Header(**{**vars(HEADER), "model": "x" * 64})
    assert Journal(tmp_path, other).answers == {}
    assert Journal(tmp_path, HEADER).answers != {}  # looking alone destroys nothing
    second = Journal(tmp_path, other)
    second.add(UNITS[1])
    second.close()
    assert Journal(tmp_path, HEADER).answers == {}
