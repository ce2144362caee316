"""A folder at a URL, through fsspec: what lies there, and files that go there complete or not at all.

An object of S3, Google Cloud Storage or Azure appears when its upload is complete, in place of the one before.
Elsewhere a file is written under another key, ``.kexport-<random>/<name>``, and moved. No such store renames a folder:
the files of a SavedModel come one by one, before its record.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import sys
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, final

from kexport.errors import MissingDependencyError, StoreError, UsageError
from kexport.files import MOST_BYTES, STAGING
from kexport.options.place import Url

WHOLE = {"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss"}
"""Stores whose objects appear with the end of their upload."""
PACKAGES = {
    "s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs", "abfss": "adlfs",
    "sftp": "paramiko", "ssh": "paramiko", "smb": "smbprotocol", "hdfs": "pyarrow", "hf": "huggingface_hub",
}  # fmt: skip
"""Which package speaks a protocol, where fsspec itself does not."""
_FOREIGN = (
    ("botocore.exceptions", "BotoCoreError"),
    ("botocore.exceptions", "ClientError"),
    ("google.auth.exceptions", "GoogleAuthError"),
    ("gcsfs.retry", "HttpError"),
    ("azure.core.exceptions", "AzureError"),
    ("paramiko.ssh_exception", "SSHException"),
)
"""Errors of the drivers that are no OSError; those of a driver that is not loaded cannot be raised."""


@final
@dataclass(frozen=True, kw_only=True)
class Remote:
    """The folder at ``url``: ``system`` is fsspec's file system, ``root`` its name for the folder."""

    url: Url
    system: Any
    root: str

    def sizes(self, below: str = "") -> dict[str, int]:
        """Every file, or those ``below`` a folder, by its name (``/`` between parts), but for staging, and its bytes.

        StoreError for names that lead out of the folder, and for files that are larger than any artifact.
        """
        return {name: size for name, (size, _) in self.details(below).items()}

    def details(self, below: str = "") -> dict[str, tuple[int, Mapping[str, Any]]]:
        """As `sizes`, with all that the driver tells of a file."""
        with self.errors():
            self.system.invalidate_cache()
            found = self.system.find(f"{self.root}/{below}".rstrip("/"), detail=True)
        named = {path[len(self.root) :].lstrip("/"): info for path, info in sorted(found.items())}
        return {
            name: (self._bounded(name, int(info["size"] or 0)), info)
            for name, info in named.items()
            if not _in_staging(name)
        }

    def _bounded(self, name: str, size: int) -> int:
        if ".." in PurePosixPath(name).parts or "\0" in name:
            raise StoreError(f"{self.url}: the key {name!r} leads out of the folder", hint="remove it there")
        if size > MOST_BYTES:
            raise StoreError(
                f"{self.url}/{name}: {size} bytes, no artifact has more than {MOST_BYTES}", hint="remove it there"
            )
        return size

    def read(self, name: str) -> bytes | None:
        """The bytes of a small file as they are now; None where there is none."""
        with self.errors():
            self.system.invalidate_cache()
            try:
                content: bytes = self.system.cat_file(self._key(name))
            except FileNotFoundError:
                return None
        return content

    def has(self, name: str) -> bool:
        """Whether a file, or a folder with files, is there now."""
        with self.errors():
            self.system.invalidate_cache()
            return bool(self.system.exists(self._key(name)))

    def get(self, names: list[str], folder: Path) -> None:
        """Copy these files into a folder of this machine, many at once where the driver can."""
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if names:
            with self.errors():
                self.system.get([self._key(name) for name in names], [str(folder / name) for name in names])

    def put(self, paths: Mapping[str, Path]) -> None:
        """Copy files of this machine to these names, each complete or not at all."""
        if not paths:
            return
        with self.errors():
            if self.url.protocol in WHOLE:
                self.system.put([str(path) for path in paths.values()], [self._key(name) for name in paths])
                return
            for name, path in paths.items():
                self._moved_to(name, path)

    def _moved_to(self, name: str, path: Path) -> None:
        staging = self._key(f"{STAGING}{uuid.uuid4().hex}")
        staged, final_key = f"{staging}/{path.name}", self._key(name)
        self.system.makedirs(staging, exist_ok=True)
        try:
            self.system.put_file(str(path), staged)
            self.system.makedirs(final_key.rpartition("/")[0], exist_ok=True)
            self.system.mv(staged, final_key)
        finally:
            self.system.rm(staging, recursive=True)

    def remove(self, names: list[str]) -> None:
        """Remove these files."""
        with self.errors():
            for name in names:
                self.system.rm_file(self._key(name))

    def _key(self, name: str) -> str:
        return f"{self.root}/{name}"

    @contextmanager
    def errors(self) -> Iterator[None]:
        """What a driver raises becomes a StoreError about the URL."""
        try:
            yield
        except _refusals() as error:
            raise self._refusal(error) from error

    def _refusal(self, error: BaseException) -> StoreError:
        told = next(iter(str(error).splitlines()), type(error).__name__)
        if isinstance(error, FileNotFoundError):
            return StoreError(f"{self.url}: not found: {told:.200}", hint="create the bucket or folder first")
        if isinstance(error, PermissionError):
            return StoreError(f"{self.url}: no permission: {told:.200}", hint="check the credentials and their rights")
        return StoreError(f"{self.url} cannot be used: {told:.200}", hint="check the address, network and credentials")


def connect(url: Url) -> Remote:
    """The folder at a URL; nothing is asked of its store yet.

    Raises MissingDependencyError without fsspec or the protocol's driver, UsageError for a protocol that there is not.
    """
    fsspec = _fsspec(url)
    if url.protocol not in {*fsspec.available_protocols(), *fsspec.registry}:
        raise UsageError(
            f"{url}: unknown protocol {url.protocol!r}, expected s3, gs, abfs, sftp, file, memory or another of fsspec",
            hint="-o s3://bucket/models",
        )
    try:
        system, root = fsspec.core.url_to_fs(url.text.rstrip("/"))
    except ImportError as error:
        package = PACKAGES.get(url.protocol, f"the driver that fsspec names: {error}")
        extra = "'kexport[remote]'" if package == "s3fs" else package
        raise MissingDependencyError(
            f"{url}: {url.protocol}:// needs the package {package}", hint=f"pip install {extra}"
        ) from error
    except _refusals() as error:
        raise StoreError(f"{url} cannot be used: {error}", hint="check the address and the credentials") from error
    return Remote(url=url, system=system, root=str(root).rstrip("/"))


def tidy(directory: Path) -> None:
    """Remove what killed writers have left half written in a folder that was shared, when nobody writes there."""
    for path in directory.glob(f"{STAGING}*"):
        if re.fullmatch(r"[0-9a-f]{32}", path.name.removeprefix(STAGING)):
            shutil.rmtree(path, ignore_errors=True)


def _fsspec(url: Url) -> Any:
    if importlib.util.find_spec("fsspec") is None:
        raise MissingDependencyError(f"{url}: a URL needs the package fsspec", hint="pip install 'kexport[remote]'")
    import fsspec

    return fsspec


def _refusals() -> tuple[type[BaseException], ...]:
    """What file systems raise; those of a driver only where it is loaded."""
    found = (getattr(sys.modules.get(module), name, None) for module, name in _FOREIGN)
    return (OSError, ValueError, *(kind for kind in found if kind is not None))


def _in_staging(name: str) -> bool:
    return any(part.startswith(STAGING) for part in name.split("/"))
