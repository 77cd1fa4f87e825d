"""Sampling, scoring and one DPO step of a full-size LLaVA-1.5-7B on a GPU: tokens a second, peak memory, step time.

    python benchmarks/gpu_llava7b.py [--tiny] [--instructions 32] [--k 8] [--new-tokens 128]

The architecture is built from its configuration with random weights in bfloat16 and a tokenizer made here, so nothing
is downloaded: speed and memory do not depend on the values. What runs is the product's own code, with the batch size
that it finds by itself and the training preset `gpu24` (one pair at a time, sixteen a step, gradient checkpointing).
Printed beside each peak: the estimate of m3po.models.memory. The step that is timed is the second one.

Without a GPU it says so and ends well; `--tiny` runs the same lines on a small model on the CPU, to see that they run:
its figures say nothing about a GPU, and a CPU's peak is that of the whole process.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the product's workers have it; read when torch is loaded

import torch  # noqa: E402

ANSWERS = ("There is a red boat on the left, and the yellow sun. " * 6, "A blue fish stands beside the house. " * 7)
QUESTION = "What do you see in the picture? Say it in full."
# width, inner width, layers, heads, vocabulary; tower: width, inner width, layers, heads; image side
FULL = ((4096, 11008, 32, 32, 32064), (1024, 4096, 24, 16), 336)
TINY = ((128, 256, 3, 4, 512), (64, 128, 2, 2), 56)


def build_policy(layout: tuple, device: str, dtype: torch.dtype):
    """LLaVA-1.5 of that layout with random weights on `device`, as the product's Policy."""
    import tiny
    from transformers import (
        CLIPImageProcessorPil,
        CLIPVisionConfig,
        GenerationConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
    )

    from m3po.models.policy import Policy

    (width, inner, layers, heads, vocabulary), (tower, tower_inner, tower_layers, tower_heads), side = layout
    tokenizer = tiny.build_tokenizer(max_length=4096)
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(
            hidden_size=tower, intermediate_size=tower_inner, num_hidden_layers=tower_layers,
            num_attention_heads=tower_heads, image_size=side, patch_size=14, projection_dim=768,
        ),
        text_config=LlamaConfig(
            vocab_size=vocabulary, hidden_size=width, intermediate_size=inner, num_hidden_layers=layers,
            num_attention_heads=heads, num_key_value_heads=heads, max_position_embeddings=4096,
            bos_token_id=1, eos_token_id=3, pad_token_id=0,
        ),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        image_seq_length=(side // 14) ** 2,
    )  # fmt: skip
    torch.manual_seed(0)
    with torch.device(device):
        model = LlavaForConditionalGeneration._from_config(config, dtype=dtype).eval()
    model.generation_config = GenerationConfig(bos_token_id=1, eos_token_id=3, pad_token_id=0)
    processor = LlavaProcessor(
        CLIPImageProcessorPil(size={"height": side, "width": side}, do_center_crop=False, do_convert_rgb=True),
        tokenizer, patch_size=14, image_token="<image>", vision_feature_select_strategy="default",
        num_additional_image_tokens=1, chat_template=tiny.LLAVA_15_TEMPLATE,
    )  # fmt: skip
    return Policy(model, processor, "random LLaVA-1.5")


class Meter:
    """Seconds and peak memory in bytes of what is done inside `with`."""

    def __init__(self, device: str) -> None:
        self.cuda = device == "cuda"

    def __enter__(self) -> Meter:
        if self.cuda:
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
        self.started = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        if self.cuda:
            torch.cuda.synchronize()
        self.seconds = time.perf_counter() - self.started
        usage = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        self.peak = torch.cuda.max_memory_allocated() if self.cuda else usage


class Recorder:
    """The run's side of a training, which nobody stops."""

    stop_requested = False

    def emit(self, event, **values): ...
    def progress(self, done, total, unit, *, message=""): ...
    def metrics(self, step, **values): ...


def build_rows(folder: Path, count: int, side: int) -> list[dict]:
    import tiny

    from m3po.text import build_messages

    rows = []
    for number in range(count):
        path = folder / f"{number}.png"
        tiny.build_image(number, size=side).save(path)
        row = {"instruction_id": number, "name": f"'row-{number}' of the benchmark", "images": [str(path)]}
        row |= {"messages": json.dumps(build_messages(QUESTION, 1)), "chosen_id": 2 * number}
        row |= {"rejected_id": 2 * number + 1, "chosen": ANSWERS[0], "rejected": ANSWERS[1], "human": False}
        rows.append(row)
    return rows


def measure(policy, rows: list[dict], options: argparse.Namespace, folder: Path, device: str) -> None:
    from m3po.images import load_rgb
    from m3po.jobs.batch_plans import plan_batch
    from m3po.models import memory

    shape, number = policy.core.shape(), policy.model.dtype.itemsize
    weights = shape.weight_bytes()
    prompts = [json.loads(row["messages"]) for row in rows]
    images = [[load_rgb(row["images"][0])] for row in rows]
    with Meter(device):  # kernels are compiled and chosen once
        policy.sample(prompts[:1], images[:1], k=2, max_new_tokens=4, seeds=[0])
    plan = plan_batch(policy, rows, "sample", 0, answer=options.new_tokens, k=options.k)
    print(plan.sentence)
    with Meter(device) as meter:
        for start in range(0, len(rows), plan.size):
            part = slice(start, start + plan.size)
            answers = policy.sample(
                prompts[part], images[part], k=options.k, max_new_tokens=options.new_tokens,
                seeds=list(range(len(prompts[part]))),
            )  # fmt: skip
            if not start:
                drawn, tokens = len(answers), 0
            tokens += sum(len(answer.token_ids) for row in answers for answer in row)
    length = policy.chat.encode_prompts([policy.chat.render_prompt(prompts[0])], images[:1])["input_ids"].shape[1]
    each = memory.sampling_bytes(shape, length, options.new_tokens, options.k, number)
    tell("sampling", meter, f"{tokens / meter.seconds:,.0f} tokens/s ({length} prompt tokens)", weights + drawn * each)

    with Meter(device) as meter:
        for start in range(0, len(rows), 16):
            part = slice(start, start + 16)
            scores = policy.log_probs(prompts[part], images[part], [ANSWERS * (options.k // 2)] * len(prompts[part]))
    count = sum(score.n_tokens for row in scores for score in row) // len(scores)
    once = memory.scoring_once(shape, length, count // options.k, options.k * len(scores), number)
    need = weights + once + len(scores) * memory.scoring_bytes(shape, length, number)
    tell("scoring", meter, f"{count * len(rows) / meter.seconds:,.0f} answer tokens/s", need)
    train(policy, rows, folder, device, length)


def train(policy, rows: list[dict], folder: Path, device: str, length: int) -> None:
    from transformers import TrainerCallback

    from m3po.models import memory
    from m3po.training import dpo
    from m3po.training.batches import PairCollator
    from m3po.training.presets import build_train_config
    from m3po.training.trainer import image_encoder

    times: list[float] = []

    class Clock(TrainerCallback):
        def on_step_begin(self, *_, **__):
            self.meter = Meter(device).__enter__()

        def on_step_end(self, *_, **__):
            self.meter.__exit__()
            times.append(self.meter.seconds)

    shape, number = policy.core.shape(), policy.model.dtype.itemsize
    config = build_train_config("random", "gpu24", {"max_steps": "2"})
    pairs = dpo.encode_pairs(rows[: config.gradient_accumulation], policy, Recorder())
    collator = PairCollator(policy.core, pairs, encode_images=image_encoder(policy.model))
    trainer = dpo.build_trainer(config, policy, pairs, collator, folder)
    trainer.args.save_strategy = "no"
    trainer.add_callback(Clock())
    with Meter(device) as meter:
        dpo.add_reference_logps(trainer, collator, pairs, folder / "reference.parquet", policy, Recorder())
    print(f"reference log-probs: {meter.seconds:.2f} s for {len(pairs)} pairs")
    trainer.precompute_ref_logps = True
    with Meter(device) as meter:
        trainer.train()
    need = memory.training_bytes(
        shape, length, max(len(pair.chosen_ids) for pair in pairs), pairs=config.batch_size, rank=config.lora_r,
        checkpointing=True, number_bytes=number,
    )  # fmt: skip
    tell("training", meter, f"{times[-1]:.2f} s a step of {len(pairs)} pairs", need)


def tell(what: str, meter: Meter, speed: str, estimate: float) -> None:
    from m3po.models.memory import say

    print(f"{what}: {speed}, peak {say(meter.peak)} (estimated {say(estimate)})", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tiny", action="store_true", help="a small model on the CPU, to see that it runs")
    parser.add_argument("--instructions", type=int, default=32, help="at least 16: a training step's pairs")
    parser.add_argument("--k", type=int, default=8)
    parser.add_argument("--new-tokens", type=int, default=128)
    options = parser.parse_args()
    if not options.tiny and not torch.cuda.is_available():
        print("No GPU here: LLaVA-1.5-7B is not measured (--tiny runs the same on a small model).")
        return
    device = "cpu" if options.tiny else "cuda"
    layout = TINY if options.tiny else FULL
    started = time.perf_counter()
    policy = build_policy(layout, device, torch.float32 if options.tiny else torch.bfloat16)
    name = "CPU" if options.tiny else torch.cuda.get_device_name()
    billions = sum(parameter.numel() for parameter in policy.model.parameters()) / 1e9
    print(f"{billions:.3f} billion parameters on {name}, built in {time.perf_counter() - started:.1f} s")
    with tempfile.TemporaryDirectory() as folder:
        measure(
            policy, build_rows(Path(folder), max(16, options.instructions), layout[2]), options, Path(folder), device
        )


if __name__ == "__main__":
    main()
