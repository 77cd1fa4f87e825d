"""What twenty_reviewers.py keeps of each person, over HTTP or at a page: her chance, and what was acknowledged."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, field

LEAST = 2  # decisions of each, however slow the machine is
SHARES = {"accept": 60, "tie": 20, "all_wrong": 10, "skip": 8, "undo": 2}
Note = tuple[int, str, int | None, int | None]  # instruction, verdict, chosen and rejected where it accepts


@dataclass
class Notes:
    """Of one person."""

    name: str
    stored: list[Note] = field(default_factory=list, init=False)  # what stands, as acknowledged
    undone: list[Note] = field(default_factory=list, init=False)
    seconds: list[float] = field(default_factory=list, init=False)
    errors: list[str] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.name)

    def goes_on(self, until: float) -> bool:
        return time.monotonic() < until or len(self.stored) < LEAST

    def choose(self, *, has_pair: bool) -> str:
        """What she does with the item that is there."""
        op = self.chance.choices(tuple(SHARES), tuple(SHARES.values()))[0]
        if op == "undo" and not self.stored:
            return "skip"
        return "tie" if op == "accept" and not has_pair else op

    def note(self, op: str, instruction_id: int, chosen: int | None, rejected: int | None) -> None:
        if op == "undo":
            self.undone.append(self.stored.pop())
            return
        pair = (chosen, rejected) if op == "accept" else (None, None)
        self.stored.append((instruction_id, op, *pair))

    def fail(self, error: object) -> None:
        words = f"{type(error).__name__}: {error}" if isinstance(error, Exception) else str(error)
        self.errors.append(f"{self.name}: {words}")
