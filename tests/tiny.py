"""Tiny models with random weights: real architectures, tokenizer and chat template, built offline in a
second.

Tests run the product's own loading code on them, so nothing about a model is mocked.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

IMAGE_SIZE, PATCH = 32, 8
N_IMAGE_TOKENS = (IMAGE_SIZE // PATCH) ** 2
SPECIAL = ("<pad>", "<s>", "<unk>", "</s>", "<image>", "<|system|>", "<|user|>", "<|assistant|>")
# Every turn opens and ends with a token of its own, as the demo policy has it.
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{{ '<|' + message['role'] + '|>' }}"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}{{ '<image>' }}{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
# LLaVA-1.5: roles in words, no end-of-turn token, a blank before and after an answer.
LLAVA_15_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] != 'system' %}{{ message['role'].upper() + ': ' }}{% endif %}"
    "{% for part in message['content'] | selectattr('type', 'equalto', 'image') %}"
    "{{ '<image>\n' }}{% endfor %}"
    "{% for part in message['content'] | selectattr('type', 'equalto', 'text') %}"
    "{{ part['text'] + ' ' }}{% endfor %}"
    "{% endfor %}{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)
_CORPUS = (
    "Describe the picture. What is in it? The picture shows a red boat, a blue fish and a yellow sun.",
    "Is there a fish in the picture? Yes, there is a fish. No, there is no fish. What color is the house?",
    "There are three things. The tree is on the left. A green car stands beside the small white house.",
)


def build_tokenizer(
    *,
    wrap: bool = False,
    max_length: int = 1024,
    special: Sequence[str] = (),
    named: dict[str, str] | None = None,
    ends: bool = False,
):
    """Byte-level BPE with a few merges: any text is encoded without loss. `wrap` adds bos and eos, `ends` eos alone.

    `special` are further special tokens, `named` ones that are attributes of the tokenizer too (`boi_token` ...).
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=320, special_tokens=list(SPECIAL), show_progress=False, initial_alphabet=alphabet
    )
    core.train_from_iterator(_CORPUS, trainer)
    if wrap:
        ends = [("<s>", 1), ("</s>", 3)]
        core.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=ends)
    if ends:
        core.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 3)])
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        additional_special_tokens=[*SPECIAL[4:], *special],
        extra_special_tokens=named or {},
        model_max_length=max_length,
        clean_up_tokenization_spaces=False,
        padding_side="right" if wrap else "left",
    )


def build_image_processor():
    from transformers import CLIPImageProcessorPil

    return CLIPImageProcessorPil(
        do_resize=True,
        size={"height": IMAGE_SIZE, "width": IMAGE_SIZE},
        do_center_crop=False,
        do_convert_rgb=True,
    )


def _vision_config(projection_dim: int = 32):
    from transformers import CLIPVisionConfig

    return CLIPVisionConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=IMAGE_SIZE,
        patch_size=PATCH,
        projection_dim=projection_dim,
        initializer_range=0.3,  # else every image looks the same to random weights
    )


def build_policy(
    folder: Path,
    *,
    seed: int = 0,
    template: str = CHAT_TEMPLATE,
    max_positions: int = 1024,
    language: str = "llama",
) -> Path:
    """Save a random LLaVA (two layers, 32 wide, 16 image tokens) into `folder`.

    `language` is the architecture of its language part: "llama", "mistral" (a sliding window of 24 tokens,
    shorter than a prompt) or "lfm2" (a recurrent layer before the attention layer: its cache cannot be
    repeated).
    """
    import torch
    from transformers import GenerationConfig, LlavaConfig, LlavaForConditionalGeneration, LlavaProcessor

    tokenizer = build_tokenizer()
    config = LlavaConfig(
        vision_config=_vision_config(),
        text_config=_text_config(language, len(tokenizer), max_positions),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
        image_seq_length=N_IMAGE_TOKENS,
    )
    torch.manual_seed(seed)
    model = LlavaForConditionalGeneration(config).eval()
    model.generation_config = GenerationConfig(bos_token_id=1, eos_token_id=3, pad_token_id=0)
    processor = LlavaProcessor(
        build_image_processor(),
        tokenizer,
        patch_size=PATCH,
        image_token="<image>",
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=template,
    )
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def _text_config(language: str, vocabulary: int, max_positions: int):
    from transformers import Lfm2Config, LlamaConfig, MistralConfig

    kind, options = {
        "llama": (LlamaConfig, {}),
        "mistral": (MistralConfig, {"sliding_window": 24}),
        "lfm2": (Lfm2Config, {"layer_types": ["conv", "full_attention"], "block_auto_adjust_ff_dim": False}),
    }[language]
    return kind(
        vocab_size=vocabulary,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=max_positions,
        bos_token_id=1,
        eos_token_id=3,
        pad_token_id=0,
        initializer_range=0.3,  # peaked enough that answers differ and some of them end
        **options,
    )


def build_mas(folder: Path, *, seed: int = 0, max_tokens: int = 40) -> Path:
    """Save a random CLIP whose text part reads at most `max_tokens` tokens into `folder`."""
    import torch
    from transformers import CLIPConfig, CLIPModel, CLIPProcessor, CLIPTextConfig

    tokenizer = build_tokenizer(wrap=True, max_length=max_tokens)
    text = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=max_tokens,
        projection_dim=16,
        bos_token_id=1,
        eos_token_id=3,
        pad_token_id=0,
        initializer_range=0.3,
    )
    torch.manual_seed(seed)
    config = CLIPConfig(text_config=text.to_dict(), vision_config=_vision_config(16).to_dict(), projection_dim=16)
    model = CLIPModel(config).eval()
    model.save_pretrained(folder)
    CLIPProcessor(build_image_processor(), tokenizer).save_pretrained(folder)
    return folder


def build_siglip(folder: Path, *, seed: int = 0, max_tokens: int = 24) -> Path:
    """Save a random SigLIP whose text part reads exactly `max_tokens` tokens, padded, into `folder`."""
    import torch
    from transformers import SiglipConfig, SiglipImageProcessorPil, SiglipModel, SiglipProcessor

    tokenizer = build_tokenizer(max_length=max_tokens, ends=True)
    tokenizer.padding_side = "right"
    tokenizer.model_input_names = ["input_ids"]  # as the released ones: padding is read, not masked
    common = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = {**common, "vocab_size": len(tokenizer), "max_position_embeddings": max_tokens, "projection_size": 32}
    vision = {**common, "image_size": IMAGE_SIZE, "patch_size": PATCH}
    torch.manual_seed(seed)
    model = SiglipModel(SiglipConfig(text_config=text, vision_config=vision)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(3)  # else every image and text looks the same to random weights
        model.logit_scale.fill_(1.5)
        model.logit_bias.fill_(-0.5)
    model.save_pretrained(folder)
    SiglipProcessor(
        SiglipImageProcessorPil(size={"height": IMAGE_SIZE, "width": IMAGE_SIZE}), tokenizer
    ).save_pretrained(folder)
    return folder


def build_adapter(policy: Path, folder: Path, *, seed: int = 0) -> Path:
    """Save a LoRA adapter for `policy` whose weights are random, not zero: it changes what the model says."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForImageTextToText

    torch.manual_seed(seed)
    model = AutoModelForImageTextToText.from_pretrained(policy)
    lora = LoraConfig(r=4, lora_alpha=8, target_modules=r".*language_model.*\.(q_proj|v_proj)", init_lora_weights=False)
    get_peft_model(model, lora).save_pretrained(folder)
    return folder


def build_image(seed: int, size: int = 40):
    """An RGB image of noise blocks; each seed looks different to a random tower."""
    import numpy as np
    from PIL import Image

    blocks = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return Image.fromarray(blocks).resize((size, size), Image.Resampling.NEAREST)
