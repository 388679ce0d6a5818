"""A decoder of few, large autograd functions, for the architectures it knows; see `decoder.py`."""

# class -> what its RMSNorm adds to the weight
KNOWN = {
    "LlamaForCausalLM": 0.0,
    "MistralForCausalLM": 0.0,
    "Qwen2ForCausalLM": 0.0,
    "Qwen3ForCausalLM": 0.0,
    "GemmaForCausalLM": 1.0,
}
