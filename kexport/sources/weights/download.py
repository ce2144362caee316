"""One file from a server that may misbehave: resumed, bounded, never from http where https was asked, whole or absent.

Bytes go to ``<name>.part`` beside the target. A transfer that breaks is taken up where it broke (Range, with If-Range
so that two versions are never mixed: RFC 9110, sections 13.1.5 and 14.2), a few times. The caller checks the file
before it gets its name.
"""

from __future__ import annotations

import http.client
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from kexport import disk

ATTEMPTS = 4
WAIT_SECONDS = 0.5
STALL_SECONDS = 30.0
SLOWEST_BYTES = 16 * 1024
"""What has to come in each `STALL_SECONDS`."""
BLOCK_BYTES = 2**16
MAX_BYTES = 4 * 2**30
AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})


class TransferError(Exception):
    """Why a file did not come, in one line; whoever asked for it says which file that was."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class _Broken(Exception):
    """A transfer that may be taken up again."""


class _OnlySafer(urllib.request.HTTPRedirectHandler):
    """Follows redirects between http and https, and never from https to anything else."""

    def redirect_request(  # noqa: PLR0917 - the library's own
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        """The request for the new place; TransferError for a place that is not as safe."""
        before, after = urlsplit(req.full_url).scheme, urlsplit(newurl).scheme
        if after not in ("http", "https") or (before == "https" and after != "https"):
            raise TransferError(f"it leads from {before} to {newurl}, which is not followed")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


@dataclass(kw_only=True)
class _Transfer:
    """One file on its way. ``validator`` names the version that ``part`` is the beginning of."""

    url: str
    part: Path
    validator: str = ""

    def attempt(self) -> None:
        """Take what is missing. Raises _Broken where it may be tried again, TransferError where not."""
        have = self.part.stat().st_size if self.validator and self.part.exists() else 0
        headers = {"User-Agent": "kexport"} | ({"Range": f"bytes={have}-", "If-Range": self.validator} if have else {})
        request = urllib.request.Request(self.url, headers=headers)  # noqa: S310 - http and https only, see fetch
        opener = urllib.request.build_opener(_OnlySafer)
        try:
            with opener.open(request, timeout=STALL_SECONDS) as response:
                self._take(response, have)
        except urllib.error.HTTPError as error:
            self._refused(error)
        except (TimeoutError, http.client.HTTPException, ConnectionError) as error:
            raise _Broken(_told(error)) from error
        except urllib.error.URLError as error:
            raise _Broken(_told(error.reason)) from error

    def _refused(self, error: urllib.error.HTTPError) -> None:
        error.close()
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            self.part.unlink(missing_ok=True)
            raise _Broken("the rest was refused") from error
        if error.code in AGAIN:
            raise _Broken(f"the server answered {error.code} {error.reason}") from error
        raise TransferError(f"the server answered {error.code} {error.reason}") from error

    def _take(self, response: Any, have: int) -> None:
        if response.status != http.HTTPStatus.PARTIAL_CONTENT:
            have = 0
        elif not str(response.headers.get("Content-Range", "")).startswith(f"bytes {have}-"):
            self.part.unlink(missing_ok=True)
            raise _Broken("another part than asked for was sent")
        self.validator = _validator(response.headers)
        length = response.headers.get("Content-Length", "")
        total = have + int(length) if length.isdecimal() else None
        self._require_room(total, have)
        with self.part.open("r+b" if have else "wb") as file:
            file.seek(have)
            got = have + _copy(response, file, most=MAX_BYTES - have)
            file.flush()
            os.fsync(file.fileno())
        if total is not None and got < total:
            raise _Broken(f"it ended after {got:,} of {total:,} bytes")

    def _require_room(self, total: int | None, have: int) -> None:
        if total is not None and total > MAX_BYTES:
            raise TransferError(f"it has {total:,} bytes, expected at most {MAX_BYTES:,}")
        free, needed = disk.free_bytes(self.part.parent), (total or 0) - have
        if free < needed:
            raise TransferError(
                f"no space left in {self.part.parent}: {disk.told(free)} free, {disk.told(needed)} needed"
            )


def _validator(headers: Any) -> str:
    """What names this version of the file: a strong tag, else its time of change."""
    tag = str(headers.get("ETag", ""))
    return tag if tag.startswith('"') else str(headers.get("Last-Modified", ""))


def _copy(response: Any, file: IO[bytes], *, most: int) -> int:
    """Copy to the end; the bytes copied. Raises _Broken for a stall, TransferError for more than there may be."""
    copied, counted, since = 0, 0, time.monotonic()
    while block := response.read1(BLOCK_BYTES):
        file.write(block)
        copied += len(block)
        if copied > most:
            raise TransferError(f"it has more than {MAX_BYTES:,} bytes")
        if time.monotonic() - since > STALL_SECONDS:
            if copied - counted < SLOWEST_BYTES:
                raise _Broken(f"{copied - counted} bytes came in {STALL_SECONDS:g} seconds")
            counted, since = copied, time.monotonic()
    return copied


def _told(error: object) -> str:
    text = str(error) or type(error).__name__
    return f"nothing came for {STALL_SECONDS:g} seconds" if isinstance(error, TimeoutError) else text


def fetch(url: str, target: Path, *, check: Callable[[Path], None]) -> None:
    """Fetch ``url`` to ``target``, which appears whole or not at all, after ``check`` has accepted the file.

    Raises TransferError in one line, and what ``check`` raises; nothing is left then.
    """
    if urlsplit(url).scheme not in ("http", "https"):
        raise TransferError(f"{url} is no http or https address")
    transfer = _Transfer(url=url, part=target.with_name(f"{target.name}.part"))
    try:
        _attempts(transfer)
        check(transfer.part)
        settle(transfer.part, target)
    except OSError as error:
        if disk.is_full(error):
            free = disk.told(disk.free_bytes(target.parent))
            raise TransferError(f"no space left in {target.parent}: {free} free") from None
        raise TransferError(f"{target} cannot be written: {error.strerror}") from error
    finally:
        with suppress(OSError):
            transfer.part.unlink(missing_ok=True)


def _attempts(transfer: _Transfer) -> None:
    for number in range(1, ATTEMPTS + 1):
        try:
            return transfer.attempt()
        except _Broken as error:
            if number == ATTEMPTS:
                raise TransferError(f"{error}, {ATTEMPTS} times") from error
            time.sleep(WAIT_SECONDS * 2 ** (number - 1))
    return None


def settle(part: Path, target: Path) -> None:
    """Give a checked file its name, durably."""
    with part.open("rb") as file:
        os.fsync(file.fileno())
    part.replace(target)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
