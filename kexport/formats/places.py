"""Where in the network a value of a file belongs: the Keras layer, in a file that kexport wrote.

Its values are called as the layers that give them; what writers and passes add stands behind a colon or a slash. A file
of another maker tells no layers: its places are its own operators.
"""

from __future__ import annotations

import re
from collections.abc import Collection

PRODUCER = "kexport"
_ADDED = re.compile(
    r"(:.*|/(argument|bias|flat|float32|gate|input|int8|kernel|levels|line|logits|moved|offset|padded|product|scaled"
    r"|sigmoid|sixth|sum\d+|uint8))$"
)
"""What is added also where the layer's own value is not in the file: it went into the next one, or is an output."""


def knows_layers(producer: str) -> bool:
    """Whether names of a file with this producer are those of Keras layers."""
    return producer.split(" ", maxsplit=1)[0] == PRODUCER


def layer_of(name: str, known: Collection[str] = ()) -> str:
    """The layer of a value or node of kexport's own file; ``known`` are the values that it has."""
    while (shorter := _shorter(name, known)) not in (name, ""):
        name = shorter
    return name


def _shorter(name: str, known: Collection[str]) -> str:
    before, slash, _ = name.rpartition("/")
    return before if slash and before in known else _ADDED.sub("", name)
