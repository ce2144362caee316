"""Sizes of files as people write them."""

from __future__ import annotations

import re

from kexport.errors import UsageError

UNITS = {"": 1, "b": 1} | {
    f"{letter}{binary}b": base**power
    for binary, base in (("", 1000), ("i", 1024))
    for power, letter in enumerate("kmgt", start=1)
}
_SIZE = re.compile(r"\s*(\d{1,15}(?:\.\d{1,9})?)\s*([a-zA-Z]{0,3})\s*", re.ASCII)


def bytes_of(flag: str, text: str, *, example: str = "4MB") -> int:
    """The bytes of ``4MB``, ``500 kB``, ``3.5MiB`` or ``123456``. Raises UsageError that names the ``flag``."""
    found = _SIZE.fullmatch(text)
    size = 0 if found is None else int(float(found[1]) * UNITS.get(found[2].lower(), 0))
    if size <= 0:
        raise UsageError(
            f"{flag} {text!r}: expected a size above 0, in bytes or with a unit of kB, MB, GB, TB, KiB, MiB, GiB, TiB",
            hint=f"{flag} {example}",
        )
    return size
