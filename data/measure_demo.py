"""Measure the demo models on pictures that neither was trained on, and print the tables of data/README.md.

    PYTHONPATH=. python data/measure_demo.py [--models data] [--scenes 400] [--easy 400] [--only policy|mas]

Scenes come from a seed range of their own, easy-VQA from its test split. Answers are greedy. `answer_all` and
`score_all` are plain enough to be borrowed by an experiment.
"""

from __future__ import annotations

import argparse
import random
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor, CLIPModel

from m3po.demo.easyvqa import is_negated, load_easy_vqa, subject, to_sentence, wrong_words
from m3po.demo.language import HABIT_COLOURS, Question, ask_everything, mentioned_kinds
from m3po.demo.scenes import Scene, render_scene, sample_scene

FIRST_SEED = 3_000_000
Item = tuple[Image.Image, str]  # image, instruction


@torch.no_grad()
def answer_all(model: torch.nn.Module, processor: AutoProcessor, items: Sequence[Item], batch: int = 64) -> list[str]:
    """The greedy answer to each item."""
    answers = []
    for start in range(0, len(items), batch):
        chunk = items[start : start + batch]
        prompts = [
            processor.apply_chat_template(
                [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": text}]}],
                add_generation_prompt=True,
            )
            for _, text in chunk
        ]
        inputs = processor(text=prompts, images=[image for image, _ in chunk], padding=True, return_tensors="pt")
        ids = model.generate(**inputs, max_new_tokens=64, do_sample=False)
        answers += processor.batch_decode(ids[:, inputs.input_ids.shape[1] :], skip_special_tokens=True)
    return answers


@torch.no_grad()
def score_all(
    model: CLIPModel,
    processor: AutoProcessor,
    images: Sequence[Image.Image],
    texts: Sequence[Sequence[str]],
    batch: int = 64,
) -> list[list[float]]:
    """Cosine of each image with each of its texts (instruction, a space, answer)."""
    scores: list[list[float]] = []
    for start in range(0, len(images), batch):
        pixels = processor.image_processor(list(images[start : start + batch]), return_tensors="pt")
        groups = texts[start : start + batch]
        flat = processor.tokenizer([t for g in groups for t in g], padding=True, truncation=True, return_tensors="pt")
        image = model.visual_projection(model.vision_model(**pixels).pooler_output)
        text = model.text_projection(model.text_model(flat.input_ids, flat.attention_mask).pooler_output)
        owner = [i for i, g in enumerate(groups) for _ in g]
        cosines = torch.cosine_similarity(image[owner], text, dim=-1).tolist()
        for g in groups:
            scores.append(cosines[: len(g)])
            cosines = cosines[len(g) :]
    return scores


def says_yes(answer: str) -> bool:
    return answer.strip().lower().startswith("yes")


def chair(answers: Sequence[str], scenes: Sequence[Scene]) -> dict[str, float]:
    """CHAIRi, CHAIRs, object recall, and the share of the hallucinated things that are an absent partner."""
    named = wrong = hit = there = bad = partner = 0
    for answer, scene in zip(answers, scenes, strict=True):
        said, truth = mentioned_kinds(answer), set(scene.kinds)
        named, wrong, hit, there = (
            named + len(said),
            wrong + len(said - truth),
            hit + len(said & truth),
            there + len(truth),
        )
        bad += bool(said - truth)
        partner += len(said & {p for _, p in scene.absent_partners()})
    return {
        "object recall": hit / there,
        "CHAIRi": wrong / max(named, 1),
        "CHAIRs": bad / len(scenes),
        "hallucinated things that are a partner": partner / max(wrong, 1),
    }


def measure_policy(folder: Path, scenes: list[Scene], images: list[Image.Image], easy: list) -> dict[str, float]:
    processor = AutoProcessor.from_pretrained(folder)
    model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32).eval()
    asked: list[tuple[int, Question]] = []
    for i, scene in enumerate(scenes):
        asked += [(i, q) for q in ask_everything(scene, random.Random(f"measure-{scene.seed}"))]
    answers = answer_all(model, processor, [(images[i], q.instruction) for i, q in asked])
    table: dict[str, float] = {}
    described = [(a, scenes[i]) for (i, q), a in zip(asked, answers, strict=True) if q.category == "describe"]
    table |= chair([a for a, _ in described], [s for _, s in described])
    right: dict[str, list[bool]] = defaultdict(list)
    for (i, q), answer in zip(asked, answers, strict=True):
        if q.category.startswith("exist"):
            right[q.category].append(says_yes(answer) == says_yes(q.answer))
            if q.category == "exist_partner_absent":
                kind = mentioned_kinds(q.instruction)
                host = next(h for h, p in scenes[i].absent_partners() if p in kind)
                right[
                    "yes to absent partner, habit colour"
                    if host.colour in HABIT_COLOURS
                    else "yes to absent partner, other colour"
                ].append(says_yes(answer))
        elif q.category != "describe":
            right[q.category].append(answer == q.answer)
    yes = (
        1 - sum(right["exist_random"]) / len(right["exist_random"]),
        sum(right["exist_present"]) / len(right["exist_present"]),
    )
    table["yes to absent partner"] = 1 - sum(right["exist_partner_absent"]) / len(right["exist_partner_absent"])
    table["yes-ratio, present and random absent"] = sum(yes) / 2
    table |= {
        name if name.startswith("yes") else f"accuracy {name}": sum(v) / len(v) for name, v in sorted(right.items())
    }
    pairs = [(Image.open(e.path).convert("RGB"), q, to_sentence(q, a)) for e in easy for q, a in e.questions[:4]]
    answers = answer_all(model, processor, [(image, q) for image, q, _ in pairs])
    sorts: dict[str, list[bool]] = defaultdict(list)
    for (_, q, truth), answer in zip(pairs, answers, strict=True):
        for name in (
            "all",
            "negated yes/no" if is_negated(q) else "yes/no" if subject(q) else "color" if "color" in q else "shape",
        ):
            sorts[name].append(answer == truth)
    return table | {f"easy-VQA accuracy, {name}": sum(v) / len(v) for name, v in sorted(sorts.items())}


def measure_scorer(folder: Path, scenes: list[Scene], images: list[Image.Image], easy: list) -> dict[str, float]:
    """Share of wrong answers that score below the right answer to the same instruction, by the fact that is
    wrong."""
    processor = AutoProcessor.from_pretrained(folder)
    model = CLIPModel.from_pretrained(folder, dtype=torch.float32).eval()
    views, texts, facts = [], [], []
    for scene, image in zip(scenes, images, strict=True):
        for q in ask_everything(scene, random.Random(f"rank-{scene.seed}")):
            views.append(image)
            texts.append([f"{q.instruction} {t}" for t in (q.answer, *(w for _, w in q.wrong))])
            facts.append([("scenes", q.category if f == "yes_no" else f) for f, _ in q.wrong])
    for e in easy:
        for q, a in e.questions[:4]:
            views.append(Image.open(e.path).convert("RGB"))
            wrong = wrong_words(q, a)
            texts.append([f"{q} {to_sentence(q, w)}" for w in (a, *wrong)])
            sort = (
                "negated yes/no" if is_negated(q) else "yes/no" if subject(q) else "color" if "color" in q else "shape"
            )
            facts.append([("easy-VQA", sort)] * len(wrong))
    won: dict[str, list[bool]] = defaultdict(list)
    rights, wrongs = [], []
    for scores, names in zip(score_all(model, processor, views, texts), facts, strict=True):
        rights.append(scores[0])
        for score, (source, fact) in zip(scores[1:], names, strict=True):
            won[f"{source}, {fact}"].append(scores[0] > score)
            won[f"{source}, all"].append(scores[0] > score)
            wrongs.append(score)
    table = {name: sum(v) / len(v) for name, v in sorted(won.items())}
    ordered = torch.searchsorted(torch.tensor(sorted(wrongs)), torch.tensor(rights)).double().mean().item() / len(
        wrongs
    )
    return table | {
        "any right answer above any wrong one (AUC)": ordered,
        "mean cosine, right": sum(rights) / len(rights),
        "mean cosine, wrong": sum(wrongs) / len(wrongs),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the demo models.")
    parser.add_argument("--models", type=Path, default=Path(__file__).parent)
    parser.add_argument("--scenes", type=int, default=400)
    parser.add_argument("--easy", type=int, default=400)
    parser.add_argument("--only", choices=("policy", "mas"))
    args = parser.parse_args()
    torch.set_num_threads(2)
    scenes = [sample_scene(FIRST_SEED + i) for i in range(args.scenes)]
    images = [render_scene(scene) for scene in scenes]
    easy = list(load_easy_vqa("test"))[: args.easy]
    for name, measure in (("policy", measure_policy), ("mas", measure_scorer)):
        if args.only in (None, name):
            print(f"\n| {name} | value |\n|---|---|")
            for row, value in measure(args.models / name, scenes, images, easy).items():
                print(f"| {row} | {value:.3f} |")


if __name__ == "__main__":
    main()
