"""MME: two yes/no questions an image, in 14 categories; the official folder, or `lmms-lab/MME` on the hub.

The official folder has a folder a category; in it, or in its `questions_answers_YN/` beside `images/`, a text file an
image with two lines `question TAB Yes|No`. Truth to evaluate against: rows that name no split are held out.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from m3po.categories import MME_CATEGORIES, mme_category
from m3po.errors import BadInputError
from m3po.formats.pictures import image_list
from m3po.formats.rows import Fields

COLUMNS = {
    "id": ("id", "question_id"), "image": ("image",), "instruction": ("question",), "answer": ("answer",),
    "category": ("category",), "split": ("split",),
}  # fmt: skip
QUESTIONS = 2  # an image
MME_NAMES = tuple(MME_CATEGORIES.values())
_TEXTS, _IMAGES = "questions_answers_YN", "images"
_SUFFIXES = (".jpg", ".png", ".jpeg", ".bmp", ".webp")


def parse(record: dict, source: str) -> Fields:
    question, answer = record.get("question"), record.get("answer")
    if question is None:
        raise BadInputError("it has no question; add it under that key")
    if not isinstance(answer, str) or answer.strip().lower() not in ("yes", "no"):
        raise BadInputError(f"its answer is {answer!r:.60}; write Yes or No")
    images = image_list(record, ("image",))
    if not images:
        raise BadInputError("it names no image; add it under image")
    category = mme_category(str(record.get("category")))
    if category not in MME_CATEGORIES:
        raise BadInputError(f"its category is {record.get('category')!r:.60}; MME has {', '.join(MME_NAMES)}")
    answer = answer.strip().lower()
    id, name = record.get("id"), record.get("question_id")
    if id is None and name is not None:  # of an image, so that its two questions share it
        id = f"{name}#{record.get('line') or answer}"
    return {
        "id": id,
        "images": images,
        "instruction": question,
        "answer": answer,
        "category": category,
        "split": record.get("split") or "heldout",
    }


def recognises(record: dict) -> bool:
    return "question" in record and "answer" in record and mme_category(str(record.get("category"))) in MME_CATEGORIES


def category_folders(folder: Path) -> list[Path]:
    """The folders of MME's categories in `folder` that hold questions; empty where it is no MME."""
    return [path for path in _named_folders(folder) if any(_texts(path).glob("*.txt"))]


def _named_folders(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.iterdir()) if path.is_dir() and mme_category(path.name) in MME_CATEGORIES]


def read_folder(folder: Path) -> Iterator[tuple[str, object]]:
    """Yield (row name, record), or a BadInputError in the place of a record that cannot be read."""
    for category in _named_folders(folder):
        texts = sorted(_texts(category).glob("*.txt"))
        if not texts:
            yield category.name, BadInputError("the category has no questions; add the text files of its images")
        for path in texts:
            name = path.relative_to(folder).as_posix()
            try:
                lines = [line for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
                image = _image_of(category, path)
                if len(lines) != QUESTIONS:
                    raise BadInputError(f"it has {len(lines)} lines where MME has two questions an image")
            except (OSError, UnicodeDecodeError, BadInputError) as error:
                problem = error if isinstance(error, BadInputError) else BadInputError(f"it cannot be read: {error}")
                yield name, problem
                continue
            for number, line in enumerate(lines, 1):
                question, _, answer = line.rpartition("\t")
                named = {"question_id": f"{category.name}/{image.name}", "line": number, "category": category.name}
                told = {"image": image.relative_to(folder).as_posix(), "question": question, "answer": answer}
                bare = BadInputError("it has no tab between question and answer")
                yield f"{name} line {number}", named | told if question.strip() else bare


def _texts(category: Path) -> Path:
    return category / _TEXTS if (category / _TEXTS).is_dir() else category


def _image_of(category: Path, text: Path) -> Path:
    places = (category / _IMAGES, category) if (category / _IMAGES).is_dir() else (category,)
    for place in places:
        for suffix in (*_SUFFIXES, *map(str.upper, _SUFFIXES)):
            if (found := place / f"{text.stem}{suffix}").is_file():
                return found
    raise BadInputError(f"no image {text.stem}.jpg or .png lies beside it")
