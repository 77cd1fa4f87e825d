"""A model run over prompts once, then over what follows them: the cache, mask and positions in between.

Which arguments an architecture wants (2-D or 3-D positions, token types, cross-attention masks) is asked of
the model's own generation code, so that nothing here is true of one architecture alone.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from PIL import Image
from transformers import DynamicCache

from m3po.errors import BadInputError
from m3po.models.chat import ChatFormat
from m3po.models.decoding import can_share, select_rows
from m3po.models.memory import ModelShape, shape_of
from m3po.models.reader import max_positions_of


@dataclass
class Prefix:
    """A prefilled batch: logits (B, V) of the next token, cache, mask (B, S), and where the rows go on."""

    logits: torch.Tensor
    cache: object
    mask: torch.Tensor
    position: torch.Tensor | None  # (..., B, 1): the position of the prompt's last token
    lengths: list[int]
    extra: dict = field(default_factory=dict)  # per-token inputs of a prompt, which its answer must go on with

    def select(self, rows: torch.Tensor, room: int = 0) -> Prefix:
        position = None if self.position is None else self.position.index_select(-2, rows)
        lengths = [self.lengths[row] for row in rows.tolist()]
        extra = {key: value[rows] for key, value in self.extra.items()}
        cache = select_rows(self.cache, rows, room)
        return Prefix(self.logits[rows], cache, self.mask[rows], position, lengths, extra)


class PrefixModel:
    """A model and its chat format; `shares` says if its cache can be repeated, None before the first prefill."""

    def __init__(self, model: torch.nn.Module, chat: ChatFormat, name: str) -> None:
        self.model, self.chat, self.name = model, chat, name
        self.device = next(model.parameters()).device
        self.shares: bool | None = None
        self.max_positions = max_positions_of(model.config)
        self.vocabulary: int = model.config.get_text_config(decoder=True).vocab_size
        forward = inspect.signature(model.forward).parameters
        self._takes_positions = "position_ids" in forward
        self._keeps_logits = "logits_to_keep" in forward

    def shape(self) -> ModelShape | None:
        """What an estimate of memory needs of the model (m3po.models.memory)."""
        return shape_of((name, tuple(p.shape), p.element_size()) for name, p in self.model.named_parameters())

    def encode(self, texts: list[str], images: list[Sequence[Image.Image]]) -> dict:
        inputs = dict(self.chat.encode_prompts(texts, images).to(self.device))
        for key, value in inputs.items():
            if torch.is_tensor(value) and value.is_floating_point():
                inputs[key] = value.to(self.model.dtype)
        self.check_length(inputs["input_ids"].shape[1] + 1)
        return inputs

    def prefill(self, texts: list[str], images: list[Sequence[Image.Image]]) -> Prefix:
        return self.prefill_encoded(self.encode(texts, images))

    def cut(self, inputs: dict, tail: int) -> dict | None:
        """One encoded prompt without its last `tail` tokens; None where those before would read them too.

        A model that gives its answers another token type than its prompts (PaliGemma) reads a prompt in both
        directions.
        """
        if inputs["input_ids"].shape[1] <= tail:
            return None
        keys = _per_token_keys(inputs)
        if any(not torch.equal(self.continuation(key, inputs[key], 1), inputs[key][:, -1:]) for key in keys):
            return None
        return {
            key: value[:, :-tail] if key in ("input_ids", "attention_mask", *keys) else value
            for key, value in inputs.items()
        }

    def prefill_encoded(self, inputs: dict) -> Prefix:
        inputs = dict(inputs)
        ids, mask = inputs.pop("input_ids"), inputs.pop("attention_mask")
        per_token = {key: inputs[key] for key in _per_token_keys({**inputs, "input_ids": ids})}
        arguments = {**inputs, "attention_mask": mask, "use_cache": True}
        positions = None
        if self._takes_positions:
            positions = self.model._prepare_position_ids_for_generation(ids, dict(arguments, input_ids=ids))
            arguments["position_ids"] = positions
        if self.model._supports_default_dynamic_cache():
            config = self.model.config.get_text_config(decoder=True)
            arguments["past_key_values"] = DynamicCache(config=config)
        if self._keeps_logits:
            arguments["logits_to_keep"] = 1
        prepared = self.model.prepare_inputs_for_generation(ids, is_first_iteration=True, **arguments)
        out = self.model(**prepared, return_dict=True)
        position = None if positions is None else positions[..., -1:]
        return Prefix(out.logits[:, -1], out.past_key_values, mask, position, mask.sum(1).tolist(), per_token)

    def advance(
        self, state: Prefix, ids: torch.Tensor, fed: torch.Tensor | None = None, keep: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Feed `ids` (rows, T) behind `state`, which moves on with them; `fed` (rows, T) is 0 at padding.

        Returns logits (rows, T, V), or those of the columns `keep` alone.
        """
        length = ids.shape[1]
        fed = torch.ones_like(ids) if fed is None else fed
        state.mask = torch.cat([state.mask, fed.to(state.mask.dtype)], 1)
        arguments = {"attention_mask": state.mask, "past_key_values": state.cache, "use_cache": True}
        if state.position is not None:
            positions = state.position + torch.arange(1, length + 1, device=self.device)
            state.position = positions[..., -1:]
            arguments["position_ids"] = positions
        for key, value in state.extra.items():
            arguments[key] = self.continuation(key, value, length)
        if keep is not None and self._keeps_logits:
            arguments["logits_to_keep"] = keep
        prepared = self.model.prepare_inputs_for_generation(ids, is_first_iteration=False, **arguments)
        out = self.model(**prepared, return_dict=True)
        state.cache = out.past_key_values
        return out.logits if keep is None or self._keeps_logits else out.logits[:, keep]

    def can_share(self, prefix: Prefix) -> bool:
        """Whether rows of the cache can be repeated; told once, with a warning where they cannot."""
        if self.shares is None:
            self.shares = can_share(prefix.cache)
            if not self.shares:
                warnings.warn(
                    f"{self.name} keeps a state that cannot be shared between answers: "
                    "every answer is computed with its whole prompt, which takes several times as long.",
                    stacklevel=3,
                )
        return self.shares

    def score_whole(self, inputs: dict, answer: Sequence[int]) -> torch.Tensor:
        """Logits (1, T, V) that predict `answer` behind an encoded prompt, by one forward without a cache."""
        tail = torch.tensor([answer], device=self.device)
        whole = dict(inputs)
        whole["input_ids"] = torch.cat([inputs["input_ids"], tail], 1)
        whole["attention_mask"] = torch.ones_like(whole["input_ids"])
        for key in _per_token_keys(inputs):
            whole[key] = torch.cat([inputs[key], self.continuation(key, inputs[key], tail.shape[1])], 1)
        if self._keeps_logits:
            whole["logits_to_keep"] = len(answer) + 1
        return self.model(**whole, use_cache=False).logits[:, -len(answer) - 1 : -1]

    def continuation(self, key: str, value: torch.Tensor, length: int) -> torch.Tensor:
        """What the per-token input `key` (B, S, ...) says about `length` answer tokens: (B, length, ...).

        Asked of the model's own generation code, one token ahead: a Gemma 3 answer has token type 0, a PaliGemma
        answer type 1 (with 0 its tokens would see those that they are to predict).
        """
        grown = self.model._update_model_kwargs_for_generation({}, {key: value})[key]
        return grown[:, -1:].expand(-1, length, *value.shape[2:])

    def check_length(self, length: int) -> None:
        if self.max_positions is not None and length > self.max_positions:
            raise BadInputError(
                f"Prompt and answer have {length} tokens; {self.name} reads at most {self.max_positions}: "
                "shorten the instruction."
            )


def _per_token_keys(inputs: dict) -> list[str]:
    """Inputs beside ids and mask that have a column a token (token types, cross-attention masks)."""
    batch, length = inputs["input_ids"].shape
    return [
        key
        for key, value in inputs.items()
        if key not in ("input_ids", "attention_mask", "pixel_values")
        and torch.is_tensor(value)
        and value.dim() >= 2
        and tuple(value.shape[:2]) == (batch, length)
    ]
