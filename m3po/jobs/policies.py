"""How a job loads its policy: what its user must know first is told, then the weights are read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from m3po.jobs.worker import Worker
from m3po.models.preflight import check_policy, code_warning
from m3po.settings import EvaluateConfig, SampleConfig, ScoreConfig

if TYPE_CHECKING:
    from m3po.models.policy import Policy


def load_policy(job: Worker, config: SampleConfig | ScoreConfig | EvaluateConfig) -> Policy:
    """The config's policy with its adapter and model options. Raises ModelError in one sentence."""
    check_policy(config.policy, config.adapter, config)  # before torch, which takes seconds
    if config.trust_remote_code:
        job.emit("warning", message=code_warning(config.policy))
    from m3po.models.policy import Policy

    return Policy.load(config.policy, config.adapter, options=config)
