"""config.toml of a workspace: its models, what people may see, and whether anything may leave the machine."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from m3po.errors import UsageError, WorkspaceError
from m3po.remote_spec import check_address, names_remote
from m3po.scorer_spec import map_folders
from m3po.settings import check

TRACKERS = ("", "trackio", "wandb")


@dataclass(frozen=True)
class WorkspaceConfig:
    """config.toml of a workspace: the models it works with unless a command names others."""

    policy: str | None = None
    mas: str | None = None
    demo: bool = False
    blind: bool = False  # annotators see no scores, machine's picks or others' decisions before they voted
    remote: bool = True  # false: nothing of this workspace leaves the machine, and nothing is fetched for it
    track: str = ""  # where a training's curves go beside TensorBoard's files: see TRACKERS

    def __post_init__(self) -> None:
        check(self.track in TRACKERS, "track", self.track, "give trackio or wandb in config.toml, or leave it out")
        for name in ("policy", "mas"):
            value = getattr(self, name)
            if isinstance(value, str):
                check(value.isprintable(), name, value, "give a hub id or a folder without control characters")
                check_address(value)


def read_workspace_config(path: Path, *, needed: bool = False) -> WorkspaceConfig:
    """Read config.toml; relative model folders are taken from the file's own folder.

    Raises WorkspaceError for a file that is not TOML or holds a wrong type; where it is `needed`, also for none and for
    one without a letter.
    """
    try:
        text = path.read_text(encoding="utf-8") if needed or path.exists() else ""
        if needed and not text.strip():
            raise WorkspaceError(f"{path} is empty: write it again; for the defaults, a comment is enough.")
        values = tomllib.loads(text)
    except OSError as error:
        raise WorkspaceError(f"{path} cannot be read ({error.strerror}): write it again.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        remedy = "correct it; for the defaults, a comment is enough"
        raise WorkspaceError(f"{path} is not valid TOML ({error}): {remedy}.") from error
    known = {field.name for field in dataclasses.fields(WorkspaceConfig)}
    unknown = sorted(set(values) - known)
    if unknown:
        raise WorkspaceError(f"{path} has the unknown key {unknown[0]!r}; known are {', '.join(sorted(known))}.")

    def place(name: str) -> str:
        return str((path.parent / name).resolve()) if (path.parent / name).is_dir() else name

    for key in ("policy", "mas"):
        value = values.get(key)
        if value is not None and not isinstance(value, str):
            raise WorkspaceError(f"{path}: {key} must be text in quotes, a hub id or a folder.")
        if value:
            try:
                values[key] = map_folders(value, place) if key == "mas" else place(value)
            except UsageError as error:
                raise WorkspaceError(f"{path}: {error}") from error
    for key in ("demo", "remote", "blind"):
        if not isinstance(values.get(key, False), bool):
            raise WorkspaceError(f"{path}: {key} must be true or false, without quotes.")
    return WorkspaceConfig(**values)


def write_workspace_config(path: Path, config: WorkspaceConfig) -> None:
    """Write config.toml with a line of explanation a key."""
    lines = ["# M3PO Studio workspace. Models: a Hugging Face hub id or a local folder."]
    for key, comment in (
        ("policy", "the model that answers and is fine-tuned"),
        ("mas", "the alignment scorer"),
    ):
        value = getattr(config, key)
        text = f"{key} = {_toml_string(value)}" if value else f'# {key} = ""'
        lines.append(f"{text}  # {comment}")
    if config.demo:
        lines.append("demo = true  # sampled and scored by itself when the app starts")
    lines.append(f"{'' if config.blind else '# '}blind = true  # annotators judge without scores and others' decisions")
    lines.append(f"{'' if not config.remote else '# '}remote = false  # forbids every call to another machine")
    track = _toml_string(config.track or "wandb")
    lines.append(f"{'' if config.track else '# '}track = {track}  # or trackio: training curves go there, too")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def check_remote(config: WorkspaceConfig, what: str) -> None:
    """Raise UsageError when the workspace forbids remote calls; `what` names the call, as in "push_to_hub"."""
    if not config.remote:
        raise UsageError(
            f"{what} would leave this machine, which remote = false in the workspace's config.toml forbids."
        )


def check_specs(config: WorkspaceConfig, values: Mapping[str, object]) -> None:
    """Raise UsageError when a run's `values` name a policy or scorer on a server and the workspace forbids that."""
    for name in ("policy", "mas"):
        spec = values.get(name)
        if isinstance(spec, str) and names_remote(spec):
            check_remote(config, f"{name} = {spec!r}")


def _toml_string(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
