"""Places of tokens in the text are the same whichever way they are found."""

from __future__ import annotations

import functools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from tests.data.templates import DEEPSEEK, QWEN3
from tests.tiny import tiny_tokenizer
from tunebook.data import pieces as pieces_module
from tunebook.data.cache import tokenizer_fingerprint
from tunebook.data.encode import Encoder, _Bytes, _Offsets, _Slow
from tunebook.data.pieces import Pieces, pieces_of

TOKENIZERS = {"tiny": tiny_tokenizer(), "qwen": QWEN3.tokenizer(), "deepseek": DEEPSEEK.tokenizer()}
pieces = st.sampled_from(["<|im_end|>", "<think>", "<｜User｜>", " ", "\n\n", "naïve", "🦊", "的", "word", "  ", "é"])
texts = st.lists(pieces | st.text(max_size=5), max_size=12).map("".join)


@pytest.mark.slow
@given(text=texts, name=st.sampled_from(sorted(TOKENIZERS)), data=st.data())
@settings(max_examples=300, deadline=None)
def test_places_by_adding_up_bytes_are_those_of_the_library(text, name, data):
    tokenizer = TOKENIZERS[name]
    if any("\ud800" <= char <= "\udfff" for char in text):
        return
    (quick,) = Encoder(tokenizer)([text])
    reference = _Offsets(tokenizer.backend_tokenizer.encode(text, add_special_tokens=False))
    assert quick.ids.tolist() == reference.ids.tolist() == tokenizer(text, add_special_tokens=False)["input_ids"]
    assert isinstance(quick, _Bytes)
    assert (quick.ends() or [0])[-1] == len(text)
    if text:
        start = data.draw(st.integers(0, len(text) - 1))
        end = data.draw(st.integers(start + 1, len(text)))
        first, past = quick.span(start, end)
        assert (first, past) == reference.span(start, end)
        assert quick.begins_before(first, start) == reference.begins_before(first, start)


def test_the_fingerprint_of_a_tokenizer_minds_neither_cutting_nor_filling():
    tokenizer = tiny_tokenizer()
    plain = tokenizer_fingerprint(tokenizer, "")
    tokenizer.backend_tokenizer.enable_truncation(7)
    tokenizer.backend_tokenizer.enable_padding(length=9, pad_token='"padding":')
    assert tokenizer_fingerprint(tokenizer, "") == plain
    Encoder(tokenizer)(["a text"])
    assert tokenizer_fingerprint(tokenizer, "") == plain
    tokenizer.add_tokens(["<new>"])
    assert tokenizer_fingerprint(tokenizer, "") != plain


def test_a_text_that_a_normalizer_changes_goes_the_librarys_way():
    tokenizer = tiny_tokenizer()
    tokenizer.backend_tokenizer.normalizer = normalizers.NFC()
    plain, changed = Encoder(tokenizer)(["plain", "cafe\u0301 au lait"])
    assert isinstance(plain, _Bytes)
    assert isinstance(changed, _Offsets)
    first, past = changed.span(6, 8)
    assert tokenizer.decode(changed.ids[first:past]).strip() == "au"


PATTERNS = {
    "gpt2": pre_tokenizers.ByteLevel(add_prefix_space=False),
    "smollm2": pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    ),
    "llama3": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+",
    "qwen": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+",
    "deepseek": r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
    r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
}
SPECIAL = ["<|im_start|>", "<|im_end|>"]


def byte_level(pattern, normalizer=None, added=()) -> Tokenizer:
    """A byte-level tokenizer that parts text by `pattern`, trained on enough text to join letters, spaces and marks."""
    rust = Tokenizer(models.BPE())
    rust.normalizer = normalizer
    if isinstance(pattern, str):
        pattern = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(pattern), "isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
    rust.pre_tokenizer, rust.decoder = pattern, decoders.ByteLevel()
    corpus = [
        "a word\n\n  is it's 12 345 a word. \t(word) is\n a 4 b",
        "the  word   is, naïve é 的 word's\n\n",
        "Xanadu word",
    ] * 50
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    rust.train_from_iterator(corpus, trainer)
    rust.add_tokens([*added])
    return rust


@functools.cache
def byte_level_pieces(name: str) -> tuple[Tokenizer, Pieces | None]:
    rust = byte_level(PATTERNS[name])
    return rust, pieces_of(rust, SPECIAL, [])


words = st.sampled_from(
    ["a", "word", "It's", " ", "  ", "\n", "\n\n", "\t", "4", "123", "é", "的", ".", "(", "<|im_end|>"]
)


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(some=st.lists(st.lists(words | st.text(max_size=4), max_size=15).map("".join), max_size=6), data=st.data())
def test_texts_encoded_by_pieces_have_the_ids_of_the_library(some, data):
    rust, pieces = byte_level_pieces(data.draw(st.sampled_from(sorted(PATTERNS))))
    some = [text for text in some if not any("\ud800" <= char <= "\udfff" for char in text)]
    assert pieces is not None
    for texts in (some, some[::-1]):
        whole = [made.ids for made in rust.encode_batch(texts, add_special_tokens=False)]
        assert [ids.tolist() for ids in pieces(texts)] == whole


ACROSS = {
    "a pattern that holds two words together": byte_level(r"\w+ \w+|\s+|\S"),
    "a pattern that leaves spaces behind words": byte_level(r"\w+\s*|\s+|\S"),
    "no pattern": byte_level(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)),
    "white space stripped": byte_level(PATTERNS["gpt2"], normalizers.Strip()),
    "tokens of several spaces": byte_level(PATTERNS["gpt2"], added=["  ", "    "]),
    "a token that takes the space behind it": byte_level(PATTERNS["gpt2"], added=[AddedToken("<x>", rstrip=True)]),
}


@pytest.mark.parametrize("why", ACROSS)
def test_a_tokenizer_that_does_not_part_before_words_is_not_used_by_pieces(why):
    assert pieces_of(ACROSS[why], SPECIAL, []) is None


def test_the_first_texts_of_the_user_decide_too():
    rust = byte_level(r"Xanadu \w+|" + PATTERNS["qwen"])
    assert pieces_of(rust, SPECIAL, ["a word"]) is not None
    assert pieces_of(rust, SPECIAL, ["Xanadu word"]) is None


def test_many_texts_go_by_pieces_and_what_is_known_stays_small(monkeypatch):
    monkeypatch.setattr(pieces_module, "_MOST_CHARACTERS", 200)
    tokenizer = tiny_tokenizer()
    encoder = Encoder(tokenizer)
    some = [f"<|im_start|>user\nthe word {i} is a thing{i}<|im_end|>\n" for i in range(200)]
    for texts in (some[:100], some[100:], some[:100]):
        for text, made in zip(texts, encoder(texts), strict=True):
            assert made.ids.tolist() == tokenizer(text, add_special_tokens=False)["input_ids"]
    assert encoder._pieces is not None
    assert "thing150" not in encoder._pieces._known
    assert encoder._pieces._characters < 200 + sum(map(len, some))


def test_a_tokenizer_that_puts_a_space_in_front_goes_the_librarys_way():
    tokenizer = tiny_tokenizer()
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    (made,) = Encoder(tokenizer)(["capital of France"])
    assert isinstance(made, _Offsets)
    assert tokenizer.decode(made.ids[slice(*made.span(11, 17))]).strip() == "France"


def test_a_tokenizer_that_does_not_work_on_bytes_uses_offsets():
    rust = Tokenizer(models.BPE(unk_token="?"))
    rust.pre_tokenizer = pre_tokenizers.Metaspace()
    rust.decoder = decoders.Metaspace()
    rust.train_from_iterator(["the quick fox", "a lazy dog"], trainers.BpeTrainer(special_tokens=["?"], vocab_size=60))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=rust, unk_token="?")
    (made,) = Encoder(tokenizer)(["the lazy fox"])
    assert isinstance(made, _Offsets)
    first, past = made.span(9, 12)
    assert tokenizer.decode(made.ids[first:past]).strip() == "fox"


class Slow:
    """A tokenizer without offsets, as the old Python ones are."""

    is_fast = False

    def __call__(self, text, add_special_tokens):
        assert not add_special_tokens
        return tiny_tokenizer()(text, add_special_tokens=False)

    def decode(self, ids):
        return tiny_tokenizer().decode(ids)


def test_a_slow_tokenizer_finds_places_by_encoding_up_to_them():
    text = "user\nHi<|im_end|>\nassistant\nHello there<|im_end|>\n"
    (slow,) = Encoder(Slow())([text])
    (quick,) = Encoder(tiny_tokenizer())([text])
    assert isinstance(slow, _Slow)
    place = text.index("Hello"), text.index("<|im_end|>\n", 20) + len("<|im_end|>")
    assert slow.ids.tolist() == quick.ids.tolist()
    assert slow.span(*place) == quick.span(*place)
    assert slow.ends()[-1] == len(text)


def test_a_slow_tokenizer_that_merges_across_the_place_is_refused():
    (slow,) = Encoder(Slow())(["the capital of France"])
    with pytest.raises(Exception, match="fast tokenizer"):
        slow.span(6, 12)
