"""Which proxy stands between here and a server, as the environment says; none before this machine's own servers.

Read here, not by httpx: what is told of a proxy is then what is used, and a server on this machine is never asked
through another one, whatever NO_PROXY says. No torch.
"""

from __future__ import annotations

import ipaddress
import urllib.request
from urllib.parse import urlsplit

import httpx

from m3po.errors import ModelError


def is_near(host: str) -> bool:
    """Whether `host` names this machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
        return address.is_loopback or address.is_unspecified
    except ValueError:
        return False


def find_proxy(url: str) -> httpx.Proxy | None:
    """The proxy that HTTP_PROXY, HTTPS_PROXY or ALL_PROXY names for `url`, as NO_PROXY allows.

    Raises ModelError for one that cannot be used; its password is not repeated.
    """
    parts = urlsplit(url)
    if is_near(parts.hostname or ""):
        return None
    named = urllib.request.getproxies_environment()
    address = named.get(parts.scheme) or named.get("all")
    if not address or urllib.request.proxy_bypass_environment(parts.netloc, named):
        return None
    try:
        proxy = httpx.Proxy(address if "://" in address else f"http://{address}")
        usable = proxy.url.scheme in ("http", "https") and proxy.url.host and (proxy.url.port or 1) < 2**16
    except (ValueError, httpx.InvalidURL):
        usable = False
    if not usable:
        raise ModelError(
            f"The proxy that {parts.scheme.upper()}_PROXY or ALL_PROXY names for {url} cannot be used: give "
            "http://HOST:PORT, or name the server's host in NO_PROXY."
        )
    return proxy


def proxy_name(proxy: httpx.Proxy) -> str:
    """Its address; httpx keeps user and password apart from it."""
    return str(proxy.url)
