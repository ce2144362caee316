"""Every calibration image once: a copy adds no information, but would be the unseen image that a fit is judged on."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b

from kexport.quantization import Batches, Feeds


def distinct(batches: Batches) -> Batches:
    """The batches without images that are byte for byte one that came before; no batch is empty."""

    def stream() -> Iterator[Feeds]:
        seen: set[bytes] = set()
        for feeds in batches():
            new = []
            for index, key in enumerate(_keys(feeds)):
                if key not in seen:
                    seen.add(key)
                    new.append(index)
            if new:
                yield {name: array[new] for name, array in feeds.items()}

    return stream


def _keys(feeds: Feeds) -> Iterator[bytes]:
    """A digest of each image: of all inputs together."""
    for rows in zip(*feeds.values(), strict=True):
        digest = blake2b()
        for row in rows:
            digest.update(row.tobytes())
        yield digest.digest()
