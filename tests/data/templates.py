"""Chat templates of the kinds that models ship with, in our own words, each on a small tokenizer.

They keep what makes each kind hard for a mask: an answer opened by thinking, thinking dropped from history, an end-of-text
token behind the last turn alone, no system role, a default system prompt, roles under other names, tools.
"""

# ruff: noqa: E501  (a template reads best in the lines that it writes)

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tokenizers import AddedToken, Tokenizer
from transformers import PreTrainedTokenizerFast

from tests.tiny import tiny_tokenizer

CALL = "{{ '{\"name\": \"' + call.function.name + '\", \"arguments\": ' + (call.function.arguments | tojson) + '}' }}"


@dataclass(frozen=True)
class Kind:
    """A template with its special tokens. `opening` is what it writes before the words of the last answer."""

    template: str
    end_of_turn: str
    bos: str | None = None
    eos: str | None = None
    specials: tuple[str, ...] = ()
    plain: tuple[str, ...] = ()
    system: bool = True
    tools: bool = False
    opening: str = ""
    lead: str = ""
    extra: dict[str, Any] = field(default_factory=dict)

    def tokenizer(self) -> Any:
        """A fast tokenizer with this template."""
        backend = Tokenizer.from_str(tiny_tokenizer().backend_tokenizer.to_str())
        specials = [token for token in (self.bos, self.eos, self.end_of_turn, *self.specials) if token]
        backend.add_special_tokens([AddedToken(token, special=True) for token in dict.fromkeys(specials)])
        backend.add_tokens([AddedToken(token, special=False) for token in self.plain])
        return PreTrainedTokenizerFast(
            tokenizer_object=backend,
            bos_token=self.bos,
            eos_token=self.eos or self.end_of_turn,
            pad_token=self.eos or self.end_of_turn,
            chat_template=self.template,
        )


LLAMA3 = Kind(
    template=(
        "{{ bos_token }}"
        "{% if tools %}{{ '<|start_header_id|>system<|end_header_id|>\\n\\nYou may call: ' + (tools | tojson) + '<|eot_id|>' }}"
        "{% endif %}"
        "{% for message in messages %}"
        "{% set who = 'ipython' if message.role == 'tool' else message.role %}"
        "{{ '<|start_header_id|>' + who + '<|end_header_id|>\\n\\n' }}"
        "{% if message.tool_calls %}{% for call in message.tool_calls %}" + CALL + "{% endfor %}"
        "{% else %}{{ message.content | trim }}{% endif %}"
        "{{ '<|eot_id|>' }}"
        "{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"
    ),
    end_of_turn="<|eot_id|>",
    bos="<|begin_of_text|>",
    eos="<|end_of_text|>",
    specials=("<|start_header_id|>", "<|end_header_id|>"),
    tools=True,
)

QWEN3 = Kind(
    template=(
        "{% if tools %}{{ '<|im_start|>system\\nTools:\\n' }}{% for tool in tools %}{{ tool | tojson + '\\n' }}{% endfor %}"
        "{{ '<|im_end|>\\n' }}{% endif %}"
        "{% set ns = namespace(last=-1) %}"
        "{% for message in messages %}{% if message.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}{% endfor %}"
        "{% for message in messages %}"
        "{% if message.role == 'assistant' %}"
        "{% set words = message.content or '' %}{% set thought = message.reasoning_content or '' %}"
        "{% if '</think>' in words %}"
        "{% set thought = words.split('</think>')[0].split('<think>')[-1].strip('\\n') %}"
        "{% set words = words.split('</think>')[-1].lstrip('\\n') %}{% endif %}"
        "{{ '<|im_start|>assistant\\n' }}"
        "{% if loop.index0 > ns.last and (loop.last or thought) %}{{ '<think>\\n' + thought + '\\n</think>\\n\\n' }}{% endif %}"
        "{{ words }}"
        "{% for call in message.tool_calls or [] %}{{ '<tool_call>\\n' }}"
        + CALL
        + "{{ '\\n</tool_call>' }}{% endfor %}"
        "{{ '<|im_end|>\\n' }}"
        "{% elif message.role == 'tool' %}"
        "{{ '<|im_start|>user\\n<tool_response>\\n' + message.content + '\\n</tool_response><|im_end|>\\n' }}"
        "{% else %}{{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}{% endif %}"
        "{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
    ),
    end_of_turn="<|im_end|>",
    eos="<|im_end|>",
    specials=("<|im_start|>",),
    plain=("<think>", "</think>", "<tool_call>", "</tool_call>"),
    tools=True,
    opening="<think>\n\n</think>\n\n",
)

# It wants an id of nine characters on every call and every answer of a tool.
CALL_IDS = Kind(
    template=LLAMA3.template.replace(
        "{% for call in message.tool_calls %}",
        "{% for call in message.tool_calls %}"
        "{% if call.id | default('') | length != 9 %}{{ raise_exception('A call needs an id of nine') }}{% endif %}"
        "{{ '[' + call.id + ']' }}",
    ).replace(
        "{{ message.content | trim }}",
        "{{ ('[' + message.tool_call_id + ']' if message.role == 'tool' else '') + (message.content | trim) }}",
    ),
    end_of_turn=LLAMA3.end_of_turn,
    bos=LLAMA3.bos,
    eos=LLAMA3.eos,
    specials=LLAMA3.specials,
    tools=True,
)

# As in FunctionGemma, the tool's answer follows a call inside the model's own turn, which ends behind its last words.
CALL_GOES_ON = Kind(
    template=(
        "{% if tools %}{{ '<start_of_turn>developer\\n' + (tools | tojson) + '<end_of_turn>\\n' }}{% endif %}"
        "{% set ns = namespace(told=false) %}"
        "{% for message in messages %}"
        "{% if message.role == 'tool' %}"
        "{{ message.content + '</told>' }}{% set ns.told = true %}"
        "{% else %}"
        "{% if not ns.told %}"
        "{{ '<start_of_turn>' + ('model' if message.role == 'assistant' else message.role) + '\\n' }}{% endif %}"
        "{% set ns.told = false %}"
        "{% if message.tool_calls %}"
        "{% for call in message.tool_calls %}{{ '<call>' }}" + CALL + "{{ '</call>' }}{% endfor %}{{ '<told>' }}"
        "{% else %}{{ message.content + '<end_of_turn>\\n' }}{% endif %}"
        "{% endif %}"
        "{% endfor %}"
        "{% if add_generation_prompt and not ns.told %}{{ '<start_of_turn>model\\n' }}{% endif %}"
    ),
    end_of_turn="<end_of_turn>",
    eos="<eos>",
    specials=("<start_of_turn>",),
    plain=("<call>", "</call>", "<told>", "</told>"),
    tools=True,
)

GEMMA3 = Kind(
    template=(
        "{{ bos_token }}"
        "{% set lead = messages[0].content + '\\n\\n' if messages[0].role == 'system' else '' %}"
        "{% set turns = messages[1:] if messages[0].role == 'system' else messages %}"
        "{% for message in turns %}"
        "{% if (message.role == 'user') != (loop.index0 % 2 == 0) %}"
        "{{ raise_exception('Turns must go user, assistant, user, assistant') }}{% endif %}"
        "{{ '<start_of_turn>' + ('model' if message.role == 'assistant' else 'user') + '\\n' }}"
        "{{ (lead if loop.first else '') + (message.content | trim) + '<end_of_turn>\\n' }}"
        "{% endfor %}"
        "{% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}"
    ),
    end_of_turn="<end_of_turn>",
    bos="<bos>",
    eos="<eos>",
    specials=("<start_of_turn>",),
)

MISTRAL = Kind(
    template=(
        "{{ bos_token }}"
        "{% for message in messages %}"
        "{% if message.role == 'system' %}{{ raise_exception('There is no system role') }}"
        "{% elif message.role == 'user' %}{{ '[INST] ' + message.content + ' [/INST]' }}"
        "{% else %}{{ ' ' + (message.content | trim) + eos_token }}{% endif %}"
        "{% endfor %}"
    ),
    end_of_turn="</s>",
    bos="<s>",
    eos="</s>",
    specials=("[INST]", "[/INST]"),
    system=False,
    lead=" ",
)

PHI3 = Kind(
    template=(
        "{% for message in messages %}{{ '<|' + message.role + '|>\\n' + message.content + '<|end|>\\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% else %}{{ eos_token }}{% endif %}"
    ),
    end_of_turn="<|end|>",
    bos="<s>",
    eos="<|eot|>",
    specials=("<|user|>", "<|assistant|>", "<|system|>"),
)

PHI4 = Kind(
    template=(
        "{% for message in messages %}"
        "{{ '<|im_start|>' + message.role + '<|im_sep|>' + message.content + '<|im_end|>' }}"
        "{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant<|im_sep|>' }}{% endif %}"
    ),
    end_of_turn="<|im_end|>",
    bos="<|eot|>",
    eos="<|eot|>",
    specials=("<|im_start|>", "<|im_sep|>"),
)

SMOLLM2 = Kind(
    template=(
        "{% if messages[0].role != 'system' %}{{ '<|im_start|>system\\nBe of help.<|im_end|>\\n' }}{% endif %}"
        "{% for message in messages %}{{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
    ),
    end_of_turn="<|im_end|>",
    bos="<|im_start|>",
    eos="<|im_end|>",
)

DEEPSEEK = Kind(
    template=(
        "{{ bos_token }}"
        "{% for message in messages %}"
        "{% if message.role == 'system' %}{{ message.content }}"
        "{% elif message.role == 'user' %}{{ '<｜User｜>' + message.content }}"
        "{% else %}{{ '<｜Assistant｜>' + message.content + '<｜end▁of▁sentence｜>' }}{% endif %}"
        "{% endfor %}"
        "{% if add_generation_prompt %}{{ '<｜Assistant｜>' }}{% endif %}"
    ),
    end_of_turn="<｜end▁of▁sentence｜>",
    bos="<｜begin▁of▁sentence｜>",
    eos="<｜end▁of▁sentence｜>",
    specials=("<｜User｜>", "<｜Assistant｜>"),
)

ZEPHYR = Kind(
    template=(
        "{% for message in messages %}{{ '<|' + message.role + '|>\\n' + message.content + eos_token + '\\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}"
    ),
    end_of_turn="</s>",
    bos="<s>",
    eos="</s>",
)

COMMAND = Kind(
    template=(
        "{{ bos_token }}"
        "{% for message in messages %}"
        "{% set who = {'system': 'SYSTEM', 'user': 'USER', 'assistant': 'CHATBOT'}[message.role] %}"
        "{{ '<|START|><|' + who + '|>' + message.content + '<|END|>' }}"
        "{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|START|><|CHATBOT|>' }}{% endif %}"
    ),
    end_of_turn="<|END|>",
    bos="<BOS>",
    eos="<|END|>",
    specials=("<|START|>", "<|USER|>", "<|CHATBOT|>", "<|SYSTEM|>"),
)

LLAMA2 = Kind(
    template=(
        "{% for message in messages if message.role != 'system' %}"
        "{% if message.role == 'user' %}"
        "{% set before = '<<SYS>>\\n' + messages[0].content + '\\n<</SYS>>\\n\\n' "
        "if loop.first and messages[0].role == 'system' else '' %}"
        "{{ bos_token + '[INST] ' + before + message.content + ' [/INST]' }}"
        "{% else %}{{ ' ' + message.content + ' ' + eos_token }}{% endif %}"
        "{% endfor %}"
    ),
    end_of_turn="</s>",
    bos="<s>",
    eos="</s>",
    lead=" ",
    extra={"tail": " "},
)

GRANITE = Kind(
    template=(
        "{% for message in messages %}"
        "{{ '<|role|>' + message.role + '<|end_role|>' + message.content + '<|end_of_text|>\\n' }}"
        "{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|role|>assistant<|end_role|>' }}{% endif %}"
    ),
    end_of_turn="<|end_of_text|>",
    bos="<|end_of_text|>",
    eos="<|end_of_text|>",
    specials=("<|role|>", "<|end_role|>"),
)

# At inference it opens an answer with <think>, in training text it does not: no mask can be right.
DEEPSEEK_R1 = Kind(
    template=DEEPSEEK.template.replace(
        "{{ '<｜Assistant｜>' }}{% endif %}", "{{ '<｜Assistant｜><think>\\n' }}{% endif %}"
    ),
    end_of_turn=DEEPSEEK.end_of_turn,
    bos=DEEPSEEK.bos,
    eos=DEEPSEEK.eos,
    specials=DEEPSEEK.specials,
    plain=("<think>",),
)

# It forgets all but the last turn once an answer has been given: what was sent is not what stands in the text.
FORGETFUL = Kind(
    template=(
        "{% for message in messages[-2:] %}{{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
    ),
    end_of_turn="<|im_end|>",
    eos="<|im_end|>",
    specials=("<|im_start|>",),
)

WORKING = {
    "llama 3": LLAMA3,
    "qwen 3": QWEN3,
    "gemma 3": GEMMA3,
    "mistral": MISTRAL,
    "phi 3": PHI3,
    "phi 4": PHI4,
    "smollm 2": SMOLLM2,
    "deepseek": DEEPSEEK,
    "zephyr": ZEPHYR,
    "command": COMMAND,
    "llama 2": LLAMA2,
    "granite": GRANITE,
}
IMPOSSIBLE = {"deepseek r1": DEEPSEEK_R1, "forgetful": FORGETFUL}
