"""How a job comes by its models: what their user must know first is told before torch is loaded, or any weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

from m3po.jobs.worker import Worker
from m3po.models.checks import check_policy, code_warning, local_folder
from m3po.models.hub import check_hub
from m3po.settings import EvaluateConfig, ModelOptions, SampleConfig, ScoreConfig

if TYPE_CHECKING:
    from m3po.models.policy import Policy


def load_policy(job: Worker, config: SampleConfig | ScoreConfig | EvaluateConfig) -> Policy:
    """The config's policy with its adapter and model options. Raises ModelError in one sentence."""
    check_model(job, config.policy, config.adapter, config)
    from m3po.models.policy import Policy

    return Policy.load(config.policy, config.adapter, options=config)


def check_model(job: Worker, name: str, adapter: str | None, options: ModelOptions) -> None:
    """Before torch, which takes seconds: ModelError for a model that cannot be used, a warning where its code runs."""
    check_policy(name, adapter, options)
    if local_folder(name) is None:
        check_hub(name)
    if options.trust_remote_code:
        job.emit("warning", message=code_warning(name))
