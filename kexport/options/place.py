"""Where artifacts lie: a folder of this machine, or one at a URL."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from kexport.errors import UsageError

_URL = re.compile(r"([a-z][a-z0-9+.-]+)://(.*)", re.DOTALL | re.IGNORECASE)
"""A protocol has two letters: ``C://models`` is a folder."""
_PASSWORD = re.compile(r"^([a-z][a-z0-9+.-]+:/{0,2}[^/:]*:)[^/]*@", re.IGNORECASE)
LOCAL = ("file", "local")
"""Protocols of this machine's own folders."""
STORES = frozenset(
    {
        *LOCAL, "abfs", "abfss", "adl", "az", "dbfs", "dropbox", "ftp", "gcs", "gdrive", "github", "gs", "hdfs", "hf",
        "http", "https", "lakefs", "memory", "oci", "oss", "s3", "s3a", "sftp", "smb", "ssh", "tos", "wandb", "webdav",
        "webhdfs",
    }
)  # fmt: skip
"""Protocols of fsspec that are meant where one slash or both are forgotten; not its everyday words: data, dir, git."""
_MISSPELT = re.compile(rf"({'|'.join(sorted(STORES))}):(.*)", re.DOTALL | re.IGNORECASE)


@dataclass(frozen=True, repr=False)
class Url:
    """A folder behind a protocol of fsspec: ``s3://bucket/models``, ``gs://...``, ``file:///...``, ``memory://...``.

    A protocol in capitals is the same one. A password in it (``sftp://user:password@host/models``) is in `text`, for
    the driver alone: messages, records and commands have the rest.
    """

    text: str

    def __post_init__(self) -> None:
        found = _URL.fullmatch(self.text)
        if found is None or not found[2].strip("/"):
            raise UsageError(f"{str(self)!r} names no folder: expected one after ://", hint="-o s3://bucket/models")
        object.__setattr__(self, "text", f"{found[1].lower()}://{found[2]}")

    def __str__(self) -> str:
        return _shown(self.text).rstrip("/")

    def __repr__(self) -> str:
        return f"Url({str(self)!r})"

    @property
    def protocol(self) -> str:
        """What stands before ``://``."""
        return self.text.partition("://")[0]


def is_url(text: str) -> bool:
    """Whether a text says a protocol."""
    return _URL.fullmatch(text) is not None


def place(given: str | PathLike[str]) -> Path | Url:
    """The folder that a text or a path names.

    UsageError for a URL without one, and for a URL with a slash too few where nothing has this name: what is written
    there would be in a folder of this machine that nobody looks into.
    """
    text = str(given)
    if is_url(text):
        return Url(text)
    found = _MISSPELT.fullmatch(text)
    if found is not None and not os.path.lexists(text):  # a name that is too long is none
        raise _misspelt(text, found[1].lower(), found[2])
    return Path(given)


def here(given: str | PathLike[str], *, taker: str, hint: str) -> Path:
    """The path of this machine that a text names, as it stands or as a file:// URL; UsageError for another URL.

    ``taker`` is who cannot read there, ``hint`` what to type instead, with ``{url}`` where the URL stands.
    """
    found = place(given)
    if isinstance(found, Path):
        return found
    if found.protocol in LOCAL:
        return Path(found.text.partition("://")[2])
    raise UsageError(
        f"{found}: {taker} takes a file or folder of this machine; verify and report take URLs, and so do sources, "
        "--calibration, --eval and -o of export and all",
        hint=hint.format(url=str(found)),
    )


def _misspelt(text: str, protocol: str, rest: str) -> UsageError:
    """What is said of ``s3:/bucket/models``."""
    folder = os.path.abspath(text.partition(":")[2]) if protocol in LOCAL else rest.strip("/") or "bucket/models"  # noqa: PTH100 - as typed
    return UsageError(
        f"{_shown(text)}: no URL, as it has not :// after {protocol}, and no folder here has this name",
        hint=f"did you mean {Url(f'{protocol}://{folder}')}? A folder of this name is ./{_shown(text)}",
    )


def _shown(text: str) -> str:
    """A text without a password."""
    return _PASSWORD.sub(r"\1***@", text)
