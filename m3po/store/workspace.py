"""A workspace is a folder; one process at a time has it open.

m3po.duckdb   everything decided and computed       images/  content-addressed by SHA-256
config.toml   the models it works with              thumbs/  smaller pictures for the page
runs/<id>/    one folder a job                      server.json, lock: who has it open
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import shutil
import threading
from pathlib import Path

from m3po.errors import StorageError, WorkspaceError
from m3po.files import replace_file, storage_error
from m3po.images import ImageInfo, write_thumbnail
from m3po.store.connection import Database
from m3po.store.instructions import Images, StoredImage
from m3po.workspace_config import WorkspaceConfig, read_workspace_config, write_workspace_config

log = logging.getLogger("m3po.store")
DATABASE = "m3po.duckdb"
CONFIG = "config.toml"
SERVER = "server.json"
OWN_NAMES = {"images", "thumbs", "runs", "lock", DATABASE, CONFIG, SERVER}


def create_workspace(path: Path, config: WorkspaceConfig) -> Path:
    """Make an empty workspace; an existing one is left as it is.

    Raises WorkspaceError for a folder with other files.
    """
    path = Path(path).resolve()
    if is_workspace(path):
        return path
    if path.exists() and not path.is_dir():
        raise WorkspaceError(f"{path} is a file: name a new or empty folder for the workspace.")
    if path.is_dir() and any(entry.name not in OWN_NAMES for entry in path.iterdir()):  # ours: an init broke off
        raise WorkspaceError(f"{path} is not empty and no workspace: name a new or empty folder.")
    try:
        for folder in ("images", "thumbs", "runs"):
            (path / folder).mkdir(parents=True, exist_ok=True)
        write_workspace_config(path / CONFIG, config)
    except OSError as error:
        raise storage_error(path, error) from error
    Database(path / DATABASE).close()
    return path


def is_workspace(path: Path) -> bool:
    return (path / DATABASE).is_file() and (path / CONFIG).is_file()


class Workspace:
    """An open workspace: its lock, database, images and config."""

    def __init__(self, path: Path, *, address: str = "") -> None:
        self.path = Path(path).resolve()
        if not is_workspace(self.path):
            raise WorkspaceError(f"{self.path} is not a workspace: make one with `python -m m3po init {path}`.")
        self.config = self.read_config()
        self._blind: tuple[tuple, bool] = ((), self.config.blind)  # what it was read from, and what it said
        self.importing = threading.Lock()  # held by an import: what it knows to be new must stay new until it ends
        # Lone files that exports of this process wrote, with their hashes; those of runs are in the runs.
        self.written: dict[str, set[str]] = {}
        self._lock = self._take_lock()
        try:
            self.db = Database(self.path / DATABASE)
            self.images = Images(self.path / "images")
            self.runs_path = self.path / "runs"
            for folder in ("images", "thumbs", "runs"):
                (self.path / folder).mkdir(exist_ok=True)
            self.announce(address)
        except BaseException:
            os.close(self._lock)
            raise

    def _take_lock(self) -> int:
        lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            where = read_server(self.path).get("address") or "a command that is running"
            raise WorkspaceError(
                f"{self.path} is already open in another app ({where}): use that one, or stop it first."
            ) from None
        return lock

    def announce(self, address: str, socket: str = "") -> None:
        """Tell the command line and a second app who has the workspace open.

        On a full disk nobody is told, but the workspace can be looked at and exported to another place.
        """
        with contextlib.suppress(StorageError), replace_file(self.path / SERVER) as part:
            part.write_text(json.dumps({"pid": os.getpid(), "address": address, "socket": socket}))

    def read_config(self) -> WorkspaceConfig:
        """config.toml as it is now: what it forbids counts from the moment it is written.

        Raises WorkspaceError for one that cannot be read, and for an empty one: editors empty a file before they write
        it, and that forbids nothing.
        """
        return read_workspace_config(self.path / CONFIG, needed=True)

    @property
    def blind(self) -> bool:
        """Whether annotators judge blind, by config.toml as it is now: read again when it changes.
        Half edited, empty or gone, it says what it said before."""
        with contextlib.suppress(OSError):
            found = (self.path / CONFIG).stat()
            stamp, said = (found.st_mtime_ns, found.st_size), self._blind[1]
            if stamp != self._blind[0]:
                try:
                    said = self.read_config().blind
                except WorkspaceError as error:
                    log.warning("annotators judge %s as before: %s", "blind" if said else "openly", error)
                self._blind = (stamp, said)
        return self._blind[1]

    def close(self) -> None:
        self.db.close()
        (self.path / SERVER).unlink(missing_ok=True)
        os.close(self._lock)

    def store_image(self, path: Path, info: ImageInfo) -> StoredImage:
        """Copy an inspected image to its content address; one that is there already is not copied again."""
        target = self.images.path(info.sha256, info.suffix)
        if not (target.is_file() and target.stat().st_size == info.n_bytes):
            with replace_file(target) as part:
                shutil.copyfile(path, part)
        return StoredImage(info.sha256, info.suffix, info.width, info.height, info.n_bytes)

    def store_image_bytes(self, data: bytes, info: ImageInfo) -> Path:
        """Write inspected image bytes to their content address and return it; what is there stays as it is."""
        target = self.images.path(info.sha256, info.suffix)
        if not (target.is_file() and target.stat().st_size == info.n_bytes):
            with replace_file(target) as part:
                part.write_bytes(data)
        return target

    def thumbnail(self, sha256: str, source: Path, side: int) -> Path:
        """A WebP of at most `side` pixels, made when first asked for."""
        path = self.path / "thumbs" / f"{sha256}-{side}.webp"
        if not path.is_file():
            write_thumbnail(source, path, side)
        return path


def read_server(path: Path) -> dict:
    """Who has the workspace open, as far as it told; an empty dict when nobody said."""
    try:
        found = json.loads((Path(path) / SERVER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def is_open_elsewhere(path: Path) -> bool:
    """True while another process holds the workspace's lock."""
    try:
        lock = os.open(Path(path) / "lock", os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False
