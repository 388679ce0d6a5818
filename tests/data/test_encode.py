"""Places of tokens in the text are the same whichever way they are found."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from tests.data.templates import DEEPSEEK, QWEN3
from tests.tiny import tiny_tokenizer
from tunebook.data.encode import Encoder, _Bytes, _Offsets, _Slow

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


def test_a_text_that_a_normalizer_changes_goes_the_librarys_way():
    tokenizer = tiny_tokenizer()
    tokenizer.backend_tokenizer.normalizer = normalizers.NFC()
    plain, changed = Encoder(tokenizer)(["plain", "cafe\u0301 au lait"])
    assert isinstance(plain, _Bytes)
    assert isinstance(changed, _Offsets)
    first, past = changed.span(6, 8)
    assert tokenizer.decode(changed.ids[first:past]).strip() == "au"


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(start=texts, rests=st.lists(texts, min_size=1, max_size=5), name=st.sampled_from(sorted(TOKENIZERS)))
def test_texts_that_begin_alike_are_encoded_as_each_alone(start, rests, name):
    some = [start + rest for rest in rests]
    if any("\ud800" <= char <= "\udfff" for char in "".join(some)):
        return
    for text, made in zip(some, Encoder(TOKENIZERS[name])(some), strict=True):
        assert made.ids.tolist() == TOKENIZERS[name](text, add_special_tokens=False)["input_ids"]


def test_what_texts_share_is_encoded_once_up_to_its_last_special_token():
    encoder = Encoder(tiny_tokenizer())
    head = "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>"
    assert encoder._shared([head + "user\na", head + "user\nb"]) == head
    assert encoder._shared(["a<|im_end|>"]) == "a<|im_end|>"
    assert encoder._shared(["same", "same"]) == ""
    assert encoder._shared([]) == ""


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
