"""MAS: how well an answer goes with the image and the instruction, judged by a model other than the policy.

What every scorer offers, and the one registry that finds it by its name's prefix. No torch here: a scorer that asks
a server needs none.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from m3po.errors import UsageError
from m3po.models.checks import judges_of
from m3po.scorer_spec import parse_scorer
from m3po.settings import ScoreConfig
from m3po.types import Judgement

if TYPE_CHECKING:
    from PIL import Image


class AlignmentScorer(Protocol):
    """What a MAS model must offer. `scorer_range` is (lowest, highest) of its scores; higher is better
    aligned. `needs_image` (True where a scorer does not say): it cannot judge an instruction without one.
    """

    name: str
    scorer_range: tuple[float, float]

    def score(
        self,
        prompts: Sequence[list[dict]],
        images: Sequence[Sequence[Image.Image]],
        answers: Sequence[Sequence[str]],
    ) -> list[list[Judgement]]:
        """One judgement an answer; `prompts` are chat messages (see m3po.text.build_messages), `images` RGB.

        Raises BadInputError for what it cannot judge.
        """
        ...


def load_scorer(spec: str | Path, **options) -> AlignmentScorer:
    """The scorer that `spec` names (see m3po.scorer_spec); `options` are those of its own loading function.

    Raises UsageError for a name that means nothing, ModelError in one sentence for a model that cannot be used.
    """
    parsed = parse_scorer(str(spec))
    part = parsed.parts[0]
    if parsed.is_mean or part.kind == "column":
        raise UsageError(f"{spec} is computed from stored values; no model is loaded for it.")
    if part.kind in ("", "clip", "siglip"):
        from m3po.models.contrastive import load_contrastive

        return load_contrastive(part.model, part.kind, **options)
    if part.kind in ("vqa", "claims"):
        from m3po.models.judges import load_judge

        return load_judge(part, **options)
    from m3po.models.remote_judge import load_remote_judge

    return load_remote_judge(part.text, **options)


def load_configured(config: ScoreConfig, check: Callable[[str, str | None], None]) -> AlignmentScorer:
    """The scorer that a scoring's config names, a judge with its model options; a mean with all its parts, for new
    answers, which have no stored values. `check` is called with model and adapter of each judge before it is loaded."""
    spec = parse_scorer(config.mas)
    if spec.is_mean:
        parts = [load_configured(dataclasses.replace(config, mas=part.text), check) for part in spec.parts]
        return MeanScorer(spec.text, list(zip(spec.shares, parts, strict=True)))
    judges = judges_of(config)
    for name, adapter in judges:
        check(name, adapter)
    return load_scorer(config.mas, **({"options": config} if judges else {}))


class MeanScorer:
    """The weighted mean of several scorers, each scaled to [0, 1] by its range, as the stored mean is."""

    scorer_range = (0.0, 1.0)

    def __init__(self, name: str, parts: Sequence[tuple[float, AlignmentScorer]]) -> None:
        """`parts`: share (they sum to 1) and scorer."""
        self.name = name
        self._parts = list(parts)
        self.needs_image = any(getattr(scorer, "needs_image", True) for _, scorer in self._parts)

    def score(
        self,
        prompts: Sequence[list[dict]],
        images: Sequence[Sequence[Image.Image]],
        answers: Sequence[Sequence[str]],
    ) -> list[list[Judgement]]:
        sums = [[0.0] * len(texts) for texts in answers]
        for share, scorer in self._parts:
            low, high = scorer.scorer_range
            for row, judged in enumerate(scorer.score(prompts, images, answers)):
                for place, judgement in enumerate(judged):
                    sums[row][place] += share * (judgement.score - low) / (high - low)
        return [[Judgement(value) for value in row] for row in sums]
