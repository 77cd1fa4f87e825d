"""How a conversation becomes token ids, the same for sampling, scoring and training.

The prompt is the chat template's rendering up to where the model goes on; an answer is what follows, through
the first end-of-turn token, which is appended where the template renders none (LLaVA-1.5). What people or
models wrote is text: `<image>` or `</s>` in it never becomes the special token of that name.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from m3po.errors import BadInputError, ModelError

Messages = list[dict]
_PROBE = "Yes"


@dataclass(frozen=True)
class AnswerTokens:
    """An answer as the model must say it: `ids`, and for each the offset of its first character in the text.

    Tokens that are not in the text (a blank of the template, the end of turn) have offset 0 or len(text).
    """

    ids: tuple[int, ...]
    offsets: tuple[int, ...]


class ChatFormat:
    """A processor's chat template and tokenizer, and what the template puts around an answer.

    `stop_ids` are the tokens that end an answer: the model's eos tokens and the template's end of turn.
    """

    def __init__(self, processor, eos_ids: Sequence[int]) -> None:
        self.processor = processor
        self.tokenizer = processor.tokenizer
        self.tokenizer.padding_side = "left"
        if self.tokenizer.pad_token_id is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token  # padding is masked: any token will do
        special = {token for token in self.tokenizer.all_special_tokens if len(token) > 1 and not token.isspace()}
        special |= {t.content for t in self.tokenizer.added_tokens_decoder.values() if t.special and len(t.content) > 1}
        longest_first = sorted(special, key=len, reverse=True)
        self._special = re.compile("|".join(map(re.escape, longest_first)) or "(?!)")
        self._lead, self._gap, self._end_id = self._probe_template(eos_ids)
        self.stop_ids = frozenset(eos_ids) | {self._end_id}

    def _probe_template(self, eos_ids: Sequence[int]) -> tuple[str, str, int]:
        """What the template writes before an answer and after it, and the token id that ends the turn."""
        question = [{"role": "user", "content": [{"type": "text", "text": "Is it?"}]}]
        answer = {"role": "assistant", "content": [{"type": "text", "text": _PROBE}]}
        prompt = self.render(question, generation=True)
        whole = self.render([*question, answer], generation=False)
        lead, tail = "", ""
        if whole.startswith(prompt) and _PROBE in whole[len(prompt) :]:
            lead, _, tail = whole[len(prompt) :].partition(_PROBE)
        found = self._special.search(tail)
        if found:
            return lead, tail[: found.start()], self.tokenizer.convert_tokens_to_ids(found.group())
        if self.tokenizer.eos_token_id is not None:
            return lead, "", self.tokenizer.eos_token_id
        if not eos_ids:
            raise ModelError("This model's tokenizer names no end-of-sequence token: add eos_token to its config.")
        return lead, "", min(eos_ids)

    def render(self, messages: Messages, *, generation: bool) -> str:
        """The chat template's text; special tokens that people wrote are broken up by a blank."""
        try:
            return self.processor.apply_chat_template(
                self.break_special(messages),
                add_generation_prompt=generation,
                tokenize=False,
            )
        except Exception as error:  # jinja: what a template demands, it says by raising anything
            raise BadInputError(f"The model's chat template refuses this conversation ({error}).") from error

    def break_special(self, messages: Messages) -> Messages:
        """The same conversation with what people wrote kept text, for a template that somebody else renders."""
        return [_map_texts(message, self._break_special) for message in messages]

    def _break_special(self, text: str) -> str:
        """`<image>` becomes `< image>`: the processor counts placeholders in the text itself."""
        return self._special.sub(lambda match: match.group()[0] + " " + match.group()[1:], text)

    def render_prompt(self, messages: Messages) -> str:
        """The prompt up to where the answer begins. Raises BadInputError if the template refuses it."""
        return self.render(messages, generation=True)

    def encode_prompts(self, texts: Sequence[str], images: Sequence[Sequence[Image.Image]]):
        """Model inputs of rendered prompts, left-padded, image placeholders expanded, images as pixels.

        Either all prompts have images or none has. Raises BadInputError if counts do not match the template.
        """
        nested = [list(row) for row in images]
        try:
            inputs = self.processor(
                text=list(texts),
                images=nested if any(nested) else None,
                padding=True,
                return_tensors="pt",
                add_special_tokens=self._adds_special(texts[0]),
            )
            inputs.pop("labels", None)  # PaliGemma's processor makes some: an answer is no part of a prompt
            return inputs
        except (ValueError, IndexError, TypeError) as error:
            raise BadInputError(f"The model's processor refuses this prompt ({error}).") from error

    def _adds_special(self, prompt: str) -> bool:
        """False where the template itself has written bos: the tokenizer would write a second one."""
        bos = self.tokenizer.bos_token
        return not (bos and prompt.startswith(bos))

    def encode_texts(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of rendered prompts as their tokenizer alone writes them: image placeholders are not expanded."""
        return self.tokenizer(list(texts), add_special_tokens=self._adds_special(texts[0]))["input_ids"]

    def encode_answers(self, prompt: str, answers: Sequence[str], truncated: Sequence[bool]) -> list[AnswerTokens]:
        """Tokens of `answers` after the rendered `prompt`; truncated ones get no end of turn.

        Each is tokenised behind its prompt, so that tokenizers which treat the beginning of a text
        differently give what the model would have said. A truncated answer without any token keeps the end of
        turn: else nothing of it could be scored.
        """
        stripped = [answer.strip() for answer in answers]
        plain = [n for n, text in enumerate(stripped) if text and not self._special.search(text)]
        # Who says nothing ends the turn at once, without the blank that a template puts before words.
        bodies = {n: ([], []) for n, text in enumerate(stripped) if not text}
        if plain:
            starts = [prompt + self._lead] * len(plain)
            ends = [stripped[n] + ("" if truncated[n] else self._gap) for n in plain]
            bodies.update(zip(plain, self._encode_after(prompt, starts, ends), strict=True))
        for n in set(range(len(answers))) - set(bodies):
            bodies[n] = self._encode_plain(self._lead, stripped[n] + ("" if truncated[n] else self._gap))
        out = []
        for n, answer in enumerate(answers):
            ids, offsets = bodies[n]
            shift = len(answer) - len(answer.lstrip()) if stripped[n] else 0
            offsets = [min(max(offset, 0) + shift, len(answer)) for offset in offsets]
            if not truncated[n] or not ids:
                ids, offsets = [*ids, self._end_id], [*offsets, len(answer)]
            out.append(AnswerTokens(tuple(ids), tuple(offsets)))
        return out

    def _encode_after(self, prompt: str, starts: list[str], ends: list[str]):
        """Ids and offsets (from the answer's first character) of what is added to the prompt's ids."""
        special = self._adds_special(prompt)
        encoded = self._encode([prompt, *(s + e for s, e in zip(starts, ends, strict=True))], special)
        head = encoded[0][0]
        for start, end, (ids, offsets) in zip(starts, ends, encoded[1:], strict=True):
            if ids[: len(head)] == head:
                yield ids[len(head) :], [offset - len(start) for offset in offsets[len(head) :]]
            else:  # a merge across the border: the model itself goes on from the prompt's own tokens
                yield self._encode_plain(start[len(prompt) :], end)

    def _encode_plain(self, lead: str, text: str) -> tuple[list[int], list[int]]:
        """Ids and offsets of `lead + text`, with nothing in it read as a special token.

        Encoded behind a line break that is then taken off, as some tokenizers put a blank before a text.
        """
        (newline, _), (ids, offsets) = self._encode(["\n", "\n" + lead + text], False, split_special_tokens=True)
        if ids[: len(newline)] == newline:
            return ids[len(newline) :], [offset - 1 - len(lead) for offset in offsets[len(newline) :]]
        ids, offsets = self._encode([lead + text], False, split_special_tokens=True)[0]
        return ids, [offset - len(lead) for offset in offsets]

    def _encode(self, texts: list[str], add_special_tokens: bool, **options) -> list[tuple[list[int], list[int]]]:
        if self.tokenizer.is_fast:
            encoded = self.tokenizer(
                texts, add_special_tokens=add_special_tokens, return_offsets_mapping=True, **options
            )
            starts = [[start for start, _ in row] for row in encoded["offset_mapping"]]
            return list(zip(encoded["input_ids"], starts, strict=True))
        rows = self.tokenizer(texts, add_special_tokens=add_special_tokens, **options)["input_ids"]
        return [(ids, [len(self.tokenizer.decode(ids[:n])) for n in range(len(ids))]) for ids in rows]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of sampled `ids`, without special tokens and stripped."""
        return self.tokenizer.decode(list(ids), skip_special_tokens=True).strip()


def count_images(messages: Messages) -> int:
    """How many image parts the conversation has."""
    parts = (part for message in messages if not isinstance(message["content"], str) for part in message["content"])
    return sum(part.get("type") == "image" for part in parts)


def _map_texts(message: dict, change) -> dict:
    content = message["content"]
    if isinstance(content, str):
        return {**message, "content": change(content)}
    parts = [{**part, "text": change(part["text"])} if part.get("type") == "text" else part for part in content]
    return {**message, "content": parts}
