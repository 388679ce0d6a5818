"""The loss of an optimizer step: the same gradients however the step is cut, and whichever way it goes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    LlamaForCausalLM,
    SmolLM3Config,
    SmolLM3ForCausalLM,
)

from tests.tiny import tiny_model
from tests.train.families import BOTH, FAMILIES, FASTEST, SMALL
from tunebook.evaluate.heldout import held_out_loss
from tunebook.model.adapters import make_trainable, trainable_parameters
from tunebook.plan.files import make_plan
from tunebook.train.batches import join, micro_batches, trained_tokens
from tunebook.train.forward import make_engine
from tunebook.train.loss import summed_loss, token_losses

WAYS = ["plain", "joined", "fused"]


@dataclass
class Row:
    ids: list[int]
    trained: list[bool]
    id: str = ""


def rows(count: int = 8, seed: int = 0, vocabulary: int = 300) -> list[Row]:
    """Ragged rows of 2 to 29 tokens, one of them without a trained token."""
    rng = np.random.default_rng(seed)
    made = []
    for i in range(count):
        length = int(rng.integers(2, 30))
        trained = rng.random(length) < 0.5 if i else np.zeros(length, dtype=bool)
        made.append(Row(rng.integers(3, vocabulary, length).tolist(), trained.tolist(), str(i)))
    return made


def wide(model):
    """`model` in float64, its RMSNorms too: those of Transformers fall back to float32 in a model of any precision."""
    for module in model.double().modules():
        if type(module).__name__.endswith("RMSNorm"):
            eps = getattr(module, "variance_epsilon", None) or module.eps
            offset = 1.0 if type(module).__name__.startswith("Gemma") else 0.0
            module.forward = partial(_exact_norm, module, eps, offset)
    return model


def _exact_norm(module, eps, offset, x):
    return x * (x.square().mean(-1, keepdim=True) + eps).rsqrt() * (module.weight + offset)


def gradients(model, groups, *, way="fused", mean_of_means=False, smoothing=0.0, precision="float32"):
    """Gradients of one step cut into `groups`; `mean_of_means` is the well-known mistake."""
    model.train()
    model.zero_grad(set_to_none=True)
    engine = make_engine(model, way=way, smoothing=smoothing, precision=precision)
    total = trained_tokens([row for group in groups for row in group])
    loss = 0.0
    for group in groups:
        divide_by = trained_tokens(group) * len(groups) if mean_of_means else total
        if divide_by:
            loss += engine.forward_backward(engine.join(group), divide_by)
    return loss / total, {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def error(one, other):
    """Largest difference between two sets of gradients, relative to the larger norm."""
    assert one.keys() == other.keys()
    norm = sum(float(g.norm() ** 2) for g in other.values()) ** 0.5
    return max(float((one[name] - other[name]).abs().max()) for name in one) / norm


def splits(all_rows):
    return [
        [all_rows[:4], all_rows[4:]],
        [all_rows[:1], all_rows[1:3], all_rows[3:]],
        [[row] for row in all_rows],
        list(micro_batches(all_rows, 40)),
    ]


@pytest.mark.parametrize("method", ["full", "lora"])
@pytest.mark.parametrize("way", WAYS)
def test_any_split_into_micro_batches_gives_the_gradients_of_one_batch(method, way):
    plan = make_plan({"model": {"name": "x"}, "data": {"path": "x"}, "training": {"method": method}})
    model = make_trainable(wide(tiny_model()), plan).double()
    everything = rows()
    loss, whole = gradients(model, [everything], way=way)
    for groups in splits(everything):
        cut_loss, cut = gradients(model, groups, way=way)
        assert cut_loss == pytest.approx(loss, abs=1e-12)
        assert error(cut, whole) < 1e-12


def test_a_mean_of_means_would_be_caught():
    model = wide(tiny_model())
    everything = rows()
    _, whole = gradients(model, [everything])
    _, wrong = gradients(model, splits(everything)[0], mean_of_means=True)
    assert error(wrong, whole) > 1e-3


def by_hand(model, all_rows, smoothing=0.0):
    """The loss by the textbook: one row at a time, all logits, cross-entropy over trained tokens."""
    model.zero_grad(set_to_none=True)
    summed = torch.zeros((), dtype=torch.float64)
    for row in all_rows:
        logits = model(input_ids=torch.tensor([row.ids]), use_cache=False).logits[0, :-1]
        targets = torch.tensor(row.ids[1:])
        mask = torch.tensor(row.trained[1:])
        summed = summed + F.cross_entropy(logits[mask], targets[mask], reduction="sum", label_smoothing=smoothing)
    total = sum(sum(row.trained[1:]) for row in all_rows)
    (summed / total).backward()
    return float(summed.detach() / total), {
        name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None
    }


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("way", WAYS)
def test_loss_and_gradients_equal_a_row_by_row_reference(way, smoothing):
    model = wide(tiny_model())
    everything = rows()
    model.train()
    model.set_attn_implementation("sdpa")
    _, expected = by_hand(model, everything, smoothing)
    loss, _ = by_hand(model, everything)  # what is told can be held beside a held-out loss
    ours, found = gradients(model, [everything], way=way, smoothing=smoothing)
    assert ours == pytest.approx(loss, abs=1e-12)
    assert error(found, expected) < 1e-12


@pytest.mark.parametrize("method", ["full", "lora"])
@pytest.mark.parametrize("family", FAMILIES)
def test_each_family_trains_as_row_by_row_whichever_way_it_goes(family, method):
    torch.manual_seed(0)
    plan = make_plan({"model": {"name": "x"}, "data": {"path": "x"}, "training": {"method": method}})
    model = wide(make_trainable(FAMILIES[family](), plan))
    for parameter in trainable_parameters(model).values():  # LoRA's B begins as zero, biases and norms as constants
        parameter.data.add_(torch.randn_like(parameter) * 0.05)
    bare = model.get_base_model() if method == "lora" else model
    bare.set_attn_implementation("sdpa" if family != "gemma2" else "eager")
    everything = rows()
    loss, expected = by_hand(model.train(), everything)
    for way in WAYS:
        ours, found = gradients(model, [everything[:3], everything[3:]], way=way)
        assert ours == pytest.approx(loss, abs=1e-10)
        assert error(found, expected) < 1e-10


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_goes_the_fastest_way_that_knows_it_and_says_why_no_faster(family):
    engine = make_engine(FAMILIES[family]())
    assert engine.way == FASTEST[family]
    assert bool(engine.why_plain) == (engine.way == "plain")
    assert bool(engine.why_joined) == (engine.way == "joined")


@pytest.mark.parametrize("kind", ["dynamic", "longrope"])
def test_positions_that_turn_by_the_longest_example_of_a_row_go_the_plain_way(kind):
    settings = {"rope_type": kind, "factor": 2.0, "rope_theta": 1e4, "original_max_position_embeddings": 64}
    model = LlamaForCausalLM(LlamaConfig(**SMALL))
    assert make_engine(model).way == "fused"
    model.config.rope_parameters = settings
    assert make_engine(model).way == "plain"
    both = Gemma3ForCausalLM(Gemma3TextConfig(**SMALL, head_dim=8, **BOTH))
    both.config.rope_parameters = {"full_attention": settings, "sliding_attention": {"rope_type": "default"}}
    assert make_engine(both).way == "plain"


def test_layers_that_slide_by_their_mask_alone_go_the_plain_way():
    config = SmolLM3Config(**SMALL, **BOTH, pad_token_id=0, no_rope_layer_interval=2, use_sliding_window=False)
    assert make_engine(SmolLM3ForCausalLM(config)).way == "plain"


def test_a_beginning_is_not_shared_where_dropout_is_drawn_for_each_example(flex_on_a_cpu):
    plan = make_plan({"model": {"name": "x"}, "data": {"path": "x"}, "training": {"dropout": 0.1}})
    engine = make_engine(make_trainable(tiny_model(), plan), way="joined")
    assert (engine.flexible, engine.join(beginning_alike(13)).prefix) == (True, 0)


@pytest.mark.parametrize(
    "change",
    [{"lora_dropout": 0.1}, {"use_dora": True}, {"lora_bias": True}],
)
def test_adapters_that_the_fused_way_does_not_know_train_joined(change):
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(task_type="CAUSAL_LM", target_modules="all-linear", r=4, **change)
    model = wide(get_peft_model(FAMILIES["llama with biases"](), config))
    if "lora_dropout" not in change:
        loss, expected = gradients(model, [rows()], way="plain")
        ours, found = gradients(model, [rows()])
        assert ours == pytest.approx(loss, abs=1e-12)
        assert error(found, expected) < 1e-10
    engine = make_engine(model)
    assert engine.way == "joined"
    assert "adapters" in engine.why_joined


def test_attention_with_dropout_and_weights_of_half_precision_train_joined():
    dropout = make_engine(LlamaForCausalLM(LlamaConfig(**SMALL, attention_dropout=0.1)))
    assert (dropout.way, dropout.why_joined) == ("joined", "its attention has dropout")
    half = make_engine(tiny_model(dtype=torch.bfloat16))
    assert (half.way, half.why_joined) == ("joined", "its weights are torch.bfloat16 on cpu, not float32 on a CPU")


def test_a_layer_that_is_not_plain_trains_joined():
    model = wide(tiny_model())
    layer = model.model.layers[1].mlp
    layer.up_proj = torch.nn.Sequential(layer.up_proj, torch.nn.Identity())
    _, expected = gradients(model, [rows()], way="plain")
    engine = make_engine(model)
    assert (engine.way, engine.why_joined) == ("joined", "it has a layer of type Sequential")
    assert error(gradients(model, [rows()])[1], expected) < 1e-12


def beginning_alike(prefix: int, seed: int = 0) -> list[Row]:
    """Ragged rows with the same first `prefix` tokens, some of them trained."""
    made = rows(6, seed)
    rng = np.random.default_rng(seed + 100)
    ids, trained = rng.integers(3, 300, prefix).tolist(), (rng.random(prefix) < 0.3).tolist()
    return [Row(ids + row.ids, trained + row.trained, row.id) for row in made]


@pytest.mark.parametrize("method", ["full", "lora"])
@pytest.mark.parametrize("family", ["llama", "qwen3", "gemma"])
def test_a_shared_beginning_gives_the_gradients_of_rows_that_each_have_their_own(family, method):
    torch.manual_seed(0)
    plan = make_plan({"model": {"name": "x"}, "data": {"path": "x"}, "training": {"method": method}})
    model = wide(make_trainable(FAMILIES[family](), plan))
    for parameter in trainable_parameters(model).values():
        parameter.data.add_(torch.randn_like(parameter) * 0.05)
    alike = beginning_alike(13)
    batch = make_engine(model).join(alike)
    assert (batch.prefix, batch.tokens) == (13, sum(len(row.ids) for row in alike) - 5 * 13)
    loss, expected = gradients(model, [alike], way="plain")
    ours, found = gradients(model, [alike])
    assert ours == pytest.approx(loss, abs=1e-12)
    assert error(found, expected) < 1e-10


@pytest.mark.parametrize("prefix", [0, 13, 150])
@pytest.mark.parametrize("family", ["llama", "qwen3"])
def test_examples_longer_than_a_block_of_attention_have_the_gradients_of_the_plain_way(family, prefix):
    torch.manual_seed(0)
    model = wide(FAMILIES[family]())
    rng = np.random.default_rng(prefix)
    shared = rng.integers(3, 300, prefix).tolist()
    everything = []
    for number, length in enumerate((1, 64, 65, 128, 197)):
        own, trained = rng.integers(3, 300, length).tolist(), rng.random(prefix + length) < 0.5
        everything.append(Row(shared + own, [*trained.tolist()[:-1], True], str(number)))
    assert make_engine(model).join(everything).prefix == prefix
    loss, expected = gradients(model, [everything], way="plain")
    ours, found = gradients(model, [everything])
    assert ours == pytest.approx(loss, abs=1e-12)
    assert error(found, expected) < 1e-10


@pytest.mark.parametrize("prefix", [0, 13])
@pytest.mark.parametrize("family", [name for name, fastest in FASTEST.items() if fastest != "plain"])
def test_attention_in_one_call_has_the_gradients_of_the_plain_way(flex_on_a_cpu, family, prefix):
    torch.manual_seed(0)
    model = wide(FAMILIES[family]())
    alike = beginning_alike(prefix)
    loss, expected = gradients(model, [alike], way="plain")
    engine = make_engine(model, way="joined")
    assert (engine.way, engine.flexible, engine.join(alike).prefix) == ("joined", True, prefix)
    ours, found = gradients(model, [alike], way="joined")
    assert ours == pytest.approx(loss, abs=1e-12)
    assert error(found, expected) < 1e-10


def test_attention_in_one_call_takes_rounded_products(flex_on_a_cpu):
    torch.manual_seed(0)
    model = FAMILIES["qwen3"]()
    loss, expected = gradients(model, [rows()], way="joined")
    ours, found = gradients(model, [rows()], way="joined", precision="bfloat16")
    assert ours == pytest.approx(loss, rel=1e-2)
    assert 0 < error(found, expected) < 0.05


@pytest.mark.parametrize("way", ["fused", "joined"])
@pytest.mark.parametrize("method", ["full", "lora"])
@pytest.mark.parametrize("family", ["llama", "qwen3", "gemma"])
def test_bfloat16_products_give_gradients_near_the_exact_ones_and_measure_exactly(family, method, way):
    torch.manual_seed(0)
    plan = make_plan({"model": {"name": "x"}, "data": {"path": "x"}, "training": {"method": method}})
    model = make_trainable(FAMILIES[family](), plan)
    for parameter in trainable_parameters(model).values():
        parameter.data.add_(torch.randn_like(parameter) * 0.05)
    loss, exact = gradients(model, [rows()], way=way)
    ours, found = gradients(model, [rows()], way=way, precision="bfloat16")
    assert ours == pytest.approx(loss, rel=0.01)
    assert 1e-5 < error(found, exact) < 0.02
    engine, rounding = make_engine(model, way=way), make_engine(model, way=way, precision="bfloat16")
    assert (engine.precision, rounding.precision) == ("float32", "bfloat16")
    with torch.no_grad():
        assert torch.equal(engine.losses(engine.join(rows())), rounding.losses(rounding.join(rows())))


def test_the_plain_way_multiplies_in_float32():
    engine = make_engine(FAMILIES["llama"](), way="plain", precision="bfloat16")
    assert engine.precision == "float32"


def test_held_out_loss_of_each_example_does_not_depend_on_what_it_shares():
    model = wide(tiny_model())
    alike = beginning_alike(20)
    alone = held_out_loss(make_engine(model, way="plain"), alike, range(6), 1)
    shared = held_out_loss(make_engine(model), alike, range(6), 10_000)
    for (name, nats, tokens), (_, wanted, count) in zip(shared.per_example, alone.per_example, strict=True):
        assert (name, tokens, nats) == (name, count, pytest.approx(wanted, abs=1e-11))


def test_all_that_a_step_makes_lies_where_the_model_does(monkeypatch):
    """Tensors without memory stand for a GPU's: PyTorch refuses to join them with a CPU's."""
    import transformers.masking_utils as masks

    monkeypatch.setattr(masks, "find_packed_sequence_indices", lambda _: torch.zeros(1, 1))  # asks for a value
    model = tiny_model().to("meta")
    engine = make_engine(model, smoothing=0.1, noise_alpha=5.0)
    batch = engine.join(rows())
    hidden = engine._hidden(batch, engine._noise(batch))
    summed_loss(hidden, engine.head.weight, batch.targets, engine.smoothing).backward()
    assert all(parameter.grad.is_meta for parameter in model.parameters())
    assert engine.losses(batch).is_meta


def test_no_example_reaches_another_in_a_joined_row():
    model = wide(tiny_model())
    first, second, changed = rows(3, seed=3)[1:] + rows(2, seed=9)[1:]
    engine = make_engine(model)
    with torch.no_grad():
        alone = engine.losses(join([second]))
        behind_first = engine.losses(join([first, second]))[-len(alone) :]
        behind_other = engine.losses(join([changed, second]))[-len(alone) :]
    assert torch.allclose(alone, behind_first, atol=1e-12, rtol=0)
    assert torch.allclose(alone, behind_other, atol=1e-12, rtol=0)


def test_letting_examples_see_each_other_would_be_caught():
    model = wide(tiny_model())
    first, second = rows(3, seed=3)[1:]
    engine = make_engine(model)
    batch = join([first, second])
    one_long = replace(batch, lengths=(batch.tokens,))
    alone = engine.losses(join([second]))
    assert not torch.allclose(alone, engine.losses(one_long)[-len(alone) :], atol=1e-6, rtol=0)


@pytest.mark.parametrize("way", WAYS)
def test_held_out_loss_does_not_depend_on_its_batch_size(way):
    model = wide(tiny_model())
    everything = rows(23)
    engine = make_engine(model, way=way)
    measured = [held_out_loss(engine, everything, range(23), budget) for budget in (1, 40, 100, 10_000)]
    model.set_attn_implementation("sdpa")
    expected, _ = by_hand(model, everything)
    for found in measured:
        assert found.loss == pytest.approx(expected, abs=1e-12)
        assert [tokens for _, _, tokens in found.per_example] == [sum(row.trained[1:]) for row in everything]


def test_the_mean_of_batch_means_would_be_caught_in_held_out_loss():
    model = wide(tiny_model())
    everything = rows(23)
    engine = make_engine(model)
    groups = [group for group in micro_batches(everything, 40) if trained_tokens(group)]
    means = [float(engine.losses(join(group)).mean()) for group in groups]
    true = held_out_loss(engine, everything, range(23), 40).loss
    assert abs(sum(means) / len(means) - true) > 1e-4


@pytest.mark.parametrize("chunk", [1, 3, 1000])
def test_chunks_change_neither_loss_nor_gradient(chunk):
    torch.manual_seed(0)
    hidden = torch.randn(7, 5, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(11, 5, dtype=torch.float64, requires_grad=True)
    targets = torch.randint(0, 11, (7,))
    expected = F.cross_entropy(hidden @ weight.t(), targets, reduction="sum")
    wanted = torch.autograd.grad(expected, (hidden, weight))
    loss = summed_loss(hidden, weight, targets, chunk=chunk)
    found = torch.autograd.grad(loss * 1.0, (hidden, weight))
    assert torch.allclose(loss, expected, atol=1e-12)
    assert all(torch.allclose(a, b, atol=1e-12) for a, b in zip(found, wanted, strict=True))
    assert torch.allclose(token_losses(hidden, weight, targets, chunk).sum(), expected, atol=1e-12)


def test_without_a_trained_position_loss_and_gradients_are_zero():
    hidden, weight = torch.randn(0, 5, requires_grad=True), torch.randn(11, 5, requires_grad=True)
    loss = summed_loss(hidden, weight, torch.zeros(0, dtype=torch.int64))
    loss.backward()
    assert float(loss) == 0
    assert weight.grad.count_nonzero() == 0


def test_an_examples_first_token_is_never_trained():
    batch = join([Row([5, 6, 7], [True, True, False]), Row([8, 9], [True, True])])
    assert batch.ids.tolist() == [5, 6, 7, 8, 9]
    assert batch.positions.tolist() == [0, 1, 2, 0, 1]
    assert batch.where.tolist() == [0, 3]
    assert batch.targets.tolist() == [6, 9]
