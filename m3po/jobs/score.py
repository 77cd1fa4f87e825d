"""Worker of a scoring run: `python -m m3po.jobs.score runs/<id>`; input SCORE_INPUT, config ScoreConfig.

Computes what each candidate asks for: log-probs by the policy (`want_logp`), MAS by the scorer (`want_mas`); or, with
`group` set, which of an instruction's answers mean the same (`same_as`).
Tells the scorer's range once (event `scorer`: low, high). Result: `policy_fingerprint`, `mas_fingerprint`
(null where not used), `scored` (instructions), `candidates` (scored by this attempt), `skipped`
(instructions).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from m3po.errors import BadInputError
from m3po.images import blank_image
from m3po.jobs.batch_plans import MOST_ON_CPU, REMOTE_ANSWERS, BatchPlan, plan_batch, plan_judge
from m3po.jobs.batches import Item, run_batches
from m3po.jobs.job_models import check_model, load_policy
from m3po.jobs.schemas import SCORE_OUTPUT
from m3po.jobs.worker import Worker, main
from m3po.models.checks import judges_of
from m3po.models.fingerprint import model_fingerprint, scorer_fingerprint
from m3po.scorer_spec import parse_scorer
from m3po.settings import ScoreConfig

if TYPE_CHECKING:
    from m3po.models.alignment import AlignmentScorer
    from m3po.models.policy import Policy, TokenScores
    from m3po.types import Judgement

_QUESTION = 24  # tokens of a judge's question about an answer


def run(job: Worker) -> dict:
    config = ScoreConfig.of_run(job.config)
    rows = job.read_input()
    finished = job.finished_keys("instruction_id")
    todo = [row for row in rows if row["instruction_id"] not in finished]
    job.progress(0, len(rows), "instructions", message="Loading the models")
    result = {
        "policy_fingerprint": _policy_fingerprint(config),
        "mas_fingerprint": scorer_fingerprint(parse_scorer(config.mas).parts[0], config) if config.mas else None,
    }
    done = skipped = candidates = 0
    plan = BatchPlan(config.batch_size or MOST_ON_CPU["score"])
    if todo:
        scoring = _Grouping(job, config) if config.group else _Scoring(job, config, todo)
        # A grouper goes through its instructions one by one: a stop waits for no more than one.
        plan = BatchPlan(config.batch_size or 1) if config.group else scoring.plan(config.batch_size, todo)
        done, skipped = run_batches(
            job,
            todo,
            scoring.work,
            SCORE_OUTPUT,
            batch_size=plan.size,
            done=len(rows) - len(todo),
            total=len(rows),
            message=plan.sentence,
        )
        candidates = scoring.candidates
    job.progress(len(rows), len(rows), "instructions")
    return {**result, "scored": len(rows) - len(todo) + done, "candidates": candidates, "skipped": skipped} | {
        "memory": plan.sentence
    }


def _policy_fingerprint(config: ScoreConfig) -> str | None:
    return model_fingerprint(config.policy, config.adapter, code=config.trust_remote_code) if config.policy else None


class _Scoring:
    """The two models, loaded only if any candidate needs them, and what they say about a batch."""

    def __init__(self, job: Worker, config: ScoreConfig, rows: list[dict]) -> None:
        self.job = job
        self.candidates = 0
        self.blank = config.image == "blank"
        self.policy: Policy | None = None
        self.scorer: AlignmentScorer | None = None
        if config.policy and any(any(row["want_logp"]) for row in rows):
            self.policy = load_policy(job, config)
        if config.mas and any(any(row["want_mas"]) for row in rows):
            self.scorer = _load_scorer(job, config)
            low, high = self.scorer.scorer_range
            job.emit("scorer", low=low, high=high)

    def plan(self, asked: int, rows: list[dict]) -> BatchPlan:
        """How many instructions at a time: what fits into memory, and no more than a stop should have to wait for."""
        longest = max(len(text) for row in rows for text in row["texts"])
        most = max(len(row["texts"]) for row in rows)
        if self.policy:
            return plan_batch(self.policy, rows, "score", asked, answer=1 + longest // 3, k=most)
        if hasattr(self.scorer, "client"):  # of a server
            return BatchPlan(asked or max(1, REMOTE_ANSWERS // most))
        if judge := getattr(self.scorer, "judge", None):
            return plan_judge(judge.policy, rows, asked, answer=_QUESTION + longest // 3, questions=most)
        return BatchPlan(asked or MOST_ON_CPU["score"])

    def work(self, items: list[Item]) -> list[list[dict]]:
        if self.blank:  # a swapped image comes with the input
            items = [dataclasses.replace(item, images=[blank_image(image) for image in item.images]) for item in items]
        logps, masses = self._log_probs(items), self._mas(items)
        out = []
        for n, item in enumerate(items):
            rows = []
            for place, candidate in enumerate(item.row["candidate_ids"]):
                scores, mas = logps.get((n, place)), masses.get((n, place))
                if scores is None and mas is None:
                    continue  # nothing was asked for, or nothing could be told
                rows.append(_output_row(item.id, candidate, scores, mas))
            self.candidates += len(rows)
            out.append(rows)
        return out

    def _log_probs(self, items: list[Item]) -> dict[tuple[int, int], TokenScores]:
        """Token scores by (item, place of the candidate)."""
        wanted = [_places(item, "want_logp") if self.policy else [] for item in items]
        return self._tell(self._token_scores, items, wanted, "log-prob")

    def _mas(self, items: list[Item]) -> dict[tuple[int, int], Judgement]:
        """Judgements by (item, place of the candidate); an instruction without an image has none, unless the scorer
        can do without."""
        bare = self.scorer and not getattr(self.scorer, "needs_image", True)
        wanted = [_places(item, "want_mas") if self.scorer and (item.images or bare) else [] for item in items]
        return self._tell(self._judgements, items, wanted, "MAS")

    def _tell(
        self, measure: Callable, items: list[Item], wanted: list[list[int]], signal: str
    ) -> dict[tuple[int, int], object]:
        """What `measure` says of the wanted places; an answer that it refuses costs only itself."""
        asked = [n for n, places in enumerate(wanted) if places]
        if not asked:
            return {}
        try:
            return measure(items, asked, wanted)
        except BadInputError as error:
            if len(items) > 1:
                raise  # the batch is halved until the culprit is alone
            if len(wanted[0]) == 1:
                self._warn(items[0], wanted[0][0], signal, error)
                return {}
            told = {}
            for place in wanted[0]:
                try:
                    told.update(measure(items, [0], [[place]]))
                except BadInputError as alone:
                    self._warn(items[0], place, signal, alone)
            return told

    def _warn(self, item: Item, place: int, signal: str, error: BadInputError) -> None:
        answer = f"{item.row['texts'][place]!r:.60}"
        self.job.emit("warning", message=f"Answer {answer} to {item.row['name']} has no {signal}: {error}")

    def _token_scores(
        self, items: list[Item], asked: list[int], wanted: list[list[int]]
    ) -> dict[tuple[int, int], TokenScores]:
        rows = self.policy.log_probs(
            [items[n].messages for n in asked],
            [items[n].images for n in asked],
            [[items[n].row["texts"][place] for place in wanted[n]] for n in asked],
            [[bool(items[n].row["truncated"][place]) for place in wanted[n]] for n in asked],
        )
        return _by_place(rows, asked, wanted)

    def _judgements(
        self, items: list[Item], asked: list[int], wanted: list[list[int]]
    ) -> dict[tuple[int, int], Judgement]:
        rows = self.scorer.score(
            [items[n].messages for n in asked],
            [items[n].images for n in asked],
            [[items[n].row["texts"][place] for place in wanted[n]] for n in asked],
        )
        return _by_place(rows, asked, wanted)


def _load_scorer(job: Worker, config: ScoreConfig) -> AlignmentScorer:
    """The scorer that the config names; a mean (of new answers, which have no stored values) with all its parts."""
    from m3po.models.alignment import load_configured

    return load_configured(config, lambda name, adapter: check_model(job, name, adapter, config))


class _Grouping:
    """The model that tells which answers mean the same, and what it says about a batch."""

    def __init__(self, job: Worker, config: ScoreConfig) -> None:
        for name, adapter in judges_of(config):
            check_model(job, name, adapter, config)
        from m3po.models.grouping import load_grouper

        self.candidates = 0
        self.group = load_grouper(config.group, config)

    def work(self, items: list[Item]) -> list[list[dict]]:
        out = []
        for item in items:
            ids = item.row["candidate_ids"]
            same = self.group(item.messages, item.row["texts"])
            out.append(
                [
                    {"instruction_id": item.id, "candidate_id": candidate, "same_as": ids[first]}
                    for candidate, first in zip(ids, same, strict=True)
                ]
            )
            self.candidates += len(ids)
        return out


def _by_place(rows: list[list], asked: list[int], wanted: list[list[int]]) -> dict[tuple[int, int], object]:
    return {
        (n, place): value
        for n, row in zip(asked, rows, strict=True)
        for place, value in zip(wanted[n], row, strict=True)
    }


def _places(item: Item, want: str) -> list[int]:
    return [place for place, wanted in enumerate(item.row[want]) if wanted]


def _output_row(instruction_id: int, candidate_id: int, scores: TokenScores | None, mas: Judgement | None) -> dict:
    # A value that is no number is no score: it would sort above every other.
    row = {"instruction_id": instruction_id, "candidate_id": candidate_id}
    if mas is not None and math.isfinite(mas.score):
        row |= {
            "mas": mas.score,
            "mas_minimum": mas.minimum,
            "claims": [dataclasses.asdict(claim) for claim in mas.claims],
        }
    if scores is not None and math.isfinite(scores.logp_sum):
        row |= {
            "logp_sum": scores.logp_sum,
            "n_tokens": scores.n_tokens,
            "token_ids": scores.token_ids,
            "token_logps": scores.log_probs,
            "token_offsets": scores.offsets,
        }
    return row


if __name__ == "__main__":
    main(run)
