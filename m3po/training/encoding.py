"""A pair as the tokens that a run learns from, or why it is left out: one code for the run and for what is told
before it starts."""

from __future__ import annotations

import json
from dataclasses import dataclass

from m3po.errors import BadInputError
from m3po.models.reader import Reader
from m3po.training.pair_checks import PairProblem


@dataclass
class EncodedPair:
    """A pair ready for collation. Log-probs are sums over the answer's tokens under the reference, in nats."""

    instruction_id: int
    name: str  # what a warning calls it
    chosen_id: int | None
    rejected_id: int | None
    human: bool
    images: tuple[str, ...]
    prompt: str
    chosen_ids: list[int]
    rejected_ids: list[int]
    ref_chosen_logp: float | None = None
    ref_rejected_logp: float | None = None

    @property
    def longer_answer(self) -> int:
        """Tokens of the longer one."""
        return max(len(self.chosen_ids), len(self.rejected_ids))


def encode_pair(row: dict, reader: Reader) -> EncodedPair:
    """A row of TRAIN_INPUT rendered and tokenised. Raises PairProblem where nothing could be learned from it."""
    try:
        prompt = reader.chat.render_prompt(json.loads(row["messages"]))
        cut = [bool(row.get(f"{side}_truncated")) for side in ("chosen", "rejected")]
        answers = reader.chat.encode_answers(prompt, [row["chosen"], row["rejected"]], cut)
    except BadInputError as error:
        raise PairProblem("refused", str(error).rstrip(".")) from error
    chosen, rejected = (list(answer.ids) for answer in answers)
    if not row["chosen"].strip() or not row["rejected"].strip():
        raise PairProblem("no_completion", "one of its answers is empty")
    if any(len(ids) == 1 and ids[0] in reader.chat.stop_ids for ids in (chosen, rejected)):
        raise PairProblem("no_completion", "of one of its answers no token is left but the end of turn")
    if chosen == rejected:
        raise PairProblem("same_answer", "chosen and rejected are the same answer")
    if reader.image_token in (*chosen, *rejected):
        raise PairProblem("no_completion", "an answer contains the model's own image token")
    return EncodedPair(
        instruction_id=row["instruction_id"],
        name=row["name"],
        chosen_id=row.get("chosen_id"),
        rejected_id=row.get("rejected_id"),
        human=bool(row.get("human")),
        images=tuple(row["images"] or ()),
        prompt=prompt,
        chosen_ids=chosen,
        rejected_ids=rejected,
    )
