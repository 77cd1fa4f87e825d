"""An open workspace, its job runner, and every use case on them, for page and command line alike. Who may call which
is the page's own door (m3po.door), which holds one of these.

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
from m3po.evaluation.pope_questions import PER_IMAGE
from m3po.guidelines import Guidelines
from m3po.imported import ImportReport
from m3po.jobs import margins
from m3po.jobs.comparing.comparisons import Comparisons
from m3po.jobs.planning import launches, plans, scorings, trainings
from m3po.jobs.planning.dependence import Dependence
from m3po.jobs.planning.overview import Overview
from m3po.jobs.planning.preflights import Preflights
from m3po.jobs.playground.playground import Playground
from m3po.jobs.results.judging import Judging
from m3po.jobs.results.lineages import Lineages
from m3po.jobs.results.outcomes import Outcomes
from m3po.jobs.results.result_reports import ResultReports
from m3po.jobs.results.side_by_side import SideBySide
from m3po.jobs.runner import JobRunner
from m3po.jobs.server_runs import SERVER_KINDS, ServerRuns
from m3po.jobs.transfer import exporting, importing, previewing
from m3po.jobs.transfer.own_pope import build_own_pope
from m3po.people import People
from m3po.settings import TrainConfig
from m3po.sight import Sight
from m3po.starting import Starts
from m3po.store import beliefs, candidates, decisions, exports, instructions, migrations, review, runs, tags
from m3po.store.items import Items
from m3po.store.review_index import ReviewIndex
from m3po.store.workspace import Workspace, create_workspace
from m3po.types import Candidate, Decision, ImageRef, PastDecision, Reversal, ReviewItem, ReviewView, Run, TokenBeliefs
from m3po.users import User
from m3po.workspace_config import WorkspaceConfig, check_specs

log = logging.getLogger("m3po.studio")


class Studio(Starts):
    """A workspace, open in this process; close it when done. What queues runs, and the configs that they take by
    default, it inherits (m3po.starting)."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.db = workspace.db
        self.path = workspace.path
        self.made_at = workspace.db.read(migrations.made_at)  # another one in the same folder was made at another time
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
        self.lineage = Lineages(workspace, self._outcomes)
        self.preflight = Preflights(workspace, self.runner)
        self.sides = SideBySide(workspace)
        self.judging = Judging(workspace, self.runner)
        self.reports = ResultReports(self._outcomes, self.judging)
        self.comparisons = Comparisons(workspace, self.runner)
        self.playground = Playground(workspace, self.runner)

    @classmethod
    def open(cls, path: Path | str, *, address: str = "") -> Studio:
        """Open a workspace and find its running jobs again.

        Raises WorkspaceError when there is none, or when it is open elsewhere (its address is named).
        """
        studio = cls(Workspace(Path(path), address=address))
        studio.server_runs.interrupt_lost()
        margins.ingest_missing(studio.db, studio.runner.folder)
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
        self.playground.release()
        self.sight.close()
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
        """Import now, in this thread; options as in m3po.jobs.transfer.importing.import_source."""
        return importing.import_source(self.workspace, source, **options)

    def preview_import(
        self, source: Path | str, format: str = "auto", mapping: dict[str, str] | None = None, rows: int = 5, **options
    ) -> dict:
        """What an import would begin with, nothing stored: see m3po.jobs.transfer.previewing.preview_source."""
        given = {"format": format, "mapping": mapping, "rows": rows, **options}
        return previewing.preview_source(self.workspace, source, **given)

    def start_import(self, source: Path | str, **options) -> Run:
        """Import in the background, options as in m3po.jobs.transfer.importing.freeze_options; refused rows and
        their reasons are in the run's result."""
        config = importing.freeze_options(self.workspace, source, **options)
        return self.run(self.server_runs.start("import", config, importing.command_line(self.path, config)))

    def build_pope(self, per_image: int = PER_IMAGE) -> dict:
        """Ask POPE's questions about the held-out images whose objects are known: see m3po.jobs.transfer.own_pope."""
        return build_own_pope(self.workspace, per_image)

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

    def stop_training(self, run_id: int) -> int:
        """Stop a training with the evaluations before and after it, but for what other runs want; how many runs that
        were."""
        result = next((each for each in self.results() if each["run"].id == run_id), None)
        if result is None:
            raise JobError(f"Run {run_id} is no training run.")
        steps = (result["before_run"], result["run"], result["after_run"])
        return self.runner.stop_all(step.id for step in steps if step is not None)

    def stop_everything(self) -> int:
        """Stop whatever waits or is at work; how many runs that were. What they finished is kept."""
        active = self.db.read(runs.read_active)
        own = [run.id for run in active if run.kind in SERVER_KINDS]
        for run_id in own:
            self.server_runs.stop(run_id)
        return len(own) + self.runner.stop_all(run.id for run in active if run.id not in own)

    def resume_run(self, run_id: int) -> Run:
        """Go on where a stopped, failed or interrupted run was."""
        run = self.run(run_id)
        if run.kind in SERVER_KINDS:
            self.server_runs.begin(run_id, run.kind, run.config)
            return self.run(run_id)
        check_specs(self.workspace.read_config(), run.config)
        return self.runner.resume(run_id)

    def run_metrics(self, run_id: int, most: int = 0) -> dict[str, list[tuple[int, float | None]]]:
        """The training curves: (step, value) by name, None where a value was not finite; `most` as in
        m3po.store.runs.read_metrics."""
        return self.db.read(lambda con: runs.read_metrics(con, run_id, most))

    def count_metrics(self, run_id: int) -> int:
        """How many points the curves have: another number, other curves."""
        return self.db.read(lambda con: runs.count_metrics(con, run_id))

    def run_log(self, run_id: int, lines: int = 40) -> str:
        """The last lines of the worker's log."""
        return self.runner.folder(run_id).log_tail(lines)

    def run_warnings(self, run_id: int) -> list[str]:
        """What the run left out and why, one sentence an item."""
        return self.db.read(lambda con: runs.read_warnings(con, run_id))

    def _on_run_end(self, run: Run) -> None:
        """An edit that came too late for the score run that was under way is scored by another."""
        if run.kind == "score":
            launches.launch_late_edits(self.workspace, self.runner, run.created_at)

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
        self,
        annotator: str = deciding.DEFAULT_ANNOTATOR,
        decision_id: int | None = None,
        *,
        curator: bool = False,
        client_id: str = "",
    ) -> Reversal | None:
        """Take back the annotator's newest decision, or that one: see m3po.deciding.undo."""
        return deciding.undo(self.db, annotator, decision_id, curator=curator, client_id=client_id)

    def redo(
        self,
        annotator: str = deciding.DEFAULT_ANNOTATOR,
        decision_id: int | None = None,
        *,
        curator: bool = False,
        client_id: str = "",
    ) -> Reversal | None:
        """Make stand again what was undone last, or that one: see m3po.deciding.redo."""
        return deciding.redo(self.db, annotator, decision_id, curator=curator, client_id=client_id)

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

    def results(self) -> list[dict]:
        """Every training run, newest first, with the held-out figures before and after: m3po.jobs.results.outcomes."""
        return self._outcomes.results()

    def result_samples(self, run_id: int, limit: int = 12, show: str = "changed", offset: int = 0) -> dict:
        """Held-out answers before and after the training run `run_id`, with images and truth:
        m3po.jobs.results.outcomes."""
        return self._outcomes.samples(run_id, limit, show, offset)

    # ---- export -----------------------------------------------------------------------------------------------

    def export(self, out: Path | str, **options) -> dict:
        """Write now, in this thread; options as in m3po.jobs.transfer.exporting.export."""
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
