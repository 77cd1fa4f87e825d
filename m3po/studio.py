"""The one door for page and command line: an open workspace, its job runner, and every use case on them.

No page, no torch: models live in worker processes. Every method may be called from any thread.
"""

from __future__ import annotations

import dataclasses
import logging
import threading
from pathlib import Path

from m3po.errors import BadInputError, JobError, M3poError
from m3po.formats.m3po import write_m3po
from m3po.formats.trl import write_trl
from m3po.jobs import importing, plans
from m3po.jobs.runner import JobRunner
from m3po.jobs.worker import sentence_for
from m3po.selection import NO_PAIR_REASONS
from m3po.settings import (
    EXPORT_FORMATS,
    EXPORT_ONLY,
    EvaluateConfig,
    SampleConfig,
    ScoreConfig,
    SelectConfig,
    TrainConfig,
    WorkspaceConfig,
)
from m3po.store import candidates, decisions, exports, instructions, review, runs, selections
from m3po.store.connection import Connection, scalar
from m3po.store.workspace import Workspace, create_workspace
from m3po.training.presets import build_train_config, parse_losses, train_command
from m3po.types import (
    REVIEW_FILTERS,
    REVIEW_ORDERS,
    TRAINING_VERDICTS,
    VERDICTS,
    Candidate,
    Decision,
    ImageRef,
    ImportReport,
    ReviewItem,
    ReviewView,
    Run,
)

log = logging.getLogger("m3po.studio")

DEFAULT_ANNOTATOR = "me"
MAX_ANSWER_CHARACTERS = 100_000
PILOT = 24  # instructions that a pipeline answers first, so that there is something to review within seconds


class Studio:
    """A workspace, open in this process; close it when done."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.db = workspace.db
        self.path = workspace.path
        self.config: WorkspaceConfig = workspace.config
        self.runner = JobRunner(
            self.db,
            workspace.runs_path,
            prepare=lambda run: plans.prepare(workspace, run),
            on_end=self._on_run_end,
        )
        self._rescore = threading.Event()

    @classmethod
    def open(cls, path: Path | str, *, address: str = "") -> Studio:
        """Open a workspace and find its running jobs again.

        Raises WorkspaceError when there is none, or when it is open elsewhere (its address is named).
        """
        studio = cls(Workspace(Path(path), address=address))
        # An import runs in the server itself: with the server gone it ended, and doing it again adds the rest.
        for run in studio.db.read(runs.read_active):
            if run.kind == "import":
                studio._update_run(run.id, state="interrupted", message="The app was stopped; resume to go on.")
        studio.runner.start()
        return studio

    @staticmethod
    def create(path: Path | str, config: WorkspaceConfig | None = None) -> Path:
        """Make an empty workspace (an existing one is left as it is); returns its absolute path."""
        return create_workspace(Path(path), config or WorkspaceConfig())

    def close(self) -> None:
        """Let go of the workspace; a running worker goes on and is found again."""
        self.runner.close()
        self.workspace.close()

    # ---- what is there ----------------------------------------------------------------------------------------

    def status(self) -> dict:
        """Counts, the current selection and the newest runs, as plain values."""

        def read(con: Connection) -> dict:
            selection = selections.latest_selection(con)
            splits = instructions.count_by_split(con)
            verdicts = decisions.verdict_counts(con)
            pairs = decisions.pair_counts(con, selection)
            info = selections.selection_info(con, selection)
            return {
                "workspace": str(self.path),
                "instructions": splits,
                "images": scalar(con, "SELECT count(*) FROM images"),
                **candidates.counts(con),
                "pairs": info["pairs"] if info else 0,
                "no_pair": selections.no_pair_counts(con, selection),
                "selection": info,
                "reviewed": sum(verdicts.values()),
                "reviewable": splits["train"],
                "decisions": verdicts,
                "curated_pairs": pairs["pairs"],
                "human_pairs": pairs["human"],
                "overridden": pairs["overridden"],
                "runs": [_run_summary(run) for run in runs.read_runs(con, limit=20)],
            }

        return self.db.read(read)

    def reason_in_words(self, reason: str | None) -> str:
        """A stored no-pair reason as the sentence that the page shows."""
        return NO_PAIR_REASONS.get(reason or "", reason or "")

    # ---- data -------------------------------------------------------------------------------------------------

    def import_source(self, source: Path | str, **options) -> ImportReport:
        """Import now, in this thread; options as in m3po.jobs.importing.import_source."""
        return importing.import_source(self.workspace, Path(source), **options)

    def start_import(
        self, source: Path | str, *, format: str = "auto", split: str | None = None, strict: bool = False
    ) -> Run:
        """Import in the background; refused rows and their reasons are in the run's result."""
        config = {
            "source": str(Path(source).expanduser().resolve()),
            "format": format,
            "split": split,
            "strict": strict,
        }
        if not Path(config["source"]).exists():
            raise BadInputError(f"{source} does not exist: correct the path.")
        command = f"python -m m3po import {self.path} {config['source']}"
        run_id = self.db.write(lambda con: runs.add_run(con, "import", config, command))
        return self._spawn_import(run_id, config)

    def _spawn_import(self, run_id: int, config: dict) -> Run:
        self._update_run(run_id, state="running", started_at=instructions.now(), unit="rows", message="")
        threading.Thread(target=self._import, args=(run_id, config), name=f"import-{run_id}", daemon=True).start()
        return self.run(run_id)

    def _import(self, run_id: int, config: dict) -> None:
        options = {k: v for k, v in config.items() if k != "source"}
        try:
            report = self.import_source(
                config["source"], progress=lambda done: self._update_run(run_id, done=done), **options
            )
            result = importing.describe(report)
            state = "finished" if report.added or report.already_there else "failed"
            self._update_run(run_id, state=state, result=result, message=result["message"], ended_at=instructions.now())
        except Exception as error:
            if not isinstance(error, M3poError):
                log.exception("import %s failed", run_id)
            self._update_run(run_id, state="failed", message=sentence_for(error), ended_at=instructions.now())

    def default_sample(self) -> SampleConfig:
        """The workspace's own policy with the default settings; raises BadInputError when it names none."""
        return SampleConfig(policy=self._policy())

    def default_score(self) -> ScoreConfig:
        """The workspace's own models: both signals where both are named."""
        return ScoreConfig(policy=self.config.policy, mas=self.config.mas)

    def default_train(self, preset: str = "demo") -> TrainConfig:
        return build_train_config(self._policy(), preset)

    def _policy(self) -> str:
        if not self.config.policy:
            raise BadInputError(
                f'No policy is named: give --policy, or write policy = "..." into {self.path / "config.toml"}.'
            )
        return self.config.policy

    def start_sample(self, config: SampleConfig | None = None, **links: int | None) -> Run:
        return self._queue("sample", config or self.default_sample(), **links)

    def start_score(self, config: ScoreConfig | None = None, **links: int | None) -> Run:
        return self._queue("score", config or self.default_score(), **links)

    def start_select(self, config: SelectConfig | None = None, **links: int | None) -> Run:
        return self._queue("select", config or self.current_select(), **links)

    def select(self, config: SelectConfig | None = None) -> dict:
        """Pick the pairs now: `{"pairs", "no_pair": {reason: n}, "content_hash", "selection_id"}`."""
        return plans.select(self.workspace, config or self.current_select())

    def current_select(self) -> SelectConfig:
        """The settings of the newest selection, else the defaults."""
        info = self.db.read(lambda con: selections.selection_info(con, selections.latest_selection(con)))
        if info is None:
            return SelectConfig()
        return SelectConfig(**{field.name: info[field.name] for field in dataclasses.fields(SelectConfig)})

    def start_pipeline(self, sample: SampleConfig | None = None) -> Run:
        """Sample, score and select, a few instructions first and then all; returns the last run of the chain."""
        sample = sample or self.default_sample()
        last = None
        small = dataclasses.replace(sample, limit=PILOT)
        for config in (small, sample) if not sample.limit or sample.limit > PILOT else (sample,):
            last = self.start_sample(config, after=last.id if last else None)
            last = self.start_score(after=last.id)
            last = self.start_select(after=last.id)
        return last

    def start_demo(self) -> Run | None:
        """What a demo workspace does by itself when the app starts: its pipeline, unless it is done or under way."""
        if not self.config.demo or self.db.read(runs.read_active):
            return None
        done = self.db.read(lambda con: scalar(con, "SELECT max(selection_id) FROM selections WHERE pairs > 0"))
        return None if done else self.start_pipeline()

    def _queue(self, kind: str, config: object, **links: int | None) -> Run:
        command = plans.command_line(kind, self.workspace, config)
        run_id = self.db.write(lambda con: self.runner.queue(con, kind, dataclasses.asdict(config), command, **links))
        self.runner.wake()
        return self.run(run_id)

    # ---- runs -------------------------------------------------------------------------------------------------

    def runs(self, kinds: tuple[str, ...] | None = None, limit: int = 50) -> list[Run]:
        return self.db.read(lambda con: runs.read_runs(con, kinds, limit))

    def run(self, run_id: int) -> Run:
        """Raises JobError when there is none."""
        run = self.db.read(lambda con: runs.read_run(con, run_id))
        if run is None:
            raise JobError(f"There is no run {run_id}: `python -m m3po status` lists those there are.")
        return run

    def stop_run(self, run_id: int) -> Run:
        self.runner.stop(run_id)
        return self.run(run_id)

    def resume_run(self, run_id: int) -> Run:
        """Go on where a stopped, failed or interrupted run was."""
        run = self.run(run_id)
        if run.kind == "import" and not run.active:
            return self._spawn_import(run_id, run.config)
        return self.runner.resume(run_id)

    def run_metrics(self, run_id: int) -> dict[str, list[tuple[int, float | None]]]:
        return self.db.read(lambda con: runs.read_metrics(con, run_id))

    def run_log(self, run_id: int, lines: int = 40) -> str:
        return self.runner.folder(run_id).log_tail(lines)

    def run_warnings(self, run_id: int) -> list[str]:
        return self.db.read(lambda con: runs.read_warnings(con, run_id))

    def _update_run(self, run_id: int, **values: object) -> None:
        self.db.write(lambda con: runs.update_run(con, run_id, **values))

    def _on_run_end(self, run: Run) -> None:
        if run.kind == "score" and self._rescore.is_set():
            self._rescore.clear()
            if self.config.policy or self.config.mas:
                self.start_score()

    # ---- review -----------------------------------------------------------------------------------------------

    def review_item(
        self, view: ReviewView | None = None, instruction_id: int | None = None, move: int = 0
    ) -> ReviewItem | None:
        """The item `move` places after `instruction_id` (None: the first) in the view; None when it is empty."""
        view = view or ReviewView()
        if view.filter not in REVIEW_FILTERS or view.order not in REVIEW_ORDERS:
            raise BadInputError(f"There is no view {view.filter!r} by {view.order!r}: reload the page.")
        return self.db.read(lambda con: review.read_item(con, view, instruction_id, move, self.workspace.images))

    def find_instruction(self, text: str) -> int | None:
        return self.db.read(lambda con: instructions.find_instruction(con, text))

    def decide(
        self,
        instruction_id: int,
        verdict: str,
        *,
        chosen: int | None = None,
        rejected: int | None = None,
        annotator: str = DEFAULT_ANNOTATOR,
        seconds: float | None = None,
        note: str = "",
        reason: str = "",
    ) -> Decision:
        """Store a verdict; it is on disk when this returns.

        `accept` without ids accepts the pair that stands. Raises BadInputError for a verdict without the pair it
        needs, or ids that are no candidates of this instruction.
        """
        if verdict not in VERDICTS:
            raise BadInputError(f"There is no verdict {verdict!r}: choose one of {', '.join(VERDICTS)}.")

        def change(con: Connection) -> Decision:
            item = review.read_bare_item(con, instruction_id)
            if item is None:
                raise BadInputError(f"There is no instruction {instruction_id}: reload the page.")
            pair = item.pair
            given = (chosen, rejected)
            if verdict == "accept" and given == (None, None) and pair:
                given = (pair.chosen, pair.rejected)
            _check_pair(verdict, *given, {candidate.id for candidate in item.candidates})
            new = decisions.NewDecision(
                instruction_id=instruction_id,
                verdict=verdict,
                chosen=given[0],
                rejected=given[1],
                annotator=annotator or DEFAULT_ANNOTATOR,
                seconds=seconds,
                note=note,
                reason=reason,
                selection_id=item.selection_id,
                shown=review.shown_state(item.machine_pair, item.candidates),
            )
            decision_id = decisions.add_decision(con, new)
            return decisions.as_decision(decisions.read_decision(con, decision_id))

        return self.db.write(change, lane="decision")

    def undo(self, annotator: str = DEFAULT_ANNOTATOR) -> Decision | None:
        """Revoke the annotator's newest decision that stands; returns it, or None when there is none."""

        def change(con: Connection) -> Decision | None:
            latest = decisions.latest_unrevoked(con, annotator or DEFAULT_ANNOTATOR)
            if latest is None:
                return None
            decisions.revoke(con, latest)
            return decisions.as_decision(latest)

        return self.db.write(change, lane="decision")

    def history(self, instruction_id: int) -> list[Decision]:
        """Every decision on an instruction, newest first, revoked ones included."""
        return self.db.read(lambda con: decisions.history(con, instruction_id))

    def add_edit(self, instruction_id: int, text: str, annotator: str = DEFAULT_ANNOTATOR) -> Candidate:
        """Keep an answer that a human wrote as a candidate; it is scored in the background."""
        text = text.strip()
        if not text:
            raise BadInputError("The edited answer is empty: write one, or press Esc to keep the old one.")
        if len(text) > MAX_ANSWER_CHARACTERS or "\x00" in text:
            raise BadInputError(f"The edited answer must be plain text of at most {MAX_ANSWER_CHARACTERS} characters.")

        def change(con: Connection) -> Candidate:
            if scalar(con, "SELECT count(*) FROM instructions WHERE instruction_id = ?", [instruction_id]) == 0:
                raise BadInputError(f"There is no instruction {instruction_id}: reload the page.")
            candidate_id = candidates.add_human(con, instruction_id, text, annotator or DEFAULT_ANNOTATOR)
            found = candidates.candidates_of(con, [instruction_id], selections.latest_selection(con))
            return review.as_candidate(
                next(row for row in found[instruction_id] if row["candidate_id"] == candidate_id)
            )

        candidate = self.db.write(change, lane="decision")
        if candidate.logp_sum is None or candidate.mas is None:
            self._score_soon()
        return candidate

    def _score_soon(self) -> None:
        """Score what lacks scores, after the score run that may be under way."""
        active = [run for run in self.db.read(runs.read_active) if run.kind == "score"]
        if any(run.state == "running" for run in active):
            self._rescore.set()
        elif not active and (self.config.policy or self.config.mas):
            self.start_score()

    # ---- images -----------------------------------------------------------------------------------------------

    def image(self, sha256: str) -> ImageRef | None:
        """A stored image by its content address; nothing else on this machine has an address."""
        return self.db.read(lambda con: instructions.image_by_sha(con, sha256, self.workspace.images))

    def image_path(self, sha256: str) -> Path | None:
        image = self.image(sha256)
        return image.path if image else None

    def thumbnail_path(self, sha256: str, side: int = 1080) -> Path | None:
        """A WebP of the image, upright and RGB, at most `side` pixels: what the page shows."""
        image = self.image(sha256)
        return self.workspace.thumbnail(sha256, image.path, side) if image else None

    # ---- train and evaluate -----------------------------------------------------------------------------------

    def train_preview(self, config: TrainConfig) -> dict:
        """What a run would train on, its exact command, and what speaks against it, before it is started."""
        parse_losses(config)

        def read(con: Connection) -> dict:
            selection = selections.latest_selection(con)
            counts = decisions.pair_counts(con, selection, config.only)
            info = selections.selection_info(con, selection)
            heldout = instructions.count_by_split(con)["heldout"]
            problems = []
            if counts["pairs"] < 2:
                problems.append("There are fewer than 2 pairs to train on: sample, score and select first, or review.")
            if not heldout:
                problems.append("The held-out split is empty: the run trains, but nothing measures before and after.")
            return {
                "pairs": counts["pairs"],
                "human": counts["human"],
                "overridden": counts["overridden"],
                "machine": counts["pairs"] - counts["human"],
                "selection": info["content_hash"] if info else "",
                "problems": problems,
            }

        return self.db.read(read) | {"command": train_command(str(self.path), config)}

    def start_train(self, config: TrainConfig, *, evaluate: bool = True) -> Run:
        """Freeze the curated pairs and queue: held-out answers before (once a model), training, answers after.

        Returns the training run. Raises JobError when there is no pair.
        """
        parse_losses(config)
        before = EvaluateConfig(policy=config.policy)

        def change(con: Connection) -> int:
            pairs, table, digest = plans.training_set(self.workspace, con, config)
            measure = evaluate and instructions.count_by_split(con)["heldout"] > 0
            base = self._queue_base(con, before) if measure else None
            values = dataclasses.asdict(config)
            selection = selections.latest_selection(con)
            counts = {"pairs": len(pairs), "human": sum(pair["human"] for pair in pairs)}
            lineage = {"content_hash": digest, "selection": selection, "before_run": base, **counts}
            run_id = runs.add_run(con, "train", values | lineage, train_command(str(self.path), config))
            runs.add_run_pairs(con, run_id, pairs)
            self.runner.freeze(run_id, "train", values, table)
            if measure:
                after = EvaluateConfig(policy=config.policy, adapter=str(self.runner.folder(run_id).adapter_path))
                command = plans.command_line("evaluate", self.workspace, after)
                self.runner.queue(con, "evaluate", dataclasses.asdict(after), command, parent=run_id, after=run_id)
            return run_id

        run_id = self.db.write(change)
        self.runner.wake()
        return self.run(run_id)

    def _queue_base(self, con: Connection, config: EvaluateConfig) -> int:
        """The evaluation of the model as it is: one that is there is used again."""
        known = plans.base_evaluation(self.workspace, con, config)
        if known:
            return known.id
        values = dataclasses.asdict(config) | {"mark": plans.evaluation_mark(con, config)}
        return self.runner.queue(con, "evaluate", values, plans.command_line("evaluate", self.workspace, config))

    def start_evaluate(self, config: EvaluateConfig | None = None) -> Run:
        """Greedy answers on the held-out split and their figures."""
        config = config or EvaluateConfig(policy=self._policy())

        def change(con: Connection) -> int:
            if not config.adapter:
                return self._queue_base(con, config)
            command = plans.command_line("evaluate", self.workspace, config)
            return self.runner.queue(con, "evaluate", dataclasses.asdict(config), command)

        run_id = self.db.write(change)
        self.runner.wake()
        return self.run(run_id)

    def results(self) -> list[dict]:
        """Every training run, newest first, with the held-out figures before and after (None: not there yet)."""
        found = []
        evaluations = self.runs(("evaluate",), limit=1000)
        for run in self.runs(("train",), limit=1000):
            before = next((e for e in evaluations if e.id == run.config.get("before_run")), None)
            after = next((e for e in evaluations if e.parent_id == run.id), None)
            found.append(
                {
                    "run": run,
                    "before_run": before,
                    "after_run": after,
                    "before": _evaluation(before, "metrics"),
                    "after": _evaluation(after, "metrics"),
                    "intervals_before": _evaluation(before, "intervals"),
                    "intervals_after": _evaluation(after, "intervals"),
                    "counts": _evaluation(after, "counts") or _evaluation(before, "counts"),
                    "config": run.config,
                    "pairs": run.config.get("pairs", 0),
                    "human": run.config.get("human", 0),
                    "content_hash": run.config.get("content_hash", ""),
                }
            )
        return found

    def result_samples(self, run_id: int, limit: int = 12, changed_only: bool = True) -> list[dict]:
        """Held-out answers before and after the training run `run_id`, with the image, changed ones first."""
        result = next((r for r in self.results() if r["run"].id == run_id), None)
        if not result or not result["before_run"] or not result["after_run"]:
            return []
        before, after = result["before_run"].id, result["after_run"].id

        def read(con: Connection) -> list[dict]:
            found = runs.read_answers(con, before, after, limit, changed_only)
            refs = instructions.image_refs(con, [i for row in found for i in row["image_ids"]], self.workspace.images)
            return [
                {k: row[k] for k in ("instruction_id", "instruction", "category", "before", "after")}
                | {"images": [refs[i] for i in row["image_ids"]]}
                for row in found
            ]

        return self.db.read(read)

    # ---- export -----------------------------------------------------------------------------------------------

    def export(self, out: Path | str, *, format: str = "m3po", only: str = "all") -> dict:
        """Write the workspace (`m3po`) or its curated pairs (`trl`); an existing file is replaced in one step."""
        if format not in EXPORT_FORMATS:
            raise BadInputError(f"format = {format!r} is not known: choose one of {', '.join(EXPORT_FORMATS)}.")
        if only not in EXPORT_ONLY:
            raise BadInputError(f"only = {only!r} is not known: choose one of {', '.join(EXPORT_ONLY)}.")
        out = Path(out).expanduser().resolve()
        selection = self.db.read(selections.latest_selection)
        if format == "m3po":
            ids = self.db.read(lambda con: exports.instruction_ids(con, only))
            rows = write_m3po(exports.iter_rows(self.db.read, ids, selection, self.workspace.images), out)
        else:
            rows = write_trl(exports.iter_pairs(self.db.read, selection, only, self.workspace.images), out)
        return {"rows": rows, "path": str(out), "format": format, "only": only}


def _check_pair(verdict: str, chosen: int | None, rejected: int | None, known: set[int]) -> None:
    for candidate in (chosen, rejected):
        if candidate is not None and candidate not in known:
            raise BadInputError(f"Candidate {candidate} is not an answer to this instruction: reload the page.")
    if verdict in TRAINING_VERDICTS:
        if chosen is None or rejected is None:
            raise BadInputError("This item has no pair yet: make one answer chosen and another rejected.")
        if chosen == rejected:
            raise BadInputError("Chosen and rejected are the same answer: pick two different ones.")


def _evaluation(run: Run | None, key: str) -> dict | None:
    return (run.result or {}).get(key) if run and run.state == "finished" else None


def _run_summary(run: Run) -> dict:
    names = ("id", "kind", "state", "done", "total", "unit", "rate", "eta", "message", "command")
    return {name: getattr(run, name) for name in names}
