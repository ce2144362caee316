"""Where in the network a value of a file belongs: the Keras layer, in a file that kexport wrote.

Its values are called as the layers that give them; what writers and passes add stands behind a colon or a slash. A file
of another maker tells no layers: its places are its own operators.
"""

from __future__ import annotations

import re

PRODUCER = "kexport"
_ADDED = re.compile(
    r"(:.*|/(argument|bias|flat|float32|gate|input|int8|kernel|levels|line|moved|offset|product|scaled|sigmoid|sixth"
    r"|sum\d+|uint8))$"
)


def knows_layers(producer: str) -> bool:
    """Whether names of a file with this producer are those of Keras layers."""
    return producer.split(" ", maxsplit=1)[0] == PRODUCER


def layer_of(name: str) -> str:
    """The layer of a value or node of kexport's own file."""
    while (shorter := _ADDED.sub("", name)) not in (name, ""):
        name = shorter
    return name
