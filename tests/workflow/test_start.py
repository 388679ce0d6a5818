"""What is refused before a run folder is made: one sentence, and nothing left behind."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from tests.tiny import save_tiny
from tests.workflow.conftest import write_rows
from tunebook.errors import RunError, Stopped, TunebookError
from tunebook.model.sources import load_model
from tunebook.plan.files import make_plan, origin_of, save_plan
from tunebook.runs.store import runs_folder
from tunebook.workers.group import Workers
from tunebook.workflow.memory import Shape, needed_bytes
from tunebook.workflow.prepare import load
from tunebook.workflow.runner import run_steps
from tunebook.workflow.start import prepare_run, read_plan


def refused(values, **sections):
    """The message with which a plan is refused; no run folder may be left."""
    changed = {key: value | sections.get(key, {}) for key, value in values.items()}
    with pytest.raises(TunebookError) as error:
        prepare_run(make_plan(changed), "one", runs_folder())
    folder = runs_folder()
    assert not folder.exists() or not list(folder.iterdir())
    return str(error.value)


def test_a_missing_data_file_is_named(values, home):
    assert "nowhere.jsonl" in refused(values, data={"path": str(home / "nowhere.jsonl")})


def test_an_unreadable_data_file_is_refused(values, home):
    (home / "bytes.jsonl").write_bytes(b"\xff\xfe\x00\x01" * 50)
    assert "bytes.jsonl" in refused(values, data={"path": str(home / "bytes.jsonl")})


def test_an_empty_data_set_is_refused(values, home):
    (home / "empty.jsonl").write_text("")
    assert "empty.jsonl" in refused(values, data={"path": str(home / "empty.jsonl")})


def test_a_data_set_without_one_trained_token_is_refused(values, home):
    row = '{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "train": false}]}\n'
    (home / "none.jsonl").write_text(row * 3)
    assert "none.jsonl" in refused(values, data={"path": str(home / "none.jsonl")})


def test_data_that_all_stands_in_the_validation_file_is_refused(values, home):
    write_rows(home / "held.jsonl")
    assert "is left" in refused(values, data={"validation_path": str(home / "held.jsonl")})


def test_an_unknown_model_is_refused(values):
    assert "no-such-model" in refused(values, model={"name": "./no-such-model"})


def test_weights_beyond_this_machine_are_refused(values, monkeypatch):
    from tunebook.workflow import start

    monkeypatch.setattr(start, "loaded_bytes", lambda *_: 10**14)
    assert "GB of memory and this machine has" in refused(values)


def test_each_worker_of_this_machine_holds_a_copy_of_the_model(values, monkeypatch):
    monkeypatch.setattr("tunebook.workflow.memory.memory_bytes", lambda: 10**9)
    with pytest.raises(RunError, match=r"1\.\d GB of memory for its 2 workers and this machine .*take fewer workers"):
        prepare_run(make_plan(values), "two", runs_folder(), copies=2)
    assert prepare_run(make_plan(values), "one", runs_folder()).folder.exists()


def test_examples_and_adapters_beyond_this_machine_are_refused_with_what_to_lower(values, monkeypatch):
    from tunebook.workflow import start

    config = {"hidden_size": 8192, "intermediate_size": 28672, "num_hidden_layers": 400}
    monkeypatch.setattr(start, "read_config", lambda *_: config)
    big = {"micro_batch_tokens": 10**6, "batch_size": 40}
    assert "lower data.max_length and training.micro_batch_tokens" in refused(values, training=big)
    assert "lower lora.rank" in refused(values, lora={"rank": 1024})


def test_a_base_in_4_bits_takes_a_seventh_and_its_export_the_whole(values, tmp_path):
    from tests.tiny import save_tiny
    from tunebook.model.sources import load_model, loaded_bytes, read_config

    name = str(save_tiny(tmp_path / "model"))
    model = load_model(name, quantization="nf4")
    held = sum(t.numel() * t.element_size() for t in [*model.parameters(), *model.buffers()])
    shape = Shape.of(read_config(name), loaded_bytes(name))
    assert shape.held_bytes("nf4") == pytest.approx(held, rel=0.15)
    assert shape.held_bytes(None) == loaded_bytes(name)

    config = {"hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "vocab_size": 32000}
    shape = Shape.of(config, 29_000_000_000)
    whole, rounded, alone = (
        make_plan({"model": {"name": "x", "quantization": kind}, "data": {"path": "x"}, "export": {"formats": formats}})
        for kind, formats in ((None, []), ("nf4", ["safetensors"]), ("nf4", []))
    )
    assert needed_bytes(whole, shape, 64) > 29e9
    assert needed_bytes(rounded, shape, 64) > 29e9
    assert needed_bytes(alone, shape, 64) < 8e9


def test_a_base_in_4_bits_is_not_split_over_workers(values):
    rounded = make_plan(values | {"model": values["model"] | {"quantization": "nf4"}})
    context = SimpleNamespace(plan=rounded, run=SimpleNamespace(folder=Path()), workers=Workers(0, 2, True))
    with pytest.raises(RunError, match="cannot be split over workers"):
        load(context)


def test_a_model_beyond_this_machine_is_told_of_4_bits(values, monkeypatch):
    from tunebook.workflow import start

    monkeypatch.setattr(start, "loaded_bytes", lambda *_: 10**14)
    assert "set model.quantization to nf4" in refused(values)
    rounded = {**values["model"], "quantization": "nf4"}
    assert "set export.formats to []" in refused(values, model=rounded, export={"formats": ["safetensors"]})


@pytest.mark.parametrize(
    ("training", "tokens", "measured"),
    [  # SmolLM2-135M, rank 16, peaks of whole processes: benchmarks/train.py, and with dropout the joined way
        ({}, 220, 1.29e9),
        ({}, 1024, 1.96e9),
        ({"method": "full"}, 220, 2.85e9),
        ({"method": "full"}, 1024, 3.66e9),
        ({"dropout": 0.1}, 860, 3.4e9),
    ],
)
def test_memory_is_reckoned_near_what_was_measured(training, tokens, measured):
    plan = make_plan({"model": {"name": "x"}, "data": {"path": "x"}, "training": training, "export": {"formats": []}})
    assert needed_bytes(plan, Shape.of(SMOLLM2, 538_000_000), tokens) == pytest.approx(measured, rel=0.2)


SMOLLM2 = {
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "vocab_size": 49152,
    "tie_word_embeddings": True,
}


def test_weights_count_as_they_are_in_memory_whatever_they_are_stored_in(tmp_path):
    from tests.tiny import save_tiny
    from tunebook.model.sources import load_model, loaded_bytes, weights_bytes

    name = str(save_tiny(tmp_path / "half", dtype=torch.bfloat16))
    held = sum(tensor.numel() * tensor.element_size() for tensor in load_model(name).parameters())
    assert loaded_bytes(name) == held
    assert weights_bytes(name) < 0.6 * held


def test_an_adapter_of_a_run_that_trains_every_weight_is_refused(values):
    assert "trains every weight" in refused(values, training={"method": "full"}, export={"formats": ["adapter"]})


def test_a_model_that_gguf_does_not_know_is_refused_before_it_is_trained(values, tmp_path):
    from tests.tiny import save_tiny

    folder = save_tiny(tmp_path / "odd", hidden_act="relu")
    assert "activation relu" in refused(values, model={"name": str(folder)}, export={"formats": ["gguf"]})


def test_weights_that_cannot_be_read_are_refused(values, tmp_path):
    from tests.tiny import save_tiny

    folder = save_tiny(tmp_path / "damaged")
    (folder / "model.safetensors").write_bytes(b"no weights")
    assert "model.safetensors" in refused(values, model={"name": str(folder)})


def test_a_run_name_that_exists_is_refused_and_the_run_untouched(values):
    run = prepare_run(make_plan(values), "one", runs_folder())
    before = sorted(path.name for path in run.folder.iterdir())
    with pytest.raises(TunebookError, match="A run named 'one' exists"):
        prepare_run(make_plan(values), "one", runs_folder())
    assert sorted(path.name for path in run.folder.iterdir()) == before


@pytest.mark.parametrize("name", ["Big", "-x", "a/b", "", "..", "a" * 65, "x\n", "$(touch x)"])
def test_a_name_that_cannot_be_a_runs_is_refused(values, name):
    with pytest.raises(TunebookError, match="cannot be the name of a run"):
        prepare_run(make_plan(values), name or " ", runs_folder())


def test_a_folder_that_cannot_be_written_is_refused(values, home):
    (home / "file").write_text("")
    with pytest.raises(TunebookError, match="cannot be written"):
        prepare_run(make_plan(values), "one", home / "file" / "runs")


def test_every_file_that_a_plan_names_counts_from_the_plans_folder(values, home):
    named = {"data": {"path": "rows.jsonl"}, "evaluation": {"tasks": ["arc_easy", "mine.yaml"]}}
    folder = home / "plans"
    save_plan(make_plan({key: value | named.get(key, {}) for key, value in values.items()}), folder / "one.yaml")
    read = read_plan(folder / "one.yaml", ["data.validation_path=held.jsonl"])
    assert read.data.path == str(folder / "rows.jsonl")
    assert read.data.validation_path == str(folder / "held.jsonl")
    assert read.evaluation.tasks == ("arc_easy", str(folder / "mine.yaml"))
    assert origin_of(read, "data.validation_path")[0] == "set"


def test_a_plan_beyond_the_gpu_is_refused_when_its_memory_can_be_asked(values, monkeypatch):
    monkeypatch.setattr("tunebook.workflow.prepare.has_gpu", lambda: True)
    monkeypatch.setattr("tunebook.workflow.prepare.gpu_bytes", lambda: 0.7e9)
    run = prepare_run(make_plan(values), "one", runs_folder())
    run_steps(run)  # the tiny model fits
    monkeypatch.setattr("tunebook.workflow.prepare.gpu_bytes", lambda: 0.5e9)
    run = prepare_run(make_plan(values), "two", runs_folder())
    with pytest.raises(RunError, match=r"0\.6 GB of memory and this GPU has 0\.5 GB"):
        run_steps(run)


def test_where_there_is_a_gpu_the_cpus_memory_does_not_judge_the_examples(values, monkeypatch):
    from tunebook.workflow import start

    config = {"hidden_size": 8192, "intermediate_size": 28672, "num_hidden_layers": 400}
    monkeypatch.setattr(start, "read_config", lambda *_: config)
    big = {"micro_batch_tokens": 10**6, "batch_size": 40}
    refused(values, training=big)
    monkeypatch.setattr(start, "has_gpu", lambda: True)
    changed = values | {"training": values["training"] | big}
    assert prepare_run(make_plan(changed), "one", runs_folder()).folder.exists()


def test_where_torch_cannot_use_the_gpu_the_cpus_memory_judges(values, monkeypatch):
    from tunebook.workflow import start

    config = {"hidden_size": 8192, "intermediate_size": 28672, "num_hidden_layers": 400}
    monkeypatch.setattr(start, "has_gpu", lambda: True)
    monkeypatch.setattr("tunebook.workflow.prepare.has_gpu", lambda: True)
    monkeypatch.setattr("tunebook.workflow.prepare.gpu_bytes", lambda: None)
    monkeypatch.setattr("tunebook.workflow.prepare.read_config", lambda *_: config)
    changed = values | {"training": values["training"] | {"micro_batch_tokens": 10**6, "batch_size": 40}}
    run = prepare_run(make_plan(changed), "one", runs_folder())
    with pytest.raises(RunError, match="this machine has"):
        run_steps(run)


@pytest.mark.parametrize("change", [{"sliding_window": 4096}, {"architectures": ["Other"]}])
def test_a_model_that_goes_the_joined_way_is_reckoned_with_what_that_keeps(change):
    assert Shape.of(SMOLLM2, 538_000_000).fused
    assert Shape.of(SMOLLM2 | {"sliding_window": 4096, "use_sliding_window": False}, 538_000_000).fused
    assert not Shape.of(SMOLLM2 | change, 538_000_000).fused


def test_a_second_copy_of_the_weights_does_not_count(tmp_path):
    import shutil

    from tests.tiny import save_tiny
    from tunebook.model.sources import loaded_bytes

    folder = save_tiny(tmp_path / "model")
    once = loaded_bytes(str(folder))
    shutil.copy(folder / "model.safetensors", folder / "consolidated.safetensors")
    assert loaded_bytes(str(folder)) == once > 0


def test_examples_longer_than_the_model_has_positions_for_are_refused(values, home):
    short = save_tiny(home / "short", max_position_embeddings=16)
    said = refused(values, model={"name": str(short)})
    assert "was made for 16 at most" in said
    assert "Set data.max_length to 16" in said


def test_a_container_has_the_memory_that_its_kernel_says(monkeypatch, tmp_path):
    from tunebook.workflow import hardware

    monkeypatch.setattr(hardware, "_LIMITS", (tmp_path / "max",))
    whole = hardware.memory_bytes()
    (tmp_path / "max").write_text("max\n")
    assert hardware.memory_bytes() == whole
    (tmp_path / "max").write_text("1000000000\n")
    assert hardware.memory_bytes() == 10**9
    (tmp_path / "max").write_text("1000000\n")
    assert hardware.memory_free_bytes() == 10**6


def test_an_estimate_is_refused_where_the_run_would_be(values, monkeypatch):
    from tunebook.workflow import estimate

    monkeypatch.setattr(estimate, "loaded_bytes", lambda *_: 10**14)
    with pytest.raises(RunError, match="GB of memory and this machine has"):
        estimate.make_estimate(make_plan(values))


def test_a_stop_while_the_model_loads_is_a_stop_and_no_fault_of_the_model(values, monkeypatch):
    from transformers import AutoModelForCausalLM

    def stopped(*_, **__):
        raise Stopped("The run 'one' was stopped (SIGINT).", exit_code=130)

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", stopped)
    with pytest.raises(Stopped):
        load_model(values["model"]["name"])
