"""How a policy reads a conversation: its chat format and limits, which are known without its weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from transformers import GenerationConfig

from m3po.models import checks
from m3po.models.chat import ChatFormat
from m3po.models.loading import load_parts
from m3po.settings import ModelOptions


@dataclass(frozen=True)
class Reader:
    """`max_positions`: how many tokens are read at most, prompt and answer together; None if the model does not say.
    `image_token`: the id that stands for an image in a prompt."""

    chat: ChatFormat
    max_positions: int | None
    image_token: int | None

    @classmethod
    def of(cls, config, generation: GenerationConfig | None, processor) -> Reader:
        """From a model's configuration, generation settings and processor."""
        chat = ChatFormat(processor, _eos_ids(generation, config, processor.tokenizer))
        return cls(chat, max_positions_of(config), getattr(config, "image_token_id", None))

    @classmethod
    def load(cls, name: str | Path, options: ModelOptions | None = None) -> Reader:
        """That of a model that Policy.load would load. Raises ModelError in one sentence."""
        name, options = str(name), options or ModelOptions()
        checks.check_policy(name, None, options)
        config, processor = load_parts(name, options)
        return cls.of(config, _generation_of(name, config), processor)


def max_positions_of(config) -> int | None:
    return getattr(config.get_text_config(decoder=True), "max_position_embeddings", None)


def _generation_of(name: str, config) -> GenerationConfig:
    """As transformers finds it beside the weights."""
    try:
        return GenerationConfig.from_pretrained(name)
    except OSError:  # the model has no generation_config.json
        return GenerationConfig.from_model_config(config)


def _eos_ids(generation: GenerationConfig | None, config, tokenizer) -> list[int]:
    """Every token that the model's generation settings or its tokenizer call an end."""
    ids: set[int] = set()
    configs = [generation, config.get_text_config(decoder=True)]
    for value in [*(getattr(each, "eos_token_id", None) for each in configs), tokenizer.eos_token_id]:
        ids.update(value if isinstance(value, list | tuple) else [] if value is None else [value])
    return sorted(ids)
