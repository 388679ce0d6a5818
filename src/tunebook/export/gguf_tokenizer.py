"""A tokenizer as GGUF metadata: tokens, their kinds, merges or scores, special ids, chat template, end of turn.

Two kinds are known: byte-level BPE (`gpt2` in GGUF's words) with a way to cut text that llama.cpp has a name for, and
SentencePiece-style BPE with byte fallback (`llama`), whose merges become scores. Keys: ggml-org/ggml, docs/gguf.md.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from tunebook.collector import no_collecting
from tunebook.data.template import Template, chat_template
from tunebook.errors import ExportError

_NORMAL, _UNKNOWN, _CONTROL, _USER, _UNUSED, _BYTE = 1, 2, 3, 4, 5, 6  # token kinds of llama.cpp
_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}DIGITS| ?[^\s\p{L}\p{N}]+[\r\n]*|"
    r"\s*[\r\n]+|\s+(?!\S)|\s+"
)
# how text is cut before merging -> llama.cpp's name for it
_CUTS = {
    ("bytes",): "gpt-2",
    ("digits", "bytes"): "smollm",
    (_SPLIT.replace("DIGITS", "{1,3}"),): "llama-bpe",
    (_SPLIT.replace("DIGITS", ""),): "qwen2",
}
# names that Transformers' own GGUF reader takes for plain GPT-2 cutting; llama.cpp knows them
READ_AS_GPT2 = frozenset({"smollm"})


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What goes into the file. `cut` is llama.cpp's name for the way text is cut before merging."""

    model: str
    cut: str
    tokens: list[str]
    kinds: list[int]
    merges: list[str]
    scores: list[float]
    space_prefix: bool
    special: dict[str, int]
    adds_bos: bool
    template: str


@no_collecting()
def read_vocabulary(tokenizer: Any, size: int) -> Vocabulary:
    """The tokenizer for a model with `size` embeddings. ExportError names what GGUF export does not know."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    spec = json.loads(backend.to_str()) if backend is not None else {}
    model = spec.get("model") or {}
    if model.get("type") != "BPE":
        raise _unknown(f"its tokenizer is of the kind {model.get('type') or type(tokenizer).__name__}")
    pieces = bool(model.get("byte_fallback"))
    cut = "default" if pieces else _cut_name(spec)
    by_id = {number: token for token, number in tokenizer.get_vocab().items()}
    if max(by_id) >= size:
        raise ExportError(
            f"The tokenizer has tokens up to number {max(by_id)} and the model {size} embeddings.",
            do="Export safetensors, or use the tokenizer that belongs to the model.",
        )
    added = {int(number): token for number, token in tokenizer.added_tokens_decoder.items()}
    tokens, kinds = [], []
    for number in range(size):
        token = by_id.get(number)
        kind = _kind(token, added.get(number), tokenizer.unk_token if pieces else None, pieces)
        # llama.cpp looks for user-defined tokens in the text itself, where a blank is a blank
        spelled = f"[PAD{number}]" if token is None else token
        tokens.append(spelled.replace("▁", " ") if pieces and kind == _USER else spelled)
        kinds.append(kind)
    pairs = [pair.split(" ") if isinstance(pair, str) else pair for pair in model.get("merges") or []]
    return Vocabulary(
        model="llama" if pieces else "gpt2",
        cut=cut,
        tokens=tokens,
        kinds=kinds,
        merges=[] if pieces else [" ".join(pair) for pair in pairs],
        scores=_scores(tokens, pairs) if pieces else [],
        space_prefix=pieces and _prefixes_a_space(spec),
        special=_special(tokenizer),
        adds_bos=adds_bos(tokenizer),
        template=chat_template(tokenizer),
    )


def adds_bos(tokenizer: Any) -> bool:
    """Does plain encoding put the beginning-of-text token in front?"""
    ids = tokenizer("x")["input_ids"]
    return tokenizer.bos_token_id is not None and bool(ids) and ids[0] == tokenizer.bos_token_id


def end_of_turn(tokenizer: Any) -> int | None:
    """The token that ends an answer: what the chat template writes behind one, else the tokenizer's end of text."""
    token = Template(tokenizer).end_of_turn
    return tokenizer.eos_token_id if token is None else int(tokenizer.convert_tokens_to_ids(token))


def _kind(token: str | None, added: Any, unknown: str | None, pieces: bool) -> int:
    if token is None:
        return _UNUSED
    if token == unknown:
        return _UNKNOWN
    if added is not None:
        return _CONTROL if added.special else _USER
    if pieces and len(token) == 6 and token.startswith("<0x") and token.endswith(">"):
        return _BYTE
    return _NORMAL


def _cut_name(spec: dict[str, Any]) -> str:
    first: dict[str, Any] = spec.get("pre_tokenizer") or {}
    stages: list[dict[str, Any]] = first["pretokenizers"] if first.get("type") == "Sequence" else [first]
    normalizer = (spec.get("normalizer") or {}).get("type")
    cuts = tuple(cut for cut in map(_cut, stages) if cut)
    name = _CUTS.get(cuts)
    if (
        name is None
        or None in map(_cut, stages)
        or not (normalizer is None or (name == "qwen2" and normalizer == "NFC"))
    ):
        raise _unknown("its tokenizer cuts text in a way that has no name there")
    return name


def _cut(stage: dict[str, Any]) -> str | None:
    """One stage of cutting as a key of the table; '' for one that only spells bytes, None for one not known."""
    kind = stage.get("type")
    if kind == "ByteLevel" and not stage.get("add_prefix_space"):
        return "bytes" if stage.get("use_regex", True) else ""
    if kind == "Digits" and stage.get("individual_digits"):
        return "digits"
    if kind == "Split" and stage.get("behavior") == "Isolated" and not stage.get("invert"):
        return str((stage.get("pattern") or {}).get("Regex"))
    return None


def _scores(tokens: list[str], pairs: list[list[str]]) -> list[float]:
    """A score for each token such that joining the best-scored pair first follows the order of the merges."""
    ranks: dict[str, int] = {}
    for rank, pair in enumerate(pairs):
        ranks.setdefault("".join(pair), rank)
    return [-float(ranks.get(token.replace(" ", "▁"), len(pairs))) for token in tokens]


def _prefixes_a_space(spec: dict[str, Any]) -> bool:
    text = json.dumps([spec.get("normalizer"), spec.get("pre_tokenizer")])
    return '"Prepend"' in text or '"prepend_scheme": "first"' in text or '"prepend_scheme": "always"' in text


def _special(tokenizer: Any) -> dict[str, int]:
    ids = {
        "bos": tokenizer.bos_token_id,
        "eos": end_of_turn(tokenizer),
        "eot": end_of_turn(tokenizer),
        "unk": tokenizer.unk_token_id,
        "pad": tokenizer.pad_token_id,
    }
    return {name: int(number) for name, number in ids.items() if number is not None}


def _unknown(why: str) -> ExportError:
    return ExportError(
        f"GGUF export does not know this model: {why}.",
        kept="Nothing was written.",
        do="Known tokenizers are byte-level BPE as in GPT-2, SmolLM, Llama 3 and Qwen, and SentencePiece-style BPE as "
        "in Llama 2, Mistral and Gemma. Export safetensors and use llama.cpp's own converter on it.",
    )
