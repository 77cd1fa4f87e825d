"""How often a job done in the server tells how far it is, and how fast it goes."""

from __future__ import annotations

import time

TELL_SECONDS = 0.5  # each telling is a commit


class Pace:
    """Measured from when it is made."""

    def __init__(self) -> None:
        self._start = self._told = time.monotonic()

    def due(self) -> bool:
        """Whether it is time to tell again; then it counts as told."""
        now = time.monotonic()
        if now - self._told < TELL_SECONDS:
            return False
        self._told = now
        return True

    def rate(self, done: int) -> float:
        """Units a second."""
        return done / max(1e-9, time.monotonic() - self._start)
