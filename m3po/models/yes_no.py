"""How sure a model is of "yes": the next token's distribution after a question, for many questions about one image.

What the questions about an image have in common (the image itself, the instruction) runs through the model once;
its cache is then repeated, and only what differs is computed for each, as for answers (m3po.models.policy).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import torch
from PIL import Image

from m3po.errors import ModelError
from m3po.models.chat import Messages
from m3po.models.memory import JUDGE_ROWS, JUDGE_TOKENS
from m3po.models.policy import Policy

YES, NO = ("yes", "Yes", "YES"), ("no", "No", "NO")
_BLANKS = ("▁", "Ġ", " ")  # how SentencePiece and byte-level tokenizers write the blank before a word
_LITTLE = 0.05


class YesNo:
    """P(yes) of questions, by the model of a Policy.

    P(yes) = sum of P(t) over the tokens t that say yes, divided by the same sum over those that say yes or no:
    VQAScore (arXiv 2404.01291, equation 1), which takes the one token "Yes", over all its forms (yes, Yes, YES, each
    with or without a blank before it) and made relative, so that a model that likes to say neither is compared alike.
    """

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.core, self.chat = policy.core, policy.chat
        self.yes, self.no = yes_no_tokens(policy.chat.tokenizer, policy.name)
        self._told = False

    @torch.inference_mode()
    def ask(
        self, questions: Sequence[Sequence[Messages]], images: Sequence[Sequence[Image.Image]]
    ) -> list[list[float]]:
        """P(yes) in [0, 1] of each question; those of a row are about the same images, and each ends with a user turn.

        Raises BadInputError for a question that the model cannot read.
        """
        return [self._ask_row(row, seen) if row else [] for row, seen in zip(questions, images, strict=True)]

    def _ask_row(self, questions: Sequence[Messages], images: Sequence[Image.Image]) -> list[float]:
        texts = [self.chat.render_prompt(messages) for messages in questions]
        distinct = list(dict.fromkeys(texts))
        found = self._ask_shared(distinct, images) if len(distinct) > 1 else None
        if found is None:
            found = [self._read(self.core.prefill([text], [images]).logits)[0] for text in distinct]
        by_text = dict(zip(distinct, found, strict=True))
        return [by_text[text] for text in texts]

    def _ask_shared(self, texts: list[str], images: Sequence[Image.Image]) -> list[float] | None:
        """All questions behind their common beginning; None where that cannot be shared."""
        if self.core.shares is False:
            return None
        inputs = self.core.encode([texts[0]], [images])
        tails = self._tails(texts, inputs["input_ids"][0].tolist())
        if tails is None:
            return None
        head = self.core.cut(inputs, len(tails[0]))
        if head is None:
            return None
        length = inputs["input_ids"].shape[1] - len(tails[0])
        self.core.check_length(length + max(map(len, tails)))
        prefix = self.core.prefill_encoded(head)
        if not self.core.can_share(prefix):
            return None
        values = [0.0] * len(texts)
        for places in _chunks(sorted(range(len(tails)), key=lambda n: len(tails[n])), tails):
            lengths = torch.tensor([len(tails[n]) for n in places], device=self.core.device)
            ids = torch.zeros(len(places), int(lengths.max()), dtype=torch.long, device=self.core.device)
            for row, n in enumerate(places):
                ids[row, : len(tails[n])] = torch.tensor(tails[n])
            fed = torch.arange(ids.shape[1], device=self.core.device)[None] < lengths[:, None]
            rows = torch.zeros(len(places), dtype=torch.long, device=self.core.device)
            ends, where = torch.unique(lengths - 1, return_inverse=True)
            logits = self.core.advance(prefix.select(rows), ids, fed.long(), keep=ends)
            told = self._read(logits[torch.arange(len(places), device=self.core.device), where])
            for n, value in zip(places, told, strict=True):
                values[n] = value
        return values

    def _tails(self, texts: list[str], first: list[int]) -> list[list[int]] | None:
        """The tokens of each text behind what all have in common, at least one; `first` are those of the first text
        as the model reads it, image placeholders expanded."""
        rows = self.chat.encode_texts(texts)
        shortest = min(map(len, rows)) - 1
        common = next((n for n in range(shortest) if len({row[n] for row in rows}) > 1), shortest)
        tails = [row[common:] for row in rows]
        # Some processors write more than placeholders into a text: then only the whole prompt is right.
        return tails if common and first[-len(tails[0]) :] == tails[0] else None

    def _read(self, logits: torch.Tensor) -> list[float]:
        """P(yes) of each row of next-token logits (rows, V)."""
        logits = logits.float()
        yes, no = logits[:, self.yes].logsumexp(-1), logits[:, self.no].logsumexp(-1)
        if not self._told:
            mass = (torch.logaddexp(yes, no) - logits.logsumexp(-1)).exp()
            if float(mass.mean()) < _LITTLE:
                warnings.warn(
                    f"{self.policy.name} would answer yes or no in {100 * float(mass.mean()):.1f} % of the cases when "
                    "asked to: what it says as a judge means little.",
                    stacklevel=2,
                )
            self._told = True
        return torch.sigmoid(yes - no).double().tolist()


def yes_no_tokens(tokenizer, name: str) -> tuple[list[int], list[int]]:
    """The ids of all tokens that are a form of yes, and of no; where a tokenizer has no such token, the one that
    each form begins with. Raises ModelError when yes and no begin alike.
    """
    special = set(tokenizer.all_special_ids)
    vocabulary = [(token, n) for token, n in tokenizer.get_vocab().items() if n not in special]
    found = []
    for forms in (YES, NO):
        written = {blank + form for form in forms for blank in ("", *_BLANKS)}
        ids = {n for token, n in vocabulary if token in written}
        if not ids:
            ids = {tokenizer(form, add_special_tokens=False)["input_ids"][0] for form in forms}
        found.append(ids)
    if found[0] & found[1]:
        raise ModelError(f"{name} cannot be a judge: its tokenizer begins yes and no alike. Choose another model.")
    return sorted(found[0]), sorted(found[1])


def _chunks(places: list[int], tails: list[list[int]]):
    """Cut the questions, sorted by length, into batches that fit beside each other."""
    chunk: list[int] = []
    for place in places:
        if chunk and (len(chunk) == JUDGE_ROWS or (len(chunk) + 1) * len(tails[place]) > JUDGE_TOKENS):
            yield chunk
            chunk = []
        chunk.append(place)
    if chunk:
        yield chunk
