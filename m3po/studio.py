"""The one door for page and command line: an open workspace, its job runner, and every use case on them.

No page, no torch: models live in worker processes. Every method may be called from any thread.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from m3po import deciding, neighbours
from m3po.browsing import Browsing
from m3po.calibration import Calibration
from m3po.door import Door
from m3po.errors import JobError, M3poError, StorageError
from m3po.guidelines import Guidelines
from m3po.jobs import defaults, exporting, importing, launches, plans, previewing, scorings, trainings
from m3po.jobs.dependence import Dependence
from m3po.jobs.outcomes import Outcomes
from m3po.jobs.overview import Overview
from m3po.jobs.preflights import Preflights
from m3po.jobs.runner import JobRunner
from m3po.jobs.server_runs import SERVER_KINDS, ServerRuns
from m3po.models.preflight import checked
from m3po.people import People
from m3po.settings import (
    EvaluateConfig,
    SampleConfig,
    ScoreConfig,
    SelectConfig,
    TrainConfig,
    WorkspaceConfig,
    check_specs,
)
from m3po.sight import Sight
from m3po.store import beliefs, candidates, decisions, exports, instructions, review, runs, selections, tags
from m3po.store.items import Items
from m3po.store.review_index import ReviewIndex
from m3po.store.workspace import Workspace, create_workspace
from m3po.types import (
    Candidate,
    Decision,
    ImageRef,
    ImportReport,
    PastDecision,
    Reversal,
    ReviewItem,
    ReviewView,
    Run,
    TokenBeliefs,
)
from m3po.users import User

log = logging.getLogger("m3po.studio")


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
        work = {"import": partial(importing.do_import, workspace), "export": partial(exporting.do_export, workspace)}
        self.server_runs = ServerRuns(self.db, workspace.runs_path, work)
        self.review_index = ReviewIndex(lambda: workspace.db.state)
        self._items = Items(self.db, workspace.images)
        self.calibration = Calibration(workspace)
        self.people = People(workspace, self.review_index)
        self.sight = Sight(workspace, self.review_index)
        self.guideline = Guidelines(self.db)
        self._overview = Overview(workspace, self.server_runs.shown)
        self._warming: threading.Thread | None = None
        self.dependence = Dependence(workspace, self.runner)
        self.browsing = Browsing(workspace, self.review_index, self.dependence)
        self._outcomes = Outcomes(workspace, self.runner)
        self.preflight = Preflights(workspace, self.runner)

    @classmethod
    def open(cls, path: Path | str, *, address: str = "") -> Studio:
        """Open a workspace and find its running jobs again.

        Raises WorkspaceError when there is none, or when it is open elsewhere (its address is named).
        """
        studio = cls(Workspace(Path(path), address=address))
        studio.server_runs.interrupt_lost()
        studio.runner.start()
        return studio

    @staticmethod
    def create(path: Path | str, config: WorkspaceConfig | None = None) -> Path:
        """Make an empty workspace (an existing one is left as it is); returns its absolute path."""
        return create_workspace(Path(path), config or WorkspaceConfig())

    def close(self) -> None:
        """Let go of the workspace; a running worker goes on and is found again, an import or export is interrupted."""
        if self._warming is not None:
            self._warming.join()
        self.sight.views.close()
        self.server_runs.close()
        self.runner.close()
        self.workspace.close()

    def as_user(self, user: User) -> Door:
        """This Studio as somebody may use it: see m3po.door."""
        return Door(self, lambda: user)

    # ---- what is there ----------------------------------------------------------------------------------------

    def status(self) -> dict:
        """Counts, the current selection and the newest runs, as plain values."""
        return self.db.read(self._overview.read)

    # ---- data -------------------------------------------------------------------------------------------------

    def import_source(self, source: Path | str, **options) -> ImportReport:
        """Import now, in this thread; options as in m3po.jobs.importing.import_source."""
        return importing.import_source(self.workspace, source, **options)

    def preview_import(
        self, source: Path | str, format: str = "auto", mapping: dict[str, str] | None = None, rows: int = 5, **options
    ) -> dict:
        """What an import would begin with, nothing stored: see m3po.jobs.previewing.preview_source."""
        given = {"format": format, "mapping": mapping, "rows": rows, **options}
        return previewing.preview_source(self.workspace, source, **given)

    def start_import(self, source: Path | str, **options) -> Run:
        """Import in the background, options as in m3po.jobs.importing.freeze_options; refused rows and their reasons
        are in the run's result."""
        config = importing.freeze_options(self.workspace, source, **options)
        return self.run(self.server_runs.start("import", config, importing.command_line(self.path, config)))

    @property
    def own_models(self) -> dict[str, str | None]:
        """`policy` and `mas` of config.toml that can score: see m3po.jobs.defaults.own_models."""
        return defaults.own_models(self.config)

    def default_sample(self) -> SampleConfig:
        """The workspace's own policy with the default settings; raises UsageError when there is none."""
        return SampleConfig(policy=defaults.own_policy(self.workspace, self.config))

    def default_score(self, sample: SampleConfig | None = None) -> ScoreConfig:
        """`own_models`, or with `sample` those that go with its answers: see m3po.jobs.scorings.scoring_for.

        Raises UsageError where no model is known.
        """
        if sample is None:
            return ScoreConfig(**self.own_models)
        return scorings.scoring_for(self.db, self.config, sample) or ScoreConfig(policy=None, mas=None)

    def default_train(self, preset: str = "demo") -> TrainConfig:
        """See m3po.jobs.defaults.default_train."""
        return defaults.default_train(self.workspace, self.config, preset)

    # Each of these queues a run of its kind and returns it at once; without a config the workspace's own models.
    # ModelError for a policy whose files show that it cannot do what is asked.

    def start_sample(self, config: SampleConfig | None = None, **links: int | None) -> Run:
        return self._queue(("sample", checked(config or self.default_sample())), **links)[-1]

    def start_score(self, config: ScoreConfig | None = None, **links: int | None) -> Run:
        """Returns the last run: a judge, a rating or a mean takes several, one after another."""
        return self.start_scoring(config, **links)[-1]

    def start_scoring(self, config: ScoreConfig | None = None, **links: int | None) -> list[Run]:
        """Queue every run that it takes; raises UsageError or BadInputError for a scorer that cannot be used."""
        return self._queue(("score", checked(config or self.default_score())), **links)

    def start_dependence(self, limit: int = 0, seed: int = 0) -> list[Run]:
        """Score again with the images blanked and swapped: see m3po.jobs.dependence."""
        return [self.run(run_id) for run_id in self.dependence.start(limit, seed)]

    def start_select(self, config: SelectConfig | None = None, **links: int | None) -> Run:
        return self._queue(("select", config or self.current_select()), **links)[-1]

    def select(self, config: SelectConfig | None = None) -> dict:
        """Pick the pairs now: `{"pairs", "no_pair": {reason: n}, "content_hash", "selection_id"}`."""
        return plans.select(self.workspace, config or self.current_select())

    def current_select(self) -> SelectConfig:
        """The settings of the newest selection, else the defaults."""
        return defaults.current_select(self.db)

    def scorers(self) -> list[dict]:
        """The MAS scorers that there are, as m3po.store.scorers.list_scorers gives them."""
        return self.db.read(self._overview.scorers)

    def use_scorer(self, scorer: int | str) -> dict:
        """Show, and select by, the values of another scorer, named by its number or as it was written.

        The pairs stay those of the last selection until one selects again. Raises UsageError when there is none.
        """
        named = scorings.find_scorer(self.scorers(), scorer)
        self.db.write(lambda con: candidates.activate(con, "mas", named["id"]))
        return named | {"active": True}

    def start_pipeline(
        self, sample: SampleConfig | None = None, score: ScoreConfig | None = None, select: SelectConfig | None = None
    ) -> Run:
        """Sample, score and select, in a fresh workspace a few instructions first; returns the chain's last run."""
        sample = checked(sample or self.default_sample())
        return self._queue_pipeline(sample, checked(score or self.default_score(sample)), select)

    def _queue_pipeline(self, sample: SampleConfig, score: ScoreConfig, select: SelectConfig | None = None) -> Run:
        select = select or self.current_select()
        return self.run(launches.launch_pipeline(self.workspace, self.runner, sample, score, select)[-1])

    def start_pilot(
        self, sample: SampleConfig, score: ScoreConfig | None = None, select: SelectConfig | None = None
    ) -> list[Run]:
        """Sample some instructions 16 times, score, report yield and cost: the runs; the last has the report."""
        select, sample = select or self.current_select(), checked(sample)
        scores = [score] if score else scorings.scorings_of_pilot(self.db, self.config, sample)
        queued = launches.launch_pilot(self.workspace, self.runner, sample, [checked(each) for each in scores], select)
        return [self.run(run_id) for run_id in queued]

    def start_demo(self) -> Run | None:
        """What a demo workspace does by itself when the app starts: its pipeline, unless it is done or under way.

        A model that is not there fails the run, which the page shows, and not the start of the app.
        """
        if not self.config.demo or self.db.read(runs.read_active):
            return None
        if self.db.read(selections.any_pairs):
            return None
        sample = self.default_sample()
        return self._queue_pipeline(sample, self.default_score(sample))

    def _queue(self, *steps: launches.Step, **links: int | None) -> list[Run]:
        queued = launches.launch_steps(self.workspace, self.runner, steps, **links)
        return [self.run(run_id) for run_id in queued]

    # ---- runs -------------------------------------------------------------------------------------------------

    def runs(self, kinds: tuple[str, ...] | None = None, limit: int = 50) -> list[Run]:
        return [self.server_runs.shown(run) for run in self.db.read(lambda con: runs.read_runs(con, kinds, limit))]

    def run(self, run_id: int) -> Run:
        """Raises JobError when there is none."""
        run = self.db.read(lambda con: runs.read_run(con, run_id))
        if run is None:
            raise JobError(f"There is no run {run_id}: `python -m m3po status` lists those there are.")
        return self.server_runs.shown(run)

    def stop_run(self, run_id: int) -> Run:
        """Ask a run to stop; what it finished is kept. Raises JobError when there is none."""
        if self.run(run_id).kind in SERVER_KINDS:
            self.server_runs.stop(run_id)
        else:
            self.runner.stop(run_id)
        return self.run(run_id)

    def resume_run(self, run_id: int) -> Run:
        """Go on where a stopped, failed or interrupted run was."""
        run = self.run(run_id)
        if run.kind in SERVER_KINDS:
            self.server_runs.begin(run_id, run.kind, run.config)
            return self.run(run_id)
        check_specs(self.workspace.read_config(), run.config)
        return self.runner.resume(run_id)

    def run_metrics(self, run_id: int) -> dict[str, list[tuple[int, float | None]]]:
        """The training curves: (step, value) by name, None where a value was not finite."""
        return self.db.read(lambda con: runs.read_metrics(con, run_id))

    def run_log(self, run_id: int, lines: int = 40) -> str:
        """The last lines of the worker's log."""
        return self.runner.folder(run_id).log_tail(lines)

    def run_warnings(self, run_id: int) -> list[str]:
        """What the run left out and why, one sentence an item."""
        return self.db.read(lambda con: runs.read_warnings(con, run_id))

    def _on_run_end(self, run: Run) -> None:
        """An edit that came too late for the score run that was under way is scored by another."""
        if run.kind == "score" and run.state == "finished":
            since = run.created_at  # not when it started: its input was frozen a moment before that
            if self.db.read(lambda con: candidates.has_unscored_edits(con, since)):
                launches.launch_edit_scoring(self.workspace, self.runner)

    # ---- review -----------------------------------------------------------------------------------------------

    def review_item(
        self, view: ReviewView | None = None, instruction_id: int | None = None, move: int = 0, client: str = ""
    ) -> ReviewItem | None:
        """The item `move` places after `instruction_id` (None: the first) in the view; None when it is empty.

        `client`: who asks; a newer search of the same client gives up the older one, which raises SearchCancelled.
        """
        view, index, items = view or ReviewView(), self.review_index, self._items
        return self.db.read(lambda con: review.read_item(con, index, items, view, instruction_id, move, client))

    def review_items(self, view: ReviewView | None, instruction_ids: Sequence[int]) -> list[ReviewItem]:
        """Those that there are, in their order, read together; without a view, without a place in one."""
        index, items = self.review_index, self._items
        return self.db.read(lambda con: review.read_items(con, index, items, view, instruction_ids))

    def cancel_search(self, client: str) -> bool:
        """Give up the search that this client waits for; whether there was one."""
        return self.review_index.searches.cancel(client)

    def warm_up(self) -> None:
        """Read what the page asks first, beside the start of the app: a million items take seconds once."""

        def read() -> None:
            with contextlib.suppress(M3poError):
                self.review_item()
                self.status()

        self._warming = threading.Thread(target=read, name="warm-up", daemon=True)
        self._warming.start()

    def review_neighbours(self, view: ReviewView, instruction_id: int, **counts: int) -> neighbours.Neighbours:
        """What lies around an item; `ahead` and `behind` say how much of it."""
        return neighbours.read_neighbours(self.db, self.review_index, view, instruction_id, **counts)

    def source_names(self) -> list[str]:
        """What the instructions were imported from, oldest first."""
        return self.db.read(exports.source_names)

    def token_beliefs(self, instruction_ids: list[int]) -> list[TokenBeliefs]:
        """The answers to these instructions, token by token: see m3po.store.beliefs."""
        return self.db.read(lambda con: beliefs.token_beliefs(con, instruction_ids))

    def find_instruction(self, text: str) -> int | None:
        """The id of the instruction that people know as `text`; None when there is none."""
        return self.db.read(lambda con: instructions.find_instruction(con, text))

    def decide(self, instruction_id: int, verdict: str, **options) -> Decision:
        """Store a verdict (options as in m3po.deciding.decide); it is on disk when this returns."""
        return deciding.decide(self.db, self._items, instruction_id, verdict, **options)

    def remark(self, instruction_id: int, **options) -> Decision:
        """Another reason or note with the annotator's decision that stands: see m3po.deciding.remark."""
        return deciding.remark(self.db, instruction_id, **options)

    def set_tag(self, instruction_id: int, name: str, **options) -> None:
        """Put a tag on an item or take it off: see m3po.deciding.set_tag."""
        deciding.set_tag(self.db, instruction_id, name, **options)

    def tag_names(self, annotator: str = "") -> list[str]:
        """The tags there are, or those that one annotator gave, the most frequent first."""
        return self.db.read(lambda con: tags.tag_names(con, annotator))

    def stored_decision(self, instruction_id: int, annotator: str, client_id: str) -> Decision | None:
        """What the page sent before under this id of its own, or None."""
        return deciding.find_stored(self.db, instruction_id, annotator, client_id)

    def undo(
        self, annotator: str = deciding.DEFAULT_ANNOTATOR, decision_id: int | None = None, **options
    ) -> Reversal | None:
        """Take back the annotator's newest decision, or that one: see m3po.deciding.undo."""
        return deciding.undo(self.db, annotator, decision_id, **options)

    def redo(
        self, annotator: str = deciding.DEFAULT_ANNOTATOR, decision_id: int | None = None, **options
    ) -> Reversal | None:
        """Make stand again what was undone last, or that one: see m3po.deciding.redo."""
        return deciding.redo(self.db, annotator, decision_id, **options)

    def history(self, instruction_id: int) -> list[PastDecision]:
        """Every decision on an instruction, newest first, revoked ones included."""
        return self.db.read(lambda con: decisions.history(con, instruction_id))

    def add_edit(self, instruction_id: int, text: str, annotator: str = deciding.DEFAULT_ANNOTATOR) -> Candidate:
        """Keep an answer that a human wrote as a candidate; it is scored in the background."""
        candidate = deciding.add_edit(self.db, instruction_id, text, annotator)
        if candidate.logp_sum is None or candidate.mas is None:
            launches.launch_edit_scoring(self.workspace, self.runner)
        return candidate

    # ---- images -----------------------------------------------------------------------------------------------

    def image(self, sha256: str) -> ImageRef | None:
        """A stored image by its content address; nothing else on this machine has an address."""
        return self.db.read(lambda con: instructions.image_by_sha(con, sha256, self.workspace.images))

    def thumbnail_path(self, sha256: str, side: int = 1080) -> Path | None:
        """A WebP of the image, upright and RGB, at most `side` pixels: what the page shows."""
        image = self.image(sha256)
        return self.workspace.thumbnail(sha256, image.path, side) if image else None

    # ---- train and evaluate -----------------------------------------------------------------------------------

    def train_preview(self, config: TrainConfig) -> dict:
        """What a run would train on, its exact command, and what speaks against it, before it is started."""
        return trainings.preview(self.workspace, config)

    def start_train(self, config: TrainConfig, *, evaluate: bool = True) -> Run:
        """Freeze the curated pairs and queue: held-out answers before (once a model), training, answers after.

        Returns the training run. Raises JobError when there is no pair.
        """
        return self.run(launches.launch_training(self.workspace, self.runner, checked(config), evaluate))

    def start_evaluate(self, config: EvaluateConfig | None = None) -> Run:
        """Greedy answers on the held-out split and their figures."""
        config = config or EvaluateConfig(policy=defaults.own_policy(self.workspace, self.config))
        return self.run(launches.launch_evaluation(self.workspace, self.runner, checked(config)))

    def results(self) -> list[dict]:
        """Every training run, newest first, with the held-out figures before and after: m3po.jobs.outcomes."""
        return self._outcomes.results()

    def result_samples(self, run_id: int, limit: int = 12, show: str = "changed", offset: int = 0) -> dict:
        """Held-out answers before and after the training run `run_id`, with images and truth: m3po.jobs.outcomes."""
        return self._outcomes.samples(run_id, limit, show, offset)

    # ---- export -----------------------------------------------------------------------------------------------

    def export(self, out: Path | str, **options) -> dict:
        """Write now, in this thread; options as in m3po.jobs.exporting.export."""
        return exporting.export(self.workspace, out, **options)

    def start_export(
        self, out: Path | str, *, format: str = "m3po", only: str = "all", images: str = "", push: str = ""
    ) -> Run:
        """Write in the background; what was written is in the run's result. Raises as exporting.check_export does."""
        options = {"format": format, "only": only, "images": images, "push": push}
        place = exporting.check_export(self.workspace, out, **options)
        config = {"out": str(place), **options}
        try:
            run_id = self.server_runs.start("export", config, exporting.command_line(self.path, config))
        except StorageError:  # a full disk takes no note of the run, but another place may take the export
            result = self.export(place, **options)
            return Run(0, "export", "finished", config, instructions.now(), message=result["message"], result=result)
        return self.run(run_id)
