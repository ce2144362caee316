"""Where artifacts lie: a folder of this machine, or one at a URL."""

from __future__ import annotations

import re
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from kexport.errors import UsageError

_URL = re.compile(r"([a-z][a-z0-9+.-]*)://(.*)", re.DOTALL)
_PASSWORD = re.compile(r"(://[^/:]*:)[^/]*@")


@dataclass(frozen=True, repr=False)
class Url:
    """A folder behind a protocol of fsspec: ``s3://bucket/models``, ``gs://...``, ``file:///...``, ``memory://...``.

    A password in it (``sftp://user:password@host/models``) is in `text`, for the driver alone: messages, records and
    commands have the rest.
    """

    text: str

    def __post_init__(self) -> None:
        found = _URL.fullmatch(self.text)
        if found is None or not found[2].strip("/"):
            raise UsageError(f"{str(self)!r} names no folder: expected one after ://", hint="-o s3://bucket/models")

    def __str__(self) -> str:
        return _PASSWORD.sub(r"\1***@", self.text).rstrip("/")

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
    """The folder that a text or a path names. Raises UsageError for a URL without one."""
    return Url(str(given)) if is_url(str(given)) else Path(given)
