"""A run's folder: what the server and a worker process say to each other, as files that outlive both.

config.json     frozen by the server before the start
input.parquet   frozen likewise: everything the worker may know (it never opens the database)
events.jsonl    appended by the worker, tailed by the server by offset
shards/N.parquet  results, written whole and then renamed, each announced by an event
log.txt         the worker's stdout and stderr (a file: a pipe that nobody drains would hang the run)
lock            held by the worker as long as it lives: liveness is this lock, not a process id
stop            its existence asks the worker to stop
"""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path

from m3po.errors import JobError
from m3po.workspace_config import WorkspaceConfig, read_workspace_config

TAIL_BYTES = 16_384
LOCK_FD = "M3PO_LOCK_FD"  # environment: the descriptor of the lock that the runner hands down to the worker


class RunFolder:
    """Paths and small readers over one run's folder; used by both sides."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).resolve()
        self.config_path = self.path / "config.json"
        self.input_path = self.path / "input.parquet"
        self.events_path = self.path / "events.jsonl"
        self.shards_path = self.path / "shards"
        self.log_path = self.path / "log.txt"
        self.lock_path = self.path / "lock"
        self.stop_path = self.path / "stop"
        self.adapter_path = self.path / "adapter"

    def read_config(self) -> dict:
        """Raises JobError for a file that is damaged."""
        try:
            return json.loads(self.config_path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise JobError(
                f"{self.config_path} is damaged ({error}): start a new run with the same settings."
            ) from error

    def write_config(self, config: dict) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        self.config_path.write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")

    def read_workspace_config(self) -> WorkspaceConfig:
        """config.toml of the workspace that the run belongs to, as it is now.

        Raises WorkspaceError for one that cannot be read, is gone, or is empty, which forbids nothing.
        """
        return read_workspace_config(self.path.parent.parent / "config.toml", needed=True)

    def shards(self) -> list[Path]:
        """Finished shards, oldest first."""
        return sorted(self.shards_path.glob("*.parquet"))

    def read_events(self, offset: int = 0) -> tuple[list[dict], int]:
        """Events after byte `offset`, and the offset to go on from. A half-written last line waits."""
        try:
            with self.events_path.open("rb") as file:
                file.seek(offset)
                data = file.read()
        except FileNotFoundError:
            return [], offset
        end = data.rfind(b"\n") + 1
        events = []
        for line in data[:end].splitlines():
            try:
                events.append(json.loads(line))
            except ValueError:  # a line torn by a kill, perhaps within a letter: what follows is whole again
                continue
        return events, offset + end

    def log_tail(self, lines: int = 40) -> str:
        """The last lines of the log, read from the end: a long log costs no more than a short one."""
        try:
            with self.log_path.open("rb") as file:
                file.seek(0, os.SEEK_END)
                file.seek(max(0, file.tell() - TAIL_BYTES))
                text = file.read().decode("utf-8", errors="replace")
        except FileNotFoundError:
            return ""
        # Progress bars rewrite their line with carriage returns: only the last state of each is worth showing.
        shown = [line.rsplit("\r", 1)[-1] for line in text.replace("\r\n", "\n").split("\n")]
        return "\n".join(shown[-lines:]).strip()

    def worker_alive(self) -> bool:
        """True while a worker holds the lock, whichever server started it."""
        try:
            file = self.lock_path.open("rb+")
        except FileNotFoundError:
            return False
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
            return False

    def worker_pid(self) -> int | None:
        """The process that last took the lock; use it only while `worker_alive()`."""
        try:
            return int(self.lock_path.read_text())
        except (FileNotFoundError, ValueError):
            return None

    def request_stop(self) -> None:
        self.stop_path.touch()

    def clear_stop(self) -> None:
        self.stop_path.unlink(missing_ok=True)
