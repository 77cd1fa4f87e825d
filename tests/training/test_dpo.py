"""Training in this process on a tiny random LLaVA: the shortcuts change no loss, the adapter lies where it must."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import tiny
import torch
from datasets import Dataset
from PIL import Image
from training_here import MEASURED, SETTINGS, Recorder, build_rows, on_one_thread, train
from trl import DPOConfig, DPOTrainer

from m3po.errors import JobError, RunStopped
from m3po.images import load_rgb
from m3po.models.policy import Policy
from m3po.settings import ModelOptions
from m3po.text import build_messages
from m3po.training.adapters import build_lora_config
from m3po.training.batches import FeatureCache, PairCollator
from m3po.training.checkpoints import find_checkpoint
from m3po.training.dpo import encode_pairs, train_pairs
from m3po.training.presets import build_train_config
from m3po.training.ranks import count_steps
from m3po.training.trainer import PairTrainer

pytestmark = pytest.mark.slow
one_thread = on_one_thread


@pytest.fixture(scope="module")
def rows(tmp_path_factory) -> list[dict]:
    return build_rows(tmp_path_factory.mktemp("images"))


def stock_losses(policy: Path, rows: list[dict], folder: Path, *, loss_type: str, loss_weights) -> list[dict]:
    """TRL's DPOTrainer as it comes, on the same pairs in the same order: messages, PIL images, its own collator."""
    loaded = Policy.load(policy)
    model, processor = loaded.model, loaded.chat.processor
    dataset = Dataset.from_dict({"row": list(range(len(rows))), "images": [[]] * len(rows)})

    def look_up(batch):
        picked = [rows[n] for n in batch["row"]]
        return {
            "images": [[load_rgb(path) for path in row["images"]] for row in picked],
            "prompt": [json.loads(row["messages"]) for row in picked],
            **{
                side: [[{"role": "assistant", "content": [{"type": "text", "text": row[side]}]}] for row in picked]
                for side in ("chosen", "rejected")
            },
        }

    config = build_train_config(str(policy), "demo", SETTINGS)
    trainer = DPOTrainer(
        model=model,
        args=DPOConfig(
            output_dir=str(folder), loss_type=loss_type, loss_weights=loss_weights, beta=config.beta,
            learning_rate=config.learning_rate, num_train_epochs=config.epochs, per_device_train_batch_size=4,
            warmup_steps=config.warmup_ratio, max_length=None, gradient_checkpointing=False, bf16=False, use_cpu=True,
            remove_unused_columns=False, seed=0, data_seed=0, logging_steps=1, report_to="none", save_strategy="no",
            disable_tqdm=True, dataloader_pin_memory=False,
        ),
        train_dataset=dataset.with_transform(look_up),
        processing_class=processor,
        peft_config=build_lora_config(model, config),
    )  # fmt: skip
    trainer.train()
    return [entry for entry in trainer.state.log_history if "loss" in entry]


@pytest.mark.parametrize(
    ("loss_type", "weights"), [("sigmoid", ""), ("sigmoid+sft", "0.8+0.5"), ("ipo", ""), ("aot", "")]
)
def test_every_step_is_equal_to_stock_trl(tiny_policy, rows, tmp_path, loss_type, weights):
    recorder = Recorder()
    train(tiny_policy, rows, tmp_path / "ours", recorder, loss_type=loss_type, loss_weights=weights)
    stock = stock_losses(
        tiny_policy, rows, tmp_path / "stock", loss_type=loss_type.split("+"),
        loss_weights=[float(w) for w in weights.split("+")] if weights else None,
    )  # fmt: skip
    assert len(stock) == len(recorder.points) == 6
    assert stock[-1]["rewards/margins"] > 0.01  # it learned, so equal does not mean that nothing happened
    for (_, ours), theirs in zip(recorder.points, stock, strict=True):
        for name in ("loss", "rewards/chosen", "rewards/rejected", "logps/chosen", "grad_norm"):
            assert ours[name] == pytest.approx(theirs[name], rel=1e-4, abs=1e-4), name
        if abs(theirs["rewards/margins"]) > 1e-4:
            # Before the adapter moves, a margin is 0 or what rounding leaves: its sign is the processor's.
            assert ours["rewards/accuracies"] == pytest.approx(theirs["rewards/accuracies"])


def test_the_plain_way_of_other_architectures_gives_the_same(tiny_policy, rows, tmp_path, monkeypatch):
    quick, plain = Recorder(), Recorder()
    train(tiny_policy, rows, tmp_path / "quick", quick)
    monkeypatch.setattr("m3po.training.dpo.can_reuse_features", lambda model: False)
    train(tiny_policy, rows, tmp_path / "plain", plain)
    for (_, ours), (_, theirs) in zip(quick.points, plain.points, strict=True):
        assert ours.keys() == theirs.keys()
        for name in ours.keys() - MEASURED:
            assert ours[name] == pytest.approx(theirs[name], rel=1e-4, abs=1e-4), name


def test_only_the_adapter_in_the_language_model_moves_and_peft_loads_it(tiny_policy, rows, tmp_path):
    from peft import PeftModel
    from safetensors.torch import load_file

    before = {path.name: path.read_bytes() for path in Path(tiny_policy).iterdir()}
    result = train(tiny_policy, rows, tmp_path)
    assert {path.name: path.read_bytes() for path in Path(tiny_policy).iterdir()} == before

    tensors = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    assert tensors
    for name, tensor in tensors.items():
        assert "language_model" in name and "lora_" in name, name
        if "lora_B" in name:
            assert tensor.abs().max() > 0, f"{name} did not move"
    assert sum(tensor.numel() for tensor in tensors.values()) == result["trainable_parameters"]
    assert {path.suffix for path in (tmp_path / "adapter").iterdir()} == {".json", ".md", ".safetensors"}
    assert "TRL" not in (tmp_path / "adapter" / "README.md").read_text()

    # The margins were computed by the trainer; the adapter loaded anew by peft must give the same log-probs.
    import pyarrow.parquet as pq

    policy = Policy.load(tiny_policy)
    base = score(policy, rows)
    policy.model = PeftModel.from_pretrained(policy.model, str(tmp_path / "adapter")).eval()
    adapted = score(policy, rows)
    merged = score(Policy.load(tiny_policy, tmp_path / "adapter"), rows)
    for row, old, new, again in zip(
        pq.read_table(tmp_path / "margins.parquet").to_pylist(), base, adapted, merged, strict=True
    ):
        assert (row["ref_chosen_logp"], row["ref_rejected_logp"]) == pytest.approx(old, abs=2e-3)
        assert (row["chosen_logp"], row["rejected_logp"]) == pytest.approx(new, abs=2e-3)
        assert new == pytest.approx(again, abs=2e-3)
        assert row["reward_margin"] == pytest.approx(0.1 * ((new[0] - new[1]) - (old[0] - old[1])), abs=1e-3)


def score(policy: Policy, rows: list[dict]) -> list[tuple[float, float]]:
    """logp_sum of chosen and rejected as the score job computes it."""
    scores = policy.log_probs(
        [json.loads(row["messages"]) for row in rows],
        [[load_rgb(path) for path in row["images"]] for row in rows],
        [[row["chosen"], row["rejected"]] for row in rows],
    )
    return [(chosen.logp_sum, rejected.logp_sum) for chosen, rejected in scores]


def test_the_result_says_what_was_trained(tiny_policy, rows, tmp_path):
    recorder = Recorder()
    result = train(tiny_policy, rows, tmp_path, recorder)
    assert (result["pairs"], result["human_pairs"], result["left_out"], result["steps"]) == (10, 5, 0, 6)
    assert result["adapter"] == "adapter"
    assert result["packages"]["torch"] == torch.__version__ and result["code"].startswith("0.1.0+")
    assert [step for step, _ in recorder.points] == [1, 2, 3, 4, 5, 6]
    assert result["final"] == recorder.points[-1][1]
    assert recorder.points[0][1]["loss"] == pytest.approx(0.6931, abs=1e-3)
    wanted = ["rewards/margins", "rewards/accuracies", "logps/rejected", "learning_rate", "grad_norm", "tokens"]
    assert set(wanted) <= set(recorder.points[0][1])
    last = [e for e in recorder.events if e.get("unit") == "steps"][-1]
    assert (last["done"], last["total"]) == (6, 6)


def test_sft_raises_the_chosen_answers(tiny_policy, rows, tmp_path):
    recorder = Recorder()
    train(tiny_policy, rows, tmp_path, recorder, method="sft", epochs=4)
    assert recorder.points[-1][1]["rewards/chosen"] > 0.1
    assert recorder.points[-1][1]["loss"] < recorder.points[0][1]["loss"]


def test_a_stopped_run_goes_on_as_if_it_had_not_been_stopped(tiny_policy, rows, tmp_path):
    whole = Recorder()
    train(tiny_policy, rows, tmp_path / "whole", whole)
    first, second = Recorder(stop_at=3), Recorder()
    with pytest.raises(RunStopped, match="step 4 of 6"):
        train(tiny_policy, rows, tmp_path / "halves", first)
    assert (tmp_path / "halves" / "adapter" / "adapter_model.safetensors").exists()
    assert find_checkpoint(tmp_path / "halves" / "checkpoints").name == "checkpoint-4"
    result = train(tiny_policy, rows, tmp_path / "halves", second)
    assert result["steps"] == 6
    assert [step for step, _ in first.points + second.points] == [1, 2, 3, 4, 5, 6]
    for (_, ours), (_, theirs) in zip(first.points + second.points, whole.points, strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], abs=1e-5)


def test_rows_that_cannot_be_used_are_named_and_left_out(tiny_policy, rows, tmp_path):
    (tmp_path / "broken.png").write_bytes(Path(rows[0]["images"][0]).read_bytes()[:60])
    faults = [
        {"images": [str(tmp_path / "gone.png")]},
        {"images": [str(tmp_path / "broken.png")]},
        {"chosen": " "},
        {"rejected": rows[0]["chosen"]},
        {"chosen": "boat " * 2000},
    ]
    named = [{"instruction_id": n, "name": f"'row-{n}' of tiny", **fault} for n, fault in enumerate(faults, start=100)]
    missing, broken, empty, equal, too_long = ({**rows[0], **row} for row in named)
    recorder = Recorder()
    result = train(tiny_policy, [missing, *rows[:3], broken, empty, equal, too_long], tmp_path / "run", recorder)
    assert (result["pairs"], result["left_out"]) == (3, 5)
    warnings = [event["message"] for event in recorder.events if event["event"] == "warning"]
    assert len(warnings) == 5
    for number in range(100, 105):
        assert any(f"Instruction 'row-{number}' of tiny is left out" in text for text in warnings)


def test_too_few_pairs_and_none_are_refused_with_a_remedy(tiny_policy, rows, tmp_path):
    with pytest.raises(JobError, match="no pair"):
        train(tiny_policy, [], tmp_path)
    with pytest.raises(JobError, match="Only 1 of 1"):
        train(tiny_policy, rows[:1], tmp_path)


def test_a_loss_that_is_not_a_number_ends_the_run_in_words(tiny_policy, rows, tmp_path):
    with pytest.raises(JobError, match=r"lower the learning rate"):
        train(tiny_policy, rows, tmp_path, learning_rate=1e30, epochs=4)


def test_a_text_only_row_trains_beside_rows_with_images(tiny_policy, rows, tmp_path):
    text_only = {
        **rows[0],
        "instruction_id": 50,
        "images": [],
        "messages": json.dumps(build_messages("Say a thing.", 0)),
    }
    result = train(tiny_policy, [text_only, *rows[:3]], tmp_path, epochs=1)
    assert result["pairs"] == 4


def test_training_sees_the_tokens_that_scoring_counted(tiny_policy, rows):
    policy = Policy.load(tiny_policy)
    pairs = encode_pairs(rows, policy, Recorder())
    batch = PairCollator(policy.core, pairs)([{"row": 3}, {"row": 4}])
    scores = policy.log_probs(
        [json.loads(rows[n]["messages"]) for n in (3, 4)],
        [[load_rgb(path) for path in rows[n]["images"]] for n in (3, 4)],
        [[rows[n]["chosen"], rows[n]["rejected"]] for n in (3, 4)],
    )
    wanted = [scores[0][0], scores[1][0], scores[0][1], scores[1][1]]
    for ids, mask, answer in zip(batch["input_ids"], batch["completion_mask"], wanted, strict=True):
        assert tuple(ids[mask.bool()].tolist()) == answer.token_ids
    assert batch["input_ids"].shape == batch["attention_mask"].shape == batch["completion_mask"].shape


def test_a_full_feature_cache_drops_the_oldest():
    cache = FeatureCache(budget_bytes=250)
    for name in "abc":
        cache.put(name, torch.zeros(25))  # 100 bytes each
    assert cache.get("a") is None
    assert cache.get("b") is not None and cache.get("c") is not None


def test_a_torn_checkpoint_is_passed_over(tmp_path):
    from safetensors.torch import save_file

    for step, state in ((10, "{}"), (9, "{}"), (20, '{"global_')):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "trainer_state.json").write_text(state)
    (tmp_path / "checkpoint-30").mkdir()
    assert find_checkpoint(tmp_path) == tmp_path / "checkpoint-10"
    weights = tmp_path / "checkpoint-10" / "adapter_model.safetensors"
    save_file({"a": torch.ones(100)}, weights)
    assert find_checkpoint(tmp_path) == tmp_path / "checkpoint-10"
    weights.write_bytes(weights.read_bytes()[:200])
    assert find_checkpoint(tmp_path) == tmp_path / "checkpoint-9"
    assert find_checkpoint(tmp_path / "none") is None


@pytest.mark.parametrize(("pairs", "overrides"), [(10, {}), (9, {"epochs": 0.5}), (17, {"gradient_accumulation": 3})])
def test_steps_are_counted_as_the_trainer_counts_them(pairs, overrides):
    config = build_train_config("m", "demo", {**SETTINGS, **{k: str(v) for k, v in overrides.items()}})
    expected = {10: 6, 9: 2, 17: 4}[pairs]
    assert count_steps(config, pairs) == expected


def test_images_are_read_lazily_as_rgb(tiny_policy, rows, tmp_path):
    path = tmp_path / "palette.png"
    Image.new("P", (20, 20), 3).save(path)
    policy = Policy.load(tiny_policy)
    pairs = encode_pairs([{**rows[0], "images": [str(path)]}], policy, Recorder())
    assert PairCollator(policy.core, pairs).read_images(0)[0].mode == "RGB"


def test_no_telemetry_and_no_model_card(tiny_policy, rows, tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("sent")

    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setattr("trl.trainer.base_trainer.send_telemetry", refuse)
    train(tiny_policy, rows[:4], tmp_path, max_steps=1)
    assert PairTrainer._send_telemetry is not DPOTrainer._send_telemetry


def test_a_run_in_bfloat16_trains_an_adapter_that_can_be_loaded(tiny_policy, rows, tmp_path):
    reporter = Recorder()
    result = train(tiny_policy, rows[:4], tmp_path / "run", reporter, max_steps=1, warmup_ratio=0, dtype="bfloat16")
    assert result["pairs"] == 4 and math.isfinite(reporter.points[0][1]["loss"])
    options = ModelOptions(dtype="bfloat16")
    tuned = Policy.load(tiny_policy, tmp_path / "run" / "adapter", options=options)
    asked = [build_messages("What is it?", 1)], [[tiny.build_image(1)]], [["A boat."]]
    found, plain = (policy.log_probs(*asked)[0][0] for policy in (tuned, Policy.load(tiny_policy, options=options)))
    assert found.logp_sum != plain.logp_sum


def test_a_run_goes_on_from_an_adapter_which_is_its_reference(tiny_policy, tiny_adapter, rows, tmp_path):
    import pyarrow.parquet as pq
    from safetensors.torch import load_file

    settings = {"batch_size": 4, "learning_rate": 0.003, "loss_type": "sigmoid", "epochs": 2}
    config = build_train_config(
        str(tiny_policy), "demo", {k: str(v) for k, v in settings.items()}, adapter=str(tiny_adapter)
    )
    whole = Recorder()
    kept = {path.name: path.read_bytes() for path in Path(tiny_adapter).iterdir()}
    result = train_pairs(config, rows, tmp_path / "whole", whole)
    assert {path.name: path.read_bytes() for path in Path(tiny_adapter).iterdir()} == kept
    assert whole.points[0][1]["rewards/margins"] == pytest.approx(0, abs=1e-4)
    assert whole.points[-1][1]["rewards/margins"] > 0.01

    old, new = (
        load_file(Path(folder) / "adapter_model.safetensors") for folder in (tiny_adapter, tmp_path / "whole/adapter")
    )
    assert old.keys() == new.keys() and all(not torch.equal(tensor, new[name]) for name, tensor in old.items())
    assert sum(tensor.numel() for tensor in new.values()) == result["trainable_parameters"]
    assert not (tmp_path / "whole" / "adapter" / "ref").exists()
    card = (tmp_path / "whole" / "adapter" / "README.md").read_text()
    assert f"going on from `{tiny_adapter}`" in card and '"lora_r": 4' in card  # the adapter's, not the preset's 16
    before, after = (
        score(Policy.load(tiny_policy, folder), rows) for folder in (tiny_adapter, tmp_path / "whole/adapter")
    )
    for row, reference, trained in zip(
        pq.read_table(tmp_path / "whole" / "margins.parquet").to_pylist(), before, after, strict=True
    ):
        assert (row["ref_chosen_logp"], row["ref_rejected_logp"]) == pytest.approx(reference, abs=2e-3)
        assert (row["chosen_logp"], row["rejected_logp"]) == pytest.approx(trained, abs=2e-3)


def test_an_adapter_that_reaches_into_the_vision_tower_is_not_gone_on_from(tiny_policy, rows, tmp_path):
    from peft import LoraConfig, get_peft_model

    model = get_peft_model(Policy.load(tiny_policy).model, LoraConfig(r=2, target_modules=["q_proj", "v_proj"]))
    model.save_pretrained(tmp_path / "wide")
    config = build_train_config(str(tiny_policy), adapter=str(tmp_path / "wide"))
    with pytest.raises(JobError, match=r"vision_tower.*wide was trained otherwise"):
        train_pairs(config, rows[:4], tmp_path / "run", Recorder())
