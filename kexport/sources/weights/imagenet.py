"""ImageNet weights, fetched by Keras into its own cache, with the failures that Keras leaves to chance.

Every application asks `keras.src.utils.file_utils.get_file` for its file. While a model is built that
function is wrapped: a cached file is checked before Keras reads it, an unreachable host is found within
seconds, one process downloads while others wait, and Keras's silent change to a shared temporary
folder is refused. Messages and progress of Keras go to stderr.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from kexport.errors import DownloadError, SourceError
from kexport.sources.weights.hdf5_file import check_signature, opened
from kexport.specs import ModelSpec

PROBE_SECONDS = 4.0
STALL_SECONDS = 60.0
_PROBED_ADDRESSES = 2
_PORTS = {"http": 80, "https": 443}


def build(construct: Callable[[str], Any], spec: ModelSpec) -> Any:
    """``construct("imagenet")``, guarded.

    Raises DownloadError (no network, no such file, no cache folder) and SourceError (a damaged cached file).
    """
    with _guarded(spec), redirect_stdout(sys.stderr):
        return construct("imagenet")


@dataclass(frozen=True, kw_only=True)
class Request:
    """One call of get_file: what, from where, with which hash, to which place. ``what`` is for messages."""

    model: str
    url: str
    target: Path
    file_hash: str | None
    what: str = "ImageNet weights of"


@contextmanager
def _guarded(spec: ModelSpec) -> Iterator[None]:
    from keras.src.utils import file_utils

    original = file_utils.get_file

    def guarded(fname: str, origin: str, *args: Any, **kwargs: Any) -> str:
        folder = cache_folder() / str(kwargs.get("cache_subdir", "datasets"))
        request = Request(model=spec.name, url=origin, target=folder / fname, file_hash=_hash(kwargs))
        return _fetch(request, lambda: str(original(fname, origin, *args, **kwargs)))

    file_utils.get_file = guarded
    try:
        yield
    finally:
        file_utils.get_file = original


def cache_folder() -> Path:
    """The folder of Keras for downloads. Raises DownloadError where Keras would turn to a shared one."""
    from keras.src.backend.config import keras_home

    home = Path(keras_home()).expanduser()
    if "KERAS_HOME" not in os.environ and home != Path.home() / ".keras":
        raise DownloadError(
            f"{Path.home()} cannot be written, so Keras would keep weights in the shared folder {home}",
            hint="KERAS_HOME=/a/folder/of/yours kexport ...",
        )
    return home


def _hash(kwargs: dict[str, Any]) -> str | None:
    value = kwargs.get("file_hash") or kwargs.get("md5_hash")
    return None if value is None else str(value)


def _fetch(request: Request, fetch: Callable[[], str]) -> str:
    if not request.target.exists():
        download(request, fetch)
    _check(request)
    return str(request.target)


def download(request: Request, fetch: Callable[[], str]) -> None:
    """Fetch a file that is not there, one process at a time. Raises DownloadError."""
    from filelock import FileLock

    probe(request.url, model=request.model, what=request.what)
    _require_writable(request)
    with FileLock(f"{request.target}.lock"):
        if request.target.exists():  # another process fetched it meanwhile
            return
        with _Failures(request), _stall_limit():
            fetch()


def _require_writable(request: Request) -> None:
    home = request.target.parent.parent
    try:
        request.target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(home, str(error.strerror)) from error
    if not os.access(home, os.W_OK) or not os.access(request.target.parent, os.W_OK):
        raise _unwritable(home, "no permission to write there")


def _unwritable(home: Path, cause: str) -> DownloadError:
    return DownloadError(
        f"the Keras cache {home} cannot be used: {cause}", hint="KERAS_HOME=/a/folder/of/yours kexport ..."
    )


def probe(url: str, *, model: str, what: str = Request.what) -> None:
    """Raise DownloadError unless the host of ``url``, or the proxy in front of it, takes a connection."""
    host, port = _endpoint(url)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses = dict.fromkeys((str(entry[4][0]), int(entry[4][1])) for entry in found)
        _connect(list(addresses)[:_PROBED_ADDRESSES])
    except OSError as error:
        raise _failure(url, f"{what} {model}", f"{host} cannot be reached: {error}") from error


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


def _endpoint(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    proxy = getproxies().get(parts.scheme)
    if proxy and not proxy_bypass(parts.hostname or ""):
        parts = urlsplit(proxy if "//" in proxy else f"http://{proxy}")
    return parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 443)


def _failure(url: str, what: str, cause: str) -> DownloadError:
    return DownloadError(
        f"the {what} could not be downloaded: {cause}; file: {url}",
        hint=f"--weights random:0, --weights FILE, or put the file into {cache_folder() / 'models'}",
    )


@dataclass(frozen=True)
class _Failures:
    """Maps what a download raises; Keras raises a bare `Exception`, which no ``except`` may name."""

    request: Request

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        bare = kind is Exception and str(error).startswith("URL fetch failure")
        if bare or isinstance(error, (OSError, ValueError)):  # ValueError: Keras found another hash
            self.request.target.unlink(missing_ok=True)
            raise _failure(self.request.url, f"{self.request.what} {self.request.model}", str(error)) from error


@contextmanager
def _stall_limit() -> Iterator[None]:
    """No read of the download waits longer than `STALL_SECONDS`."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(STALL_SECONDS)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _check(request: Request) -> None:
    """Raise SourceError if the cached file is truncated or has another hash than Keras expects."""
    from keras.src.utils.file_utils import validate_file

    try:
        check_signature(request.target)
        with opened(request.target):
            pass
    except SourceError as error:
        raise _damaged(request, error.message) from error
    if request.file_hash is not None and not validate_file(str(request.target), request.file_hash):
        raise _damaged(request, f"its hash is not {request.file_hash}")


def _damaged(request: Request, cause: str) -> SourceError:
    return SourceError(
        f"the cached ImageNet weights of {request.model} are damaged: {cause}; file: {request.target}",
        hint=f"rm {request.target}",
    )
