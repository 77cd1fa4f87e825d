"""MAS by a judge: any vision-language model is asked yes or no, and what counts is how sure it is of "yes".

`vqa:` asks about the whole answer, as VQAScore does (Lin et al. 2024, arXiv 2404.01291); `claims:` asks about each of
its claims, as RLAIF-V does (Yu et al. 2024, arXiv 2405.17220). The question is one user turn, so that any chat
template takes it; the words that the instruction was asked with come first, because they and the image are the same
for all answers and run through the model once.
"""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image

from m3po.models.chat import Messages
from m3po.models.policy import Policy
from m3po.models.yes_no import YesNo
from m3po.scorer_spec import ScorerPart
from m3po.text import build_messages, split_claims
from m3po.types import Claim, Judgement

_ABOUT = {True: "this image and instruction", False: "this instruction"}
UPHELD = 0.5  # P(yes) from which a claim stands


def load_judge(part: ScorerPart, **options) -> VqaScorer | ClaimsScorer:
    """The judge that a `vqa:` or `claims:` name asks for. Raises ModelError in one sentence that names the model."""
    judge = YesNo(Policy.load(part.model, part.adapter, **options))
    return (VqaScorer if part.kind == "vqa" else ClaimsScorer)(judge, part.text)


class VqaScorer:
    """MAS = P(yes) to "is this answer right for this image and instruction?", in [0, 1].

    P(yes) is the probability of all tokens that say yes, divided by that of all that say yes or no, as the next
    token after the question (see m3po.models.yes_no).
    """

    scorer_range = (0.0, 1.0)
    needs_image = False

    def __init__(self, judge: YesNo, name: str = "vqa") -> None:
        self.judge = judge
        self.name = name

    def score(
        self,
        prompts: Sequence[Messages],
        images: Sequence[Sequence[Image.Image]],
        answers: Sequence[Sequence[str]],
    ) -> list[list[Judgement]]:
        """P(yes) of every answer. Raises BadInputError for a question that the judge cannot read."""
        questions = [
            [ask_about_answer(messages, len(row_images), answer) for answer in row]
            for messages, row_images, row in zip(prompts, images, answers, strict=True)
        ]
        return [[Judgement(p) for p in row] for row in self.judge.ask(questions, images)]


class ClaimsScorer:
    """MAS = the share of an answer's claims that the judge upholds, in [0, 1]; an answer that claims nothing has 0.

    The claims are cut by rule (m3po.text.split_claims), and each is asked about by itself: P(yes) of at least 0.5
    upholds it.
    """

    scorer_range = (0.0, 1.0)
    needs_image = False

    def __init__(self, judge: YesNo, name: str = "claims") -> None:
        self.judge = judge
        self.name = name

    def score(
        self,
        prompts: Sequence[Messages],
        images: Sequence[Sequence[Image.Image]],
        answers: Sequence[Sequence[str]],
    ) -> list[list[Judgement]]:
        """The share upheld of every answer, with its claims. Raises BadInputError for what the judge cannot read."""
        claims = [[split_claims(answer) for answer in row] for row in answers]
        questions = [
            [ask_about_claim(messages, len(row_images), claim) for row in rows for claim in row]
            for messages, row_images, rows in zip(prompts, images, claims, strict=True)
        ]
        told = [iter(row) for row in self.judge.ask(questions, images)]
        return [[_judge_claims(row, told[n]) for row in rows] for n, rows in enumerate(claims)]


def _judge_claims(texts: list[str], told) -> Judgement:
    claims = tuple(Claim(text, p >= UPHELD, p) for text, p in ((text, next(told)) for text in texts))
    return Judgement(sum(claim.upheld for claim in claims) / len(claims) if claims else 0.0, claims=claims)


def ask_about_answer(messages: Messages, n_images: int, answer: str) -> Messages:
    """The `vqa:` question as chat messages:

    Instruction: {instruction}
    Answer: {answer}
    Is this answer right for this image and instruction? Answer yes or no.
    """
    question = f"Is this answer right for {_ABOUT[n_images > 0]}? Answer yes or no."
    return build_messages(f"{_context(messages)}\nAnswer: {answer.strip()}\n{question}", n_images)


def ask_about_claim(messages: Messages, n_images: int, claim: str) -> Messages:
    """The `claims:` question as chat messages:

    Instruction: {instruction}
    Part of an answer: {claim}
    Is this part right for this image and instruction? Answer yes or no.
    """
    question = f"Is this part right for {_ABOUT[n_images > 0]}? Answer yes or no."
    return build_messages(f"{_context(messages)}\nPart of an answer: {claim}\n{question}", n_images)


def _context(messages: Messages) -> str:
    """The instruction, behind whatever was said before it, as text: the judge answers our question, not theirs."""
    turns = [(message["role"], _text_of(message)) for message in messages]
    earlier = "".join(f"{role.capitalize()}: {text}\n" for role, text in turns[:-1])
    return f"{earlier}Instruction: {turns[-1][1]}"


def _text_of(message: dict) -> str:
    content = message["content"]
    if isinstance(content, str):
        return content.strip()
    return " ".join(part["text"] for part in content if part["type"] == "text").strip()
