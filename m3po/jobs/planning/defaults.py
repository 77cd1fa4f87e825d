"""What a run takes where nothing is said: the models of config.toml, and the newest selection's settings."""

from __future__ import annotations

from m3po.errors import UsageError
from m3po.remote_spec import parse_remote
from m3po.settings import SelectConfig, TrainConfig
from m3po.store import candidates, selections
from m3po.store.connection import Database
from m3po.store.workspace import CONFIG, Workspace
from m3po.training.presets import build_train_config
from m3po.workspace_config import WorkspaceConfig


def own_models(own: WorkspaceConfig) -> dict[str, str | None]:
    """`policy` and `mas` of config.toml that can score: None for a remote policy, which gives no log-probs."""
    return {"policy": None if parse_remote(own.policy) else own.policy, "mas": own.mas}


def own_policy(workspace: Workspace, own: WorkspaceConfig) -> str:
    """The policy of config.toml, remote or not; raises UsageError when it names none."""
    if not own.policy:
        place = f"{workspace.path.name}/{CONFIG}"  # where that lies is no page's to tell
        raise UsageError(
            f'No policy is named: give one (--policy, or Policy on Data), or write policy = "..." into {place}.'
        )
    return own.policy


def default_train(workspace: Workspace, own: WorkspaceConfig, preset: str) -> TrainConfig:
    """The preset's settings for the workspace's own policy, else for the one whose log-probs are shown.

    Raises UsageError when there is neither, or no such preset.
    """
    shown = workspace.db.read(lambda con: candidates.scorer_info(con, candidates.active_scorer(con, "logp")))
    policy = own_models(own)["policy"] or (shown and shown["name"]) or own_policy(workspace, own)
    return build_train_config(policy, preset)


def current_select(db: Database) -> SelectConfig:
    """The settings of the newest selection, else the defaults."""
    info = db.read(lambda con: selections.selection_info(con, selections.latest_selection(con)))
    return SelectConfig.of_run(info) if info else SelectConfig()
