"""Tiny random checkpoints of the architectures whose processors have a video part; video_parts.py says what that takes.

What is different about them: images of any size as patches with 3-D positions (Qwen-VL), features that go in between
the layers of the language model (Qwen3-VL), crops of an image (InternVL, LLaVA-OneVision), an image written out as rows
of tiles (SmolVLM).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import tiny
from architectures import TEXT, VISION, _save, _template, _tokenizer

_QWEN = {"image_token": "<|image_pad|>", "video_token": "<|video_pad|>"}
_QWEN_MARKS = ("<|vision_start|>", "<|vision_end|>")
_QWEN_IMAGE = "<|vision_start|><|image_pad|><|vision_end|>"
_QWEN_SIZE = {"shortest_edge": 16 * 16, "longest_edge": 48 * 48}
_QWEN_VISION = {
    "depth": 2, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "patch_size": 4, "spatial_merge_size": 2,
    "temporal_patch_size": 2, "out_hidden_size": 32, "initializer_range": 0.3,
}  # fmt: skip


def _qwen_ids(tokenizer) -> dict[str, int]:
    find = tokenizer.convert_tokens_to_ids
    return {
        "image_token_id": find("<|image_pad|>"),
        "video_token_id": find("<|video_pad|>"),
        "vision_start_token_id": find("<|vision_start|>"),
        "vision_end_token_id": find("<|vision_end|>"),
    }


def build_qwen2_5_vl(folder: Path) -> Path:
    """Images of any size in patches, windows in the tower, positions of time, height and width."""
    from transformers import (
        Qwen2_5_VLConfig,
        Qwen2_5_VLForConditionalGeneration,
        Qwen2_5_VLProcessor,
        Qwen2VLImageProcessor,
        Qwen2VLVideoProcessor,
    )

    tokenizer = _tokenizer(*_QWEN_MARKS, **_QWEN)
    config = Qwen2_5_VLConfig(
        vision_config=_QWEN_VISION | {"window_size": 16, "fullatt_block_indexes": [1]},
        text_config=TEXT
        | {"vocab_size": len(tokenizer), "rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 2]}},
        **_qwen_ids(tokenizer),
    )
    patches = {"patch_size": 4, "merge_size": 2, "temporal_patch_size": 2}
    processor = Qwen2_5_VLProcessor(
        Qwen2VLImageProcessor(size=_QWEN_SIZE, **patches),
        tokenizer,
        Qwen2VLVideoProcessor(size=_QWEN_SIZE, **patches),
        chat_template=_template(_QWEN_IMAGE),
    )
    return _save(Qwen2_5_VLForConditionalGeneration(config), processor, folder)


def build_qwen3_vl(folder: Path) -> Path:
    """Interleaved 3-D positions, and features of the tower's inner layers added in the language model's first ones."""
    from transformers import (
        Qwen2VLImageProcessor,
        Qwen3VLConfig,
        Qwen3VLForConditionalGeneration,
        Qwen3VLProcessor,
        Qwen3VLVideoProcessor,
    )

    tokenizer = _tokenizer(*_QWEN_MARKS, **_QWEN)
    positions = {"rope_type": "default", "mrope_section": [2, 1, 1], "mrope_interleaved": True, "rope_theta": 10000.0}
    config = Qwen3VLConfig(
        vision_config=_QWEN_VISION | {"num_position_embeddings": 64, "deepstack_visual_indexes": [0]},
        text_config=TEXT | {"vocab_size": len(tokenizer), "head_dim": 8, "rope_parameters": positions},
        **_qwen_ids(tokenizer),
    )
    patches = {"patch_size": 4, "merge_size": 2, "temporal_patch_size": 2}
    processor = Qwen3VLProcessor(
        Qwen2VLImageProcessor(size=_QWEN_SIZE, **patches),
        tokenizer,
        Qwen3VLVideoProcessor(size=_QWEN_SIZE, **patches),
        chat_template=_template(_QWEN_IMAGE),
    )
    return _save(Qwen3VLForConditionalGeneration(config), processor, folder)


def build_smolvlm(folder: Path) -> Path:
    """Idefics3's tiles with a video part beside them."""
    from transformers import (
        LlamaConfig,
        SmolVLMConfig,
        SmolVLMForConditionalGeneration,
        SmolVLMImageProcessor,
        SmolVLMProcessor,
        SmolVLMVideoProcessor,
    )
    from transformers.models.smolvlm.configuration_smolvlm import SmolVLMVisionConfig

    side = tiny.IMAGE_SIZE
    places = [f"<row_{r}_col_{c}>" for r in range(1, 7) for c in range(1, 7)]
    tokenizer = _tokenizer("<fake_token_around_image>", "<end_of_utterance>", "<global-img>", "<video>", *places)
    processor = SmolVLMProcessor(
        SmolVLMImageProcessor(size={"longest_edge": 2 * side}, max_image_size={"longest_edge": side}),
        tokenizer,
        SmolVLMVideoProcessor(size={"longest_edge": side}, max_image_size={"longest_edge": side}),
        image_seq_len=(side // tiny.PATCH) ** 2 // 4,
        chat_template=tiny.CHAT_TEMPLATE,
    )
    config = SmolVLMConfig(
        vision_config=SmolVLMVisionConfig(**VISION, initializer_range=0.3),
        text_config=LlamaConfig(vocab_size=len(processor.tokenizer), **TEXT),
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        scale_factor=2,
        pad_token_id=0,
    )
    return _save(SmolVLMForConditionalGeneration(config), processor, folder)


def build_internvl(folder: Path) -> Path:
    """An image in crops and a thumbnail; pixel shuffle before the projector; a tower with layer scales."""
    from transformers import (
        GotOcr2ImageProcessor,
        InternVLConfig,
        InternVLForConditionalGeneration,
        InternVLProcessor,
        InternVLVideoProcessor,
        Qwen2Config,
    )

    side = tiny.IMAGE_SIZE
    size = {"height": side, "width": side}
    tokens = (side // tiny.PATCH) ** 2 // 4
    named = {"start_image_token": "<img>", "end_image_token": "</img>", "context_image_token": "<IMG_CONTEXT>"}
    tokenizer = _tokenizer(**named, video_token="<video>")
    config = InternVLConfig(
        vision_config=VISION | {"image_size": [side, side], "patch_size": [tiny.PATCH] * 2, "initializer_range": 0.3},
        text_config=Qwen2Config(vocab_size=len(tokenizer), **TEXT).to_dict(),
        image_token_id=tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>"),
        image_seq_length=tokens,
        tie_word_embeddings=False,
    )
    processor = InternVLProcessor(
        GotOcr2ImageProcessor(size=size, crop_to_patches=True, max_patches=4),
        tokenizer,
        InternVLVideoProcessor(size=size),
        image_seq_length=tokens,
        chat_template=_template("<IMG_CONTEXT>"),
    )
    return _save(InternVLForConditionalGeneration(config), processor, folder)


def build_llava_onevision(folder: Path) -> Path:
    """Any-resolution tiles for one image, one tile each for several."""
    from transformers import (
        LlavaOnevisionConfig,
        LlavaOnevisionForConditionalGeneration,
        LlavaOnevisionImageProcessor,
        LlavaOnevisionProcessor,
        LlavaOnevisionVideoProcessor,
        Qwen2Config,
        SiglipVisionConfig,
    )

    side = tiny.IMAGE_SIZE
    size = {"height": side, "width": side}
    grid = [[side, side], [side, 2 * side], [2 * side, side], [2 * side, 2 * side]]
    tokenizer = _tokenizer("<video>")
    config = LlavaOnevisionConfig(
        vision_config=SiglipVisionConfig(**VISION, vision_use_head=False),
        text_config=Qwen2Config(vocab_size=len(tokenizer), **TEXT),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        video_token_index=tokenizer.convert_tokens_to_ids("<video>"),
        image_grid_pinpoints=grid,
    )
    processor = LlavaOnevisionProcessor(
        LlavaOnevisionImageProcessor(size=size, image_grid_pinpoints=grid),
        tokenizer,
        LlavaOnevisionVideoProcessor(size=size),
        num_image_tokens=tiny.N_IMAGE_TOKENS,
        vision_feature_select_strategy="full",
        chat_template=tiny.CHAT_TEMPLATE,
    )
    return _save(LlavaOnevisionForConditionalGeneration(config), processor, folder)


BUILDERS: dict[str, Callable[[Path], Path]] = {
    "qwen2_5_vl": build_qwen2_5_vl,
    "qwen3_vl": build_qwen3_vl,
    "smolvlm": build_smolvlm,
    "internvl": build_internvl,
    "llava_onevision": build_llava_onevision,
}
