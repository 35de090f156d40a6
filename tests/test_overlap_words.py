"""Words of token ids are the words of their text, whatever cut the text into tokens."""

from __future__ import annotations

import json
import unicodedata

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from joyctl.data.overlap.stream import TokenWords
from joyctl.data.overlap.tokenbytes import Vocabulary
from joyctl.data.overlap.words import NO_WORD, finished, hash_grams, hash_pieces, hash_words, words
from joyctl.errors import Missing

SAMPLE = [
    "The quick brown fox jumps over the lazy dog; it didn't stop, did it?",
    "def area(width, height):\n    return width * height  # 3.14 is π\n",
    "Café 'Größe' – Янет’s утки 16 яиц, 価格は百円です。 naïve ﬁancée",
    "the them then these those there their this that thou",
]


def _trained(tokenizer: Tokenizer, trainer: trainers.Trainer) -> Tokenizer:
    tokenizer.train_from_iterator(SAMPLE * 3, trainer)
    return tokenizer


def _byte_level() -> Tokenizer:
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    return _trained(made, trainers.BpeTrainer(vocab_size=420, special_tokens=["<eos>"], initial_alphabet=alphabet))


def _bytes_only() -> Tokenizer:
    """Every byte a token: each character beyond ASCII is torn."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    return _trained(made, trainers.BpeTrainer(vocab_size=257, special_tokens=["<eos>"], initial_alphabet=alphabet))


def _metaspace() -> Tokenizer:
    """As SentencePiece with bytes to fall back on: Llama 2."""
    byte_tokens = [f"<0x{i:02X}>" for i in range(256)]
    made = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    made.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    trainer = trainers.BpeTrainer(vocab_size=380, special_tokens=["<unk>", "<eos>", *byte_tokens], limit_alphabet=40)
    made = _trained(made, trainer)
    about = json.loads(made.to_str())  # special to the trainer, so that it keeps them; not to whoever decodes
    about["added_tokens"] = [each for each in about["added_tokens"] if each["content"] not in byte_tokens]
    return Tokenizer.from_str(json.dumps(about))


def _unigram() -> Tokenizer:
    made = Tokenizer(models.Unigram())
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.decoder = decoders.Metaspace()
    return _trained(made, trainers.UnigramTrainer(vocab_size=150, special_tokens=["<unk>", "<eos>"], unk_token="<unk>"))


def _wordpiece() -> Tokenizer:
    made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.decoder = decoders.WordPiece(cleanup=True)
    return _trained(made, trainers.WordPieceTrainer(vocab_size=200, special_tokens=["[UNK]", "<eos>"]))


def _word_level() -> Tokenizer:
    made = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    return _trained(made, trainers.WordLevelTrainer(vocab_size=60, special_tokens=["[UNK]", "<eos>"]))


KINDS = {
    "byte-level": _byte_level,
    "bytes only": _bytes_only,
    "metaspace with bytes": _metaspace,
    "unigram": _unigram,
    "wordpiece": _wordpiece,
    "word-level": _word_level,
}


@pytest.fixture(scope="module", params=KINDS, ids=KINDS)
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    return KINDS[request.param]()


def hashes(vocabulary: Vocabulary, ids: list[int]) -> list[int]:
    table = TokenWords(vocabulary.pieces)
    return table.stream(table.known(np.array(ids, np.int64)), np.empty(0, np.int64)).hashes.tolist()


def test_a_word_is_letters_digits_and_marks_in_lower_case():
    assert words("  The\n\tCAT's  3.14 -- (Größe)_x") == ["the", "cat", "s", "3", "14", "größe", "x"]
    assert words("Janet’s ducks—and ‘geese’") == ["janet", "s", "ducks", "and", "geese"]
    assert words("ΣΑΣ") == ["σασ"], "letter by letter, since tokens end anywhere"
    assert words("हिन्दी") == ["हिन्दी"], "marks belong to the letter they stand on"
    assert words("... !!") == [] == words("")


@given(st.text(max_size=60))
def test_words_are_what_a_plain_definition_says(text):
    plain = "".join(c.lower() if c.isalnum() or unicodedata.category(c).startswith("M") else " " for c in text).split()
    assert words(text) == plain


@given(st.lists(st.binary(min_size=1, max_size=9), min_size=1, max_size=6), st.integers(0, 5))
def test_the_hash_of_a_word_is_put_together_from_its_pieces(pieces, cut):
    from joyctl.data.overlap.words import powers

    whole, parts = hash_pieces([b"".join(pieces)])[0], hash_pieces(pieces)
    before = np.cumsum([0, *map(len, pieces)])[:-1]
    assert (parts * powers(int(before.max()))[before]).sum() == whole


@given(st.lists(st.integers(0, 2**64 - 1), max_size=30), st.integers(5, 13))
def test_ngrams_are_equal_where_their_words_are(values, n):
    twice = np.array([*values, *values], np.uint64)
    made = hash_grams(twice, n)
    assert len(made) == max(0, len(twice) - n + 1)
    for i in range(len(values) - n + 1):
        assert made[i] == made[i + len(values)] == hash_grams(twice[i : i + n], n)[0]
        if len(set(twice[i : i + n].tolist())) == n:
            assert hash_grams(twice[i : i + n][::-1].copy(), n)[0] != made[i], "order counts"


@settings(max_examples=120, deadline=None)
@example(text="Janet’s ducks lay “16” eggs per day…")
@example(text="日本語 です。ABC、é")
@given(text=st.text(st.sampled_from("abcdeTHE  \n.,'’éπя価ß16-_\u0301🦆"), max_size=80))
def test_words_of_ids_are_those_of_their_text_by_the_tokenizer(tokenizer, text):
    vocabulary = Vocabulary(tokenizer, "it")
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    unknown = next((i for name in ("[UNK]", "<unk>") if (i := tokenizer.token_to_id(name)) is not None), None)
    stretches, stretch = [], []
    for i in ids:
        if i == unknown:
            stretches.append(stretch)
            stretch = []
        else:
            stretch.append(i)
    decoded = " ".join(tokenizer.decode(each, skip_special_tokens=False) for each in [*stretches, stretch])
    assert hashes(vocabulary, ids) == hash_words(words(decoded)).tolist()
    vocabulary.check(ids, "here")


@given(ids=st.lists(st.integers(0, 270), max_size=40))
def test_ids_in_any_order_too(ids):
    """Torn characters, ends of text and ids that no token has, wherever they stand."""
    vocabulary = Vocabulary(_once("bytes only"), "it")
    end = _once("bytes only").token_to_id("<eos>")
    expected: list[int] = []
    stretch: list[int] = []
    for i in [*ids, -1]:
        if i != -1 and i < 257 and i != end:
            stretch.append(i)
            continue
        decoded = _once("bytes only").decode(stretch)
        expected += hash_words(words(decoded)).tolist()
        expected += [int(NO_WORD)] if i != -1 else []
        stretch = []
    assert hashes(vocabulary, ids) == expected


_made: dict[str, Tokenizer] = {}


def _once(kind: str) -> Tokenizer:
    if kind not in _made:
        _made[kind] = KINDS[kind]()
    return _made[kind]


def test_a_decoder_that_cannot_be_taken_apart_is_refused():
    made = _byte_level()
    made.decoder = decoders.CTC()
    with pytest.raises(Missing, match="decodes by CTC"):
        Vocabulary(made, "it")


def test_tokens_that_do_not_decode_one_by_one_are_noticed():
    made = _byte_level()
    vocabulary = Vocabulary(made, "it")
    ids = made.encode(SAMPLE[0]).ids
    vocabulary.pieces[ids[3]] = b"zebra"
    with pytest.raises(Missing, match="source web: tokens of it do not decode"):
        vocabulary.check(ids, "source web")


def test_words_without_pieces_hash_to_nothing():
    assert len(hash_words([])) == 0 and len(finished(hash_pieces([]))) == 0


def test_ids_that_end_inside_a_character_are_no_reason_to_refuse(tokenizer):
    vocabulary = Vocabulary(tokenizer, "it")
    ids = tokenizer.encode("the fox 価格 jumps, Ж and 🦆", add_special_tokens=False).ids
    for number in range(len(ids)):
        vocabulary.check(ids[:number], "here")
