"""ImageNet's thousand classes in the order of the outputs: WordNet ids and names, as Keras has them.

The table beside this module is ``imagenet_class_index.json`` of `keras.applications` line by line, so that no network
and no cache is needed to name a class; a test holds it against the hash that Keras states for that file.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

COUNT = 1000
ORIGIN = "ImageNet"
_TABLE = Path(__file__).with_name("imagenet_classes.tsv")


@cache
def rows() -> tuple[tuple[str, str], ...]:
    """``(WordNet id, name)`` for each class. Two names stand twice, each with another id: crane and maillot."""
    lines = _TABLE.read_text(encoding="utf-8").splitlines()
    return tuple((identity, name) for identity, _, name in (line.partition("\t") for line in lines))


def names() -> tuple[str, ...]:
    """The names in order."""
    return tuple(name for _, name in rows())


def identities() -> tuple[str, ...]:
    """The WordNet ids in order."""
    return tuple(identity for identity, _ in rows())
