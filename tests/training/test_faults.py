"""What ends a run, and what is left of it: told in words, and gone on with as if nothing had happened."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from training_here import Killed, Recorder, build_rows, on_one_thread, told, train
from trl import DPOTrainer

from m3po.errors import JobError, ModelError, RunStopped
from m3po.training.checkpoints import find_checkpoint
from m3po.training.faults import is_disk_full, memory_remedy
from m3po.training.presets import build_train_config
from m3po.training.trainer import PairTrainer

pytestmark = pytest.mark.slow
one_thread = on_one_thread
CPU_FULL = RuntimeError("[enforce fail at alloc_cpu.cpp:126] DefaultCPUAllocator: can't allocate memory: you tried to")
GPU_FULL = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


@pytest.fixture(scope="module")
def rows(tmp_path_factory) -> list[dict]:
    return build_rows(tmp_path_factory.mktemp("images"))


@pytest.mark.parametrize("how", ["dpo", "adapter", "sft"])
def test_a_killed_run_goes_on_with_the_very_figures_of_an_uninterrupted_one(
    tiny_policy, tiny_adapter, rows, tmp_path, how
):
    options = {"method": "sft" if how == "sft" else "dpo", "epochs": 2.4, "gradient_accumulation": 2, "batch_size": 2}
    options |= {"adapter": tiny_adapter} if how == "adapter" else {"lora_dropout": 0.1}  # lots are drawn anew, too
    whole, killed, resumed = Recorder(), Recorder(at=6, fault=Killed()), Recorder()
    train(tiny_policy, rows, tmp_path / "whole", whole, **options)
    with pytest.raises(Killed):
        train(tiny_policy, rows, tmp_path / "killed", killed, **options)
    train(tiny_policy, rows, tmp_path / "killed", resumed, **options)
    before = [step for step, _ in killed.points]
    assert before == [1, 2, 3, 4, 5] and resumed.points[0][0] in (4, 5)
    kept = told(killed)[: resumed.points[0][0] - 1]
    assert kept + told(resumed) == told(whole)
    assert len(whole.points) == 8 and whole.points[0][1]["loss"] != whole.points[-1][1]["loss"]
    seconds = [values["seconds"] for _, values in killed.points[: len(kept)] + resumed.points]
    assert seconds == sorted(seconds) and seconds[0] > 0
    adapters = [(tmp_path / run / "adapter" / "adapter_model.safetensors").read_bytes() for run in ("whole", "killed")]
    assert adapters[0] == adapters[1]


def test_a_run_killed_after_its_last_step_takes_no_step_more(tiny_policy, rows, tmp_path, monkeypatch):
    def kill(*_):
        raise Killed

    recorder = Recorder()
    with monkeypatch.context() as patch:
        patch.setattr("m3po.training.dpo.write_margins", kill)
        with pytest.raises(Killed):
            train(tiny_policy, rows, tmp_path, epochs=1.1)
    trained = (tmp_path / "adapter" / "adapter_model.safetensors").read_bytes()
    result = train(tiny_policy, rows, tmp_path, recorder, epochs=1.1)
    assert (result["steps"], recorder.points) == (4, [])
    assert (tmp_path / "adapter" / "adapter_model.safetensors").read_bytes() == trained
    assert (tmp_path / "margins.parquet").exists() and result["final"]["loss"] > 0


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_reference_log_probs_are_kept_as_they_come_and_none_is_computed_twice(
    tiny_policy, rows, tmp_path, monkeypatch, how
):
    """Of ten pairs in batches of four; a pair that is too long lies in the third."""
    computed: list[int] = []
    compute = PairTrainer.reference_logps

    def count(trainer, batch):
        if how == "kill" and len(computed) == 4 and not resumed:
            raise Killed
        found = compute(trainer, batch)
        computed.extend(found[0].tolist())
        first.stopping = how == "stop" and len(computed) == 4
        return found

    class Stopping(Recorder):
        stopping = False
        stop_requested = property(lambda self: self.stopping)

    monkeypatch.setattr(PairTrainer, "reference_logps", count)
    given = [*rows[:8], {**rows[8], "chosen": "boat " * 2000}, rows[9]]
    first, second, whole, resumed = Stopping(), Recorder(), Recorder(), False
    with pytest.raises(RunStopped if how == "stop" else Killed):
        train(tiny_policy, given, tmp_path / "run", first, batch_size=2)
    lines = tmp_path / "run" / "reference.jsonl"
    torn = lines.read_bytes() + b'{"instruction_id": 4, "chosen_id": 8, "reje'  # by a kill in the midst of a line
    lines.write_bytes(torn)
    resumed = True
    train(tiny_policy, given, tmp_path / "run", second, batch_size=2)
    assert len(computed) == len(set(computed)) == 9 and not lines.exists()
    assert [event["done"] for event in second.events if event.get("message") == "reference log-probs"] == [4, 8, 10]
    train(tiny_policy, given, tmp_path / "whole", whole, batch_size=2)
    assert told(second) == told(whole)
    for name in ("reference.parquet", "margins.parquet", "adapter/adapter_model.safetensors"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


def test_out_of_memory_names_the_step_and_what_to_set(tiny_policy, rows, tmp_path, monkeypatch):
    compute = PairTrainer._compute_loss

    def fail(trainer, *args):
        if trainer.state.global_step == 2:
            raise CPU_FULL
        return compute(trainer, *args)

    with monkeypatch.context() as patch:
        patch.setattr(PairTrainer, "_compute_loss", fail)
        with pytest.raises(
            JobError, match=r"ran out of memory at step 3 of 6: .*batch_size=2 .*accumulation=2 "
        ) as told:
            train(tiny_policy, rows, tmp_path)
    for words in ("gradient_checkpointing=true", "max_pixels", "quantise=4bit", "resume this run"):
        assert words in str(told.value)
    assert find_checkpoint(tmp_path / "checkpoints").name == "checkpoint-2"


def test_out_of_memory_before_the_first_step_says_where(tiny_policy, rows, tmp_path, monkeypatch):
    def fail(*_):
        raise GPU_FULL

    monkeypatch.setattr(PairTrainer, "reference_logps", fail)
    with pytest.raises(JobError, match="ran out of memory at the reference log-probs, after 0 of 10 pairs: "):
        train(tiny_policy, rows, tmp_path)


def test_the_remedy_for_memory_fits_the_run():
    config = build_train_config("m", "gpu24", {"quantise": "4bit"})  # a pair at a time, with gradient checkpointing
    remedy = memory_remedy(config)
    assert "batch_size" not in remedy and "preset" not in remedy and "quantise" not in remedy
    assert "max_pixels" in remedy
    assert "batch_size=2 with gradient_accumulation=16 " in memory_remedy(build_train_config("m", "gpu80"))


def test_a_gradient_that_is_no_number_moves_no_weight_and_leaves_the_last_good_adapter(
    tiny_policy, rows, tmp_path, monkeypatch
):
    from m3po.models.policy import Policy

    norm = DPOTrainer._get_grad_norm

    def spoil(trainer, model, grad_norm=None):
        return float("inf") if trainer.state.global_step == 5 else norm(trainer, model, grad_norm)

    recorder = Recorder()
    with monkeypatch.context() as patch:
        patch.setattr(DPOTrainer, "_get_grad_norm", spoil)
        with pytest.raises(JobError, match=r"gradient's norm became inf at step 6.*lower the learning rate") as told:
            train(tiny_policy, rows, tmp_path / "000007", recorder)
    assert [step for step, _ in recorder.points] == [1, 2, 3, 4, 5]
    place = str(told.value).rpartition("the workspace's ")[2].rstrip(".")
    assert place == f"{tmp_path.name}/000007/checkpoints/checkpoint-4"
    Policy.load(tiny_policy, tmp_path.parent / place)  # it is an adapter that can be used


def test_what_the_figures_warn_of_is_told_once_also_by_a_run_that_goes_on(tiny_policy, rows, tmp_path):
    options = {"learning_rate": 1e-12, "epochs": 6, "warmup_ratio": 0}  # 18 steps that move nothing, a checkpoint in 2
    killed, resumed = Recorder(at=16, fault=Killed()), Recorder()
    with pytest.raises(Killed):
        train(tiny_policy, rows, tmp_path, killed, **options)
    train(tiny_policy, rows, tmp_path, resumed, **options)
    [words] = killed.warnings
    assert words.startswith("Step 11: the loss is stuck at 0.6931 (ln 2)") and resumed.warnings == []


def test_a_full_disk_costs_the_checkpoint_that_is_written_and_no_other(tiny_policy, rows, tmp_path):
    """The device that is always full stands where the second checkpoint's last file but one is written."""
    broken, resumed = Recorder(), Recorder()
    second = tmp_path / "run" / "checkpoints" / "checkpoint-4"
    second.mkdir(parents=True)
    (second / "optimizer.pt").symlink_to("/dev/full")
    with pytest.raises(JobError, match=r"disk is full.* after step 4 of 6: free .*resume .*its checkpoint of step 2"):
        train(tiny_policy, rows, tmp_path / "run", broken)
    assert find_checkpoint(tmp_path / "run" / "checkpoints").name == "checkpoint-2" and not second.exists()
    assert train(tiny_policy, rows, tmp_path / "run", resumed)["steps"] == 6
    assert [step for step, _ in resumed.points] == [3, 4, 5, 6]
    assert told(resumed)[:2] == told(broken)[2:]  # the steps that were lost, once more


def test_a_full_disk_at_the_adapter_keeps_the_one_that_a_stop_left(tiny_policy, rows, tmp_path, monkeypatch):
    from peft import PeftModel

    with pytest.raises(RunStopped):
        train(tiny_policy, rows, tmp_path, Recorder(stop_at=1))
    stopped = (tmp_path / "adapter" / "adapter_model.safetensors").read_bytes()

    save = PeftModel.save_pretrained

    def fill(model, folder, **options):
        save(model, folder, **options)
        if Path(folder).name == "adapter.part":
            Path("/dev/full").write_text("a file more")

    with monkeypatch.context() as patch:
        patch.setattr(PeftModel, "save_pretrained", fill)
        with pytest.raises(JobError, match=r"disk is full.* after step 6 of 6.*its checkpoint of step 6"):
            train(tiny_policy, rows, tmp_path)
    assert (tmp_path / "adapter" / "adapter_model.safetensors").read_bytes() == stopped
    recorder = Recorder()
    assert train(tiny_policy, rows, tmp_path, recorder)["steps"] == 6 and recorder.points == []
    assert (tmp_path / "adapter" / "adapter_model.safetensors").read_bytes() != stopped
    assert not (tmp_path / "adapter.part").exists()


def test_what_writers_raise_on_a_full_disk_is_known(tmp_path):
    import safetensors.torch

    errors = []
    for name, write in (("a.pt", torch.save), ("r.pth", torch.save), ("t.json", lambda _, path: path.write_text("x"))):
        path = tmp_path / name
        path.symlink_to("/dev/full")
        with pytest.raises((RuntimeError, OSError)) as raised:
            write({"a": torch.zeros(1000 if name == "a.pt" else 1)}, path)
        errors.append(raised.value)
    text = "Error while serializing: I/O error: No space left on device (os error 28)"
    errors.append(safetensors.SafetensorError(text))
    assert all(is_disk_full(error) for error in errors)
    assert not is_disk_full(RuntimeError("shapes do not match")) and not is_disk_full(FileNotFoundError(2, "none"))


def test_a_model_or_adapter_that_is_gone_is_named_and_back_again_the_run_goes_on(
    tiny_policy, tiny_adapter, rows, tmp_path
):
    policy, adapter = (
        shutil.copytree(folder, tmp_path / name) for folder, name in ((tiny_policy, "policy"), (tiny_adapter, "lora"))
    )
    killed = Recorder(at=4, fault=Killed())
    with pytest.raises(Killed):
        train(policy, rows, tmp_path / "run", killed, adapter=adapter)
    for folder in (policy, adapter):
        away = folder.rename(folder.with_name("away"))
        with pytest.raises(ModelError, match=str(folder)):
            train(policy, rows, tmp_path / "run", adapter=adapter)
        away.rename(folder)
    assert train(policy, rows, tmp_path / "run", adapter=adapter)["steps"] == 6
