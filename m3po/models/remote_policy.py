"""A policy behind an OpenAI-compatible server: K answers an instruction, with what the server says of their log-prob.

Such a log-prob is stored beside and never as our own: servers differ in precision, in the tokens they count and in
whether temperature is applied, so a pair is scored here before it is trained on.
"""

from __future__ import annotations

import asyncio
import base64
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field

from m3po.errors import BadInputError
from m3po.models.remote import FailedRequest, RemoteClient

_ENDED = {"stop": "stop", "eos_token": "stop", "stop_sequence": "stop", "length": "length"}
_MOST_TOKENS = 2**40
_LEAST = -1e6  # vLLM writes -9999 for a token that could not be drawn
_ROUNDING = 1e-3  # nats: half precision may put a sure token's log-prob that far above 0
_MOST_BYTES = 400_000  # as an import takes 100,000 characters
_SEEDS = 2**31  # what every server takes: some hold a seed in 32 bits


@dataclass(frozen=True)
class RemoteAnswer:
    """One sampled answer; `logp_sum` in nats over `n_tokens` tokens as the server counts them, None where it is mute.

    `finish_reason` is "stop" (the model ended its turn) or "length" (cut off by the token limit).
    """

    text: str
    finish_reason: str
    logp_sum: float | None = None
    n_tokens: int | None = None


@dataclass
class RemoteAnswers:
    """The answers to one instruction and the tokens that they cost; None where the server does not count them."""

    answers: list[RemoteAnswer] = field(default_factory=list)
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


def image_url(data: bytes, name: str) -> dict:
    """An image as the part of a message that holds it whole."""
    kind = {"jpg": "jpeg"}.get(ending := name.rpartition(".")[2].lower(), ending or "png")
    return {"type": "image_url", "image_url": {"url": f"data:image/{kind};base64,{base64.b64encode(data).decode()}"}}


def with_images(messages: Sequence[dict], images: Sequence[dict]) -> list[dict]:
    """Chat messages (m3po.text.build_messages) with `images` (see image_url) in the places of their image parts.

    Content that is text alone is plain text, as servers without images want it. Raises BadInputError where the number
    of images is not that of the places.
    """
    left = list(images)
    out = []
    for message in messages:
        content = message["content"]
        if not isinstance(content, str):
            places = sum(part["type"] == "image" for part in content)
            if places > len(left):
                raise BadInputError(f"The prompt has more image parts than its {len(images)} images.")
            if places:
                content = [left.pop(0) if part["type"] == "image" else dict(part) for part in content]
            else:
                content = "\n".join(part["text"] for part in content)
        out.append({"role": message["role"], "content": content})
    if left:
        raise BadInputError(f"The prompt has fewer image parts than its {len(images)} images.")
    return out


class RemotePolicy:
    """Samples from a server that may give K answers at once, or only one whatever it is asked for."""

    def __init__(self, client: RemoteClient) -> None:
        self.client = client

    async def sample(
        self,
        messages: list[dict],
        *,
        k: int,
        temperature: float,
        top_p: float,
        max_new_tokens: int,
        seed: int,
    ) -> RemoteAnswers:
        """K answers to `messages` (see with_images); the j-th request of an instruction has the seed `seed + j`.

        Fewer come back where the server withheld some. Raises FailedRequest where there is none, and what the client
        raises.
        """
        settings = {"temperature": temperature, "top_p": top_p, "max_tokens": max_new_tokens}
        found = RemoteAnswers()
        replies: list[dict] = []
        lacks = self.client.lacks
        if "n" not in lacks:
            replies.append(await self._ask(messages, k, seed, settings))
            if k > 1 and len(replies[0]["choices"]) == 1 and "n" not in lacks:
                lacks.add("n")
                warnings.warn(
                    f"{self.client.remote.url} gives one answer whatever n asks for: each is asked for on its own.",
                    stacklevel=1,
                )
        missing = k - sum(len(reply["choices"]) for reply in replies)
        if missing > 0:
            done = k - missing
            replies += await _gather([self._ask(messages, 1, seed + j, settings) for j in range(done, k)])
        for reply in replies:
            for choice in reply["choices"]:
                answer = _read_choice(choice, max_new_tokens)
                if answer is None:
                    warnings.warn(
                        f"{self.client.remote.url} withheld answers (finish_reason "
                        f"{str(choice.get('finish_reason'))!r:.40}): such are left out.",
                        stacklevel=1,
                    )
                elif len(found.answers) < k:
                    found.answers.append(answer)
            _add_usage(found, reply.get("usage"))
        if not found.answers:
            raise FailedRequest(f"{self.client.remote.url} gave no answer to it.")
        return found

    async def _ask(self, messages: list[dict], n: int, seed: int, settings: dict) -> dict:
        body = {"messages": messages, "n": n, "logprobs": True, "seed": seed % _SEEDS, **settings}
        reply = await self.client.chat(body, optional=("n", "logprobs", "seed"))
        return reply | {"choices": [choice for choice in reply["choices"] if isinstance(choice, dict)][:n]}


async def _gather(requests: list) -> list[dict]:
    """All or none: where one raises, the others are called off."""
    tasks = [asyncio.ensure_future(request) for request in requests]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


def _read_choice(choice: dict, limit: int) -> RemoteAnswer | None:
    """None for an answer that was withheld, broken off for another reason than its length, or cannot be stored."""
    message = choice.get("message")
    text = message.get("content") if isinstance(message, dict) else None
    logp_sum, n_tokens = _read_log_probs(choice.get("logprobs"))
    reason = choice.get("finish_reason")
    if reason is None:  # not told: an answer as long as the limit was cut off by it
        reason = "length" if n_tokens is not None and n_tokens >= limit else "stop"
    if not isinstance(text, str) or not isinstance(reason, str) or reason not in _ENDED or not _is_storable(text):
        return None
    return RemoteAnswer(text.strip(), _ENDED[reason], logp_sum, n_tokens)


def _is_storable(text: str) -> bool:
    """As an import takes a text: no half of a surrogate pair, which UTF-8 cannot hold, no NUL, and not too long."""
    try:
        return "\0" not in text and len(text.encode("utf-8")) <= _MOST_BYTES
    except UnicodeEncodeError:
        return False


def _read_log_probs(value: object) -> tuple[float | None, int | None]:
    content = value.get("content") if isinstance(value, dict) else None
    if not isinstance(content, list) or not content:
        return None, None
    logps = [entry.get("logprob") if isinstance(entry, dict) else None for entry in content]
    if not all(map(is_log_prob, logps)):
        return None, None
    return min(math.fsum(logps), 0.0), len(logps)


def is_log_prob(value: object) -> bool:
    """A finite number that the log of a probability can be, but for the last bits of what a server computed."""
    return isinstance(value, int | float) and not isinstance(value, bool) and _LEAST <= value <= _ROUNDING


def _add_usage(found: RemoteAnswers, usage: object) -> None:
    for name in ("prompt_tokens", "completion_tokens"):
        value = usage.get(name) if isinstance(usage, dict) else None
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _MOST_TOKENS:
            setattr(found, name, (getattr(found, name) or 0) + value)
