"""How the product writes a file: whole under a temporary name, then renamed, so that a crash or a full disk
never leaves half a file nor takes the old one away."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from m3po.errors import StorageError, UsageError

_REMEDIES = {
    errno.ENOSPC: "the disk is full; free some space and try again",
    errno.EDQUOT: "your disk quota is used up; free some space and try again",
    errno.EROFS: "the file system is read-only; choose another place",
    errno.EACCES: "you may not write there; choose another place or change its permissions",
    errno.EPERM: "you may not write there; choose another place or change its permissions",
    errno.EFBIG: "the file system cannot hold a file that large; choose another place",
    errno.ENOTDIR: "part of its path is a file, not a folder; choose another place",
    errno.EEXIST: "part of its path is a file, not a folder; choose another place",
    errno.EISDIR: "it is a folder; give a file name",
    errno.ENAMETOOLONG: "the name is too long; choose a shorter one",
}


def absolute(name: Path | str) -> Path:
    """The place that a person means, with `~` and links resolved. Raises UsageError where it is none."""
    with _places(name):
        return Path(name).expanduser().resolve()


def expanded(name: Path | str) -> Path:
    """The same with `~` resolved alone."""
    with _places(name):
        return Path(name).expanduser()


def check_new_folder(out: Path, *outside: Path) -> None:
    """Raise UsageError where something is at `out` that a new folder would replace, or where it lies in one of
    `outside`, which belong to the program."""
    for place in outside:
        if out.is_relative_to(place):
            raise UsageError(f"{out} lies in {place}: name a new folder outside of it.")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} is there already and not an empty folder: name a new one.")


@contextmanager
def new_folder(out: Path, tag: str = "") -> Iterator[Path]:
    """Yield an empty folder beside `out`, which takes its place when all is written; on any exception it is removed.

    `tag`: of a job that may be killed and done again; what it left the last time is begun anew. Raises UsageError as
    check_new_folder does, StorageError for what the operating system refuses.
    """
    check_new_folder(out)
    part = out.with_name(f".{out.name}.m3po-{tag or secrets.token_hex(6)}")
    try:
        if tag:
            shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        yield part
        if out.exists():
            out.rmdir()
        part.rename(out)
    except OSError as error:
        raise storage_error(out, error) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


@contextmanager
def _places(name: Path | str) -> Iterator[None]:
    try:
        yield
    except (ValueError, RuntimeError, OSError) as error:  # NUL, an unknown ~user, a loop of links
        raise UsageError(f"{str(name)!r:.200} names no place ({error}): name a file or a folder.") from None


@contextmanager
def replace_file(out: Path) -> Iterator[Path]:
    """Yield a temporary path beside `out`; on success it is synced and takes `out`'s place in one step.

    On any exception the temporary file is removed and the old `out` stays as it was. Operating-system errors
    (disk full, read-only, no permission) become StorageError, one sentence. Missing parent folders are made.
    """
    out = Path(out)
    part: Path | None = None
    try:
        if out.is_dir():
            raise IsADirectoryError(errno.EISDIR, "is a folder", str(out))
        if out.exists() and not out.is_file():  # a device or a pipe must not be replaced by a file
            raise StorageError(f"{out} is not a regular file: name a file to write.")
        out.parent.mkdir(parents=True, exist_ok=True)
        # The short prefix keeps the temporary name legal where `out` itself just fits the limit of 255 bytes.
        handle, name = tempfile.mkstemp(prefix=".m3po-", suffix=".part", dir=out.parent)
        os.close(handle)
        part = Path(name)
        yield part
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.chmod(0o666 & ~_umask())  # mkstemp makes a private file; a result is an ordinary one
        part.replace(out)
        part = None
    except OSError as error:
        raise storage_error(out, error) from error
    finally:
        if part is not None:
            with suppress(OSError):
                part.unlink(missing_ok=True)


def storage_error(path: Path, error: OSError) -> StorageError:
    """The sentence for an operating-system error met while writing `path`."""
    remedy = _REMEDIES.get(error.errno or 0, f"{error.strerror or error}; choose another place or try again")
    kept = " (the old file is kept)" if path.is_file() else ""
    return StorageError(f"{path} cannot be written{kept}: {remedy}.")


def _umask() -> int:
    # The only way to read the mask without setting it, which other threads would notice, is Linux' own.
    with suppress(OSError, StopIteration, ValueError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("Umask:"):
                return int(line.split()[1], 8)
    return 0o022
