"""Tiny random checkpoints of the architectures that people bring, built offline as their authors ship them.

Each has its own processor, special tokens and chat template, so that the product's loading, sampling, scoring and
training code meets what is different about it: anyres tiles, image grids, token types, soft-capped logits, sliding
windows, prefixes that attend both ways.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import tiny

TEXT = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 1024,
    "bos_token_id": 1,
    "eos_token_id": 3,
    "pad_token_id": 0,
    "initializer_range": 0.3,
}
VISION = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": tiny.IMAGE_SIZE,
    "patch_size": tiny.PATCH,
}


def _tokenizer(*special: str, **named: str):
    """The tiny tokenizer with the architecture's own special tokens; `named` ones become attributes."""
    return tiny.build_tokenizer(special=special, named=named)


def _save(model, processor, folder: Path) -> Path:
    from transformers import GenerationConfig

    model.generation_config = GenerationConfig(bos_token_id=1, eos_token_id=3, pad_token_id=0)
    model.eval().save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def _template(image: str) -> str:
    """The tiny chat template with another image placeholder."""
    return tiny.CHAT_TEMPLATE.replace("<image>", image)


def build_llava_next(folder: Path) -> Path:
    """Any-resolution tiles: an image becomes a grid of crops and an overview."""
    from transformers import (
        LlamaConfig,
        LlavaNextConfig,
        LlavaNextForConditionalGeneration,
        LlavaNextImageProcessorPil,
        LlavaNextProcessor,
    )

    side = tiny.IMAGE_SIZE
    grid = [[side, 2 * side], [2 * side, side], [2 * side, 2 * side]]
    tokenizer = _tokenizer()
    config = LlavaNextConfig(
        vision_config=tiny._vision_config(),
        text_config=LlamaConfig(vocab_size=len(tokenizer), **TEXT),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        image_grid_pinpoints=grid,
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
    )
    processor = LlavaNextProcessor(
        LlavaNextImageProcessorPil(
            size={"shortest_edge": side}, crop_size={"height": side, "width": side}, image_grid_pinpoints=grid
        ),
        tokenizer,
        patch_size=tiny.PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=tiny.CHAT_TEMPLATE,
    )
    return _save(LlavaNextForConditionalGeneration(config), processor, folder)


def build_idefics3(folder: Path) -> Path:
    """An image written out as rows of tiles with row and column tokens; pixel shuffle before the connector."""
    from transformers import (
        Idefics3Config,
        Idefics3ForConditionalGeneration,
        Idefics3ImageProcessorPil,
        Idefics3Processor,
        LlamaConfig,
    )
    from transformers.models.idefics3.configuration_idefics3 import Idefics3VisionConfig

    side = tiny.IMAGE_SIZE
    places = [f"<row_{r}_col_{c}>" for r in range(1, 7) for c in range(1, 7)]
    tokenizer = _tokenizer("<fake_token_around_image>", "<end_of_utterance>", "<global-img>", *places)
    processor = Idefics3Processor(
        Idefics3ImageProcessorPil(size={"longest_edge": 2 * side}, max_image_size={"longest_edge": side}),
        tokenizer,
        image_seq_len=(side // tiny.PATCH) ** 2 // 4,
        chat_template=tiny.CHAT_TEMPLATE,
    )
    config = Idefics3Config(
        vision_config=Idefics3VisionConfig(
            **VISION, initializer_range=0.3,
        ),
        text_config=LlamaConfig(vocab_size=len(processor.tokenizer), **TEXT),
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        scale_factor=2,
        pad_token_id=0,
    )  # fmt: skip
    return _save(Idefics3ForConditionalGeneration(config), processor, folder)


def build_gemma3(folder: Path) -> Path:
    """Token types, image tokens that attend both ways, sliding windows in every other layer, soft placeholders."""
    import torch
    from transformers import (
        Gemma3Config,
        Gemma3ForConditionalGeneration,
        Gemma3ImageProcessorPil,
        Gemma3Processor,
        Gemma3TextConfig,
        SiglipVisionConfig,
    )

    side = tiny.IMAGE_SIZE
    tokenizer = _tokenizer(boi_token="<start_of_image>", eoi_token="<end_of_image>", image_token="<image_soft_token>")
    config = Gemma3Config(
        text_config=Gemma3TextConfig(
            vocab_size=len(tokenizer), head_dim=8, sliding_window=24, query_pre_attn_scalar=8,
            layer_types=["sliding_attention", "full_attention"], **TEXT,
        ),
        vision_config=SiglipVisionConfig(
            **VISION, vision_use_head=False,
        ),
        mm_tokens_per_image=4,
        boi_token_index=tokenizer.convert_tokens_to_ids("<start_of_image>"),
        eoi_token_index=tokenizer.convert_tokens_to_ids("<end_of_image>"),
        image_token_index=tokenizer.convert_tokens_to_ids("<image_soft_token>"),
    )  # fmt: skip
    processor = Gemma3Processor(
        Gemma3ImageProcessorPil(size={"height": side, "width": side}),
        tokenizer,
        image_seq_length=4,
        chat_template=_template("<start_of_image>"),
    )
    model = Gemma3ForConditionalGeneration(config)
    torch.nn.init.normal_(
        model.model.multi_modal_projector.mm_input_projection_weight
    )  # zero when new: images say nothing
    return _save(model, processor, folder)


def build_paligemma(folder: Path) -> Path:
    """The prompt is a prefix that attends both ways; image tokens are put before the text, not where it names them."""
    from transformers import (
        GemmaConfig,
        PaliGemmaConfig,
        PaliGemmaForConditionalGeneration,
        PaliGemmaProcessor,
        SiglipImageProcessorPil,
        SiglipVisionConfig,
    )

    side = tiny.IMAGE_SIZE
    tokenizer = _tokenizer()
    image_processor = SiglipImageProcessorPil(size={"height": side, "width": side})
    image_processor.image_seq_length = tiny.N_IMAGE_TOKENS
    processor = PaliGemmaProcessor(image_processor, tokenizer, chat_template=tiny.CHAT_TEMPLATE)
    config = PaliGemmaConfig(
        vision_config=SiglipVisionConfig(
            **VISION, vision_use_head=False, projection_dim=32,
        ),
        text_config=GemmaConfig(vocab_size=len(processor.tokenizer), head_dim=8, **TEXT),
        image_token_index=processor.tokenizer.convert_tokens_to_ids("<image>"),
        projection_dim=32,
        hidden_size=32,
    )  # fmt: skip
    return _save(PaliGemmaForConditionalGeneration(config), processor, folder)


BUILDERS: dict[str, Callable[[Path], Path]] = {
    "llava": tiny.build_policy,
    "llava_next": build_llava_next,
    "idefics3": build_idefics3,
    "gemma3": build_gemma3,
    "paligemma": build_paligemma,
}
