"""When two answers are the same answer, and how a conversation is written for a chat template."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Sequence

from m3po.types import Turn


def same_answer_key(text: str) -> str:
    """Answers with equal keys are one candidate: NFC, white space folded to single blanks, ends stripped."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def asked_content(shas: Sequence[str], system: str, turns: Sequence[Turn], instruction: str, split: str | None) -> str:
    """What a row asks, as JSON: rows of one id are the same row when this is equal. Its candidates may grow."""
    content = [list(shas), system, [[turn.role, turn.text] for turn in turns], instruction, split]
    return json.dumps(content, ensure_ascii=False)


def build_messages(instruction: str, n_images: int, *, system: str = "", turns: Sequence[Turn] = ()) -> list[dict]:
    """The prompt as chat messages with content parts; the images go first into the first user turn.

    The answer is not part of it: samplers, scorers and trainers append it in one and the same way.
    """
    messages: list[dict] = []
    if system:
        messages.append({"role": "system", "content": [{"type": "text", "text": system}]})
    user_and_assistant = [*turns, Turn("user", instruction)]
    images_left = n_images
    for turn in user_and_assistant:
        content: list[dict] = []
        if turn.role == "user" and images_left:
            content += [{"type": "image"}] * images_left
            images_left = 0
        content.append({"type": "text", "text": turn.text})
        messages.append({"role": turn.role, "content": content})
    return messages
