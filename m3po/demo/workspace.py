"""The demo's images and instructions as a Hugging Face ImageFolder, drawn fresh on the user's machine.

The pictures are drawn rather than shipped: they take seconds to make and megabytes to keep. None of them was used to
train the demo models. The truth (`answer`, `objects`) rides along for evaluation; nothing that picks pairs reads it.
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from m3po.demo.easyvqa import EasyImage, is_negated, load_easy_vqa, subject, to_sentence
from m3po.demo.language import (
    Question,
    absent_strangers,
    ask_colour,
    ask_count,
    ask_describe,
    ask_exist,
    ask_where,
)
from m3po.demo.scenes import PARTNER, SHOWN_SIZE, Scene, render_scene, sample_scene

Row = dict[str, object]

SPLITS = ("train", "tune", "heldout")
EASY_SHARE = 6  # one image in so many is from easy-VQA
SCENES_PER_SEED = 10_000  # seeds of demo scenes stay below 1,000,000; the models' training begins there
ATTRIBUTES = (ask_colour, ask_count, ask_where)
TRAIN_ATTRIBUTES = (ask_colour, ask_count)  # the scorer cannot tell left from right (data/README.md), so it judges none


def scene_questions(scene: Scene, split: str, turn: int, rng: random.Random) -> list[Question]:
    """What is asked about a scene; `turn` rotates the rarer sorts over the images.

    Train and tune: a description and, in turn, a thing that is there or one that is not (an absent partner where
    possible): were the right answers mostly no, a model would learn to say no. Held-out: a description, one of each,
    and an attribute.
    """
    absent = [partner for _, partner in scene.absent_partners()]
    partners = [kind for kind in scene.kinds if kind in PARTNER.values()]
    present = ask_exist(scene, rng.choice(partners or scene.kinds), rng)
    missing = ask_exist(scene, rng.choice(absent or absent_strangers(scene)), rng)
    questions = [ask_describe(scene, rng)]
    if split == "heldout":
        return [*questions, present, missing, ATTRIBUTES[turn % 3](scene, rng)]
    questions.append(present if turn % 2 else missing)
    if turn % 4 < 2:
        questions.append(TRAIN_ATTRIBUTES[turn // 4 % 2](scene, rng))
    return questions


def easy_questions(image: EasyImage, rng: random.Random) -> list[Question]:
    """Up to two questions of an easy-VQA image in sentences, a yes/no one and another; no negated ones."""
    plain = [(q, a) for q, a in image.questions if not is_negated(q)]
    sorts = ([p for p in plain if subject(p[0])], [p for p in plain if not subject(p[0])])
    picked = [rng.choice(sort) for sort in sorts if sort]
    return [Question("easy_vqa", q, to_sentence(q, a), ()) for q, a in picked]


def _scene_rows(count: int, first_seed: int, split: str, folder: Path) -> Iterator[tuple[Scene, Path, list[Row]]]:
    for i in range(count):
        scene = sample_scene(first_seed + i)
        name = f"{split}-scene-{i:04d}.png"
        rng = random.Random(f"questions-{scene.seed}")
        rows = [_row(name, n, q, split, list(scene.kinds)) for n, q in enumerate(scene_questions(scene, split, i, rng))]
        yield scene, folder / name, rows


def _row(name: str, n: int, question: Question, split: str, objects: list[str]) -> Row:
    return {
        "file_name": name,
        "id": f"{Path(name).stem}-{n}",
        "instruction": question.instruction,
        "split": split,
        "answer": question.answer,
        "objects": objects,
        "category": question.category,
    }


def write_demo_source(
    folder: Path, *, n_train: int = 270, n_tune: int = 36, n_heldout: int = 210, seed: int = 0
) -> Path:
    """Write image files and `metadata.jsonl` into `folder` and return it.

    `n_train`, `n_tune` and `n_heldout` count images, a sixth of them from easy-VQA's test split; each image has two
    to four lines of metadata. The same arguments write the same files. Raises ValueError when easy-VQA has too few
    images or a split would need more than 10,000 scenes.
    """
    counts = dict(zip(SPLITS, (n_train, n_tune, n_heldout), strict=True))
    if sum(counts.values()) > SCENES_PER_SEED:
        raise ValueError(f"The demo draws at most {SCENES_PER_SEED} images, {sum(counts.values())} were asked for.")
    easy = list(load_easy_vqa("test"))
    random.Random(f"easy-{seed}").shuffle(easy)
    if sum(n // EASY_SHARE for n in counts.values()) > len(easy):
        raise ValueError(f"easy-VQA has only {len(easy)} test images that the demo can use.")
    folder.mkdir(parents=True, exist_ok=True)
    next_seed = (seed % 90 + 1) * SCENES_PER_SEED
    lines: list[Row] = []
    drawings: list[tuple[Scene, Path]] = []
    for split, count in counts.items():
        n_easy = count // EASY_SHARE
        for scene, path, rows in _scene_rows(count - n_easy, next_seed, split, folder):
            drawings.append((scene, path))
            lines += rows
        next_seed += count - n_easy
        for i in range(n_easy):
            image = easy.pop()
            name = f"{split}-easy-{i:04d}.png"
            shutil.copyfile(image.path, folder / name)
            questions = easy_questions(image, random.Random(f"easy-{seed}-{image.path.stem}"))
            lines += [_row(name, n, q, split, [image.shape]) for n, q in enumerate(questions)]
    with ThreadPoolExecutor(4) as pool:  # shrinking and compressing run outside the interpreter lock
        list(pool.map(_save, drawings))
    (folder / "metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def _save(job: tuple[Scene, Path]) -> None:
    scene, path = job
    render_scene(scene, SHOWN_SIZE, supersample=2).save(path, compress_level=4)
