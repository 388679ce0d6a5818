"""A small model of each family of architectures, and the fastest way that knows it."""

from __future__ import annotations

from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GemmaConfig,
    GemmaForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    GraniteConfig,
    GraniteForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Olmo2Config,
    Olmo2ForCausalLM,
    Olmo3Config,
    Olmo3ForCausalLM,
    Phi3Config,
    Phi3ForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    SmolLM3Config,
    SmolLM3ForCausalLM,
    Starcoder2Config,
    Starcoder2ForCausalLM,
)

SMALL = {
    "vocab_size": 320,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
}
BOTH: dict = {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": 8}
FAMILIES = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SMALL)),
    "llama with biases": lambda: LlamaForCausalLM(LlamaConfig(**SMALL, attention_bias=True, mlp_bias=True)),
    "gemma": lambda: GemmaForCausalLM(GemmaConfig(**SMALL, head_dim=8)),
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**SMALL)),
    "qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(**SMALL, head_dim=8)),
    "mistral": lambda: MistralForCausalLM(MistralConfig(**SMALL, sliding_window=None)),
    "mistral with a sliding window": lambda: MistralForCausalLM(MistralConfig(**SMALL, sliding_window=8)),
    "gemma2": lambda: Gemma2ForCausalLM(Gemma2Config(**SMALL, head_dim=8, sliding_window=8)),
    "gemma3": lambda: Gemma3ForCausalLM(Gemma3TextConfig(**SMALL, head_dim=8, **BOTH)),
    "olmo2": lambda: Olmo2ForCausalLM(Olmo2Config(**SMALL)),
    "olmo3": lambda: Olmo3ForCausalLM(Olmo3Config(**SMALL, **BOTH)),
    "phi3": lambda: Phi3ForCausalLM(Phi3Config(**SMALL, sliding_window=8, pad_token_id=0)),
    "smollm3": lambda: SmolLM3ForCausalLM(SmolLM3Config(**SMALL, pad_token_id=0, no_rope_layer_interval=2)),
    "starcoder2": lambda: Starcoder2ForCausalLM(Starcoder2Config(**SMALL, sliding_window=8)),
    "granite": lambda: GraniteForCausalLM(GraniteConfig(**SMALL, embedding_multiplier=3.0, residual_multiplier=0.5)),
    "gpt_neox": lambda: GPTNeoXForCausalLM(GPTNeoXConfig(**SMALL)),
    "gpt2": lambda: GPT2LMHeadModel(
        GPT2Config(
            vocab_size=320, n_positions=128, n_embd=32, n_layer=2, n_head=4, resid_pdrop=0, attn_pdrop=0, embd_pdrop=0
        )
    ),
}


FASTEST = (
    dict.fromkeys(FAMILIES, "fused")
    | {
        "mistral with a sliding window": "joined",
        "gemma2": "plain",
    }
    | dict.fromkeys(
        ("gemma3", "olmo2", "olmo3", "phi3", "smollm3", "starcoder2", "granite", "gpt_neox", "gpt2"), "joined"
    )
)
