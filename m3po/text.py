"""When two answers are the same answer, and how a conversation is written for a chat template."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from m3po.types import Turn


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


def override_prompt(messages: list[dict], *, system: str | None = None, template: str | None = None) -> list[dict]:
    """The messages with another `system` text, and the last user turn put into `template` at {instruction}.

    None leaves a part as it is; nothing but {instruction} has a meaning in a template.
    """
    out = [dict(message) for message in messages]
    if template is not None:
        last = next(message for message in reversed(out) if message["role"] == "user")
        last["content"] = [
            {**part, "text": template.replace("{instruction}", part["text"])} if part["type"] == "text" else part
            for part in last["content"]
        ]
    if system is not None:
        own = {"role": "system", "content": [{"type": "text", "text": system}]}
        out = [own, *[message for message in out if message["role"] != "system"]]
    return out
