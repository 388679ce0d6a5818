"""The tuned weights as files: merged into one model (safetensors), or the adapter alone (PEFT).

Merging never touches the model in memory: each adapted layer is merged into a copy in float32, written and let go. So
memory grows by one layer, and the base stays what it was to the bit.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from tunebook.data.template import chat_template
from tunebook.errors import ExportError
from tunebook.evaluate.generate import stop_token_ids
from tunebook.evaluate.mode import base_of
from tunebook.files import to_json, write_text
from tunebook.model.four_bits import FourBitLinear

WEIGHTS = "model.safetensors"
_DTYPES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.float64: "F64"}
_OTHER = {torch.int64: "I64", torch.int32: "I32", torch.uint8: "U8", torch.int8: "I8", torch.bool: "BOOL"}


def write_merged(model: Any, tokenizer: Any, folder: Path, dtype: torch.dtype | None = None) -> None:
    """Write `model` (plain, or a PeftModel, which is merged) and its tokenizer into the folder `folder`.

    Floating-point weights are stored in `dtype`, else in the model's own. Plain Transformers loads the folder. The same
    model gives the same bytes.
    """
    tensors = merged_tensors(model, dtype)
    core = base_of(model)
    write_safetensors(tensors, folder / WEIGHTS)
    config = copy.deepcopy(core.config)
    config.dtype = dtype or core.dtype
    config.architectures = [type(core).__name__]
    if _tied(core) & set(tensors):
        config.tie_word_embeddings = False  # an adapter on one of the two has parted them
    config.save_pretrained(folder)
    write_generation_config(model, tokenizer, folder)
    write_tokenizer(tokenizer, folder)


def write_adapter(model: Any, tokenizer: Any, folder: Path, base: dict[str, Any]) -> None:
    """Write the adapter of a PeftModel into `folder`, with the tokenizer, and `base` (what it belongs to) beside it.

    ExportError when `model` carries no adapter.
    """
    if not hasattr(model, "peft_config"):
        raise ExportError(
            "There is no adapter to export: the run trained every weight.",
            kept="Nothing was written.",
            do="Export it with --format safetensors.",
        )
    model.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)  # PEFT's blank card; Tunebook writes its own
    path = folder / "adapter_config.json"
    settings = json.loads(path.read_text(encoding="utf-8"))
    # where PEFT found the base is a place on this machine
    settings["base_model_name_or_path"] = base["name"]
    # sets come in a different order in every process
    ordered = {key: sorted(value) if _is_words(value) else value for key, value in settings.items()}
    write_text(path, json.dumps(ordered, indent=2, sort_keys=True) + "\n")
    write_text(folder / "base.json", to_json(base, indent=2) + "\n")
    write_generation_config(model, tokenizer, folder)
    write_tokenizer(tokenizer, folder)


def write_generation_config(model: Any, tokenizer: Any, folder: Path) -> None:
    """Generation settings: every token that ended an answer in training stops here, and sampling is the base's.

    What would change even the most likely answer (a repetition penalty, a shortest length) is left out: the answers
    that were measured came without it.
    """
    from transformers import GenerationConfig

    base = base_of(model).generation_config
    stops = list(stop_token_ids(model, tokenizer))
    # without do_sample the others say nothing, and Transformers refuses to write them
    names = ("do_sample", "temperature", "top_k", "top_p", "min_p") if base.do_sample else ()
    kept = {name: getattr(base, name, None) for name in names}
    GenerationConfig(  # type: ignore[no-untyped-call]
        bos_token_id=base.bos_token_id,
        eos_token_id=stops[0] if len(stops) == 1 else stops or None,
        pad_token_id=tokenizer.pad_token_id if base.pad_token_id is None else base.pad_token_id,
        **{name: value for name, value in kept.items() if value is not None},
    ).save_pretrained(folder)


def write_tokenizer(tokenizer: Any, folder: Path) -> None:
    """The tokenizer's files, and the chat template used in training as `chat_template.jinja`, byte for byte."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:  # what the last call cut or padded to is no part of the tokenizer
        backend.no_truncation()
        backend.no_padding()
    tokenizer.save_pretrained(folder)
    if isinstance(tokenizer.chat_template, str | None):  # some have several by name, in files of their own
        write_text(folder / "chat_template.jinja", chat_template(tokenizer))


class Lazy:
    """One tensor of the merged model: its shape and dtype now, its values when `value()` is called."""

    def __init__(self, like: Tensor, dtype: torch.dtype | None, value: Callable[[], Tensor]) -> None:
        self.shape = tuple(like.shape)
        self.dtype = dtype if dtype is not None and like.is_floating_point() else like.dtype
        self._value = value

    def value(self) -> Tensor:
        """The values, contiguous, on the CPU, in `dtype`."""
        return self._value().detach().to("cpu", self.dtype).contiguous()


def merged_tensors(model: Any, dtype: torch.dtype | None = None) -> dict[str, Lazy]:
    """Every tensor of the merged model by its plain name, tied ones once, in order of name."""
    found: dict[str, Lazy] = {}
    core = base_of(model)
    tied = _tied(core)
    for path, module, layer in _layers(core):
        for name, tensor in _own_tensors(layer):
            plain = f"{path}.{name}" if path else name
            if plain in tied and not _parted(core, module):
                continue
            found[plain] = Lazy(tensor, dtype, _reader(module, layer, name))
    return dict(sorted(_hub_names(core, found).items()))


def write_safetensors(tensors: dict[str, Lazy], path: Path) -> None:
    """Write tensors one by one, as github.com/huggingface/safetensors has it: header length, JSON header, data."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, tensor in tensors.items():
        size = torch.Size(tensor.shape).numel() * tensor.dtype.itemsize
        kind = _DTYPES.get(tensor.dtype) or _OTHER[tensor.dtype]
        header[name] = {"dtype": kind, "shape": list(tensor.shape), "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for tensor in tensors.values():
            file.write(tensor.value().reshape(-1).view(torch.uint8).numpy().data)


def weights_size(tensors: dict[str, Lazy]) -> int:
    """Bytes that the tensors take."""
    return sum(torch.Size(tensor.shape).numel() * tensor.dtype.itemsize for tensor in tensors.values())


def _layers(core: Any) -> Iterator[tuple[str, Any, Any]]:
    """(plain path, module, the plain layer inside it) of every module with tensors of its own, adapters unwrapped."""
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils import AuxiliaryTrainingWrapper

    inside: tuple[str, ...] = ()
    for path, module in core.named_modules():
        if path.startswith(inside):
            continue
        if isinstance(module, AuxiliaryTrainingWrapper):
            raise ExportError(
                f"The layer {path} was trained whole beside the adapters, which merging does not know.",
                do="Export with --format adapter, or train with lora.targets that name linear layers only.",
            )
        if isinstance(module, BaseTunerLayer):
            inside += (f"{path}.",)
            yield path, module, module.get_base_layer()
        else:
            yield path, module, module


def _own_tensors(layer: Any) -> Iterator[tuple[str, Tensor]]:
    """(name, the tensor or one without values that is like it) of what a plain layer has in files."""
    if isinstance(layer, FourBitLinear):
        shape = layer.out_features, layer.in_features
        yield "weight", torch.empty(shape, dtype=layer.scales.dtype, device="meta")
        if layer.bias is not None:
            yield "bias", layer.bias
        return
    yield from ((name, value) for name, value in layer._parameters.items() if value is not None)
    hidden = layer._non_persistent_buffers_set
    yield from ((name, value) for name, value in layer._buffers.items() if value is not None and name not in hidden)


def _reader(module: Any, layer: Any, name: str) -> Callable[[], Tensor]:
    rounded = isinstance(layer, FourBitLinear)
    own = layer.whole if rounded and name == "weight" else partial(getattr, layer, name)
    if module is layer or (rounded and name == "bias"):
        return own
    plain = name == "weight" and hasattr(module, "get_delta_weight") and not module.lora_variant
    return partial(_sum, module, own) if plain else lambda: cast(Tensor, getattr(_merged_copy(module), name))


def _sum(module: Any, own: Callable[[], Tensor]) -> Tensor:
    """The weight of a plain LoRA layer with its adapters added, in float32 so that the sum is rounded once."""
    weight = own()
    if not all(value.isfinite().all() for name, value in module.named_parameters() if "lora_" in name):
        raise _not_finite("its weights are not finite")
    for adapter in module.active_adapters:
        weight = module.get_delta_weight(adapter).float().add_(weight)  # in the delta's own memory
    return weight


def _merged_copy(module: Any) -> Any:
    """The plain layer of a copy of `module` with adapters of another kind merged by PEFT, in float32."""
    twin = copy.deepcopy(module).float()
    try:
        twin.merge(safe_merge=True)
    except ValueError as error:
        raise _not_finite(str(error)) from error
    return twin.get_base_layer()


def _not_finite(why: str) -> ExportError:
    return ExportError(f"The adapter cannot be merged: {why}.", do="Export an earlier checkpoint.")


def _parted(core: Any, module: Any) -> bool:
    """Is this the output head of a model with tied embeddings where an adapter sits on one of the two?"""
    ends = (core.get_output_embeddings(), core.get_input_embeddings())
    return module in ends and any(hasattr(end, "get_base_layer") for end in ends)


def _tied(core: Any) -> set[str]:
    """Names of the tensors that are another one's twin, and so are not stored."""
    return set(getattr(core, "all_tied_weights_keys", None) or {})


def _hub_names(core: Any, tensors: dict[str, Lazy]) -> dict[str, Lazy]:
    """`tensors` under the names, and in the shapes, that files of this architecture have.

    Some (mixtures of experts) are held otherwise in memory than in files; these are turned back all at once.
    """
    from transformers.core_model_loading import revert_weight_conversion

    hollow = {name: torch.empty(tensor.shape, dtype=tensor.dtype, device="meta") for name, tensor in tensors.items()}
    turned = revert_weight_conversion(core, dict(hollow))
    if {name: value.shape for name, value in turned.items()} == {name: value.shape for name, value in hollow.items()}:
        return tensors
    whole = revert_weight_conversion(core, {name: tensor.value() for name, tensor in tensors.items()})
    return {name: Lazy(value, None, partial(_same, value)) for name, value in whole.items()}


def _same(value: Tensor) -> Tensor:
    return value


def _is_words(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)
