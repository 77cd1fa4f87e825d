"""How long a worker that was asked to stop is waited for: as long as it writes something, and between two writings for
a multiple of its own longest step. A stop is seen when a step ends, and a checkpoint follows: both may take minutes."""

from __future__ import annotations

import contextlib
import time

from m3po.jobs.folder import RunFolder

GRACE_SECONDS = 30.0  # to finish a batch, before the signal; without a sign of life it is killed after twice that
STEPS = 3.0  # times its longest step that a worker may be silent
LONGEST_SECONDS = 3600.0  # of silence: a machine that slept, or whose clock was set, makes a step of hours


class Stopping:
    """What the runner remembers of one worker from when it was asked."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._asked = self._moved = time.monotonic()
        self._newest = newest_write(folder)
        self._patience = max(2 * GRACE_SECONDS, min(STEPS * longest_step(folder), LONGEST_SECONDS))
        self.signalled = False
        self.killed_after = 0.0  # seconds of silence

    def needs_signal(self) -> bool:
        """Whether it is time for the first signal, which is another way to ask."""
        return not self.signalled and time.monotonic() - self._asked >= GRACE_SECONDS

    def silence(self) -> float:
        """Seconds since it was last seen to have written, or since it was asked; by this machine's clock alone."""
        newest = newest_write(self._folder)
        if newest != self._newest:
            self._newest, self._moved = newest, time.monotonic()
        return time.monotonic() - self._moved

    def is_stuck(self) -> bool:
        return self.silence() >= self._patience


def longest_step(folder: RunFolder) -> float:
    """Seconds between two progress events of one attempt at the most; 0 where there are not two."""
    longest, before = 0.0, None
    for event in folder.read_events()[0]:
        if event["event"] == "started":
            before = None
        elif event["event"] == "progress":
            longest = max(longest, event["t"] - before) if before is not None else longest
            before = event["t"]
    return longest


def newest_write(folder: RunFolder) -> float:
    """When anything in the run's folder was last written: an event, a part of a checkpoint, a line of the log."""
    newest = 0.0
    for path in folder.path.rglob("*"):
        with contextlib.suppress(OSError):  # renamed or removed meanwhile
            newest = max(newest, path.stat().st_mtime)
    return newest
