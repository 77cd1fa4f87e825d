"""Uploading an exported folder to the Hugging Face hub; the token comes from the environment and is stored nowhere."""

from __future__ import annotations

import glob
import os
import re
from pathlib import Path

from m3po.errors import StorageError, UsageError
from m3po.workspace_config import WorkspaceConfig, check_remote

_NAME = re.compile(r"[\w.-]{1,96}/[\w.-]{1,96}")


def check_push(config: WorkspaceConfig, name: str) -> None:
    """Raise UsageError for a name that is none, and where the workspace forbids remote calls or
    there is no token."""
    if not _NAME.fullmatch(name):
        raise UsageError(f"push = {name!r:.80} cannot be used: give OWNER/NAME, as the hub has it.")
    check_remote(config, f"Uploading to {name}")
    if not os.environ.get("HF_TOKEN"):
        raise UsageError("The hub wants to know who uploads: set HF_TOKEN in the environment of the app.")


def push_folder(config: WorkspaceConfig, folder: Path, name: str, files: list[str], images: set[str]) -> str:
    """Upload `files` of `folder` and those `images` of its `images/` to the data set `name`, private when it is new.

    Returns its address. Uses HF_TOKEN and HF_ENDPOINT of the environment, as huggingface_hub does. Raises StorageError.
    """
    check_push(config, name)
    from huggingface_hub import HfApi

    # What somebody keeps beside them is named, not what goes: there is little of it, and each pattern meets each file.
    ours = {f"images/{image}" for image in images}
    beside = {path.relative_to(folder).as_posix() for path in (folder / "images").rglob("*")} - ours
    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT"), token=os.environ["HF_TOKEN"])
    try:
        api.create_repo(name, repo_type="dataset", private=True, exist_ok=True)
        api.upload_folder(
            repo_id=name, repo_type="dataset", folder_path=folder, commit_message="Export of M3PO Studio",
            allow_patterns=[*files, "images/*"], ignore_patterns=[glob.escape(path) for path in sorted(beside)],
        )  # fmt: skip
    except Exception as error:  # of the hub, of its HTTP client, of the disk: what is written stays, and is named
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise StorageError(
            f"{folder} is written, but the upload to {name} failed ({reason}): set HF_TOKEN to a token that may "
            "write there, then export again."
        ) from error
    return f"{api.endpoint}/datasets/{name}"
