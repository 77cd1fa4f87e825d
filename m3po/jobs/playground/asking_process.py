"""The playground's process as its server sees it: started when somebody asks, told questions, ended when idle.

Its events go to whoever asked; its log to a file. It ends by itself when the server is gone, for its stdin closes then.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from m3po.errors import JobError
from m3po.jobs.runner import PACKAGE_ROOT

log = logging.getLogger("m3po.jobs")

KILLED = (
    "The process that answers was killed: perhaps memory ran out, and the system kills what takes most of it. "
    "The next question starts another one."
)
ENDED = (
    "The process that answers ended before it could say why; its log is {log}. The next question starts another one."
)
LONGEST_LINE = 2**24  # bytes of an event: an answer has 8,192 tokens at most


class AskingProcess:
    """One process; `on_event` is called with each of its events, `on_end` once with a sentence when it is gone."""

    def __init__(
        self,
        log_path: Path,
        on_event: Callable[[dict], None],
        on_end: Callable[[AskingProcess, str], None],
        *,
        environment: dict[str, str],
    ) -> None:
        self._on_event, self._on_end = on_event, on_end
        self._log_path = log_path
        self._lock = threading.Lock()
        self._wanted = True
        paths = [str(PACKAGE_ROOT), os.environ.get("PYTHONPATH")]
        with log_path.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "m3po.jobs.playground.asking"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))} | environment,
                start_new_session=True,  # a signal to the server's terminal is not one to the process
            )
        threading.Thread(target=self._listen, name="playground", daemon=True).start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def send(self, request: dict) -> None:
        """Raises JobError where it is gone."""
        try:
            with self._lock:
                self._process.stdin.write(json.dumps(request).encode() + b"\n")
                self._process.stdin.flush()
        except (OSError, ValueError) as error:
            raise JobError(KILLED) from error

    def end(self) -> None:
        """At once; nothing is told of it. What it was about to say is lost."""
        self._wanted = False
        with contextlib.suppress(OSError):
            self._process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(10)
        with contextlib.suppress(OSError, ValueError):
            self._process.stdin.close()

    def _listen(self) -> None:
        out = self._process.stdout
        while line := out.readline(LONGEST_LINE):
            try:
                event = json.loads(line)
            except ValueError:  # half a line of a process that was killed
                continue
            try:
                self._on_event(event)
            except Exception:  # the pipe must be read on: else the process waits, and the question with it
                log.exception("an event of the playground could not be taken: %.200r", line)
        out.close()
        code = self._process.wait()
        if self._wanted:
            killed = code == -signal.SIGKILL
            self._on_end(self, KILLED if killed else ENDED.format(log=self._log_path.name))
