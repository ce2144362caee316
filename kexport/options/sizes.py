"""Sizes of files as people write them."""

from __future__ import annotations

import re

from kexport.errors import UsageError

UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}
_SIZE = re.compile(r"\s*(\d{1,15}(?:\.\d{1,9})?)\s*([a-zA-Z]{0,3})\s*", re.ASCII)


def bytes_of(flag: str, text: str) -> int:
    """The bytes of ``4MB``, ``500 kB``, ``3.5MiB`` or ``123456``. Raises UsageError that names the ``flag``."""
    found = _SIZE.fullmatch(text)
    if found is None or found[2].lower() not in UNITS or not float(found[1]) > 0:
        raise UsageError(
            f"{flag} {text!r}: expected a size above 0, in bytes or with a unit of kB, MB, GB, KiB, MiB, GiB",
            hint=f"{flag} 4MB",
        )
    return int(float(found[1]) * UNITS[found[2].lower()])
