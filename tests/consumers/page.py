"""parity/consumers.md and parity/consumers.json: right of tried, and why where a cell is not right."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from kexport import machine
from kexport.version import __version__
from tests.consumers import committed
from tests.consumers.artifacts import NETWORKS, SCHEMES, Exported
from tests.consumers.cells import Cell
from tests.consumers.consumer import CONSUMERS, Consumer
from tests.consumers.faults import why

PLACE = Path(__file__).resolve().parents[2] / "parity"
UNTOLD, MOST_LETTERS = ("version", "sha256"), 240
SHORT = {"float32": "f32", "float16": "f16", "dynamic": "dyn", "int8, integer head": "int8, integer head"}


def write(found: Sequence[Cell], exported: Sequence[Exported], place: Path = PLACE) -> None:
    """Both files: what was found now, and of what stands there all that was not asked anew."""
    before = committed.read(place / "consumers.json")
    cells = before.with_cells(found)
    missing = before.with_missing(*_missing(exported))
    processor = before.with_machine(machine.describe()["processor"]) if found else before.machines
    versions = {cell.consumer: cell.version for cell in cells}
    told = {"kexport": __version__, "machine": processor, "networks": [one.name for one in NETWORKS]}
    head = json.dumps({**told, "versions": versions, "not_written": missing}, indent=1).removesuffix("\n}")
    rows = ",\n  ".join(json.dumps(_bare(cell, versions)) for cell in cells)
    (place / "consumers.json").write_text(f'{head},\n "cells": [\n  {rows}\n ]\n}}\n', encoding="utf-8")
    (place / "consumers.md").write_text("\n".join(lines(cells, missing)) + "\n", encoding="utf-8")


def _missing(exported: Sequence[Exported]) -> tuple[list[str], list[str]]:
    """What was not written and why, and the networks of which that is known."""
    made = [one for one in exported if one.files]
    told = [f"{file.network.name} {file.format} {file.scheme}: {file.missing}"
            for one in made for file in one.files if file.missing]  # fmt: skip
    return told, [one.network.name for one in made]


def _bare(cell: Cell, versions: dict[str, str]) -> dict[str, Any]:
    """What is known of a cell, its version where that is not the consumer's other one, and why it is not right."""
    known = {name: value for name, value in asdict(cell).items() if value is not None and name not in UNTOLD}
    if cell.version != versions[cell.consumer]:
        known["version"] = cell.version
    if cell.state == "right":
        return {name: value for name, value in known.items() if name != "told"}
    return {**known, "told": " ".join(cell.told.split())[:MOST_LETTERS].rstrip(), "why": why(cell)}


def lines(cells: Sequence[Cell], missing: Sequence[str]) -> Iterator[str]:
    """The page."""
    asked = {cell.consumer for cell in cells}
    tried = {cell.network for cell in cells}
    names = ", ".join(one.name for one in NETWORKS if one.name in tried)
    left = ", ".join(one.name for one in NETWORKS if one.name not in tried)
    yield from (
        "# Consumers",
        "",
        f"`tests/consumers/every.py`: {len(asked)} consumers, {len(tried)} networks with seeded weights ({names}),",
        *((f"not yet tried: {left};",) if left else ()),
        "each file asked about four pictures and held against Keras by the bounds that it holds in its own runtime",
        "(`parity/tolerances.toml`). Right of tried; one thread; ARM and GPUs were not tried. `consumers.json` has all",
        "cells; `tests/consumers/smallest.py` finds the node where a consumer's numbers leave the runtime's.",
        "",
    )
    for form, title in (("onnx", "ONNX"), ("tflite", "TFLite")):
        yield from _table(form, title, cells)
    yield from (line for sentence in committed.mixed(cells) for line in (sentence, ""))
    yield from ("## Not right, and why", "", "| consumer | files | networks | why |", "|---|---|---|---|")
    yield from _reasons(cells)
    if missing:
        yield from ("", "## Not written", "", *(f"* {line}" for line in missing))


def _table(form: str, title: str, cells: Sequence[Cell]) -> Iterator[str]:
    schemes = SCHEMES[form]
    yield from (f"## {title}", "", f"| consumer | version | {' | '.join(SHORT.get(s, s) for s in schemes)} | |")
    yield "|---|---|" + "---|" * (len(schemes) + 1)
    for consumer in CONSUMERS:
        mine = [cell for cell in cells if cell.consumer == consumer.name and cell.format == form]
        if mine:
            counts = [_count([cell for cell in mine if cell.scheme == scheme]) for scheme in schemes]
            yield f"| {consumer.name} | {_version(consumer, mine)} | {' | '.join(counts)} | {consumer.remark} |"
    yield ""


def _version(consumer: Consumer, cells: Sequence[Cell]) -> str:
    return ", ".join(sorted({cell.version for cell in cells if cell.consumer == consumer.name}))


def _count(cells: Sequence[Cell]) -> str:
    """Right of tried; what took too long was not tried to its end."""
    ended = [cell for cell in cells if cell.state != "slow"]
    slow = len(cells) - len(ended)
    right = sum(cell.state == "right" for cell in ended)
    told = f"{right} / {len(ended)}" if ended else "-"
    bold = f"**{told}**" if right < len(ended) else told
    return bold + (f", {slow} too slow" if slow else "")


def _reasons(cells: Sequence[Cell]) -> Iterator[str]:
    """One line for each consumer, kind of file and reason."""
    found: dict[tuple[str, str, str], list[Cell]] = {}
    for cell in cells:
        if cell.state != "right":
            found.setdefault((cell.consumer, cell.format, why(cell)), []).append(cell)
    for (consumer, form, reason), mine in found.items():
        schemes = ", ".join(dict.fromkeys(cell.scheme for cell in mine))
        networks = ", ".join(dict.fromkeys(cell.network for cell in mine))
        states = ", ".join(dict.fromkeys(cell.state for cell in mine))
        yield f"| {consumer} | {form} {schemes} | {networks} | {states}: {reason} |"
