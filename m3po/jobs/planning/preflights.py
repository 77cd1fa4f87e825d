"""The check of a training set before a run: started, and what it found as long as it is of the very same pairs."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from m3po.deciding import DEFAULT_ANNOTATOR
from m3po.errors import UsageError
from m3po.evaluation.lengths import describe_tokens
from m3po.jobs.planning import plans
from m3po.jobs.planning.trainings import describe_few
from m3po.jobs.runner import JobRunner
from m3po.jobs.schemas import PREFLIGHT_OUTPUT
from m3po.models.checks import checked
from m3po.models.fingerprint import model_fingerprint
from m3po.settings import TrainConfig
from m3po.store import decisions, exclusions, instructions, pair_findings, runs, selections
from m3po.store.connection import Connection
from m3po.store.workspace import Workspace
from m3po.training.options import answer_tokens
from m3po.training.pair_checks import KINDS
from m3po.training.presets import check_settings, train_command
from m3po.types import Run

LISTED = 50
# Options by which a prompt has other tokens: a check with others is of something else.
_TOKEN_OPTIONS = ("max_pixels", "min_pixels", "trust_remote_code")


class Preflights:
    """The checks of one workspace."""

    def __init__(self, workspace: Workspace, runner: JobRunner) -> None:
        self._workspace, self._runner = workspace, runner
        self._tokens: tuple[tuple, dict] = ((), {})  # of which check and exclusions, and what follows from them
        self._marks: dict[str, tuple[tuple, str]] = {}  # only -> the database's state, the mark of the pairs then

    def start(self, config: TrainConfig) -> int:
        """Freeze the pairs that a run would train on and queue their check; the run's id.

        Raises JobError where there is no pair, ModelError for a model whose files show that it cannot be trained.
        """
        check_settings(checked(config))
        mark = self._mark(config)

        def read(con: Connection) -> pa.Table:
            pairs, table, _ = plans.training_set(self._workspace, con, config, with_excluded=True)
            table = table.append_column("split", pa.array(["train"] * table.num_rows))
            out = exclusions.excluded_keys(con)
            keys = [(pair["instruction_id"], pair["chosen"], pair["rejected"]) for pair in pairs]
            table = table.append_column("excluded", pa.array([key in out for key in keys]))
            measured = instructions.measured_images(con, self._workspace.images)
            return pa.concat_tables([measured, table], promote_options="default")

        table = self._workspace.db.read(read)
        values = dataclasses.asdict(config)
        frozen = self._runner.freeze("preflight", values, table)
        command = train_command(str(self._workspace.path), config, "preflight")
        whole = values | {"mark": mark}
        return self._runner.queue_frozen(
            [frozen], lambda con: self._runner.queue(con, "preflight", whole, command, frozen=frozen)
        )

    def report(self, config: TrainConfig) -> dict:
        """`state`: "checked" (these very pairs, model and options were), "working", "changed" (the newest finished
        check is of others) or "none"; `run`: the check at work, else the one that counts, else the newest (None: there
        is none). Where one finished: `checked_run`, its `result` (`lengths` and `longest` of what is not excluded now),
        `kinds`: of each kind `found` and, of them,
        `excluded` since or before, `others`: instructions with an excluded pair that it found nothing in, and
        `problems` in words: too few pairs or steps are left, or the length bias."""
        mark = self._mark(config)
        past = self._workspace.db.read(lambda con: runs.read_runs(con, ("preflight",), limit=200))
        working = next((run for run in past if run.active), None)
        finished = [run for run in past if run.state == "finished"]
        same = next((run for run in finished if run.config.get("mark") == mark), None)
        shown = same or next(iter(finished), None)
        state = "working" if working else "checked" if same else "changed" if finished else "none"
        found = {"run": working or same or next(iter(past), None), "state": state}
        if shown is None:
            return found | {"checked_run": None, "result": None, "kinds": {}, "others": 0, "problems": []}

        def read(con: Connection) -> tuple[dict, int, int]:
            counts = decisions.pair_counts(con, selections.latest_selection(con), config.only)
            others = len(exclusions.excluded_unfound(con, shown.id))
            return pair_findings.tally(con, shown.id), counts["pairs"], others

        tally, pairs, others = self._workspace.db.read(read)
        left_out = sum(n["found"] - n["excluded"] for kind, n in tally.items() if KINDS[kind].left_out)
        result = shown.result | self._describe_tokens(shown)
        problems = [*describe_few(config, pairs - left_out), *describe_bias(result["lengths"])]
        kinds = {kind: tally[kind] for kind in KINDS if kind in tally}
        told = {"checked_run": shown.id, "result": result, "kinds": kinds, "others": others}
        return found | told | {"problems": problems}

    def _describe_tokens(self, run: Run) -> dict:
        """`lengths` and `longest` of a check's result, over the pairs that are not excluded by now."""
        of = (run.id, self._workspace.db.read(exclusions.state))
        if self._tokens[0] != of:
            shards = self._runner.folder(run.id).shards()
            if not shards:  # somebody removed them: as it was then
                return {}
            columns = [name for name in PREFLIGHT_OUTPUT.names if name not in ("excluded", "findings")]
            checked = pa.concat_tables([pq.read_table(path, columns=columns) for path in shards])
            left_out = [kind.name for kind in KINDS.values() if kind.left_out]
            kept = self._workspace.db.read(lambda con: pair_findings.without_left_out(con, run.id, checked, left_out))
            longest = run.result["longest"] or {}
            self._tokens = (of, describe_tokens(kept, run.result.get("limit", longest.get("limit"))))
        return self._tokens[1]

    def findings(self, run_id: int, kinds: Sequence[str] = (), limit: int = LISTED, offset: int = 0) -> dict:
        """`pairs` (see store.pair_findings.read_findings) and how many there are, `total`."""
        check_kinds(kinds)
        limit, offset = max(0, min(int(limit), 1000)), max(0, int(offset))

        def read(con: Connection) -> dict:
            listed = pair_findings.read_findings(con, run_id, kinds, limit, offset)
            return {"pairs": listed, "total": pair_findings.count_findings(con, run_id, kinds)}

        return self._workspace.db.read(read)

    def exclude(
        self,
        run_id: int,
        kinds: Sequence[str] = (),
        instruction_ids: Sequence[int] = (),
        *,
        annotator: str = DEFAULT_ANNOTATOR,
    ) -> int:
        """Leave out of training and pair exports every pair in which the check `run_id` found one of these kinds, of
        these instructions (not named: of any kind, of any instruction); how many were not excluded before. Raises
        UsageError where neither is named.
        """
        check_kinds(kinds)
        if not kinds and not instruction_ids:
            raise UsageError("Say what to exclude: kinds of findings, or instructions.")

        def change(con: Connection) -> int:
            found = pair_findings.found_pairs(con, run_id, kinds, instruction_ids)
            reasons: dict[exclusions.PairKey, str] = {}
            for instruction_id, chosen, rejected, kind, detail in found:
                key, why = (instruction_id, chosen, rejected), f"{KINDS[kind].title}: {detail}"
                reasons[key] = f"{reasons[key]}; {why}" if key in reasons else why
            return exclusions.exclude_pairs(con, reasons, annotator)

        return self._workspace.db.write(change)

    def include(
        self,
        run_id: int | None = None,
        kinds: Sequence[str] = (),
        instruction_ids: Sequence[int] = (),
        *,
        others: bool = False,
        annotator: str = DEFAULT_ANNOTATOR,
    ) -> int:
        """Take back what is excluded of these instructions; with a check, of those in which it found one of these
        kinds, of these instructions (as in `exclude`), or (`others`) in which it found nothing. How many pairs that
        were. Raises UsageError where nothing is named, and for kinds or others without their check."""
        check_kinds(kinds)
        if not (kinds or instruction_ids or others) or (run_id is None and (kinds or others)):
            raise UsageError("Say what to take back: instructions, or a check and its kinds of findings.")

        def change(con: Connection) -> int:
            if run_id is None:
                return exclusions.include_pairs(con, instruction_ids, annotator)
            ids = exclusions.excluded_unfound(con, run_id) if others else []
            if kinds or instruction_ids:
                ids += [number for number, *_ in pair_findings.found_pairs(con, run_id, kinds, instruction_ids)]
            return exclusions.include_pairs(con, ids, annotator)

        return self._workspace.db.write(change)

    def _mark(self, config: TrainConfig) -> str:
        """Of all that the findings follow from: the pairs, what is measured by, the model and how it sees images."""
        model = model_fingerprint(config.policy, code=config.trust_remote_code)  # files: never in a transaction
        seen = {name: getattr(config, name) for name in _TOKEN_OPTIONS}
        # What older checks found still holds.
        seen |= {"max_length": config.max_length} if config.max_length else {}
        seen |= {"method": config.method} if config.method != "dpo" else {}
        seen |= {"answer_tokens": answer_tokens(config)} if config.method == "grpo" else {}

        def read(con: Connection) -> str:
            state, known = self._workspace.db.state, self._marks.get(config.only)
            if known is None or known[0] != state:
                pairs = decisions.pairs_mark(con, selections.latest_selection(con), config.only)
                measured = [instructions.state_of_split(con, split)[:2] for split in ("tune", "heldout")]
                known = self._marks[config.only] = (state, json.dumps([pairs, measured]))
            return known[1]

        return json.dumps([model, seen, self._workspace.db.read(read)])


def check_kinds(kinds: Sequence[str]) -> None:
    """Raises UsageError for one that does not exist."""
    for kind in kinds:
        if kind not in KINDS:
            raise UsageError(f"There is no kind of finding {kind!r}: choose among {', '.join(KINDS)}.")


def describe_bias(lengths: dict) -> list[str]:
    """A sentence where the chosen answers are longer, or shorter, as a rule."""
    if not lengths["biased"]:
        return []
    low, high = lengths["interval"]
    word = "longer" if lengths["share"] > 0.5 else "shorter"
    share = lengths["share"] if word == "longer" else 1 - lengths["share"]
    low, high = (low, high) if word == "longer" else (1 - high, 1 - low)
    return [
        f"Where the answers of a pair differ in tokens, the chosen one is the {word} one in {share:.0%} (95 % "
        f"{low:.0%} to {high:.0%} of {lengths['unequal']:,}): the run may learn length instead of what is right. "
        "Select again with a length ratio nearer to 1."
    ]
