"""Plans on many devices: what is computed, against sums done by hand and a model's known size."""

from __future__ import annotations

import pytest
from transformers import GPT2Config, GPT2LMHeadModel

from tests.tiny import save_tiny, tiny_model
from tunebook.errors import RunError
from tunebook.files import write_json
from tunebook.plan.facts import Facts
from tunebook.plan.files import make_plan
from tunebook.workflow.scaling import DEVICES, parameters_of, scale, slowest_link

# Llama 3.1 70B, as its config.json has it
SEVENTY = {
    "hidden_size": 8192,
    "num_hidden_layers": 80,
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
    "intermediate_size": 28672,
    "vocab_size": 128256,
    "tie_word_embeddings": False,
}
FACTS = Facts(rows=12_800, examples=12_800, training=12_800, validation=0, tokens=12_800 * 500, longest=500, exact=True)


@pytest.fixture
def seventy(tmp_path):
    folder = save_tiny(tmp_path / "model")
    write_json(folder / "config.json", SEVENTY)
    return folder


def plan_of(model, **training):
    return make_plan(
        {
            "model": {"name": str(model)},
            "data": {"path": "x"},
            "training": {"batch_size": 128, "max_steps": 100, **training},
        }
    )


def test_parameters_are_counted_as_the_model_has_them():
    assert parameters_of(SEVENTY) == 70_553_706_496  # the count that its maker gives: 70.6B
    model = tiny_model()
    assert parameters_of(model.config.to_dict()) == sum(parameter.numel() for parameter in model.parameters())


def test_parameters_of_gpt2_are_counted_by_its_own_names():
    config = GPT2Config(n_embd=64, n_layer=3, n_head=4, n_positions=16, vocab_size=300)
    sizes = {
        name: value for name, value in config.to_dict().items() if name not in ("hidden_size", "num_hidden_layers")
    }
    counted = sum(parameter.numel() for parameter in GPT2LMHeadModel(config).parameters())
    assert parameters_of(sizes) == pytest.approx(counted, rel=0.03)  # biases and positions are left out


def test_seventy_billion_parameters_are_split_over_64_gpus_and_fit(seventy):
    found = scale(plan_of(seventy, micro_batch_tokens=512), FACTS, 64, "h100")
    assert (found.parallelism, found.fits, found.computed) == ("fully_shard", True, True)
    compute = 4 * 70.55e9 * 128 * 500 / (64 * 67e12 * 0.5)
    assert found.seconds_per_step * (1 - found.communication_share) == pytest.approx(compute, rel=1e-3)
    assert found.optimizer_steps == 100
    assert found.memory_bytes > 4 * 70e9 / 64


def test_what_one_pass_keeps_for_the_backward_pass_may_be_what_does_not_fit(seventy):
    assert not scale(plan_of(seventy), FACTS, 64, "h100").fits
    assert scale(plan_of(seventy), FACTS, 64, "h200").fits


def test_on_one_such_gpu_they_do_not_fit(seventy):
    assert not scale(plan_of(seventy), FACTS, 1, "h100").fits


def test_in_4_bits_one_such_gpu_holds_them(seventy):
    values = plan_of(seventy, micro_batch_tokens=512).model_dump(mode="json", by_alias=True)
    values["model"]["quantization"] = "nf4"
    found = scale(make_plan(values), FACTS, 1, "h200")
    assert (found.fits, found.parallelism) == (True, "all-reduce")
    assert not scale(plan_of(seventy, micro_batch_tokens=512), FACTS, 1, "h200").fits


def test_a_small_model_is_copied_and_its_gradients_go_round_the_ring_once(tmp_path):
    base = save_tiny(tmp_path / "model")
    facts = Facts(rows=64, examples=64, training=64, validation=0, tokens=6400, exact=True)
    found = scale(plan_of(base, method="full", batch_size=64), facts, 4, "l4")
    numbers = sum(parameter.numel() for parameter in tiny_model().parameters())
    moved = 2 * 3 / 4 * 4 * numbers / DEVICES["l4"].link
    assert found.parallelism == "all-reduce"
    assert found.seconds_per_step * found.communication_share == pytest.approx(moved)
    assert scale(plan_of(base, method="full", batch_size=64), facts, 1, "l4").communication_share == 0


def test_between_machines_the_network_is_the_narrowest_place():
    device = DEVICES["rtx-4090"]
    assert slowest_link(device, 4) == device.link
    assert slowest_link(device, 5) == device.network


def test_unknown_devices_and_unknown_tokens_are_refused_with_what_is_known(seventy):
    with pytest.raises(RunError, match="Known are: h200, h100"):
        scale(plan_of(seventy), FACTS, 2, "abacus")
    with pytest.raises(RunError, match="tokenizer"):
        scale(plan_of(seventy), Facts(1, 1, 1, 0), 2, "h100")
