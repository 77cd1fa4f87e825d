"""The use cases of a Studio that queue runs, and the configs that they take where none is given.

A part of m3po.studio.Studio, which has the rest; models are looked at by their files alone, and run in workers.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from m3po.errors import JobError
from m3po.jobs.packs import absorbing, packing
from m3po.jobs.planning import defaults, launches, plans, scorings
from m3po.jobs.planning.dependence import Dependence
from m3po.jobs.results import model_exports
from m3po.jobs.runner import JobRunner
from m3po.models.checks import checked
from m3po.settings import EvaluateConfig, SampleConfig, ScoreConfig, SelectConfig, TrainConfig
from m3po.store import runs, selections
from m3po.store.connection import Database
from m3po.store.workspace import Workspace
from m3po.types import Run
from m3po.workspace_config import WorkspaceConfig


class Starts:
    """What Studio inherits; it gives the attributes, `run` and `result`."""

    workspace: Workspace
    db: Database
    config: WorkspaceConfig
    runner: JobRunner
    dependence: Dependence
    run: Callable[[int], Run]
    results: Callable[[], list[dict]]

    @property
    def own_models(self) -> dict[str, str | None]:
        """`policy` and `mas` of config.toml that can score: see m3po.jobs.planning.defaults.own_models."""
        return defaults.own_models(self.config)

    def default_sample(self) -> SampleConfig:
        """The workspace's own policy with the default settings; raises UsageError when there is none."""
        return SampleConfig(policy=defaults.own_policy(self.workspace, self.config))

    def default_score(self, sample: SampleConfig | None = None) -> ScoreConfig:
        """`own_models`, or with `sample` those that go with its answers: see m3po.jobs.planning.scorings.scoring_for.

        Raises UsageError where no model is known.
        """
        if sample is None:
            return ScoreConfig(**self.own_models)
        return scorings.scoring_for(self.db, self.config, sample) or ScoreConfig(policy=None, mas=None)

    def default_train(self, preset: str = "demo") -> TrainConfig:
        """See m3po.jobs.planning.defaults.default_train."""
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
        """Score again with the images blanked and swapped: see m3po.jobs.planning.dependence."""
        return [self.run(run_id) for run_id in self.dependence.start(limit, seed)]

    def start_select(self, config: SelectConfig | None = None, **links: int | None) -> Run:
        return self._queue(("select", config or self.current_select()), **links)[-1]

    def select(self, config: SelectConfig | None = None) -> dict:
        """Pick the pairs now: `{"pairs", "no_pair": {reason: n}, "content_hash", "selection_id"}`."""
        return plans.select(self.workspace, config or self.current_select())

    def current_select(self) -> SelectConfig:
        """The settings of the newest selection, else the defaults."""
        return defaults.current_select(self.db)

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

    def start_train(self, config: TrainConfig, *, evaluate: bool = True) -> Run:
        """Freeze the curated pairs and queue: held-out answers before (once a model), training, answers after.

        Returns the training run. Raises JobError when there is no pair.
        """
        return self.run(launches.launch_training(self.workspace, self.runner, checked(config), evaluate))

    def emit_train(self, config: TrainConfig, out: Path) -> dict:
        """Pack the run for another machine: see m3po.jobs.packs.packing.emit."""
        return packing.emit(self.workspace, self.runner, checked(config), out)

    def absorb_train(self, folder: Path, *, policy: str | None = None, evaluate: bool = True) -> Run:
        """Take up what was trained elsewhere: see m3po.jobs.packs.absorbing.absorb."""
        return self.run(absorbing.absorb(self.workspace, self.runner, folder, policy, evaluate))

    def start_round(self, run_id: int) -> Run:
        """The next round: sample from the policy with a finished run's adapter, score by the same weights, select;
        returns the chain's last run. Raises JobError for a run without an adapter."""
        return self.start_pipeline(model_exports.next_round(self.workspace, self.runner, self.run(run_id)))

    def export_adapter(self, run_id: int, out: Path) -> dict:
        """See m3po.jobs.results.model_exports.export_adapter."""
        return model_exports.export_adapter(self.runner, self._result(run_id), out)

    def _result(self, run_id: int) -> dict:
        found = next((result for result in self.results() if result["run"].id == run_id), None)
        if found is None:
            raise JobError(f"There is no training run {run_id}: see the list of runs for those there are.")
        return found

    def start_merge(self, run_id: int, out: Path) -> Run:
        """Write the policy with a run's adapter merged into it to a folder."""
        return self.run(model_exports.launch_merge(self.workspace, self.runner, self._result(run_id), out))

    def start_evaluate(self, config: EvaluateConfig | None = None) -> Run:
        """Greedy answers on the held-out split and their figures."""
        config = config or EvaluateConfig(policy=defaults.own_policy(self.workspace, self.config))
        return self.run(launches.launch_evaluation(self.workspace, self.runner, checked(config)))
