"""`python -m tunebook.export.check_llama FOLDER REQUEST.json`: what llama.cpp itself makes of an exported GGUF file.

Run in a fresh process, where the extra `llama` (xllamacpp, llama.cpp's own server as a library) is installed. Takes the
request of `tunebook.export.check`, with "positions": [[row, length]], and writes `result.json` beside it.

result   {"answers": [{"text", "ended"}], "chats": [[id] or null], "texts": [[id]], "read_by"}, and in
         `logprobs.safetensors` a row per position: log-probabilities of the next token, NaN where it ends the answer
"""

from __future__ import annotations

import importlib.metadata
import json
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from tunebook.export.fresh import end_with_parent
from tunebook.files import write_json

# No cache of earlier prompts: with a sliding window (Gemma) it changed the logits of prompts that begin alike
_LIKELIEST = {"temperature": 0, "cache_prompt": False}


def main() -> int:
    """Answer one request."""
    end_with_parent()
    folder, path = Path(sys.argv[1]), Path(sys.argv[2])
    request = json.loads(path.read_text(encoding="utf-8"))
    write_json(path.with_name("result.json"), answer(folder / request["file"], request, path.parent))
    return 0


def answer(file: Path, request: dict[str, Any], out: Path) -> dict[str, Any]:
    """Everything the request asks for, from llama.cpp."""
    import torch
    import xllamacpp
    from safetensors.torch import save_file

    settings = xllamacpp.CommonParams()
    settings.model.path = str(file)
    settings.n_ctx = request["context"]
    settings.n_parallel = 1
    settings.verbosity = -1
    server = xllamacpp.Server(settings)
    size = request["size"]
    rows = [probabilities(server, request["rows"][row][:length], size) for row, length in request["positions"]]
    save_file({"logprobs": torch.stack(rows)}, out / "logprobs.safetensors")
    return {
        "answers": [complete(server, prompt, request["max_new_tokens"]) for prompt in request["prompts"]],
        "chats": [_rendered(server, chat) for chat in request["chats"]],
        "texts": [_tokens(server, text, special=False) for text in request["texts"]],
        "read_by": f"llama.cpp (xllamacpp {importlib.metadata.version('xllamacpp')})",
    }


def probabilities(server: Any, ids: list[int], size: int) -> Any:
    """Log-probabilities [size] of the token behind `ids`; all NaN when the likeliest one ends the answer."""
    import torch

    asked = {"prompt": ids, "n_predict": 1, "n_probs": size, **_LIKELIEST}
    found = torch.full((size,), float("nan"))
    choice = server.handle_completions(asked)["choices"][0]
    for entry in choice["logprobs"]["content"][0]["top_logprobs"] if choice["logprobs"] else []:
        found[entry["id"]] = entry["logprob"]
    return found


def complete(server: Any, ids: list[int], new: int) -> dict[str, Any]:
    """The likeliest answer to a prompt, and whether it ended by itself."""
    choice = server.handle_completions({"prompt": ids, "n_predict": new, **_LIKELIEST})["choices"][0]
    return {"text": choice["text"], "ended": choice["finish_reason"] == "stop"}


def _rendered(server: Any, chat: list[dict[str, str]]) -> list[int] | None:
    """The token ids of a conversation up to where the answer begins; None when the template refuses it."""
    text = _call(server, "/apply-template", {"messages": chat}).get("prompt")
    return None if text is None else _tokens(server, text, special=True)


def _tokens(server: Any, text: str, special: bool) -> list[int]:
    reply = _call(server, "/tokenize", {"content": text, "add_special": False, "parse_special": special})
    return list(reply["tokens"])


def _call(server: Any, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """What only llama.cpp's web address offers. A template's refusal comes back as an empty reply."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    head = {"Content-Type": "application/json"}
    asked = urllib.request.Request(server.listening_address + path, json.dumps(body).encode(), head)
    try:
        with direct.open(asked, timeout=60) as reply:
            found: dict[str, Any] = json.load(reply)
            return found
    except urllib.error.HTTPError:
        return {}


if __name__ == "__main__":
    sys.exit(main())
