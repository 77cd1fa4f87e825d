"""How the category of a row's truth says which benchmark it belongs to: formats write it and evaluation reads it."""

from __future__ import annotations

POPE_WAYS = ("random", "popular", "adversarial")  # how POPE drew the objects that are absent
# Where POPE's questions come from. A file that does not say is of MS-COCO, as the published ones are.
POPE_DATASETS = {"": "POPE (COCO)", "gqa": "POPE (GQA)", "aokvqa": "POPE (A-OKVQA)", "own": "POPE (own images)"}
MME_PERCEPTION = (
    "existence", "count", "position", "color", "posters", "celebrity", "scene", "landmark", "artwork", "OCR",
)  # fmt: skip
MME_COGNITION = ("commonsense_reasoning", "numerical_calculation", "text_translation", "code_reasoning")
OWN_WAYS = {"exist_random": "random", "exist_popular": "popular", "exist_partner_absent": "adversarial"}
OWN_PRESENT = "exist_present"  # of a workspace's own yes/no questions, which share those whose object is there


def pope_category(way: str = "", dataset: str = "") -> str:
    """Of the questions of one of POPE's files; their figures' keys begin alike. `way` "": the file does not tell."""
    return "_".join(part for part in ("pope", dataset, way) if part)


def mme_category(name: str) -> str:
    """Of the questions of MME's category `name`; its figures' keys begin alike."""
    return f"mme_{name.lower()}"


POPE_CATEGORIES = {
    pope_category(way, dataset): (dataset, way) for dataset in POPE_DATASETS for way in POPE_WAYS
} | {pope_category(): ("", "")}  # fmt: skip
MME_CATEGORIES = {mme_category(name): name for name in (*MME_PERCEPTION, *MME_COGNITION)}
BENCHMARKS = frozenset({*POPE_CATEGORIES, *MME_CATEGORIES})
