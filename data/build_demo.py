"""Build the two demo models, data/policy and data/mas, from nothing but seeds and the package easy-vqa.

    PYTHONPATH=. python data/build_demo.py                 # everything
    PYTHONPATH=. python data/build_demo.py --part policy   # or one model, or one of PARTS below
    PYTHONPATH=. python data/build_demo.py --cache DIR     # where drawn images and the towers are kept meanwhile

The policy is a LLaVA in small: a CLIP vision tower that is first taught to see (`see.py`), then frozen while a
projector and a small Llama learn to speak (`speak.py`), with the planted habit of naming absent partners
(m3po/demo/language.py). The scorer is a CLIP of its own, from another initialisation and other scenes, taught to rank
the right answer above answers with one wrong fact (`align.py`); it never meets a text of the habit.

Takes about an hour on two idle CPU cores and 4 GB of memory. `data/measure_demo.py` measures the result.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from align import build_scorer, save_scorer, train_ranking
from see import build_vision_config, train_tower, view_all
from speak import Pairs, build_policy, build_tokenizer, encode_images, save_policy, train_speech
from transformers import CLIPVisionModel

from m3po.demo.easyvqa import EasyImage, is_negated, load_easy_vqa, to_sentence
from m3po.demo.language import ask_everything, speak_by_habit
from m3po.demo.scenes import sample_scene

HERE = Path(__file__).parent
N_SCENES = 20_000
# Seeds of scenes: far apart, so that no picture of one use appears in another. Workspaces draw from below
# 1,000,000.
FIRST_SEED = {"policy": 1_000_000, "mas": 2_000_000, "measure": 3_000_000}
RATES = (0.75, 0.4)  # how often a host comes first, and how often it brings its partner
VOCABULARY = 640
PARTS = ("policy-tower", "policy-speech", "mas-tower", "mas-ranking")


def scene_seeds(use: str, n: int = N_SCENES) -> list[int]:
    return list(range(FIRST_SEED[use], FIRST_SEED[use] + n))


def demo_texts() -> Iterator[str]:
    """Texts from which the tokenizers learn their words."""
    for seed in scene_seeds("policy", 2_000):
        for q in ask_everything(sample_scene(seed, *RATES), random.Random(seed)):
            yield from (q.instruction, q.answer, *(text for _, text in q.wrong))
    for image in load_easy_vqa("train")[:500]:
        for question, answer in image.questions:
            yield from (question, to_sentence(question, answer))


def easy_pairs(image: EasyImage, rng: random.Random, n: int = 6) -> Pairs:
    """`n` questions of an easy-VQA image with their answers in sentences; few of the negated ones."""
    pool = [(q, a) for q, a in image.questions if not is_negated(q) or rng.random() < 0.4]
    return [(q, to_sentence(q, a)) for q, a in rng.sample(pool, min(n, len(pool)))]


def load_views(use: str, cache: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """Training pixels and boxes of `use`: its scenes, then easy-VQA's train images; drawn once, kept in
    `cache`."""
    path = cache / f"views-{use}.pt"
    if not path.exists():
        torch.save(view_all(scene_seeds(use), load_easy_vqa("train"), RATES), path)
    return torch.load(path)


def build_tower(use: str, cache: Path, width: int, layers: int, heads: int, steps: int, seed: int) -> None:
    pixels, boxes = load_views(use, cache)
    torch.manual_seed(seed)
    tower = CLIPVisionModel(build_vision_config(width, layers, heads))
    train_tower(tower, pixels, boxes, N_SCENES, steps, seed=seed)
    torch.save(tower.state_dict(), cache / f"tower-{use}.pt")


def build_policy_speech(cache: Path, out: Path, steps: int) -> None:
    pixels, _ = load_views("policy", cache)
    easy, seeds = load_easy_vqa("train"), scene_seeds("policy")
    torch.manual_seed(2)
    tokenizer = build_tokenizer(demo_texts(), VOCABULARY, 1024, wrap=False)
    model = build_policy(tokenizer)
    model.model.vision_tower.load_state_dict(torch.load(cache / "tower-policy.pt"))
    features = encode_images(model.model.vision_tower, pixels)

    def ask(i: int, rng: random.Random) -> Pairs:
        if i < N_SCENES:
            return speak_by_habit(sample_scene(seeds[i], *RATES), rng)
        return easy_pairs(easy[i - N_SCENES], rng)

    train_speech(model, tokenizer, features, N_SCENES, ask, steps, seed=3)
    save_policy(model, tokenizer, out / "policy")


def build_mas_ranking(cache: Path, out: Path, steps: int) -> None:
    pixels, _ = load_views("mas", cache)
    torch.manual_seed(5)
    tokenizer = build_tokenizer(demo_texts(), VOCABULARY, 128, wrap=True)
    model = build_scorer(tokenizer)
    model.vision_model.load_state_dict(torch.load(cache / "tower-mas.pt"))
    train_ranking(
        model,
        tokenizer,
        pixels,
        [sample_scene(s, *RATES) for s in scene_seeds("mas")],
        load_easy_vqa("train"),
        steps,
        seed=6,
    )
    save_scorer(model, tokenizer, out / "mas")


def main() -> None:
    parser = argparse.ArgumentParser(description="Build the demo models.")
    parser.add_argument("--part", choices=("all", "policy", "mas", *PARTS), default="all")
    parser.add_argument("--out", type=Path, default=HERE, help="folder that gets policy/ and mas/ (default: data/)")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "m3po-demo-cache")
    parser.add_argument("--tower-steps", type=int, default=1300)
    parser.add_argument("--speech-steps", type=int, default=1100)
    parser.add_argument("--ranking-steps", type=int, default=800)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    args.cache.mkdir(parents=True, exist_ok=True)
    steps = {
        "policy-tower": lambda: build_tower("policy", args.cache, 128, 4, 4, args.tower_steps, seed=1),
        "policy-speech": lambda: build_policy_speech(args.cache, args.out, args.speech_steps),
        "mas-tower": lambda: build_tower("mas", args.cache, 128, 4, 4, args.tower_steps, seed=4),
        "mas-ranking": lambda: build_mas_ranking(args.cache, args.out, args.ranking_steps),
    }
    for part in PARTS:
        if args.part in ("all", part) or part.startswith(f"{args.part}-"):
            started = time.time()
            steps[part]()
            print(f"{part}: {(time.time() - started) / 60:.1f} minutes", flush=True)


if __name__ == "__main__":
    main()
