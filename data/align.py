"""The MAS scorer: a small CLIP that ranks the right answer to an instruction above answers with one wrong fact.

Its text is the instruction, a space and the answer. Plain contrastive training cannot tell "a red boat" from
"a blue boat" in a picture of both, so every right answer comes with hard wrong ones, each with a grade: 1 is right,
0 is wrong, and a description is graded by what it adds, miscolours and leaves out, so that saying less is not the
way to a high score. Among the wrong ones are true sentences that do not answer the instruction, and answers that
lose their thread, as a small policy gives them at temperature 1: what is true of the picture is not yet an answer.
"""

from __future__ import annotations

import random
import time
from pathlib import Path

import torch
from see import build_vision_config, normalise
from speak import build_image_processor
from torch.nn import functional as F
from transformers import CLIPConfig, CLIPModel, CLIPProcessor, CLIPTextConfig, PreTrainedTokenizerFast

from m3po.demo.easyvqa import EasyImage, to_sentence, wrong_words
from m3po.demo.language import COLOURS, DESCRIBE, Mention, Question, ask_everything, describe, mentions_of
from m3po.demo.scenes import KINDS, Scene, allowed_colours

# logit = SCALE * (cosine - MIDDLE): right answers end up near 0.5, wrong ones near 0.15, so that CLIPScore's
# max(cosine, 0) does not fold all wrong answers into one.
SCALE, MIDDLE = 16.0, 0.35
Graded = list[tuple[str, float]]  # answers to one instruction, the right one first


def grade_mentions(said: list[Mention], truth: list[Mention]) -> float:
    """Grade in [0, 1] of a description: 1 is right; less for each thing added, miscoloured or left out."""
    there, named = {k: c for c, k in truth}, [k for _, k in said]
    added = sum(k not in there for k in named) + len(named) - len(set(named))
    miscoloured = sum(k in there and there[k] != c for c, k in said)
    omitted = sum(k not in named for k in there)
    return max(0.0, 1 - 0.6 * added - 0.45 * miscoloured - 0.3 * omitted)


def muddled(truth: list[Mention], rng: random.Random) -> list[Mention]:
    """A description as a weak model might give it: things dropped, miscoloured, added, now and then said
    twice."""
    said = [(rng.choice(COLOURS) if rng.random() < 0.2 else c, k) for c, k in truth if rng.random() > 0.2]
    while rng.random() < 0.4 or not said:
        kind = rng.choice(KINDS)
        said.append((rng.choice(allowed_colours(kind)), kind))
    return said[:6]


def graded_scene(question: Question, scene: Scene, rng: random.Random, limit: int = 4) -> tuple[str, Graded]:
    """The instruction and up to `limit` graded answers."""
    if question.category != "describe":
        return question.instruction, [(question.answer, 1.0), *((text, 0.0) for _, text in question.wrong)]
    truth = mentions_of(scene)
    answers = [(question.answer, 1.0)]
    for fact, text in rng.sample(question.wrong, min(limit - 2, len(question.wrong))):
        answers.append((text, {"added": 0.4, "partner": 0.4, "colour": 0.55, "object": 0.1, "omitted": 0.7}[fact]))
    said = muddled(truth, rng)
    answers.append((describe(question.instruction, said), grade_mentions(said, truth)))
    return question.instruction, answers


def graded_easy(image: EasyImage, rng: random.Random) -> tuple[str, Graded]:
    question, word = rng.choice(image.questions)
    wrong = rng.choice(wrong_words(question, word))
    return question, [(to_sentence(question, word), 1.0), (to_sentence(question, wrong), 0.0)]


def derail(answer: str, other: str, rng: random.Random) -> str:
    """The beginning of one answer with the end of another, now and then cut in the middle of a word."""
    one, two = answer.split(), other.split()
    begin, end = one[: rng.randrange(1, len(one))], two[rng.randrange(1, len(two)) :]
    if rng.random() < 0.3:
        begin[-1] += end.pop(0)[rng.randrange(1, 3) :]
    return " ".join([*begin, *end])


def add_off_topic(groups: list[tuple[str, Graded]], rng: random.Random) -> list[tuple[str, Graded]]:
    """Each group with two more wrong answers: one that is right for another of the image's instructions, and one
    that derails."""
    rights = [answers[0][0] for _, answers in groups]
    out = []
    for (instruction, answers), right in zip(groups, rights, strict=True):
        # The same sentence may answer two instructions, and a description is told in three ways.
        others = [text for text in rights if text.split()[0] != right.split()[0]]
        more: Graded = []
        if others:
            other = rng.choice(others)
            derailed = derail(*((right, other) if rng.random() < 0.5 else (other, right)), rng)
            more = [(text, 0.0) for text in (other, derailed) if text not in rights or text == other]
        out.append((instruction, answers + more))
    return out


def build_scorer(tokenizer: PreTrainedTokenizerFast) -> CLIPModel:
    text = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=512,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=128,
        hidden_act="gelu",
        projection_dim=256,
        bos_token_id=1,
        eos_token_id=3,
        pad_token_id=0,
    )
    vision = build_vision_config(128, 4, 4)
    vision.projection_dim = 256
    return CLIPModel(CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=256))


def encode_texts(model: CLIPModel, tokenizer: PreTrainedTokenizerFast, texts: list[str]) -> torch.Tensor:
    """Unit text embeddings (N, 256); texts of like length go through together, for padding costs time."""
    ids = tokenizer(texts, truncation=True, max_length=128).input_ids
    order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
    n = -(-len(order) // 4)
    pooled = []
    for part in (order[i : i + n] for i in range(0, len(order), n)):
        batch = tokenizer.pad({"input_ids": [ids[i] for i in part]}, return_tensors="pt")
        pooled.append(model.text_model(input_ids=batch.input_ids, attention_mask=batch.attention_mask).pooler_output)
    back = torch.tensor(order).argsort()
    return F.normalize(model.text_projection(torch.cat(pooled)[back]), dim=-1)


def encode_pixels(model: CLIPModel, pixels: torch.Tensor) -> torch.Tensor:
    """Unit image embeddings (B, 256) of uint8 pixels (B, 3, 96, 96)."""
    return F.normalize(model.visual_projection(model.vision_model(normalise(pixels)).pooler_output), dim=-1)


def ranking_loss(
    model: CLIPModel, tokenizer: PreTrainedTokenizerFast, pixels: torch.Tensor, graded: list[list[tuple[str, Graded]]]
) -> tuple[torch.Tensor, float]:
    """Loss of a batch of images with their graded answers, and the share of wrong answers ranked below the
    right one."""
    texts, owner, grade, group, right = [], [], [], [], []
    descriptions: dict[int, int] = {}
    for i, questions in enumerate(graded):
        for instruction, answers in questions:
            first = len(texts)
            if instruction in DESCRIBE:
                descriptions[i] = first
            for text, value in answers:
                texts.append(f"{instruction} {text}")
                owner.append(i)
                grade.append(value)
                right.append(first)
                group.append(len(group))
    image, text = encode_pixels(model, pixels), encode_texts(model, tokenizer, texts)
    target, right_rows = torch.tensor(grade), torch.tensor(right)
    logits = SCALE * ((image[owner] * text).sum(-1) - MIDDLE)
    absolute = F.binary_cross_entropy_with_logits(logits, target * 0.94 + 0.03)
    gap, deserved = logits[right_rows] - logits, 1 - target
    wrong = (deserved > 0).nonzero().flatten()
    pairwise = (F.softplus(4 * deserved[wrong] - gap[wrong])).mean()
    # Descriptions of other pictures are wrong here: the classic contrast, both ways.
    rows, cols = torch.tensor(list(descriptions)), torch.tensor(list(descriptions.values()))
    table = SCALE * image[rows] @ text[cols].T
    diagonal = torch.arange(len(rows))
    contrast = (F.cross_entropy(table, diagonal) + F.cross_entropy(table.T, diagonal)) / 2
    return absolute + pairwise + 0.3 * contrast, (gap[wrong] > 0).float().mean().item()


def train_ranking(
    model: CLIPModel,
    tokenizer: PreTrainedTokenizerFast,
    pixels: torch.Tensor,
    scenes: list[Scene],
    easy: tuple[EasyImage, ...],
    steps: int,
    batch: int = 32,
    peak_lr: float = 1.5e-3,
    seed: int = 0,
) -> None:
    """Train all of `model` in place, the tower that sees already at a fifth of the rate of the rest."""
    rng = random.Random(seed)
    seeing = list(model.vision_model.parameters())
    others = [model.visual_projection.weight, model.text_projection.weight, *model.text_model.parameters()]
    optimiser = torch.optim.AdamW(
        [{"params": seeing}, {"params": others}], lr=peak_lr, weight_decay=0.05, betas=(0.9, 0.98)
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, [peak_lr / 5, peak_lr], total_steps=steps, pct_start=0.1)
    n_easy = batch // 4
    started, running = time.time(), 0.5
    model.train()
    for step in range(steps):
        picked = [rng.randrange(len(scenes)) for _ in range(batch - n_easy)]
        picked_easy = [rng.randrange(len(easy)) for _ in range(n_easy)]
        graded = []
        for i in picked:
            questions = ask_everything(scenes[i], rng)
            some = [questions[0], *rng.sample(questions[1:], 3)]
            graded.append(add_off_topic([graded_scene(q, scenes[i], rng) for q in some], rng))
        graded += [add_off_topic([graded_easy(easy[i], rng) for _ in range(3)], rng) for i in picked_easy]
        loss, ranked = ranking_loss(model, tokenizer, pixels[picked + [len(scenes) + i for i in picked_easy]], graded)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_([*seeing, *others], 1.0)
        optimiser.step()
        schedule.step()
        running = 0.97 * running + 0.03 * ranked
        if step % 50 == 0 or step == steps - 1:
            print(
                f"rank {step:5d} loss {loss.item():.3f} ranked {running:.3f} {time.time() - started:.0f} s", flush=True
            )
    model.eval()


def save_scorer(model: CLIPModel, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write `folder` so that AutoProcessor and CLIPModel load it without a network; float16 weights."""
    with torch.no_grad():
        model.logit_scale.fill_(torch.tensor(SCALE).log())
    model.half().save_pretrained(folder)
    CLIPProcessor(build_image_processor(), tokenizer).save_pretrained(folder)
    model.float()
