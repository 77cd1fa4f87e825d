"""MAS by a contrastive model: how near an answer's embedding lies to the image's.

`ClipScorer` follows CLIPScore (Hessel et al. 2021, arXiv 2104.08718) without its rescaling: MAS is the cosine
between the image's embedding and that of "instruction answer", in [-1, 1]. Rules that compare percentiles do
not care about the scale, and a scale made to look like a probability would only pretend to be one.
`SiglipScorer` gives what SigLIP was trained to give (Zhai et al. 2023, arXiv 2303.15343): the probability that
image and text belong together.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from transformers import AutoModel, CLIPConfig, Siglip2Config, SiglipConfig

from m3po.errors import BadInputError, ModelError
from m3po.models.chat import Messages
from m3po.models.loading import load_config, load_processor, load_weights, pick_device, pick_dtype
from m3po.text import last_instruction, split_sentences
from m3po.types import Judgement

_TEXT_BATCH = 256


def load_contrastive(
    name: str | Path,
    kind: str = "",
    *,
    device: str | torch.device | None = None,
    dtype: torch.dtype | None = None,
) -> ClipScorer:
    """The scorer of a CLIP, SigLIP or SigLIP 2 checkpoint (folder or hub id), by its config.

    `kind` is `clip` or `siglip` where one was named, else empty. Raises ModelError in one sentence that names the
    model, for another kind of model or for a `kind` that it is not.
    """
    name = str(name)
    config = load_config(name)
    if isinstance(config, CLIPConfig):
        scorer, found = ClipScorer, "clip"
    elif isinstance(config, SiglipConfig | Siglip2Config):
        scorer, found = SiglipScorer, "siglip"
    else:
        raise ModelError(
            f"{name} holds a {config.model_type} model, which cannot score alignment by itself: give a CLIP or SigLIP "
            f"model, or write vqa:{name} to ask it as a judge."
        )
    if kind and kind != found:
        raise ModelError(f"{name} holds a {found} model: write {found}:{name}.")
    processor = load_processor(name)
    if getattr(processor, "image_processor", None) is None:
        raise ModelError(f"{name} has no image processor: copy preprocessor_config.json from the original.")
    device = torch.device(device) if device is not None else pick_device()
    model = load_weights(AutoModel, name, dtype or pick_dtype(device))
    return scorer(model.to(device).eval(), processor, name)


class ClipScorer:
    """MAS = cosine of image and "instruction answer" under a CLIP model, in [-1, 1].

    The instruction is the last user turn. Nothing is cut: a text over the model's limit is split into its
    sentences, each behind the instruction; a sentence that is still too long is halved between words until it fits.
    The score is then the mean over the pieces, `minimum` that of the worst one. An instruction that takes more than
    half of the limit is left out of such pieces, with a warning. Several images: the mean over them.
    """

    scorer_range = (-1.0, 1.0)

    def __init__(self, model: torch.nn.Module, processor, name: str = "clip") -> None:
        self.model = model
        self.name = name
        self.tokenizer = processor.tokenizer
        self.image_processor = processor.image_processor
        self.device = next(model.parameters()).device
        positions = model.config.text_config.max_position_embeddings
        self.max_tokens = min(positions, self.tokenizer.model_max_length)

    @torch.inference_mode()
    def score(
        self,
        prompts: Sequence[Messages],
        images: Sequence[Sequence[Image.Image]],
        answers: Sequence[Sequence[str]],
    ) -> list[list[Judgement]]:
        """MAS of every answer; each image and each text of the batch is encoded once."""
        for n, row in enumerate(images):
            if not row:
                raise BadInputError(f"Instruction {n} of the batch has no image, so nothing can be aligned with it.")
        instructions = [last_instruction(messages) for messages in prompts]
        distinct = {id(image): image for row in images for image in row}
        image_place = {key: place for place, key in enumerate(distinct)}
        image_vectors = self._encode_images(list(distinct.values()))
        split: dict[tuple[str, str], list[str]] = {}
        for instruction, row in zip(instructions, answers, strict=True):
            for answer in row:
                if (instruction, answer) not in split:
                    split[instruction, answer] = self.pieces(instruction, answer)
        text_place = {text: n for n, text in enumerate(dict.fromkeys(t for ts in split.values() for t in ts))}
        text_vectors = self.encode_texts(list(text_place))
        judged = []
        for instruction, row_images, row in zip(instructions, images, answers, strict=True):
            seen = image_vectors[[image_place[id(image)] for image in row_images]]
            values = []
            for answer in row:
                said = text_vectors[[text_place[text] for text in split[instruction, answer]]]
                by_piece = self._measure(said @ seen.T).double().mean(1).clamp(*self.scorer_range)
                worst = float(by_piece.min()) if len(by_piece) > 1 else None
                values.append(Judgement(float(by_piece.mean()), worst))
            judged.append(values)
        return judged

    def pieces(self, instruction: str, answer: str) -> list[str]:
        """The texts that are compared with the image: one if "instruction answer" is within the limit."""
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
        sentences = split_sentences(answer) or [instruction]
        return [prefix + part for sentence in sentences for part in self._halve(prefix, sentence)]

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

    def encode_texts(self, texts: list[str]) -> torch.Tensor:
        """(texts, dimension) unit vectors in float32, batched by length."""
        order = sorted(range(len(texts)), key=lambda n: len(texts[n]))
        vectors: list[torch.Tensor] = []
        for start in range(0, len(order), _TEXT_BATCH):
            vectors.append(_unit(self._embed([texts[n] for n in order[start : start + _TEXT_BATCH]])))
        if not vectors:
            return torch.zeros(0, 0, device=self.device)
        back = torch.empty(len(order), dtype=torch.long)
        back[torch.tensor(order)] = torch.arange(len(order))
        return torch.cat(vectors)[back.to(self.device)]

    def _embed(self, texts: list[str]):
        inputs = self._tokenize(texts, padding=True, return_tensors="pt").to(self.device)
        return self.model.get_text_features(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"])

    def _encode_images(self, images: list[Image.Image]) -> torch.Tensor:
        """(images, dimension) unit vectors in float32."""
        inputs = self.image_processor(images=images, return_tensors="pt").to(self.device)
        pixels = inputs.pop("pixel_values").to(self.model.dtype)
        return _unit(self.model.get_image_features(pixel_values=pixels, **inputs))

    def _measure(self, cosines: torch.Tensor) -> torch.Tensor:
        """What a (texts, images) matrix of cosines says of alignment."""
        return cosines


class SiglipScorer(ClipScorer):
    """MAS = sigmoid(scale * cosine + bias) with the scale and bias that SigLIP learned, in [0, 1] (arXiv 2303.15343,
    section 3.2).

    A text has at most 64 tokens in the released models and is padded to that length, as in training: the text part
    reads its last position, so another padding is another vector. Longer answers are split as for CLIP.
    """

    scorer_range = (0.0, 1.0)

    def _embed(self, texts: list[str]):
        inputs = self._tokenize(texts, padding="max_length", max_length=self.max_tokens, return_tensors="pt")
        # Without an attention mask, whatever the tokenizer offers: the models were trained without one.
        return self.model.get_text_features(input_ids=inputs["input_ids"].to(self.device))

    def _measure(self, cosines: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(cosines * self.model.logit_scale.float().exp() + self.model.logit_bias.float())


def _unit(features) -> torch.Tensor:
    vectors = getattr(features, "pooler_output", features).float()
    return vectors / vectors.norm(dim=-1, keepdim=True)
