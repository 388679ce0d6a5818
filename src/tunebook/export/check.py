"""`python -m tunebook.export.check FOLDER REQUEST.json`: what a stranger gets from an exported folder.

Run in a fresh process. Loads the folder with plain Transformers (PEFT for an adapter), answers the request's prompts
and writes `result.json` and `logits.safetensors` beside the request. Nothing of Tunebook touches the model here.

request  {"kind", "file", "base", "quantization", "dtype", "threads", "settings",   how to load it
          "rows": [[id]], "keep": [[position]],                      token rows, and where their logits are wanted
          "prompts": [[id]], "expected": [[id] or text], "max_new_tokens",   prompts to answer greedily; or, with
          "given": [text],                                                   answers to set beside the expected ones
          "chats": [[message]], "texts": [str]}                      what to render and to tokenize
result   {"answers": [{"ids", "text", "ended", "difference"}], "template", "chats", "texts", "stops", "loaded",
          "missing", "read_by", "seconds"}, or {"error"}
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from tunebook.export.fresh import end_with_parent
from tunebook.files import write_json

BATCH = 8


def main() -> int:
    """The process: ends when the one that started it ends."""
    end_with_parent()
    return work(Path(sys.argv[1]), Path(sys.argv[2]))


def work(folder: Path, path: Path) -> int:
    """Answer the request at `path`. 0 with a result, 3 with `result.json` saying why the folder cannot be loaded."""
    request = json.loads(path.read_text(encoding="utf-8"))
    try:
        model, tokenizer, missing = load(folder, request)
    except Exception as error:  # libraries raise whatever they meet in a damaged folder
        write_json(path.with_name("result.json"), {"error": f"{type(error).__name__}: {error}".splitlines()[0]})
        return 3
    write_json(path.with_name("result.json"), answer(model, tokenizer, request, path.parent) | {"missing": missing})
    return 0


def load(folder: Path, request: dict[str, Any]) -> tuple[Any, Any, list[str]]:
    """(model, tokenizer, names of weights that the files lack), as the libraries' own documentation loads them."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GgufConfig

    torch.set_num_threads(int(request.get("threads") or torch.get_num_threads()))
    dtype = getattr(torch, request["dtype"])
    extra: dict[str, Any] = {"gguf_file": request["file"]} if request["kind"] == "gguf" else {}
    tokenizer = AutoTokenizer.from_pretrained(folder, **extra)
    if request["kind"] == "gguf":
        config = AutoConfig.from_pretrained(folder, **extra)
        for name, value in request["settings"].items():  # settings that this reader does not take from the file
            setattr(config, name, value)
        extra |= {"config": config, "quantization_config": GgufConfig(dequantize=True)}
    if request["quantization"]:
        from tunebook.model.four_bit_loading import four_bit_loading

        extra["quantization_config"] = four_bit_loading()
    place = request["base"] if request["kind"] == "adapter" else folder
    loaded: Any = AutoModelForCausalLM.from_pretrained(place, dtype=dtype, output_loading_info=True, **extra)
    model: Any = loaded[0]
    if request["kind"] == "adapter":
        from peft import PeftModel
        from transformers import GenerationConfig

        model = PeftModel.from_pretrained(model, folder)
        model.generation_config = GenerationConfig.from_pretrained(folder)
    return model.eval(), tokenizer, sorted({*loaded[1]["missing_keys"], *loaded[1]["mismatched_keys"]})


def answer(model: Any, tokenizer: Any, request: dict[str, Any], out: Path) -> dict[str, Any]:
    """Everything the request asks for; logits go to `out`."""
    import torch
    import transformers
    from safetensors.torch import save_file

    start = time.perf_counter()
    with torch.inference_mode():
        rows = {
            f"{number:04d}": model(torch.tensor([row]), logits_to_keep=torch.tensor(keep)).logits[0].float()
            for number, (row, keep) in enumerate(zip(request["rows"], request["keep"], strict=True))
        }
        save_file(rows, out / "logits.safetensors")
        ends = stops(model)
        if "given" in request:
            answers = [{"ids": _ids(tokenizer, text), "text": text, "ended": None} for text in request["given"]]
        else:
            answers = greedy(model, tokenizer, request["prompts"], request["max_new_tokens"])
        for prompt, given, expected in zip(request["prompts"], answers, request["expected"], strict=True):
            given["difference"] = difference(model, prompt, given["ids"], _ids(tokenizer, expected), ends)
    return {
        "answers": answers,
        "template": tokenizer.chat_template,
        "chats": [render(tokenizer, chat) for chat in request["chats"]],
        "texts": [tokenizer(text, add_special_tokens=False)["input_ids"] for text in request["texts"]],
        "stops": stops(model),
        "read_by": f"transformers {transformers.__version__}",
        "seconds": round(time.perf_counter() - start, 2),
    }


def greedy(model: Any, tokenizer: Any, prompts: list[list[int]], new: int) -> list[dict[str, Any]]:
    """The most likely answers by `model.generate`, stopping at the tokens that the folder's own settings name.

    An answer is cut at `new` tokens and at the model's longest input, past which `model.generate` itself would go on.
    """
    from transformers import GenerationConfig

    from tunebook.evaluate.mode import longest

    ends = stops(model)
    settings: Any = GenerationConfig(  # type: ignore[no-untyped-call]
        do_sample=False, eos_token_id=ends or None, pad_token_id=ends[0] if ends else 0
    )
    model.generation_config = settings  # else generate would mix in the folder's sampling settings
    limit = longest(model)
    room = [new if limit is None else min(new, limit - len(prompt)) for prompt in prompts]
    found = [{"ids": [], "text": "", "ended": False} for _ in prompts]
    order = sorted((place for place in range(len(prompts)) if room[place] > 0), key=lambda place: -len(prompts[place]))
    while order:
        count = BATCH if room[order[0]] == new else 1  # the longest ones are each cut at a length of their own
        batch, order = order[:count], order[count:]
        rows = _most_likely(model, [prompts[place] for place in batch], settings, room[batch[0]])
        for place, row in zip(batch, rows, strict=True):
            length = next((at for at, token in enumerate(row) if token in ends), len(row))
            text = tokenizer.decode(row[:length], skip_special_tokens=True)
            found[place] = {"ids": row[:length], "text": text, "ended": length < len(row)}
    return found


def _most_likely(model: Any, prompts: list[list[int]], settings: Any, new: int) -> list[list[int]]:
    """What follows each prompt of a batch, `new` tokens at most, stop tokens and what fills up behind them included."""
    import torch

    width = max(map(len, prompts))
    ids = torch.tensor([[0] * (width - len(prompt)) + prompt for prompt in prompts])
    mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    rows = model.generate(input_ids=ids, attention_mask=mask, generation_config=settings, max_new_tokens=new)
    answers: list[list[int]] = rows[:, width:].tolist()
    return answers


def difference(
    model: Any, prompt: list[int], given: list[int] | None, expected: list[int] | None, ends: list[int]
) -> dict[str, Any] | None:
    """Where an answer leaves the expected one, and by how much the two tokens differ in the model's logits there."""
    import torch

    if given is None or expected is None or given == expected:
        return None
    length = min(len(given), len(expected))
    at = next((place for place in range(length) if given[place] != expected[place]), length)
    logits = model(torch.tensor([prompt + given[:at]]), logits_to_keep=1).logits[0, -1].float()

    def best(ids: list[int]) -> float:  # behind an answer's last token comes whichever stop token is likeliest
        tokens = ids[at : at + 1] or ends
        return max((float(logits[token]) for token in tokens), default=float("-inf"))

    return {
        "at": at,
        "here": given[at : at + 1],
        "there": expected[at : at + 1],
        "gap": abs(best(given) - best(expected)),
    }


def _ids(tokenizer: Any, answer: list[int] | str) -> list[int] | None:
    """An answer as token ids; None for a text that does not come back from its ids, as when a letter was cut."""
    if not isinstance(answer, str):
        return answer
    ids = list(tokenizer(answer, add_special_tokens=False)["input_ids"])
    return ids if tokenizer.decode(ids, skip_special_tokens=True) == answer else None


def stops(model: Any) -> list[int]:
    """Ids of the tokens that end an answer, as the folder's generation settings have them."""
    ends = model.generation_config.eos_token_id
    return sorted(ends) if isinstance(ends, list) else [] if ends is None else [ends]


def render(tokenizer: Any, chat: list[dict[str, str]], template: str | None = None) -> list[int] | str:
    """The token ids of a conversation up to where the answer begins; a template's refusal as its words."""
    try:
        return list(
            tokenizer.apply_chat_template(
                chat, chat_template=template, add_generation_prompt=True, tokenize=True, return_dict=False
            )
        )
    except Exception as error:  # a template may refuse any conversation, in words of its own
        return f"{type(error).__name__}: {error}"


if __name__ == "__main__":
    sys.exit(main())
