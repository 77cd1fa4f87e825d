"""The whole history of decisions as a file, to be read elsewhere.

A spreadsheet computes a CSV's text that begins like a formula: there it gets an apostrophe first, as OWASP advises
(https://owasp.org/www-community/attacks/CSV_Injection). A text that begins with one gets another, so that taking off
the first gives every text back.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path

from m3po.errors import BadInputError, UsageError
from m3po.files import replace_file
from m3po.store import votes
from m3po.store.connection import Connection, Database

FORMULA = (*"=+-@\t\r\n＝＋－＠", "'")  # what begins so gets an apostrophe in CSV; those of full width are read alike
FIRST_COLUMNS = 22  # of votes.HISTORY_COLUMNS: those that every version wrote


def write_history(database: Database, out: Path | str) -> dict:
    """Write every decision ever made to a .csv or .jsonl file: `{"rows", "path"}`. An earlier history is replaced.

    Raises UsageError for another suffix, BadInputError where another file would be lost.
    """
    out = Path(out).expanduser()
    if out.suffix not in (".csv", ".jsonl"):
        raise UsageError(f"{out} must end in .csv or .jsonl.")
    if out.exists() and not _is_history(out):
        raise BadInputError(f"{out} is there and is no history of decisions: give another name, or remove it first.")

    def write(con: Connection) -> int:
        count = 0
        with replace_file(out) as part, part.open("w", encoding="utf-8", newline="") as file:
            table = csv.DictWriter(file, votes.HISTORY_COLUMNS) if out.suffix == ".csv" else None
            if table:
                table.writeheader()
            for row in votes.history_rows(con):
                count += 1
                times = {name: row[name] and row[name].isoformat() + "Z" for name in ("at", "revoked_at")}
                row = row | times
                if table:
                    lists = {name: json.dumps(row[name], ensure_ascii=False) for name in ("shown", "tags")}
                    table.writerow({name: _as_text(value) for name, value in (row | lists).items()})
                else:
                    file.write(json.dumps(row, ensure_ascii=False) + "\n")
        return count

    return {"rows": database.read(write), "path": str(out)}


def _as_text(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value


def _is_history(path: Path) -> bool:
    """Whether the file begins as `write_history` begins one, of this version or an earlier one, or is empty.
    With a column more it is somebody's work."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            first = file.readline(10_000_000)
            columns = list(json.loads(first)) if first and path.suffix == ".jsonl" else next(csv.reader([first]), [])
    except (OSError, ValueError, TypeError, RecursionError, csv.Error):
        return False
    known = list(votes.HISTORY_COLUMNS)
    return not first or (len(columns) >= FIRST_COLUMNS and columns == known[: len(columns)])
