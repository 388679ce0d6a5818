"""Reading a model's linear layers in 4 bits, by Transformers' own way for weights that are rounded while they are read.

One weight after another is read whole, rounded and let go: the whole model is never in memory.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers.core_model_loading import ConversionOps
from transformers.quantizers.auto import register_quantization_config, register_quantizer
from transformers.quantizers.base import HfQuantizer
from transformers.quantizers.quantizers_utils import get_module_from_name, should_convert_module
from transformers.utils.quantization_config import QuantizationConfigMixin

from tunebook.model.four_bits import BLOCK, FourBitLinear

_NAME = "tunebook_nf4"


def four_bit_loading() -> Any:
    """What `from_pretrained` takes as `quantization_config` to read linear layers in 4 bits.

    The head and layers whose count 64 does not divide stay whole.
    """
    return _Config()


@register_quantization_config(_NAME)
class _Config(QuantizationConfigMixin):
    def __init__(self, **_: Any) -> None:
        self.quant_method = _NAME  # type: ignore[assignment]


@register_quantizer(_NAME)
class _Quantizer(HfQuantizer):
    """Transformers' way to have weights rounded while they are read, so that the whole model is never in memory."""

    def _process_model_before_weight_loading(self, model: Any, **_: Any) -> None:
        kept = self.get_modules_to_not_convert(model, None, model._keep_in_fp32_modules)
        found = [(name, module) for name, module in model.named_modules() if type(module) is torch.nn.Linear]
        for name, module in found:
            if should_convert_module(name, kept) and module.weight.numel() % BLOCK == 0:
                with torch.device("meta"):
                    bias = module.bias is not None
                    layer = FourBitLinear(module.in_features, module.out_features, bias, dtype=module.weight.dtype)
                model.set_submodule(name, layer)

    def param_needs_quantization(self, model: Any, param_name: str, **_: Any) -> bool:
        module, name = get_module_from_name(model, param_name)
        return isinstance(module, FourBitLinear) and name == "weight"

    def get_quantize_ops(self) -> ConversionOps:
        return _Round()

    def _process_model_after_weight_loading(self, model: Any, **_: Any) -> None:
        for parameter in model.parameters():  # what stays whole may be a window on the file, which then stays mapped
            if parameter.is_floating_point():
                parameter.data = parameter.data.clone()
        self.remove_quantization_config(model)  # type: ignore[no-untyped-call]  # the layers know what they are; saved settings must not say so
        model.config._is_quantized = False

    def is_serializable(self) -> bool:
        return False

    @property
    def is_trainable(self) -> bool:
        return True


class _Round(ConversionOps):
    def convert(
        self, input_dict: dict[str, Any], source_patterns: list[str], target_patterns: list[str], **given: Any
    ) -> dict[str, Any]:
        ((tensor,),) = input_dict.values()
        name = given["full_layer_name"]
        layer, _ = get_module_from_name(given["model"], name)
        layer.hold(tensor)
        layer._is_hf_initialized = layer.weight._is_hf_initialized = True
        given["missing_keys"].discard(name)
        return {}  # put in place already
