"""Which answers mean the same, so that votes mean something where no two answers have the same words.

Two ways: embeddings that lie near each other, or a judge who says that each of two answers entails the other, as in
semantic entropy (Kuhn et al. 2023, arXiv 2302.09664, algorithm 1). Pairs that mean the same are joined, and what is
joined to the same is one group: the order of the answers changes nothing.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence

import torch
from transformers import AutoModel, CLIPConfig, Siglip2Config, SiglipConfig

from m3po.models.chat import Messages
from m3po.models.contrastive import ClipScorer, load_contrastive
from m3po.models.loading import load_config, load_tokenizer, load_weights, pick_device, pick_dtype
from m3po.models.policy import Policy
from m3po.models.yes_no import YesNo
from m3po.scorer_spec import parse_grouper
from m3po.settings import ModelOptions
from m3po.text import build_messages, last_instruction

_SAME = 0.5  # P(yes) from which an answer entails another

# (prompt, answers) -> for each answer the place of the first one that means the same (its own, where there is none).
Group = Callable[[Messages, Sequence[str]], list[int]]


def load_grouper(spec: str, options: ModelOptions | None = None) -> Group:
    """The grouper that `spec` names (see m3po.scorer_spec.parse_grouper), its model loaded, a judge with `options`.

    Raises UsageError for a name that means nothing, ModelError in one sentence for a model that cannot be used.
    """
    grouper = parse_grouper(spec)
    if grouper.kind == "judge":
        judge = YesNo(Policy.load(grouper.model, options=options))
        return lambda messages, answers: group_by_judge(judge, messages, answers)
    embed = load_embedder(grouper.model)
    return lambda messages, answers: group_by_vectors(embed(list(answers)), grouper.threshold)


def group_by_vectors(vectors: torch.Tensor, threshold: float) -> list[int]:
    """Join the rows of `vectors` (answers, dimension; unit length) whose cosine is at least `threshold`."""
    near = (vectors @ vectors.T >= threshold).tolist()
    return join(len(near), ((a, b) for a in range(len(near)) for b in range(a) if near[a][b]))


def group_by_judge(judge: YesNo, messages: Messages, answers: Sequence[str]) -> list[int]:
    """Join the answers of which the judge says in both directions that one entails the other.

    It is asked without the image: what two texts mean does not depend on which of them is right. Every pair is asked
    about twice, so K answers take K (K - 1) questions.
    """
    pairs = [(a, b) for a in range(len(answers)) for b in range(len(answers)) if a != b]
    instruction = last_instruction(messages)
    questions = [_ask_entailment(instruction, answers[a], answers[b]) for a, b in pairs]
    [told] = judge.ask([questions], [[]])
    entails = {pair for pair, p in zip(pairs, told, strict=True) if p >= _SAME}
    return join(len(answers), (pair for pair in entails if pair[::-1] in entails))


def _ask_entailment(instruction: str, one: str, other: str) -> Messages:
    text = f"Instruction: {instruction}\nAnswer 1: {one.strip()}\nAnswer 2: {other.strip()}\n"
    return build_messages(f"{text}Does answer 1 entail answer 2? Answer yes or no.", 0)


def join(count: int, pairs: Iterable[tuple[int, int]]) -> list[int]:
    """Of `count` things, for each the first one that it is joined to by `pairs`, directly or through others."""
    first = list(range(count))

    def find(place: int) -> int:
        while first[place] != place:
            place = first[place]
        return place

    for a, b in pairs:
        low, high = sorted((find(a), find(b)))
        first[high] = low
    return [find(place) for place in range(count)]


def load_embedder(name: str) -> Callable[[list[str]], torch.Tensor]:
    """A text embedding, (texts) -> (texts, dimension) unit vectors in float32.

    The text part of a CLIP or SigLIP model (a longer text by the mean over its sentences), else any encoder that
    AutoModel loads, by the mean over its tokens.

    Raises ModelError in one sentence.
    """
    config = load_config(name)
    if isinstance(config, CLIPConfig | SiglipConfig | Siglip2Config):
        return _by_contrastive(load_contrastive(name))
    device = pick_device()
    tokenizer = load_tokenizer(name)
    model = load_weights(AutoModel, name, pick_dtype(device)).to(device).eval()
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token  # padding is masked: any token will do
    limit = min(tokenizer.model_max_length, getattr(config, "max_position_embeddings", 512) or 512)

    @torch.inference_mode()
    def embed(texts: list[str]) -> torch.Tensor:
        inputs = tokenizer(texts, padding=True, truncation=True, max_length=limit, return_tensors="pt").to(device)
        if inputs["input_ids"].shape[1] == limit:
            warnings.warn(
                f"{name} reads {limit} tokens: answers longer than that are grouped by how they begin.", stacklevel=2
            )
        states = model(**inputs).last_hidden_state.float()
        mask = inputs["attention_mask"][..., None].float()
        return torch.nn.functional.normalize((states * mask).sum(1) / mask.sum(1), dim=-1)

    return embed


def _by_contrastive(scorer: ClipScorer) -> Callable[[list[str]], torch.Tensor]:
    @torch.inference_mode()
    def embed(texts: list[str]) -> torch.Tensor:
        pieces = [scorer.pieces("", text) for text in texts]
        vectors = iter(scorer.encode_texts([piece for row in pieces for piece in row]))
        means = [torch.stack([next(vectors) for _ in row]).mean(0) for row in pieces]
        return torch.nn.functional.normalize(torch.stack(means), dim=-1)

    return embed
