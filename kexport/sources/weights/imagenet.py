"""ImageNet weights in Keras's own cache, fetched by kexport, with the failures that Keras leaves to chance.

Every application asks `keras.src.utils.file_utils.get_file` for its file. While a model is built that function is
ours: a file is checked before Keras reads it, and before the network is built where its name is known; one process
downloads while others wait; a damaged or changed file is set aside and fetched again. Keras's silent change to a shared
temporary folder is refused. ``KEXPORT_WEIGHTS_URL``, a folder or an address, is asked in place of Keras's host.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from kexport import files
from kexport.errors import DownloadError, SourceError
from kexport.records import WeightsFile
from kexport.sources.weights import download, pins
from kexport.sources.weights.download import TransferError
from kexport.sources.weights.file_names import weights_file
from kexport.sources.weights.hdf5_file import check_signature, opened
from kexport.sources.weights.pins import Pin
from kexport.sources.weights.probe import probe
from kexport.specs import ModelSpec

MIRROR = "KEXPORT_WEIGHTS_URL"
ASIDE = ".damaged"


@dataclass(frozen=True, kw_only=True)
class Request:
    """One call of get_file: what, from where, with which hash, to which place."""

    model: str
    url: str
    target: Path
    file_hash: str | None = None


def build(construct: Callable[[str], Any], spec: ModelSpec) -> tuple[Any, WeightsFile | None]:
    """``construct("imagenet")``, guarded, and the file that it took.

    Raises DownloadError (no network, no such file, no cache folder, other bytes than before).
    """
    used: list[WeightsFile] = []
    set_aside = _look_before(spec)
    with _guarded(spec, used, set_aside), redirect_stdout(sys.stderr):
        model = construct("imagenet")
    return model, used[-1] if used else None


def _look_before(spec: ModelSpec) -> str:
    """Set a damaged file aside before anything is built; why, or nothing."""
    target = cache_folder() / "models" / weights_file(spec)
    return _set_aside_if_damaged(Request(model=spec.network, url="", target=target)) if target.exists() else ""


@contextmanager
def _guarded(spec: ModelSpec, used: list[WeightsFile], set_aside: str) -> Iterator[None]:
    from keras.src.utils import file_utils

    original = file_utils.get_file

    def guarded(fname: str, origin: str, **kwargs: Any) -> str:
        folder = cache_folder() / str(kwargs.get("cache_subdir", "datasets"))
        file_hash = kwargs.get("file_hash") or kwargs.get("md5_hash")
        request = Request(model=spec.network, url=origin, target=folder / fname, file_hash=file_hash)
        used.append(obtain(request, set_aside=set_aside))
        return str(request.target)

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
            hint="export KERAS_HOME=/a/folder/of/yours",
        )
    return home


def obtain(request: Request, *, set_aside: str = "") -> WeightsFile:
    """The file of a request, in its place and checked; fetched if it is not there or was damaged."""
    if request.target.exists() and not set_aside:
        set_aside = _set_aside_if_damaged(request)
    fetched = not request.target.exists()
    if fetched:
        fetch(request, damaged=set_aside)
    return _accepted(request, set_aside, fetched=fetched)


def _accepted(request: Request, set_aside: str, *, fetched: bool) -> WeightsFile:
    """What the record says of the file; one that was never used before is pinned."""
    folder, name = request.target.parent, request.target.name
    pin = pins.known(folder).get(name)
    basis = "as on its first use here"
    if pin is None:
        pin = Pin(sha256=files.file_digest(request.target), size_bytes=request.target.stat().st_size, url=request.url)
        basis = "first use here: its true sha256 is not known"
        basis += ", Keras's MD5 holds" if request.file_hash else ", and Keras knows no hash of it"
        try:
            pins.keep(folder, name, pin)
        except DownloadError as error:
            basis += f"; {error.message}"
    again = f"; {set_aside}, {'fetched again' if fetched else 'made again'}" if set_aside else ""
    return WeightsFile(name=name, url=request.url, sha256=pin.sha256, basis=basis + again)


def _set_aside_if_damaged(request: Request) -> str:
    """Why a cached file was set aside, as ``<name>.damaged``; nothing if it is sound.

    Raises SourceError where it is damaged and cannot be moved.
    """
    try:
        check(request, request.target)
    except SourceError as error:
        aside = request.target.with_name(request.target.name + ASIDE)
        told = f"the cached ImageNet weights of {request.model} were damaged: {error.message}"
        try:
            request.target.replace(aside)
        except OSError as refusal:
            raise SourceError(
                f"{told}; they cannot be set aside: {refusal.strerror}; file: {request.target}",
                hint=f"rm {request.target}",
            ) from refusal
        print(f"{told}; set aside as {aside}", file=sys.stderr)
        return f"{told}; set aside as {aside.name}"
    return ""


def check(request: Request, path: Path) -> None:
    """Raise SourceError unless the file is HDF5, whole, and has the hash that is known: ours, else Keras's."""
    check_signature(path)
    with opened(path, told="the file"):
        pass
    pin = pins.known(request.target.parent).get(request.target.name)
    if pin is not None:
        found = files.file_digest(path)
        if found != pin.sha256:
            raise SourceError(f"its sha256 is {found}, on first use it was {pin.sha256}", hint=f"rm {path}")
    elif request.file_hash is not None:
        from keras.src.utils.file_utils import validate_file

        if not validate_file(str(path), request.file_hash):
            raise SourceError(f"its hash is not {request.file_hash}, which Keras expects", hint=f"rm {path}")


def fetch(request: Request, *, damaged: str = "") -> None:
    """Fetch a file that is not there, one process at a time. Raises DownloadError; nothing is left then."""
    from filelock import FileLock

    source = mirrored(request.url)
    if urlsplit(source).scheme in ("http", "https"):
        probe(source, failed=lambda cause: _failure(request, cause, damaged))
    _require_writable(request)
    with FileLock(f"{request.target}.lock"):
        if request.target.exists():  # another process fetched it meanwhile
            return
        try:
            if urlsplit(source).scheme in ("http", "https"):
                download.fetch(source, request.target, check=lambda path: check(request, path))
            else:
                _copy(Path(source), request)
        except (TransferError, SourceError) as error:
            raise _failure(replace(request, url=source), error.message, damaged) from error


def mirrored(url: str) -> str:
    """Where a file is taken from: Keras's host, or the mirror: an address, or the path of a file in a folder."""
    base, name = os.environ.get(MIRROR, ""), Path(urlsplit(url).path).name
    if not base:
        return url
    parts = urlsplit(base)
    if parts.scheme in ("http", "https"):
        return f"{base.rstrip('/')}/{quote(name)}"
    folder = Path(unquote(parts.path) if parts.scheme == "file" else base).expanduser()
    if not folder.is_dir():
        raise DownloadError(
            f"{MIRROR}={base}: expected a folder that is there, or an http(s) address", hint=f"{MIRROR}=folder"
        )
    return str(folder / name)


def _copy(source: Path, request: Request) -> None:
    """From a folder that is the mirror, checked before it gets its name."""
    part = request.target.with_name(f"{request.target.name}.part")
    try:
        with files.regular(source) as file, part.open("wb") as copy:
            shutil.copyfileobj(file, copy)
        check(request, part)
        download.settle(part, request.target)
    except OSError as error:
        raise TransferError(f"{source}: {error.strerror}") from error
    finally:
        part.unlink(missing_ok=True)


def _require_writable(request: Request) -> None:
    home = request.target.parent.parent
    try:
        request.target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(home, str(error.strerror)) from error
    if not os.access(home, os.W_OK) or not os.access(request.target.parent, os.W_OK):
        raise _unwritable(home, "no permission to write there")


def _unwritable(home: Path, cause: str) -> DownloadError:
    return DownloadError(f"the Keras cache {home} cannot be used: {cause}", hint="export KERAS_HOME=/a/folder/of/yours")


def _failure(request: Request, cause: str, damaged: str) -> DownloadError:
    before = f"{damaged}; " if damaged else ""
    return DownloadError(
        f"{before}the ImageNet weights of {request.model} could not be downloaded: {cause}; file: {request.url}",
        hint=f"--weights random:0, --weights FILE, or put the file into {request.target.parent}",
    )
