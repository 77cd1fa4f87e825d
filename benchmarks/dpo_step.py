"""A DPO run of ours against TRL's DPOTrainer as it comes: same pairs, same order, same model, same machine.

    python benchmarks/dpo_step.py [--pairs 4] [--epochs 2] [--threads 2]

The model has LLaVA-1.5's layout (336-pixel image, 576 image tokens, prompt of about 40 tokens, answers of about 64)
with random weights of a size that a CPU can train. Printed: seconds a step of each (ours with the one pass for the
reference and the image features spread over the steps), their ratio, and the bound: the ratio that the forwards and
backwards left out would give if nothing else cost time, from the parts timed in this process.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import torch  # noqa: E402

# (width, layers). In LLaVA-1.5-7B the tower has a twentieth of the language model's arithmetic a token; so here.
LAYOUT = {"image": 336, "patch": 14, "tower": (128, 4), "language": (384, 6)}
BATCH = 2


def build_model(folder: Path) -> Path:
    """Save the random model and its processor into `folder`."""
    import tiny
    from transformers import (
        CLIPImageProcessorPil,
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
    )

    tokenizer = tiny.build_tokenizer()
    tower_width, tower_layers = LAYOUT["tower"]
    width, layers = LAYOUT["language"]
    side = LAYOUT["image"]
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(
            hidden_size=tower_width,
            intermediate_size=4 * tower_width,
            num_hidden_layers=tower_layers,
            num_attention_heads=2,
            image_size=side,
            patch_size=LAYOUT["patch"],
        ),
        text_config=LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=width,
            intermediate_size=3 * width,
            num_hidden_layers=layers,
            num_attention_heads=6,
            bos_token_id=1,
            eos_token_id=3,
            pad_token_id=0,
        ),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        image_seq_length=(side // LAYOUT["patch"]) ** 2,
    )
    torch.manual_seed(0)
    LlavaForConditionalGeneration(config).save_pretrained(folder)
    image_processor = CLIPImageProcessorPil(
        size={"height": side, "width": side}, do_center_crop=False, do_convert_rgb=True
    )
    LlavaProcessor(
        image_processor,
        tokenizer,
        patch_size=LAYOUT["patch"],
        image_token="<image>",
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=tiny.CHAT_TEMPLATE,
    ).save_pretrained(folder)
    return folder


def build_rows(folder: Path, n: int) -> list[dict]:
    import tiny

    from m3po.text import build_messages

    rows = []
    for number in range(n):
        path = folder / f"{number}.png"
        tiny.build_image(number, size=LAYOUT["image"]).save(path)
        rows.append(
            {
                "instruction_id": number,
                "name": f"'row-{number}' of the benchmark",
                "images": [str(path)],
                "messages": json.dumps(build_messages("What do you see in the picture? Say it in full.", 1)),
                "chosen_id": 2 * number,
                "rejected_id": 2 * number + 1,
                "chosen": "There is a red boat on the left, and the yellow sun. " * 3,
                "rejected": "A blue fish stands beside the small house, a tree too. " * 3,
                "human": False,
            }
        )
    return rows


class Recorder:
    stop_requested = False

    def __init__(self) -> None:
        self.losses: list[float] = []  # loss and reward margin of every step

    def emit(self, event, **values): ...
    def progress(self, done, total, unit, *, message=""): ...
    def metrics(self, step, **values):
        self.losses += [values["loss"], values["rewards/margins"]]


def run_ours(config, rows: list[dict], folder: Path) -> tuple[float, list[float]]:
    """Seconds of the reference pass and the training together, and the losses."""
    from m3po.models.policy import Policy
    from m3po.training import dpo
    from m3po.training.batches import PairCollator
    from m3po.training.ranks import count_steps
    from m3po.training.reporting import StepReport
    from m3po.training.signs import Signs
    from m3po.training.trainer import image_encoder

    recorder = Recorder()
    policy = Policy.load(config.policy)
    pairs = dpo.encode_pairs(rows, policy, recorder)
    collator = PairCollator(policy.core, pairs, encode_images=image_encoder(policy.model))
    trainer = dpo.build_trainer(config, policy, pairs, collator, folder)
    trainer.args.save_strategy = "no"
    signs = Signs(config.beta, plain=True, prefers=True)
    trainer.add_callback(StepReport(trainer, recorder, count_steps(config, len(pairs)), signs, None))
    started = time.perf_counter()
    dpo.add_reference_logps(trainer, collator, pairs, folder / "reference.parquet", policy, recorder)
    trainer.precompute_ref_logps = True
    trainer.train()
    return time.perf_counter() - started, recorder.losses


def run_stock(config, rows: list[dict], folder: Path) -> tuple[float, list[float]]:
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    from m3po.images import load_rgb
    from m3po.models.policy import Policy
    from m3po.training.adapters import build_lora_config

    policy = Policy.load(config.policy)

    def look_up(batch):
        picked = [rows[n] for n in batch["row"]]
        answers = {
            side: [[{"role": "assistant", "content": [{"type": "text", "text": r[side].strip()}]}] for r in picked]
            for side in ("chosen", "rejected")
        }
        prompts = [json.loads(r["messages"]) for r in picked]
        return {"images": [[load_rgb(path) for path in r["images"]] for r in picked], "prompt": prompts, **answers}

    dataset = Dataset.from_dict({"row": list(range(len(rows))), "images": [[]] * len(rows)}).with_transform(look_up)
    args = DPOConfig(
        output_dir=str(folder),
        beta=config.beta,
        learning_rate=config.learning_rate,
        num_train_epochs=config.epochs,
        per_device_train_batch_size=config.batch_size,
        warmup_steps=config.warmup_ratio,
        max_length=None,
        gradient_checkpointing=False,
        bf16=False,
        use_cpu=True,
        dataloader_pin_memory=False,
        remove_unused_columns=False,
        seed=config.seed,
        data_seed=config.seed,
        logging_steps=1,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
    )
    trainer = DPOTrainer(
        model=policy.model,
        args=args,
        train_dataset=dataset,
        processing_class=policy.chat.processor,
        peft_config=build_lora_config(policy.model, config),
    )
    started = time.perf_counter()
    trainer.train()
    seconds = time.perf_counter() - started
    logged = [entry for entry in trainer.state.log_history if "loss" in entry]
    return seconds, [entry[name] for entry in logged for name in ("loss", "rewards/margins")]


def measure_parts(config, rows: list[dict], folder: Path, repeats: int = 3) -> tuple[float, float, float]:
    """Seconds of: encoding a batch's images once; its language forward; its forward and backward (best of a few)."""
    from m3po.models.policy import Policy
    from m3po.training import dpo
    from m3po.training.batches import PairCollator
    from m3po.training.trainer import _with_features, image_encoder

    policy = Policy.load(config.policy)
    pairs = dpo.encode_pairs(rows[:BATCH], policy, Recorder())
    encode = image_encoder(policy.model)
    images = [PairCollator(policy.core, pairs).read_images(n) for n in range(BATCH)]
    pixels = policy.chat.encode_prompts([pair.prompt for pair in pairs], images)["pixel_values"]
    collator = PairCollator(policy.core, pairs, encode_images=encode)
    trainer = dpo.build_trainer(config, policy, pairs, collator, folder)
    batch = collator([{"row": n} for n in range(BATCH)])

    def forward(train: bool) -> None:
        inputs = dict(_with_features(batch))
        mask = inputs.pop("completion_mask")
        labels = inputs["input_ids"].masked_fill(mask == 0, -100)
        outputs = trainer.model(**inputs, labels=labels, fused_lm_head=True)
        if train:
            outputs.loss.backward()

    def best(run) -> float:
        seconds = []
        for _ in range(repeats):
            started = time.perf_counter()
            run()
            seconds.append(time.perf_counter() - started)
        return min(seconds)

    with torch.no_grad():
        tower, language = best(lambda: encode(pixels)), best(lambda: forward(False))
    return tower, language, best(lambda: forward(True))


def main() -> None:
    from m3po.training.presets import build_train_config

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=4)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        policy = build_model(folder / "policy")
        rows = build_rows(folder, options.pairs)
        overrides = {"batch_size": str(BATCH), "epochs": str(options.epochs), "learning_rate": "0.001"}
        # the one loss that both sides are given, whatever the demo preset is
        overrides |= {"loss_type": "sigmoid"}
        config = build_train_config(str(policy), "demo", overrides)
        tower, language, both = measure_parts(config, rows, folder / "parts")
        ours, our_losses = run_ours(config, rows, folder / "ours")
        peer, peer_losses = run_stock(config, rows, folder / "stock")
    steps = len(our_losses) // 2  # a loss and a margin each
    gap = max(abs(a - b) for a, b in zip(our_losses, peer_losses, strict=True))
    assert gap < 1e-4, f"losses or margins differ by {gap}: what is compared is not the same"
    epochs = options.epochs
    bound = epochs * (4 * tower + language + both) / (tower + language + epochs * both)
    print(f"seconds a batch of {BATCH}: images {tower:.3f}, forward {language:.3f}, with backward {both:.3f}")
    print(
        f"steps {steps} ({epochs} epochs), largest difference of a loss or margin {gap:.1e}, {options.threads} threads"
    )
    print(f"ours  {ours / steps:.3f} s a step (reference and image features included)")
    print(f"peer  {peer / steps:.3f} s a step (TRL DPOTrainer as it comes)")
    print(f"ratio {peer / ours:.2f}x   bound {bound:.2f}x")


if __name__ == "__main__":
    main()
