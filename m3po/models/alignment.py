"""MAS: how well an answer goes with the image and the instruction, judged by a model other than the policy.

`ClipScorer` follows CLIPScore (Hessel et al. 2021, arXiv 2104.08718) without its rescaling: MAS is the cosine
between the image's embedding and that of "instruction answer", in [-1, 1]. Rules that compare percentiles do
not care about the scale, and a scale made to look like a probability would only pretend to be one.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import torch
from PIL import Image
from transformers import CLIPConfig, CLIPModel

from m3po.errors import BadInputError, ModelError
from m3po.models.loading import load_config, load_processor, load_weights, pick_device, pick_dtype

_SENTENCE_END = re.compile(r"(?<=[.!?。！？])\s+|\n+")
_TEXT_BATCH = 256


class AlignmentScorer(Protocol):
    """What a MAS model must offer. `scorer_range` is (lowest, highest) of its scores; higher is better
    aligned.
    """

    name: str
    scorer_range: tuple[float, float]

    def score(
        self,
        instructions: Sequence[str],
        images: Sequence[Sequence[Image.Image]],
        answers: Sequence[Sequence[str]],
    ) -> list[list[float]]:
        """One score an answer. Raises BadInputError for an instruction without an image."""
        ...


def load_scorer(spec: str | Path, **options) -> AlignmentScorer:
    """The scorer that `spec` names: a CLIP folder or hub id, with or without `clip:` before it.

    Raises ModelError in one sentence for anything else.
    """
    return ClipScorer.load(str(spec).removeprefix("clip:"), **options)


class ClipScorer:
    """MAS = cosine of image and "instruction answer" under a CLIP model, in [-1, 1].

    Nothing is cut: a text over the model's limit is split into its sentences, each behind the instruction,
    and their cosines are averaged; a sentence that is still too long is halved between words until it fits.
    An instruction that takes more than half of the limit is left out of such pieces, with a warning. Several
    images: the mean over them.
    """

    scorer_range = (-1.0, 1.0)

    def __init__(self, model: CLIPModel, processor, name: str = "clip") -> None:
        self.model = model
        self.name = name
        self.tokenizer = processor.tokenizer
        self.image_processor = processor.image_processor
        self.device = next(model.parameters()).device
        positions = model.config.text_config.max_position_embeddings
        self.max_tokens = min(positions, self.tokenizer.model_max_length)

    @classmethod
    def load(
        cls, name: str | Path, *, device: str | torch.device | None = None, dtype: torch.dtype | None = None
    ) -> ClipScorer:
        """Load from a folder or hub id. Raises ModelError in one sentence that names it."""
        name = str(name)
        config = load_config(name)
        if not isinstance(config, CLIPConfig):
            raise ModelError(
                f"{name} holds a {config.model_type} model, which cannot score alignment: give a CLIP model."
            )
        processor = load_processor(name)
        if getattr(processor, "image_processor", None) is None:
            raise ModelError(f"{name} has no image processor: copy preprocessor_config.json from the original.")
        device = torch.device(device) if device is not None else pick_device()
        model = load_weights(CLIPModel, name, dtype or pick_dtype(device))
        return cls(model.to(device).eval(), processor, name)

    @torch.inference_mode()
    def score(
        self,
        instructions: Sequence[str],
        images: Sequence[Sequence[Image.Image]],
        answers: Sequence[Sequence[str]],
    ) -> list[list[float]]:
        """MAS of every answer; each image and each text of the batch is encoded once."""
        for n, row in enumerate(images):
            if not row:
                raise BadInputError(f"Instruction {n} of the batch has no image, so nothing can be aligned with it.")
        distinct = {id(image): image for row in images for image in row}
        image_place = {key: place for place, key in enumerate(distinct)}
        image_vectors = self._encode_images(list(distinct.values()))
        split: dict[tuple[str, str], list[str]] = {}
        for instruction, row in zip(instructions, answers, strict=True):
            for answer in row:
                split.setdefault((instruction, answer), self.pieces(instruction, answer))
        text_place = {text: n for n, text in enumerate(dict.fromkeys(t for ts in split.values() for t in ts))}
        text_vectors = self._encode_texts(list(text_place))
        scores = []
        for instruction, row_images, row in zip(instructions, images, answers, strict=True):
            seen = image_vectors[[image_place[id(image)] for image in row_images]]
            values = []
            for answer in row:
                said = text_vectors[[text_place[text] for text in split[instruction, answer]]]
                values.append(float((said @ seen.T).double().mean().clamp(-1, 1)))
            scores.append(values)
        return scores

    def pieces(self, instruction: str, answer: str) -> list[str]:
        """The texts whose cosines are averaged: one if "instruction answer" is within the limit."""
        instruction, answer = instruction.strip(), answer.strip()
        whole = f"{instruction} {answer}".strip()
        if self._fits(whole):
            return [whole]
        prefix = f"{instruction} "
        if 2 * self._count(instruction) > self.max_tokens:
            prefix = ""
            warnings.warn(
                f"An instruction of {len(instruction)} characters takes more than half of the scorer's "
                f"{self.max_tokens} tokens: long answers to it are scored without it.",
                stacklevel=2,
            )
        sentences = [part for part in _SENTENCE_END.split(answer) if part.strip()] or [instruction]
        return [prefix + part for sentence in sentences for part in self._halve(prefix, sentence.strip())]

    def _halve(self, prefix: str, text: str) -> list[str]:
        if len(text) <= 1 or self._fits(prefix + text):
            return [text]
        words = text.split()
        middle = len(words) // 2
        halves = [" ".join(words[:middle]), " ".join(words[middle:])]
        if len(words) == 1:  # a word over the limit has no better place than its middle
            halves = [text[: len(text) // 2], text[len(text) // 2 :]]
        return [part for half in halves for part in self._halve(prefix, half)]

    def _fits(self, text: str) -> bool:
        return self._count(text) <= self.max_tokens

    def _count(self, text: str) -> int:
        return len(self._tokenize([text])["input_ids"][0])

    def _tokenize(self, texts: list[str], **options):
        # Written special tokens stay text: an "</s>" in an answer would otherwise end it for the model.
        return self.tokenizer(texts, split_special_tokens=True, verbose=False, **options)

    def _encode_texts(self, texts: list[str]) -> torch.Tensor:
        """(texts, dimension) unit vectors in float32, batched by length."""
        order = sorted(range(len(texts)), key=lambda n: len(texts[n]))
        vectors: list[torch.Tensor] = []
        for start in range(0, len(order), _TEXT_BATCH):
            batch = [texts[n] for n in order[start : start + _TEXT_BATCH]]
            inputs = self._tokenize(batch, padding=True, return_tensors="pt").to(self.device)
            out = self.model.get_text_features(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"])
            vectors.append(_unit(out))
        if not vectors:
            return torch.zeros(0, self.model.config.projection_dim, device=self.device)
        back = torch.empty(len(order), dtype=torch.long)
        back[torch.tensor(order)] = torch.arange(len(order))
        return torch.cat(vectors)[back.to(self.device)]

    def _encode_images(self, images: list[Image.Image]) -> torch.Tensor:
        """(images, dimension) unit vectors in float32."""
        pixels = self.image_processor(images=images, return_tensors="pt")["pixel_values"]
        return _unit(self.model.get_image_features(pixel_values=pixels.to(self.device, self.model.dtype)))


def _unit(features) -> torch.Tensor:
    vectors = getattr(features, "pooler_output", features).float()
    return vectors / vectors.norm(dim=-1, keepdim=True)
