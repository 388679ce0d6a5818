"""GGUF files for llama.cpp and Ollama, written tensor by tensor with the `gguf` package.

Families: Llama (and Mistral without a sliding window), Qwen 2 and 3, Gemma 2 and 3 (text). F16: matrices in float16,
norms and biases in float32. Quantized files: see `gguf_types`; rows that no block divides stay in float16. What
llama.cpp wants otherwise than Transformers has it: Llama's query and key rows are interleaved, Gemma's norms hold
w + 1.
Facts: ggml-org/ggml docs/gguf.md, and the metadata of llama.cpp's own files.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from tunebook.errors import ExportError
from tunebook.evaluate.mode import base_of
from tunebook.export.gguf_file import file_writer, made_ahead
from tunebook.export.gguf_settings import Family, Float32, add_settings, family_of, llama3_factors, refuse_settings
from tunebook.export.gguf_tokenizer import Vocabulary, read_vocabulary
from tunebook.export.gguf_types import Kind, file_type, quantise, stored_type
from tunebook.export.weights import merged_tensors

Array = npt.NDArray[Any]


def write_gguf(model: Any, tokenizer: Any, path: Path, kind: Kind, name: str) -> None:
    """Write `model` (plain or with adapters, which are merged) to `path`. The same model gives the same bytes.

    ExportError when the family, a setting or the tokenizer is not known, or a weight is too large for float16.
    """
    import gguf

    config = base_of(model).config
    family = family_of(config)
    refuse_settings(config)
    vocabulary = read_vocabulary(tokenizer, config.vocab_size)
    writer = file_writer(path, family.arch)
    writer.add_name(name)
    writer.add_file_type(file_type(kind))
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    add_settings(writer, config, family)
    _add_vocabulary(writer, vocabulary)
    plans = _tensors(model, config, family, kind)
    for tensor in plans:
        writer.add_tensor_info(tensor.name, tensor.shape, tensor.dtype, tensor.nbytes, tensor.raw)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for values in made_ahead([tensor.values for tensor in plans]):
        writer.write_tensor_data(values)
    writer.close()


@dataclass(frozen=True, slots=True)
class _Tensor:
    """One tensor of the file: what the table says of it, and its bytes when `values()` is called."""

    name: str
    shape: tuple[int, ...]
    dtype: Any
    nbytes: int
    raw: Any
    values: Callable[[], Array]


def _tensors(model: Any, config: Any, family: Family, kind: Kind) -> list[_Tensor]:
    import gguf

    arch = next(number for number, text in gguf.MODEL_ARCH_NAMES.items() if text == family.arch)
    names = gguf.get_tensor_name_map(arch, config.num_hidden_layers)
    found = []
    for name, lazy in merged_tensors(model).items():
        target = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if target is None:
            raise ExportError(
                f"GGUF has no name for the weight {name} of this model.",
                kept="Nothing was written.",
                do="Export safetensors instead.",
            )
        read = _reader(lazy, name, config, family)
        found.append(_stored(target, tuple(lazy.shape), read, kind, config))
    if (scaling := llama3_factors(config)) is not None:
        found.append(_stored("rope_freqs.weight", scaling.shape, lambda: scaling, kind, config))
    return sorted(found, key=lambda tensor: tensor.name)


def _reader(lazy: Any, name: str, config: Any, family: Family) -> Callable[[], Float32]:
    """The values in float32, as llama.cpp wants them."""

    def read() -> Float32:
        values: Float32 = lazy.value().float().numpy()
        if family.interleaved and (".q_proj." in name or ".k_proj." in name):
            heads = config.num_attention_heads if ".q_proj." in name else config.num_key_value_heads
            shape = (heads, 2, values.shape[0] // heads // 2, *values.shape[1:])
            values = values.reshape(shape).swapaxes(1, 2).reshape(values.shape)
        return values + np.float32(family.norm_offset) if name.endswith("norm.weight") else values

    return read


def _stored(name: str, shape: tuple[int, ...], read: Callable[[], Float32], kind: Kind, config: Any) -> _Tensor:
    import gguf

    count = math.prod(shape)
    if len(shape) == 1:
        return _Tensor(name, shape, np.float32, 4 * count, None, lambda: np.ascontiguousarray(read(), np.float32))
    raw = stored_type(name, shape[-1], kind, config.num_hidden_layers, config.tie_word_embeddings)
    if raw == gguf.GGMLQuantizationType.F16:
        return _Tensor(name, shape, np.float16, 2 * count, None, lambda: _half(read(), name))
    block, size = gguf.GGML_QUANT_SIZES[raw]
    packed = (*shape[:-1], shape[-1] // block * size)
    return _Tensor(name, packed, np.uint8, math.prod(packed), raw, lambda: quantise(read(), raw))


def _half(values: Float32, name: str) -> Array:
    limit = float(np.finfo(np.float16).max)
    largest = float(max(values.max(initial=0.0), -values.min(initial=0.0)))
    if not largest <= limit:
        raise ExportError(
            f"The weight {name} holds {largest:.4g}, which float16 cannot hold (largest: {limit:.0f}).",
            kept="Nothing was written.",
            do="Export safetensors instead.",
        )
    half: Array = torch.from_numpy(values).half().numpy()  # the same rounding as numpy's, at many times its speed
    return np.ascontiguousarray(half)


def _add_vocabulary(writer: Any, vocabulary: Vocabulary) -> None:
    writer.add_tokenizer_model(vocabulary.model)
    writer.add_tokenizer_pre(vocabulary.cut)
    writer.add_token_list(vocabulary.tokens)
    writer.add_token_types(vocabulary.kinds)
    if vocabulary.model == "llama":
        writer.add_token_scores(vocabulary.scores)
        writer.add_add_space_prefix(vocabulary.space_prefix)
    else:
        writer.add_token_merges(vocabulary.merges)
    for name, add in (
        ("bos", writer.add_bos_token_id),
        ("eos", writer.add_eos_token_id),
        ("eot", writer.add_eot_token_id),
        ("unk", writer.add_unk_token_id),
        ("pad", writer.add_pad_token_id),
    ):
        if name in vocabulary.special:
            add(vocabulary.special[name])
    writer.add_add_bos_token(vocabulary.adds_bos)
    writer.add_chat_template(vocabulary.template)
