"""Whether a host, or the proxy in front of it, takes a connection: found within seconds."""

from __future__ import annotations

import socket
from collections.abc import Callable
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from kexport.errors import DownloadError

PROBE_SECONDS = 4.0
_PROBED_ADDRESSES = 2
_PORTS = {"http": 80, "https": 443}


def probe(url: str, *, failed: Callable[[str], DownloadError]) -> None:
    """Raise what ``failed`` makes of the cause unless the host of ``url`` takes a connection."""
    host, port = endpoint(url)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses = dict.fromkeys((str(entry[4][0]), int(entry[4][1])) for entry in found)
        _connect(list(addresses)[:_PROBED_ADDRESSES])
    except OSError as error:
        raise failed(f"{host} cannot be reached: {error}") from error


def _connect(addresses: list[tuple[str, int]]) -> None:
    """Connect to the first address that answers; the error of the last one if none does."""
    for position, address in enumerate(addresses):
        try:
            socket.create_connection(address, timeout=PROBE_SECONDS).close()
        except OSError:
            if position == len(addresses) - 1:
                raise
        else:
            return


def endpoint(url: str) -> tuple[str, int]:
    """Host and port to connect to: those of the address, or of the proxy in front of it."""
    parts = urlsplit(url)
    proxy = getproxies().get(parts.scheme)
    if proxy and not proxy_bypass(parts.hostname or ""):
        parts = urlsplit(proxy if "//" in proxy else f"http://{proxy}")
    return parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 443)
