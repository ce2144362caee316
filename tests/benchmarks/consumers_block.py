"""README's sentence on the programs that read the files: who is right on every network that was tried."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]
PAGE = "parity/consumers.md"
SHOWN = (("onnx", "float32"), ("onnx", "int8"), ("tflite", "float32"), ("tflite", "int8"))
SLOW = "slow"
"""Stopped for its time: nothing is known of what it computes."""


def summary(data: Json | None) -> str:
    """Consumers that are right on all networks, of those that were tried, and the names of the others."""
    if data is None:
        return "Other consumers of the files: not measured yet (`python tests/consumers/every.py`)."
    consumers, networks = ({cell[name] for cell in data["cells"]} for name in ("consumer", "network"))
    parts = "; ".join(_part(data["cells"], *pair) for pair in SHOWN)
    return (
        f"{len(consumers)} programs that read such files were asked about {len(networks)} networks; right on all: "
        f"{parts}. Versions, other schemes, and the cause of each wrong one: [{PAGE}]({PAGE})."
    )


def _part(cells: list[Json], form: str, scheme: str) -> str:
    states: dict[str, set[str]] = {}
    for cell in cells:
        if (cell["format"], cell["scheme"]) == (form, scheme) and cell["state"] != SLOW:
            states.setdefault(cell["consumer"], set()).add(cell["state"])
    others = [name for name, found in states.items() if found != {"right"}]
    told = f" (not {', '.join(others)})" if others else ""
    return f"{form} {scheme} {len(states) - len(others)} of {len(states)}{told}"
