"""A bundle on disk: a folder, or one ``.tar.gz`` whose bytes depend on its files alone."""

from __future__ import annotations

import gzip
import io
import tarfile
from pathlib import Path

from kexport import files
from kexport.bundles import Files
from kexport.errors import UsageError

SUFFIX = ".tar.gz"
_MODE = 0o644


def write(found: Files, place: Path, *, archived: bool) -> Path:
    """Write the files to the folder or archive ``place``, complete or not at all. Raises UsageError if it is there."""
    for name in found:
        if name.startswith("/") or ".." in name.split("/") or files.too_long(name):
            raise UsageError(
                f"a file of the bundle would be {name!r:.200}, which leads out of it", hint="kexport verify"
            )
    if files.there(place):
        raise UsageError(f"{place} exists already", hint=f"-o {place}-2, or remove it first")
    files.prepare(place.parent)
    with files.staging(place.parent) as folder:
        staged = folder / place.name
        if archived:
            staged.write_bytes(packed(found, top=place.name.removesuffix(SUFFIX)))
        else:
            _spread(found, staged)
        files.publish(staged, place)
    return place


def packed(found: Files, *, top: str) -> bytes:
    """Sorted names below ``top``, no times, owners or platform: equal files give equal bytes."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name in sorted(found):
            entry = tarfile.TarInfo(f"{top}/{name}")
            entry.size, entry.mode = len(found[name]), _MODE
            archive.addfile(entry, io.BytesIO(found[name]))
    return gzip.compress(buffer.getvalue(), mtime=0)


def _spread(found: Files, folder: Path) -> None:
    for name, content in found.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
