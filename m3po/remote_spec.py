"""How people name a model behind an OpenAI-compatible server: `remote:MODEL@URL`.

Text alone; nothing is asked here. What talks to the server is m3po.models.remote.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from m3po.errors import UsageError

REMOTE = "remote:"
REMOTE_RATING = "remote-rating:"
_NAMES_REMOTE = re.compile(r"(?<![\w/.-])remote(-rating)?:")
_CREDENTIALS = re.compile(r"https?://[^/\s@]*@(?!https?://)")
_NO_CREDENTIALS = (
    "The address of a remote model must hold no user, password, query or fragment: give the API key in the environment "
    "variable M3PO_API_KEY, which is never stored."
)


@dataclass(frozen=True)
class RemoteModel:
    """A model behind an OpenAI-compatible server: `url` is its base, as in http://localhost:8000/v1."""

    model: str
    url: str


def names_remote(spec: str | None) -> bool:
    """Whether a policy or scorer asks a server: `remote:` or `remote-rating:`, alone or as a part of it."""
    return bool(spec and _NAMES_REMOTE.search(spec))


def check_address(spec: str | None) -> None:
    """Raise UsageError for a remote policy or scorer whose address cannot be used, before the spec is stored."""
    if names_remote(spec) and _CREDENTIALS.search(spec):
        raise UsageError(_NO_CREDENTIALS)
    parse_remote(spec) or parse_remote(spec, REMOTE_RATING)


def parse_remote(spec: str | None, prefix: str = REMOTE) -> RemoteModel | None:
    """The server and model that `remote:MODEL@URL` names; None for a spec without the prefix.

    MODEL may hold slashes and `@`: the last `@http` parts the two. A URL that holds a password or a query is refused,
    and no part of it is repeated. Raises UsageError.
    """
    if not spec or not spec.startswith(prefix):
        return None
    model, at, rest = _split_at_url(spec[len(prefix) :])
    wanted = f"write {prefix}MODEL@URL, as in {prefix}llava-hf/llava-1.5-7b-hf@http://localhost:8000/v1"
    if not (at and model.strip()):
        raise UsageError(f"A remote model needs a name and an address that begins with http:// or https://: {wanted}.")
    try:
        parts = urlsplit(rest)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host, parts = None, None
    if not host or "://" in model or not spec.isprintable() or any(c.isspace() for c in rest):
        raise UsageError(f"The address of a remote model cannot be read: {wanted}.")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise UsageError(_NO_CREDENTIALS)
    return RemoteModel(model.strip(), rest.rstrip("/"))


def _split_at_url(text: str) -> tuple[str, str, str]:
    found = [match.start() for match in re.finditer(r"@https?://", text)]
    return (text[: found[-1]], "@", text[found[-1] + 1 :]) if found else (text, "", "")
