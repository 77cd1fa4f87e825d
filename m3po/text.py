"""When two answers are the same answer, and how a conversation is written for a chat template."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from m3po.types import Turn

_SENTENCE_END = re.compile(r"(?<=[.!?。！？])\s+|\n+")


def same_answer_key(text: str) -> str:
    """Answers with equal keys are one candidate: NFC, white space folded to single blanks, ends stripped."""
    return " ".join(unicodedata.normalize("NFC", text).split())


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


def last_instruction(messages: Sequence[dict]) -> str:
    """The text of a conversation's last user turn."""
    content = next(m["content"] for m in reversed(messages) if m["role"] == "user")
    if isinstance(content, str):
        return content
    return " ".join(part["text"] for part in content if part["type"] == "text")


def split_sentences(text: str) -> list[str]:
    """The sentences of a text, stripped: a cut after `.`, `!` or `?` before white space, and at line breaks."""
    return [part.strip() for part in _SENTENCE_END.split(text) if part.strip()]
