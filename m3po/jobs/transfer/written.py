"""What exports wrote into a folder, by name and content: the next one replaces and removes that, and nothing else.

selection.json names the files of the export that ended last, with their hashes, and is sealed by one itself; the mark
names those of exports that are at work or broke off. A file that a person has changed since is that person's, and
nothing is ever written or removed through a link.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from m3po.errors import BadInputError
from m3po.files import replace_file, storage_error
from m3po.formats.writers import WRITERS

FACTS = "selection.json"
CARD = "README.md"
MARK = ".m3po-export"  # there while an export is at work, and after one that broke off: a line a file that it wrote
SHARED = ".m3po-shared"  # in images/: those that a lone file names, one a line
_OWN_IMAGE = re.compile(r"images/[0-9a-f]{64}\.[a-z0-9]{2,5}")

Written = dict[str, set[str]]  # name in the folder -> the SHA-256 of what exports wrote under it


def files_of(format: str) -> tuple[str, ...]:
    """What an export in this format writes into its folder, besides images."""
    return (f"data{WRITERS[format].suffix}", FACTS, CARD, *WRITERS[format].beside)


_OWN = {name for format in WRITERS for name in files_of(format)}


class Ledger:
    """What this export writes into `folder`, and what earlier ones wrote there."""

    def __init__(self, folder: Path, mark: int) -> None:
        self._folder, self._mark = folder, mark
        self._earlier = read_written(folder)
        self._files: dict[str, str] = {}

    def note(self, name: str, sha256: str) -> None:
        """A file was written now; it is known at once, as this export may break off."""
        self._files[name] = sha256
        os.write(self._mark, (json.dumps({"name": name, "sha256": sha256}) + "\n").encode())

    def note_image(self, name: str, data: bytes) -> None:
        self.note(f"images/{name}", hashlib.sha256(data).hexdigest())

    def write(self, name: str, text: str) -> None:
        with replace_file(self._folder / name) as part:
            part.write_text(text, encoding="utf-8")
        self.note(name, hashlib.sha256(text.encode()).hexdigest())

    def write_facts(self, facts: Mapping, named: Collection[str]) -> None:
        """selection.json: `facts`, and the files of exports that lie here from now on; `named`: images in use."""
        kept = {
            name: found
            for name in (f"images/{image}" for image in named)
            if (found := is_as_written(self._folder, name, self._earlier))
        }
        facts = {**facts, "files": dict(sorted((kept | self._files).items()))}
        self.write(FACTS, _dump(facts | {"seal": _seal(facts)}))

    def clear(self, named: Collection[str]) -> None:
        """Remove what earlier exports wrote here and this one did not: it would be taken for a part of it.

        Images that a lone file beside them names stay.
        """
        used = {f"images/{name}" for name in {*named, *_shared(self._folder)}}
        for name in self._earlier.keys() - self._files.keys() - used:
            if is_as_written(self._folder, name, self._earlier):
                (self._folder / name).unlink()


@contextmanager
def alone_in(folder: Path) -> Iterator[Ledger]:
    """One export at a time writes into a folder; one that breaks off leaves its mark there, so that it can be done
    again. Raises BadInputError where another is at work, StorageError where nothing can be written."""
    path = folder / MARK
    try:
        folder.mkdir(parents=True, exist_ok=True)
        mark = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o666)
        try:
            try:
                fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
                current = path.exists() and os.path.samestat(os.fstat(mark), path.stat())
            except BlockingIOError:
                current = False
            if not current:  # held, or taken away by an export that ended at this moment
                raise BadInputError(f"Another export is writing into {folder}: let it end, or name another folder.")
            yield Ledger(folder, mark)
            path.unlink()
        finally:
            os.close(mark)
    except OSError as error:
        raise storage_error(folder, error) from error


def read_written(folder: Path) -> Written:
    """What exports wrote into `folder`, as they noted it; only names that exports give count."""
    written: Written = {}

    def note(name: object, sha256: object) -> None:
        if isinstance(name, str) and isinstance(sha256, str) and (name in _OWN or _OWN_IMAGE.fullmatch(name)):
            written.setdefault(name, set()).add(sha256)

    with suppress(OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        data = (folder / FACTS).read_bytes()
        facts = json.loads(data)
        seal = facts.pop("seal")
        for name, sha256 in facts["files"].items():
            note(name, sha256)
        if seal == _seal(facts):
            note(FACTS, hashlib.sha256(data).hexdigest())
    with suppress(OSError, UnicodeDecodeError):
        for line in (folder / MARK).read_text(encoding="utf-8").splitlines():
            with suppress(ValueError, TypeError, KeyError, RecursionError):  # a line torn by a kill
                found = json.loads(line)
                note(found["name"], found["sha256"])
    return written


def is_as_written(folder: Path, name: str, written: Written) -> str:
    """The hash of a file that is as an export wrote it; else nothing: not there, changed, or behind a link."""
    path = folder / name
    if name not in written or path.is_symlink() or path.parent.is_symlink() or not path.is_file():
        return ""
    found = hash_file(path)
    return found if found in written[name] else ""


def hash_file(path: Path) -> str:
    """SHA-256. Raises StorageError where it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise storage_error(path, error) from error


def share_images(folder: Path, named: Collection[str]) -> None:
    """A lone file in `folder` names these images: an export of the whole folder leaves them from now on."""
    shared = _shared(folder)
    if named and read_written(folder) and not shared.issuperset(named):
        with replace_file(folder / "images" / SHARED) as part:
            part.write_text("".join(f"{name}\n" for name in sorted(shared.union(named))), encoding="utf-8")


def check_images_folder(folder: Path) -> None:
    """Raise BadInputError where images would be written through a link."""
    if (folder / "images").is_symlink():
        raise BadInputError(
            f"{folder / 'images'} is a link, and an export writes through none: take it away, or name another place."
        )


def _shared(folder: Path) -> set[str]:
    try:
        return set((folder / "images" / SHARED).read_text(encoding="utf-8").splitlines())
    except (OSError, UnicodeDecodeError):
        return set()


def _dump(facts: Mapping) -> str:
    return json.dumps(facts, indent=2, ensure_ascii=False) + "\n"


def _seal(facts: Mapping) -> str:
    return hashlib.sha256(_dump(facts).encode()).hexdigest()
