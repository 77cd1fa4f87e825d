"""The policy: what it answers when sampled, and how strongly it believes an answer, token by token.

K answers to one instruction share its prefix: image and prompt run through the model once, the key-value
cache is then repeated, and only the answers are computed K times. A model whose cache cannot be repeated
(recurrent layers) takes the plain way, with a warning; results are the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from m3po.errors import BadInputError
from m3po.models.chat import AnswerTokens, Messages, count_images
from m3po.models.decoding import pick_tokens, row_keys, uniforms
from m3po.models.loading import load_policy_model
from m3po.models.memory import LOGIT_BUDGET
from m3po.models.prefix import Prefix, PrefixModel
from m3po.models.reader import Reader

_ROOM = 32  # cache columns allocated ahead while decoding


@dataclass(frozen=True)
class Answer:
    """One sampled answer: decoded and stripped `text`; `token_ids` as drawn, the end of turn included.

    `finish_reason` is "stop" (the model ended its turn) or "length" (cut off by the token limit).
    """

    text: str
    token_ids: tuple[int, ...]
    finish_reason: str


@dataclass(frozen=True)
class TokenScores:
    """An answer's `token_ids`, their `log_probs` in nats at temperature 1, and their character `offsets`.

    The last token is the end of turn (offset len(text)) unless the answer was truncated.
    """

    token_ids: tuple[int, ...]
    log_probs: tuple[float, ...]
    offsets: tuple[int, ...]

    @property
    def n_tokens(self) -> int:
        return len(self.token_ids)

    @property
    def logp_sum(self) -> float:
        return float(np.sum(self.log_probs, dtype=np.float64))


class Policy:
    """An image-text-to-text model that samples answers and scores them. A plain object, one device."""

    def __init__(self, model: torch.nn.Module, processor, name: str = "policy") -> None:
        self.name = name
        self.device = next(model.parameters()).device
        self.reader = Reader.of(model.config, getattr(model, "generation_config", None), processor)
        self.chat = self.reader.chat
        self.core = PrefixModel(model, self.chat, name)

    @property
    def model(self) -> torch.nn.Module:
        """What answers; it may be replaced by a version of itself, e.g. one that carries an adapter."""
        return self.core.model

    @model.setter
    def model(self, model: torch.nn.Module) -> None:
        self.core.model = model

    @property
    def max_positions(self) -> int | None:
        """How many tokens the model reads at most, prompt and answer together; None if it does not say."""
        return self.core.max_positions

    @classmethod
    def load(cls, name: str | Path, adapter: str | Path | None = None, **options) -> Policy:
        """Load from a folder or hub id (see loading.load_policy_model). Raises ModelError in one sentence."""
        model, processor = load_policy_model(name, adapter, **options)
        return cls(model, processor, str(name))

    # ------------------------------------------------------------------ sampling

    def sample(
        self,
        prompts: Sequence[Messages],
        images: Sequence[Sequence[Image.Image]],
        *,
        k: int,
        temperature: float = 1.0,
        top_p: float = 1.0,
        max_new_tokens: int = 128,
        seeds: Sequence[int],
    ) -> list[list[Answer]]:
        """K answers an instruction: `prompts` are chat messages (see m3po.text.build_messages), `images` RGB.

        `seeds` has one integer an instruction: answer j of an instruction depends on its seed, j and the
        model alone, not on its batch (see decoding). Temperature 0 is greedy. An answer ends before the
        model's last position whatever `max_new_tokens` says. Raises BadInputError for a prompt that the model
        cannot read.
        """
        if len(seeds) != len(prompts):
            raise ValueError(f"{len(seeds)} seeds for {len(prompts)} prompts")
        answers: list[list[Answer]] = [[] for _ in prompts]
        keys = row_keys(list(seeds), k).reshape(len(prompts), k)
        for group in self._groups(prompts, images):
            texts = [self.chat.render_prompt(prompts[n]) for n in group]
            rows = self._decode(
                self._expand(texts, [images[n] for n in group], k, room=min(_ROOM, max_new_tokens)),
                keys[group].ravel(),
                temperature,
                top_p,
                max_new_tokens,
            )
            for place, n in enumerate(group):
                answers[n] = rows[place * k : (place + 1) * k]
        return answers

    def greedy(
        self, prompts: Sequence[Messages], images: Sequence[Sequence[Image.Image]], max_new_tokens: int = 128
    ) -> list[Answer]:
        """The most probable continuation of each prompt, token by token."""
        seeds = [0] * len(prompts)
        rows = self.sample(prompts, images, k=1, temperature=0.0, max_new_tokens=max_new_tokens, seeds=seeds)
        return [row[0] for row in rows]

    @torch.inference_mode()
    def stream(
        self,
        prompt: Messages,
        images: Sequence[Image.Image],
        *,
        temperature: float = 0.0,
        max_new_tokens: int = 128,
        seed: int = 0,
    ) -> Iterator[Answer]:
        """The answer that `sample` gives with k = 1 (at temperature 0 that of `greedy`), as far as it is after each of
        its tokens; the last one is whole. Raises BadInputError for a prompt that the model cannot read.
        """
        self._groups([prompt], [images])  # as many images as their places
        text = self.chat.render_prompt(prompt)
        state = self._expand([text], [images], 1, room=min(_ROOM, max_new_tokens))
        for tokens, reasons in self._steps(state, row_keys([seed], 1), temperature, 1.0, max_new_tokens):
            yield Answer(self.chat.decode(tokens[0]), tuple(tokens[0]), reasons[0])

    @torch.inference_mode()
    def _expand(self, texts: list[str], images: list[Sequence[Image.Image]], k: int, room: int) -> Prefix:
        """Prefill each prompt once and repeat it K times; or prefill K times where the cache cannot be
        repeated.
        """
        if self.core.shares is not False:
            prefix = self.core.prefill(texts, images)
            if self.core.can_share(prefix):
                rows = torch.arange(len(texts), device=self.device).repeat_interleave(k)
                return prefix.select(rows, room)
            if k == 1:
                return prefix
        return self.core.prefill([t for t in texts for _ in range(k)], [i for i in images for _ in range(k)])

    @torch.inference_mode()
    def _decode(
        self, state: Prefix, keys: np.ndarray, temperature: float, top_p: float, max_new_tokens: int
    ) -> list[Answer]:
        steps = self._steps(state, keys, temperature, top_p, max_new_tokens)
        del state  # the steps let go of it, and of its cache, when rows end
        for tokens, reasons in steps:  # noqa: B007
            pass
        decode = self.chat.decode
        return [Answer(decode(t), tuple(t), reason) for t, reason in zip(tokens, reasons, strict=True)]

    def _steps(
        self, state: Prefix, keys: np.ndarray, temperature: float, top_p: float, max_new_tokens: int
    ) -> Iterator[tuple[list[list[int]], list[str]]]:
        """After each step the rows' tokens so far and how each ended ("length" until it ends otherwise)."""
        n_rows = len(keys)
        limits = [self._room_after(length, max_new_tokens) for length in state.lengths]
        tokens: list[list[int]] = [[] for _ in range(n_rows)]
        reasons = ["length"] * n_rows
        rows = list(range(n_rows))  # which answer each row of the batch is; None once that has ended
        stop = self.chat.stop_ids
        logits = state.logits
        for step in range(max(limits)):
            u = torch.from_numpy(uniforms(keys, step)).to(self.device, _uniform_dtype(self.device))
            ids = pick_tokens(logits, u, temperature, top_p)
            for place, token in enumerate(ids.tolist()):
                row = rows[place]
                if row is None:
                    continue
                tokens[row].append(token)
                if token in stop:
                    reasons[row] = "stop"
                    rows[place] = None
                elif step + 1 >= limits[row]:
                    rows[place] = None
            yield tokens, reasons
            live = [place for place, row in enumerate(rows) if row is not None]
            if not live:
                return
            # Ended rows are carried along until a fifth of the batch is idle: dropping them copies the cache.
            if len(live) <= 0.8 * len(rows) and self.core.shares:
                kept = torch.tensor(live, device=self.device)
                state, ids, keys = state.select(kept, 0), ids[kept], keys[live]
                rows = [rows[place] for place in live]
            logits = self.core.advance(state, ids[:, None])[:, -1]

    # ------------------------------------------------------------------ log-probs

    @torch.inference_mode()
    def log_probs(
        self,
        prompts: Sequence[Messages],
        images: Sequence[Sequence[Image.Image]],
        answers: Sequence[Sequence[str]],
        truncated: Sequence[Sequence[bool]] | None = None,
    ) -> list[list[TokenScores]]:
        """log pi(y_t | image, prompt, y_<t) of every answer, teacher-forced, softmax in float32, in nats.

        `answers` holds any number of texts an instruction; `truncated` marks those cut off by the token
        limit, which are scored without an end of turn. Raises BadInputError for a prompt or answer that the
        model cannot read.
        """
        truncated = truncated or [[False] * len(row) for row in answers]
        scores: list[list[TokenScores]] = [[] for _ in prompts]
        for group in self._groups(prompts, images):
            texts = [self.chat.render_prompt(prompts[n]) for n in group]
            encoded = [
                self.chat.encode_answers(text, answers[n], truncated[n]) if answers[n] else []
                for text, n in zip(texts, group, strict=True)
            ]
            values = self._score(texts, [images[n] for n in group], encoded)
            for n, row, logps in zip(group, encoded, values, strict=True):
                scores[n] = [TokenScores(t.ids, tuple(v), t.offsets) for t, v in zip(row, logps, strict=True)]
        return scores

    def _score(
        self, texts: list[str], images: list[Sequence[Image.Image]], encoded: list[list[AnswerTokens]]
    ) -> list[list[list[float]]]:
        if self.core.shares is False:
            return self._score_plainly(texts, images, encoded)
        prefix = self.core.prefill(texts, images)
        for length, row in zip(prefix.lengths, encoded, strict=True):
            self.core.check_length(length + max((len(t.ids) for t in row), default=0))
        if not self.core.can_share(prefix):
            del prefix
            return self._score_plainly(texts, images, encoded)
        values: list[list[list[float]]] = [[[] for _ in row] for row in encoded]
        # Answers of like length go together, so that little of a batch is padding.
        flat = sorted(
            ((n, m) for n, row in enumerate(encoded) for m in range(len(row))),
            key=lambda p: _size(encoded, p),
        )
        first = torch.log_softmax(prefix.logits.float(), -1)
        for chunk in _chunks(flat, encoded, self.core.vocabulary):
            sequences = [encoded[n][m].ids for n, m in chunk]
            rows = torch.tensor([n for n, _ in chunk], device=self.device)
            ids = torch.zeros(len(chunk), max(map(len, sequences)), dtype=torch.long, device=self.device)
            for place, sequence in enumerate(sequences):
                ids[place, : len(sequence)] = torch.tensor(sequence)
            logps = first[rows].gather(1, ids[:, :1])
            if ids.shape[1] > 1:
                real = torch.tensor([len(s) for s in sequences], device=self.device)[:, None]
                fed = torch.arange(ids.shape[1] - 1, device=self.device)[None] < real - 1
                logits = self.core.advance(prefix.select(rows), ids[:, :-1], fed.long())
                logps = torch.cat([logps, _gather_log_probs(logits, ids[:, 1:])], 1)
            for (n, m), row in zip(chunk, logps.tolist(), strict=True):
                values[n][m] = row[: len(encoded[n][m].ids)]
        return values

    def _score_plainly(
        self, texts: list[str], images: list[Sequence[Image.Image]], encoded: list[list[AnswerTokens]]
    ) -> list[list[list[float]]]:
        """One forward an answer over prompt and answer together: the way that every architecture goes."""
        values = []
        for text, row_images, row in zip(texts, images, encoded, strict=True):
            inputs = self.core.encode([text], [row_images])
            logps = []
            for answer in row:
                self.core.check_length(inputs["input_ids"].shape[1] + len(answer.ids))
                logits = self.core.score_whole(inputs, answer.ids)
                logps.append(_gather_log_probs(logits, torch.tensor([answer.ids], device=self.device))[0].tolist())
            values.append(logps)
        return values

    # ------------------------------------------------------------------ the model

    def _groups(self, prompts: Sequence[Messages], images: Sequence[Sequence[Image.Image]]) -> list[list[int]]:
        """Indices of prompts with images and of those without: a processor takes either, not both at once."""
        if len(images) != len(prompts):
            raise ValueError(f"{len(images)} lists of images for {len(prompts)} prompts")
        for n, (messages, row) in enumerate(zip(prompts, images, strict=True)):
            if count_images(messages) != len(row):
                raise BadInputError(
                    f"Prompt {n} of the batch has {count_images(messages)} image parts, {len(row)} images: "
                    "give one image a part."
                )
        with_images = [n for n, row in enumerate(images) if row]
        without = [n for n, row in enumerate(images) if not row]
        return [group for group in (with_images, without) if group]

    def _room_after(self, length: int, wanted: int) -> int:
        return wanted if self.max_positions is None else max(1, min(wanted, self.max_positions - length))


def _gather_log_probs(logits: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """log softmax(logits)[ids] in float32: (rows, T, V) and (rows, T) -> (rows, T)."""
    logits = logits.float()
    return logits.gather(-1, ids[..., None])[..., 0] - logits.logsumexp(-1)


def _size(encoded: list[list[AnswerTokens]], place: tuple[int, int]) -> int:
    return len(encoded[place[0]][place[1]].ids)


def _chunks(places: list[tuple[int, int]], encoded: list[list[AnswerTokens]], vocabulary: int):
    """Cut the answers, sorted by length, into batches whose logits stay within the budget."""
    chunk: list[tuple[int, int]] = []
    for place in places:
        if chunk and (len(chunk) + 1) * _size(encoded, place) * vocabulary > LOGIT_BUDGET:
            yield chunk
            chunk = []
        chunk.append(place)
    if chunk:
        yield chunk


def _uniform_dtype(device: torch.device) -> torch.dtype:
    return torch.float32 if device.type == "mps" else torch.float64
