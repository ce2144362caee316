"""How variants are called: whatever makes another network of a source is in its name, so that none replaces another.

`in_name` of each option says what it adds; these are the words for those that need some.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence

from kexport.errors import UsageError

_MOST_LETTERS = 48
_OWN = ("manifest.json", "bom.cdx.json", "kexport.sig")
"""Files that lie beside the folders of the networks (`kexport.store`); ``.kexport…`` are its locks and staging."""
_LETTER = re.compile(r"[^\w.+-]")


def same(_: object) -> str:
    """Of an option that leaves the network as it is."""
    return ""


def width(alpha: float) -> str:
    """``a0.25``; nothing for 1, which every network has unless said."""
    return "" if alpha == 1 else f"a{str(alpha).removesuffix('.0')}"


def size(shape: Sequence[int]) -> str:
    """``192x192``; with channels where they are not three."""
    return "x".join(map(str, shape[:2] if shape[2] == 3 else shape))


def taps(layers: Sequence[str]) -> str:
    """``at-block4_pool``; of names that are long, or with letters that no file should have, a digest as well."""
    told = "+".join(layers)
    plain = _LETTER.sub("_", told)[:_MOST_LETTERS]
    return f"at-{plain}" if plain == told else f"at-{plain}-{hashlib.sha256(told.encode()).hexdigest()[:8]}"


def named(network: str, parts: Iterable[str]) -> str:
    """The network, and what makes it another."""
    return "-".join([network, *filter(None, parts)])


def check_name(name: str) -> None:
    """Raise UsageError unless a folder and files can be called so."""
    if name.startswith((".", "-")) or not re.fullmatch(r"[^/\\\x00-\x1f\x7f]+", name):
        raise UsageError(f"--name {name!r}: expected a plain name for a folder and its files", hint="--name Small")


def check_free(name: str) -> None:
    """Raise UsageError for a network whose folder would have the name of a file of the artifact directory itself."""
    if name.lower() in _OWN or name.lower().startswith(".kexport"):
        raise UsageError(
            f"{name}: a file of the artifact directory itself is called so; expected another name for a network",
            hint="--name NAME",
        )
