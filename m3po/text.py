"""When two answers are the same answer, which characters can be stored, and how a conversation is written for a chat
template."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Sequence

from m3po.errors import BadInputError
from m3po.types import Turn

_SLICES = re.compile(r"(sha256:[0-9a-f]{16})\.[0-9a-f]{16}")
_TURNING = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
_BLANK = "\u115f\u1160\u2800\u3164\uffa0"  # letters and signs by category, and nothing to see
_JOINERS = "\u200c\u200d"  # in Persian and Hindi words, and in emoji
_SENTENCE_END = re.compile(r"(?<=[.!?。！？])\s+|\n+")


def same_answer_key(text: str) -> str:
    """Answers with equal keys are one candidate: NFC, white space folded to single blanks, ends stripped."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def is_plain(text: str) -> bool:
    """Whether it can be shown and stored as it is: no control character, no half of a surrogate pair, nothing that
    turns the direction of what stands around it."""
    return not any(unicodedata.category(c) in ("Cc", "Cs") or c in _TURNING for c in text)


def is_visible(text: str) -> bool:
    """Whether there is anything to see: one letter, digit, punctuation mark or symbol at least."""
    return any(unicodedata.category(c)[0] in "LNPS" and c not in _BLANK for c in text)


def check_word(word: str, what: str, limit: int) -> None:
    """Raises BadInputError for what is no short text of one line."""
    if not word:
        raise BadInputError(f"{what} is empty: write a word or two.")
    if len(word) > limit:
        raise BadInputError(f"{what} has {len(word):,} characters: shorten it to {limit}.")
    unseen = any(unicodedata.category(c) == "Cf" and c not in _JOINERS for c in word)  # two words that look like one
    if unseen or not (is_plain(word) and is_visible(word)):
        raise BadInputError(f"{what} holds a character that cannot be shown: leave it out.")


def check_note(text: str, what: str) -> None:
    """Raises BadInputError for what is no text of some lines to read; an empty one is."""
    plain = is_plain(re.sub(r"[\r\n\t]", " ", text))
    if not plain or (text.strip() and not is_visible(text)):
        raise BadInputError(f"{what} holds a character that cannot be shown: leave it out.")


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


def last_instruction(messages: Sequence[dict]) -> str:
    """The text of a conversation's last user turn."""
    content = next(m["content"] for m in reversed(messages) if m["role"] == "user")
    if isinstance(content, str):
        return content
    return " ".join(part["text"] for part in content if part["type"] == "text")


def split_sentences(text: str) -> list[str]:
    """The sentences of a text, stripped: a cut after `.`, `!` or `?` before white space, and at line breaks."""
    return [part.strip() for part in _SENTENCE_END.split(text) if part.strip()]


def split_claims(text: str) -> list[str]:
    """The statements that an answer makes, in order, by rule and without a model.

    Each sentence is cut at `;`, and at the word "and" where three words or more stand on either side ("The boat is
    red and the fish is blue" makes two, "black and white" stays one), but not behind "between" or "both", whose "and"
    joins two names of one statement. What holds no letter and no digit is no claim.
    """
    claims = []
    for sentence in split_sentences(text):
        for clause in sentence.split(";"):
            claims += _split_at_and(clause.split())
    return [claim for claim in claims if any(character.isalnum() for character in claim)]


def _split_at_and(words: list[str]) -> list[str]:
    parts, start = [], 0
    for place, word in enumerate(words):
        left, right = words[start:place], words[place + 1 :]
        joins = {"between", "both"} & {other.lower() for other in left}
        if word.lower() == "and" and len(left) >= 3 and len(right) >= 3 and not joins:
            parts.append(" ".join(left).rstrip(","))
            start = place + 1
    return [*parts, " ".join(words[start:])]


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


def earlier_fingerprint(fingerprint: str) -> str:
    """As versions wrote it that read the ends of weights alone (m3po.models.fingerprint)."""
    return _SLICES.sub(r"\1", fingerprint)


def same_model(stored: str, fingerprint: str) -> bool:
    """Whether a stored fingerprint names this model, as far as the version that stored it looked."""
    return stored in (fingerprint, earlier_fingerprint(fingerprint))


def counted(count: int, one: str, many: str | None = None) -> str:
    """`1 pair`, `2 pairs`, `1,000 pairs`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def check_characters(value: str, what: str) -> None:
    """Refuse what UTF-8 cannot hold, and NUL, which ends a text in half of all tools."""
    if "\0" in value:
        raise BadInputError(f"{what} holds a NUL character; remove it")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise BadInputError(f"{what} holds half of a surrogate pair; write the whole character") from None


def check_typed(value: str, what: str) -> None:
    """As check_characters, for what a person typed: the error is a whole sentence."""
    try:
        check_characters(value, what)
    except BadInputError as error:
        raise BadInputError(f"{error}.") from None
