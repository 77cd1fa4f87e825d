"""Who may come in where the app runs with --auth: a file of names, roles and hashed passwords, and the login check.

One line a user, `name:role:scrypt$n$r$p$salt$hash`; `python -m m3po users FILE add NAME` writes it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
import os
import re
import secrets
import threading
import time
import unicodedata
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from m3po.errors import BadInputError, M3poError, UsageError
from m3po.files import replace_file

log = logging.getLogger("m3po.users")

ROLES = ("viewer", "annotator", "curator")
MIN_PASSWORD = 8
# OWASP's least for scrypt is n = 2^17 with p = 1, or, at an eighth of the memory, n = 2^14 with p = 5; 16 MB and some
# 200 ms here: several logins at once must not take the memory of the models.
_N, _R, _P = 2**14, 8, 5
_BYTES = 32
FREE_TRIES = 5  # wrong passwords of a name before the next ones have to wait
LONGEST_WAIT = 60.0  # seconds
RESERVED = frozenset({"me", "you", "a curator", "imported", "somebody", "nobody"})  # how messages and rows call others
EAST_ASIAN = frozenset({"CJK", "HIRAGANA", "KATAKANA", "HANGUL", "BOPOMOFO"})  # one word may have several of these
REMEMBERED = 10_000  # names whose wrong passwords are counted: any name may be tried


@dataclass(frozen=True)
class User:
    """Somebody with a name and a role of ROLES."""

    name: str
    role: str


OWNER = User("me", "curator")  # who runs the app without --auth


def hash_password(password: str) -> str:
    """scrypt (RFC 7914) with a random salt, as text that names its own parameters."""
    salt = secrets.token_bytes(16)
    return f"scrypt${_N}${_R}${_P}${_text(salt)}${_text(_scrypt(password, salt, _N, _R, _P))}"


def check_hash(password: str, hashed: str) -> bool:
    _, n, r, p, salt, expected = hashed.split("$")
    found = _scrypt(password, base64.b64decode(salt), int(n), int(r), int(p))
    return hmac.compare_digest(found, base64.b64decode(expected))


def _scrypt(password: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, n=n, r=r, p=p, maxmem=2**28, dklen=_BYTES)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _is_hash(text: str) -> bool:
    parts = text.split("$")
    if len(parts) != 6 or parts[0] != "scrypt" or not all(part.isdecimal() for part in parts[1:4]):
        return False
    n, r, p = (int(part) for part in parts[1:4])
    try:
        whole = len(base64.b64decode(parts[5], validate=True)) == _BYTES
        base64.b64decode(parts[4], validate=True)
    except ValueError:
        return False
    return whole and 2 <= n <= 2**20 and n & (n - 1) == 0 and 1 <= r <= 32 and 1 <= p <= 16 and 128 * n * r < 2**28


# ---- the file -----------------------------------------------------------------------------------------------------


def why_no_name(name: str) -> str:
    """Why nobody should be called so, as the rest of a sentence about the name; "" where one may.

    A name that is written like another person's, or that the program uses itself, puts decisions into wrong hands.
    """
    if " ".join(name.casefold().split()) in RESERVED:
        return "is used by the program itself"
    plain = unicodedata.normalize("NFKC", name)
    if plain != name:
        return f"is another way of writing {plain!r}"
    for word in re.split(r"[\s._-]+", name):
        scripts = {unicodedata.name(letter, "").split(" ")[0].split("-")[0] for letter in word if letter.isalpha()}
        if len(scripts - EAST_ASIAN) + bool(scripts & EAST_ASIAN) > 1:
            return "has letters of more than one script in a word, which may look like another's name"
    return ""


def read_users(path: Path) -> dict[str, tuple[User, str]]:
    """User and hash by name. `#` starts a comment line.

    Raises BadInputError naming the line; for one with a plain password, it gives the command that makes it anew.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise BadInputError(
            f"The users file {path} cannot be read ({reason}): make one with `python -m m3po users {path} add NAME`."
        ) from error
    users: dict[str, tuple[User, str]] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, _, rest = line.strip().partition(":")
        role, _, hashed = rest.partition(":")
        if role not in ROLES or not _is_hash(hashed):
            # Not read with a warning: a file of plain passwords would then stay one.
            raise BadInputError(
                f"{path} line {number} holds no hashed password: remove the line, then add its user with"
                f" `python -m m3po users {path} add {_check_name(name or 'NAME')} --role curator`."
            )
        if _check_name(name) in users:
            raise BadInputError(f"{path} line {number} names {name!r} a second time: remove one of them.")
        users[name] = (User(name, role), hashed)
        if why := why_no_name(name):
            log.warning("%s line %d: the name %r %s; give the person another one", path, number, name, why)
    return users


def add_user(path: Path, name: str, password: str, role: str = "annotator") -> User:
    """Write the user with the password's hash; one of this name gets the new password and role.

    Raises UsageError for a role that there is not, BadInputError for a name or password that cannot be, and for a new
    user of a name of `why_no_name`.
    """
    if role not in ROLES:
        raise UsageError(f"There is no role {role!r}: give --role {', '.join(ROLES)}.")
    if len(password) < MIN_PASSWORD:
        raise BadInputError(f"A password has at least {MIN_PASSWORD} characters: take a longer one.")
    users = read_users(path) if path.exists() else {}
    user = User(_check_name(name), role)
    if name not in users and (why := why_no_name(name)):
        raise BadInputError(f"{name!r} {why}: give the user another name.")
    users[user.name] = (user, hash_password(password))
    _write(path, users)
    return user


def remove_user(path: Path, name: str) -> None:
    """Raises BadInputError when there is none of that name."""
    users = read_users(path)
    if name not in users:
        raise BadInputError(f"{path} has no user {name!r}; it has {', '.join(users) or 'none'}.")
    del users[name]
    _write(path, users)


def _check_name(name: str) -> str:
    if not name or name != name.strip() or ":" in name or not name.isprintable() or name[0] == "#" or len(name) > 80:
        raise BadInputError(f"{name!r} is no name for a user: give up to 80 printable characters without a colon.")
    return name


def _write(path: Path, users: Mapping[str, tuple[User, str]]) -> None:
    lines = ["# Users of M3PO Studio, name:role:hash; change it with `python -m m3po users`.\n"]
    lines += [f"{user.name}:{user.role}:{hashed}\n" for user, hashed in users.values()]
    with replace_file(path) as part:
        part.write_text("".join(lines), encoding="utf-8")
    path.chmod(0o600)


# ---- the login ----------------------------------------------------------------------------------------------------


class Users:
    """The users of a file, read again when it changes: who is removed is out at once, a new role counts at once."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self.path = Path(path)
        self._users = read_users(self.path)
        if not self._users:
            raise BadInputError(f"{path} names no user: add one with `python -m m3po users {path} add NAME`.")
        self._stamp = self._look()
        self._clock = clock
        self._lock, self._hashing = threading.Lock(), threading.Lock()
        self._wrong: OrderedDict[str, tuple[int, float]] = OrderedDict()  # name -> how often, when it was last
        self._nobody = hash_password(secrets.token_hex(8))  # checked where there is no such user: it takes as long

    def find(self, name: str) -> User | None:
        """The user as the file has it now."""
        found = self._current().get(name)
        return found[0] if found else None

    def find_account(self, name: str) -> str | None:
        """What tells the account apart from an earlier one of this name, or from itself under an earlier password; it
        is made of the hash, whose salt is random, and tells nothing of it. None where there is no such user."""
        found = self._current().get(name)
        return hashlib.sha256(found[1].encode()).hexdigest() if found else None

    def check(self, name: str, password: str) -> bool:
        """Whether they belong together. It takes equally long whether name or password is wrong; after FREE_TRIES wrong
        ones for a name, the next must wait, twice as long each time, and is refused unlooked-at before."""
        if self.wait_of(name) > 0:
            return False
        with self._hashing:  # one at a time: guesses in parallel are no faster, and take no more memory
            if self.wait_of(name) > 0:  # those that came in parallel are counted by now
                return False
            known = self._current().get(name)
            right = check_hash(password[:1000], known[1] if known else self._nobody) and known is not None
            self._count(name, right)
        return right

    def _count(self, name: str, right: bool) -> None:
        with self._lock:
            count, _ = self._wrong.pop(name, (0, 0.0))
            if not right:
                self._wrong[name] = (count + 1, self._clock())
                while len(self._wrong) > REMEMBERED:
                    self._wrong.popitem(last=False)

    def wait_of(self, name: str) -> float:
        """Seconds until a password for this name is looked at again."""
        with self._lock:
            count, since = self._wrong.get(name, (0, 0.0))
        if count < FREE_TRIES:
            return 0.0
        return max(0.0, since + min(2.0 ** (count - FREE_TRIES), LONGEST_WAIT) - self._clock())

    def _current(self) -> dict[str, tuple[User, str]]:
        stamp = self._look()
        if stamp != self._stamp:
            self._stamp = stamp
            try:
                self._users = read_users(self.path)
            except M3poError as error:  # half edited: those who were in it stay
                log.warning("the users file is not read again: %s", error)
        return self._users

    def _look(self) -> tuple[int, int] | None:
        try:
            found = os.stat(self.path)  # noqa: PTH116
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size
