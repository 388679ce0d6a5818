"""README.md of an export: what the model is, what it came from, what was measured, how it is loaded.

Holds no time, no path and no name of a run, so that the same run gives the same card.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from tunebook.files import read_json
from tunebook.model.sources import SMOLLM2
from tunebook.plan.files import dump_plan
from tunebook.plan.schema import Plan, is_task_file

_LICENCES = {SMOLLM2: "apache-2.0"}  # as the makers of SmolLM2 state it
_INDICATORS = {
    "training_loss": "Training loss falls",
    "validation": "Validation loss holds or improves",
    "answers": "Answers are better than the base's",
    "retention": "General ability is kept",
}
_LOADING = {
    "safetensors": """```python
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained("THIS_FOLDER")
tokenizer = AutoTokenizer.from_pretrained("THIS_FOLDER")
```""",
    "adapter": """This folder holds an adapter. It needs the base model named above, and no other:
`base.json` has its hash.

```python
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

base = AutoModelForCausalLM.from_pretrained("FOLDER_OF_THE_BASE")
model = PeftModel.from_pretrained(base, "THIS_FOLDER")
tokenizer = AutoTokenizer.from_pretrained("THIS_FOLDER")
```""",
    "gguf": """The `.gguf` files run in llama.cpp, and in Ollama with the `Modelfile` in this folder.
Transformers reads them too:

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained("THIS_FOLDER", gguf_file="model-f16.gguf")
tokenizer = AutoTokenizer.from_pretrained("THIS_FOLDER", gguf_file="model-f16.gguf")
```""",
}

_ON_ROUNDED = """

The adapter was trained on the base rounded to 4 bits, and on its whole weights it answers otherwise. With Tunebook
installed, the base is read as in training by

```python
from tunebook.model.four_bit_loading import four_bit_loading

base = AutoModelForCausalLM.from_pretrained("FOLDER_OF_THE_BASE", quantization_config=four_bit_loading())
```"""


def write_card(plan: Plan, kind: str, facts: dict[str, Any]) -> str:
    """The card's Markdown. `facts`: `data_sha256`, `licence`, `indicators` (as in report.json), each where known."""
    licence = facts.get("licence")
    base = shown_name(plan.model.name)
    head = ["---", *([f"base_model: {base}"] if "/" in base else []), *([f"license: {licence}"] if licence else [])]
    head += [f"library_name: {'peft' if kind == 'adapter' else 'transformers'}", "pipeline_tag: text-generation"]
    head += ["tags: [tunebook, sft]", "---"]
    method = f"LoRA adapters of rank {plan.lora.rank}" if plan.training.method == "lora" else "every weight trained"
    rounded = plan.model.quantization is not None
    if rounded:
        method += " on the base rounded to 4 bits (NF4)"
        method += "" if kind == "adapter" else ", whose rounded weights are merged here"
    rows = [
        ("Base model", base + (f" (weights {plan.model.sha256[:16]})" if plan.model.sha256 else "")),
        ("Licence of the base", licence or "not known here: see the base model's own page"),
        ("Data", f"SHA-256 {facts['data_sha256']}" if facts.get("data_sha256") else "hash not recorded"),
        ("Method", f"supervised fine-tuning, {method}"),
        ("Learning rate", f"{plan.training.learning_rate:g}, {plan.training.warmup.strategy} warmup, cosine decay"),
        ("Batch size", f"{plan.training.batch_size} examples"),
        ("Epochs", f"{plan.training.epochs.min} to {plan.training.epochs.max}, seed {plan.training.seed}"),
    ]
    table = ["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)]
    return "\n".join(
        [*head, "", f"# {base}, fine-tuned", "", *table, "", *_indicator_lines(facts.get("indicators") or [])]
        + ["## Loading it", "", _LOADING[kind] + (_ON_ROUNDED if rounded and kind == "adapter" else ""), ""]
        + ["The chat template is `chat_template.jinja`, byte for byte the one used in training.", ""]
        + ["`plan.yaml` is the whole plan. `MANIFEST.json` has the hash of every file. Made with Tunebook.", ""]
    )


def plan_text(plan: Plan) -> str:
    """The plan without the places of files on the machine where it ran, and the address of its judge."""
    shown = plan.model_copy(
        update={
            "model": plan.model.model_copy(update={"name": shown_name(plan.model.name)}),
            "data": plan.data.model_copy(
                update={
                    "path": Path(plan.data.path).name,
                    "validation_path": Path(plan.data.validation_path).name if plan.data.validation_path else None,
                }
            ),
            "evaluation": plan.evaluation.model_copy(
                update={"tasks": tuple(Path(t).name if is_task_file(t) else t for t in plan.evaluation.tasks)}
            ),
            "quality": plan.quality.model_copy(update={"judge": None}),
            "origins": {},
        }
    )
    return dump_plan(shown)


def licence_of(name: str, folder: Path | None) -> str | None:
    """The base's licence: known for the alias, else as its own card states it; None when neither says."""
    if name in _LICENCES:
        return _LICENCES[name]
    try:
        text = (folder / "README.md").read_text(encoding="utf-8") if folder else ""
    except (OSError, UnicodeDecodeError):
        return None
    found = re.search(r"\A---\n(?:.*\n)*?license:[ \t]*([\w.+-]+)[ \t]*\n(?:.*\n)*?---", text)
    return found[1] if found else None


def indicators_of(report: Path) -> list[dict[str, Any]]:
    """The indicators of a success report, when there is one."""
    try:
        found = read_json(report)["indicators"]
        return [item for item in found if isinstance(item, dict)]
    except (OSError, ValueError, TypeError, KeyError):
        return []


def _indicator_lines(indicators: list[dict[str, Any]]) -> list[str]:
    if not indicators:
        return []
    lines = [
        f"| {_INDICATORS.get(str(item.get('id')), item.get('id'))} | {item.get('verdict')} | {item.get('why', '')} |"
        for item in indicators
    ]
    return ["## What was measured", "", "| | | |", "|---|---|---|", *lines, ""]


def shown_name(name: str) -> str:
    """A model's name without the place of its folder; a hub id and the alias stay whole."""
    path = Path(name)
    return path.name if path.is_absolute() or path.exists() or name.count("/") > 1 or name.startswith(".") else name
