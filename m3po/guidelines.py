"""What the annotators of a workspace go by: a text in versions, each with the reasons that a decision may give.

A version is never changed: which one held for a decision follows from its time.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

from m3po.errors import BadInputError
from m3po.store import guidelines
from m3po.store.connection import Connection, Database
from m3po.text import check_note, check_word, same_answer_key
from m3po.types import DEFAULT_REASONS, IMPORTED, Guideline
from m3po.users import OWNER

MAX_TEXT = 50_000  # characters
MAX_REASONS = 30
MAX_REASON = 60  # characters


class Guidelines:
    """The use cases about the guideline. The newest version is kept: this process alone writes."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self._lock = threading.Lock()
        self._newest: Guideline | None = None

    def current(self) -> Guideline:
        """The newest version; where nobody wrote one, version 0: no text, and the six usual reasons."""
        return self._newest or self._keep(self._db.read(guidelines.newest) or Guideline(0, "", DEFAULT_REASONS))

    def _keep(self, found: Guideline) -> Guideline:
        """Unless a newer one was written since it was read."""
        with self._lock:
            if self._newest is None or self._newest.version < found.version:
                self._newest = found
            return self._newest

    def version(self, version: int) -> Guideline:
        """Raises BadInputError where there is none."""
        found = Guideline(0, "", DEFAULT_REASONS) if version == 0 else None
        found = found or self._db.read(lambda con: guidelines.read_version(con, version))
        if found is None:
            raise BadInputError(f"The guideline has no version {version}: it has {self.current().version}.")
        return found

    def versions(self) -> list[dict]:
        """`version, author, written_at` (UTC), newest first."""
        return self._db.read(guidelines.list_versions)

    def write(
        self,
        text: str | None = None,
        reasons: Sequence[str] | None = None,
        *,
        after: int | None = None,
        author: str = OWNER.name,
    ) -> Guideline:
        """Store another version; what is None stays as it is, and what changes nothing stores nothing. `after`: the
        version that it was made from. Sent again by its author, whom no answer reached, it is the version it became.

        Raises BadInputError for what cannot be a guideline, and where somebody else wrote a version after `after`.
        """
        given_text = None if text is None else _checked_text(text)
        given_reasons = None if reasons is None else check_reasons(reasons)

        def change(con: Connection) -> Guideline:
            before = guidelines.newest(con) or Guideline(0, "", DEFAULT_REASONS)
            made = (
                before.text if given_text is None else given_text,
                before.reasons if given_reasons is None else given_reasons,
            )
            same = made == (before.text, before.reasons)
            if after is not None and after != before.version and not (same and before.author == author):
                raise BadInputError(
                    f"{before.author or 'Somebody'} wrote version {before.version} meanwhile: look at it, then write "
                    "yours again."
                )
            return before if same else guidelines.add_version(con, *made, author)

        written = self._db.write(change, lane="decision")
        self._keep(written)
        return written


def check_reasons(reasons: Sequence[str]) -> tuple[str, ...]:
    """The list as it is stored. Raises BadInputError for one that cannot be."""
    found = tuple(same_answer_key(reason) for reason in reasons)
    if not 1 <= len(found) <= MAX_REASONS:
        raise BadInputError(f"A guideline has from 1 to {MAX_REASONS} reasons, not {len(found)}.")
    for reason in found:
        check_word(reason, "A reason", MAX_REASON)
        if "," in reason:  # the form and --reasons list them by commas
            raise BadInputError(f"The reason {reason!r} holds a comma, which parts two: write it without.")
        if reason.casefold() == IMPORTED:
            raise BadInputError(f"{reason!r} marks votes that came with a file: give the reason another name.")
    if len({reason.casefold() for reason in found}) < len(found):
        raise BadInputError("A reason stands twice in the list: leave one out.")
    return found


def _checked_text(text: str) -> str:
    text = text.replace("\r\n", "\n").replace("\r", "\n").strip()
    if len(text) > MAX_TEXT:
        raise BadInputError(f"The guideline has {len(text):,} characters: shorten it to {MAX_TEXT:,}.")
    check_note(text, "The guideline")
    return text
