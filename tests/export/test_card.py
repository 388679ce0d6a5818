"""The model card tells base, data, plan, indicators and licence, and nothing of the machine."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tunebook.export.card import indicators_of, licence_of, plan_text, write_card
from tunebook.files import write_json
from tunebook.plan.files import load_plan, make_plan
from tunebook.plan.schema import Plan


def plan(name: str = "smollm2-135m") -> Plan:
    return make_plan(
        {"model": {"name": name, "sha256": "ab" * 32}, "data": {"path": "/home/ann/secret place/pairs.jsonl"}}
    )


@pytest.mark.parametrize("kind", ["safetensors", "adapter", "gguf"])
def test_the_card_says_what_was_made_from_what(kind: str) -> None:
    facts = {"data_sha256": "cd" * 32, "licence": "apache-2.0"}
    card = write_card(plan(), kind, facts)
    head = yaml.safe_load(card.split("---")[1])
    assert head["license"] == "apache-2.0"
    assert head["library_name"] == ("peft" if kind == "adapter" else "transformers")
    assert "cd" * 32 in card
    assert "smollm2-135m" in card
    assert "from_pretrained" in card


def test_the_card_says_that_the_base_was_in_4_bits() -> None:
    plain = plan()
    rounded = plain.model_copy(update={"model": plain.model.model_copy(update={"quantization": "nf4"})})
    assert "NF4), whose rounded weights are merged here" in write_card(rounded, "safetensors", {})
    assert "quantization_config=four_bit_loading()" in write_card(rounded, "adapter", {})
    for kind in ("safetensors", "adapter", "gguf"):
        assert "4 bits" not in write_card(plain, kind, {})


def test_a_hub_id_is_the_base_model_of_the_card_and_a_folder_is_not() -> None:
    assert yaml.safe_load(write_card(plan("owner/model"), "gguf", {}).split("---")[1])["base_model"] == "owner/model"
    card = write_card(plan("/home/ann/models/base"), "gguf", {})
    assert "base_model" not in yaml.safe_load(card.split("---")[1])
    assert "/home/ann" not in card
    assert "not known here" in card


def test_indicators_stand_with_their_verdicts_and_reasons(tmp_path: Path) -> None:
    found = [{"id": "validation", "verdict": "no", "why": "loss rose from 1.2 to 1.4"}]
    write_json(tmp_path / "report.json", {"indicators": found})
    card = write_card(plan(), "safetensors", {"indicators": indicators_of(tmp_path / "report.json")})
    assert "| Validation loss holds or improves | no | loss rose from 1.2 to 1.4 |" in card
    assert indicators_of(tmp_path / "other.json") == []


def test_the_plan_beside_the_weights_is_a_plan_without_places(tmp_path: Path) -> None:
    (tmp_path / "plan.yaml").write_text(plan_text(plan("/home/ann/models/base")))
    kept = load_plan(tmp_path / "plan.yaml")
    assert kept.model.name == "base"
    assert kept.data.path == "pairs.jsonl"
    assert "/home/ann" not in (tmp_path / "plan.yaml").read_text()


def test_the_licence_is_the_bases_own_word_or_unknown(tmp_path: Path) -> None:
    assert licence_of("smollm2-135m", None) == "apache-2.0"
    assert licence_of("base", tmp_path) is None
    (tmp_path / "README.md").write_text("---\ntags: [x]\nlicense: mit\n---\n# A model\nlicense: gpl\n")
    assert licence_of("base", tmp_path) == "mit"
    (tmp_path / "README.md").write_text("# A model\n\nlicense: gpl\n")
    assert licence_of("base", tmp_path) is None


def test_the_plan_in_an_export_names_no_place_and_no_address() -> None:
    shown = plan_text(
        make_plan(
            {
                "model": {"name": "/home/ann/models/base"},
                "data": {"path": "/home/ann/pairs.jsonl"},
                "evaluation": {"tasks": ["/home/ann/tasks/own.yaml", "hellaswag"]},
                "quality": {"judge": "http://10.0.0.7:8000/v1?key=abc"},
            }
        )
    )
    assert "/home/ann" not in shown
    assert "10.0.0.7" not in shown
    assert "own.yaml" in shown
