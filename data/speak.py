"""The policy: its words, its chat template, and how its language part learns to speak.

The tower is frozen by then (see `see.py`), so its patch features are computed once. Every image is read once
a step and followed by all its questions side by side, each blind to the others: about twice as many answers
in the same time.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from see import GRID, IMAGE_SIZE, MEAN, PATCH, STD, build_vision_config
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch.nn import functional as F
from transformers import (
    CLIPImageProcessorPil,
    GenerationConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

SPECIAL = ("<pad>", "<s>", "<unk>", "</s>", "<image>", "<|system|>", "<|user|>", "<|assistant|>")
N_PATCHES = GRID * GRID
# Every role opens with a token of its own, so that a prompt's ids are a prefix of the whole conversation's
# ids.
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{{ '<|' + message['role'] + '|>' }}"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}{{ '<image>' }}{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)

Pairs = list[tuple[str, str]]


def build_tokenizer(texts: Iterator[str], vocab_size: int, max_length: int, wrap: bool) -> PreTrainedTokenizerFast:
    """A byte-level BPE trained on `texts`: common words are one token, and any text at all is encoded
    without loss.

    `wrap` puts bos and eos around every text (the scorer); the policy's chat template writes them itself.
    """
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=vocab_size,
            special_tokens=list(SPECIAL),
            show_progress=False,
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        ),
    )
    if wrap:
        core.post_processor = processors.TemplateProcessing(
            single="<s> $A </s>", pair="<s> $A $B </s>", special_tokens=[("<s>", 1), ("</s>", 3)]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        additional_special_tokens=list(SPECIAL[4:]),
        model_max_length=max_length,
        clean_up_tokenization_spaces=False,
        padding_side="right" if wrap else "left",
    )


def build_image_processor() -> CLIPImageProcessorPil:
    side = {"height": IMAGE_SIZE, "width": IMAGE_SIZE}
    return CLIPImageProcessorPil(
        do_resize=True,
        size=side,
        do_center_crop=False,
        resample=3,
        do_convert_rgb=True,
        image_mean=MEAN.flatten().tolist(),
        image_std=STD.flatten().tolist(),
    )


def build_policy(
    tokenizer: PreTrainedTokenizerFast, width: int = 160, layers: int = 4
) -> LlavaForConditionalGeneration:
    text = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=width * 8 // 3,
        num_hidden_layers=layers,
        num_attention_heads=width // 32,
        num_key_value_heads=width // 32,
        max_position_embeddings=1024,
        bos_token_id=1,
        eos_token_id=3,
        pad_token_id=0,
        tie_word_embeddings=True,
    )
    config = LlavaConfig(
        vision_config=build_vision_config(128, 4, 4),
        text_config=text,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
        image_seq_length=N_PATCHES,
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_id=3,
        pad_token_id=0,
    )
    model = LlavaForConditionalGeneration(config)
    model.generation_config = GenerationConfig(bos_token_id=1, eos_token_id=3, pad_token_id=0, max_new_tokens=64)
    return model


@torch.no_grad()
def encode_images(tower: torch.nn.Module, pixels: torch.Tensor, batch: int = 128) -> torch.Tensor:
    """Patch features (N, 64, width) float16 of uint8 `pixels`, as LLaVA reads them: last layer, without the
    class token."""
    chunks = [tower((p.float() / 255 - MEAN) / STD).last_hidden_state[:, 1:].half() for p in pixels.split(batch)]
    return torch.cat(chunks)


def pack(conversations: list[Pairs], tokenizer: PreTrainedTokenizerFast) -> dict[str, torch.Tensor]:
    """One row an image: its prefix, then all its questions, each seeing the prefix and itself alone.

    Returns ids and labels (B, L), positions (B, L) and a boolean mask (B, 1, L, L); labels are -100 outside
    the answers.
    """
    prefix = [1, tokenizer.convert_tokens_to_ids("<|user|>")] + [tokenizer.convert_tokens_to_ids("<image>")] * N_PATCHES
    reply = tokenizer.convert_tokens_to_ids("<|assistant|>")
    rows = []
    for pairs in conversations:
        ids, labels, segment, position = list(prefix), [-100] * len(prefix), [0] * len(prefix), list(range(len(prefix)))
        for n, (question, answer) in enumerate(pairs, 1):
            q = [*tokenizer.encode(question, add_special_tokens=False), reply]
            a = [*tokenizer.encode(answer, add_special_tokens=False), 3]
            ids += q + a
            labels += [-100] * len(q) + a
            segment += [n] * (len(q) + len(a))
            position += range(len(prefix), len(prefix) + len(q) + len(a))
        rows.append((ids, labels, segment, position))
    longest = max(len(r[0]) for r in rows)
    padded = [
        [part + [fill] * (longest - len(part)) for part, fill in zip(row, (0, -100, -1, 0), strict=True)]
        for row in rows
    ]
    ids, labels, segment, position = (torch.tensor([row[i] for row in padded]) for i in range(4))
    same = (segment[:, :, None] == segment[:, None, :]) | (segment[:, None, :] == 0)
    mask = same & torch.ones(longest, longest, dtype=torch.bool).tril()
    return {"ids": ids, "labels": labels, "position": position, "mask": mask[:, None]}


def answer_loss(
    model: LlavaForConditionalGeneration, features: torch.Tensor, batch: dict[str, torch.Tensor]
) -> torch.Tensor:
    """Mean cross-entropy in nats a token of the answers in `batch`, given patch features (B, 64, width)."""
    core = model.model
    embeds = core.get_input_embeddings()(batch["ids"])
    seen = core.multi_modal_projector(features.float())
    embeds = torch.cat([embeds[:, :2], seen, embeds[:, 2 + N_PATCHES :]], 1)
    hidden = core.language_model(
        inputs_embeds=embeds, attention_mask=batch["mask"], position_ids=batch["position"], use_cache=False
    ).last_hidden_state
    labels = batch["labels"][:, 1:]
    asked = labels != -100
    return F.cross_entropy(model.lm_head(hidden[:, :-1][asked]), labels[asked])


def train_speech(
    model: LlavaForConditionalGeneration,
    tokenizer: PreTrainedTokenizerFast,
    features: torch.Tensor,
    easy_from: int,
    ask: Callable[[int, random.Random], Pairs],
    steps: int,
    batch: int = 16,
    peak_lr: float = 1.5e-3,
    seed: int = 0,
) -> None:
    """Train projector and language model in place; `ask(i, rng)` gives the questions and answers of image
    i."""
    rng = random.Random(seed)
    model.model.vision_tower.requires_grad_(False)
    params = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(params, lr=peak_lr, weight_decay=0.05, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, peak_lr, total_steps=steps, pct_start=0.1)
    n_easy = batch // 4
    started, running = time.time(), 0.0
    model.train()
    for step in range(steps):
        rows = [rng.randrange(easy_from) for _ in range(batch - n_easy)]
        rows += [rng.randrange(easy_from, len(features)) for _ in range(n_easy)]
        packed = pack([ask(i, rng) for i in rows], tokenizer)
        loss = answer_loss(model, features[rows], packed)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(params, 1.0)
        optimiser.step()
        schedule.step()
        running = loss.item() if step == 0 else 0.97 * running + 0.03 * loss.item()
        if step % 50 == 0 or step == steps - 1:
            print(f"speak {step:5d} loss {running:.4f} {time.time() - started:.0f} s", flush=True)
    model.eval()


def save_policy(model: LlavaForConditionalGeneration, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write `folder` so that AutoProcessor and AutoModelForImageTextToText load it without a network;
    float16 weights."""
    processor = LlavaProcessor(
        build_image_processor(),
        tokenizer,
        patch_size=PATCH,
        image_token="<image>",
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=CHAT_TEMPLATE,
    )
    model.half().save_pretrained(folder)
    processor.save_pretrained(folder)
    model.float()
