"""MAS: how well an answer goes with the image and the instruction, judged by a model other than the policy.

What every scorer offers, and the one registry that finds it by its name's prefix. No torch here: a scorer that asks
a server needs none.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from m3po.errors import UsageError
from m3po.scorer_spec import parse_scorer
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
