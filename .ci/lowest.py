"""The lowest versions that pyproject.toml allows, as constraints for pip: one ``name==version`` a line.

    python .ci/lowest.py > lowest.txt && pip install -c lowest.txt '.[cpu,dev]'

A lower bound says that the tests have run with that very version; the job that installs these keeps it true.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from pathlib import Path

BOUND = re.compile(r"(?P<name>[A-Za-z0-9._-]+)(?:\[[^\]]*\])?>=(?P<version>[0-9][0-9a-z.]*)")
ITSELF = re.compile(r"kexport\[[a-z,]+\]")
REPLACED = "onnxruntime-gpu"
"""Belongs to the extra that excludes ``cpu``."""


def constraints(requirements: Iterable[str]) -> tuple[str, ...]:
    """One line for each requirement, sorted; ValueError for one that has no lower bound, or more than one."""
    asked = [text.strip() for text in requirements if not ITSELF.fullmatch(text.strip())]
    found = {text: BOUND.fullmatch(text) for text in asked}
    if without := [text for text, bound in found.items() if bound is None]:
        raise ValueError(f"{', '.join(without)}: expected NAME>=VERSION")
    bounds = {(bound["name"], bound["version"]) for bound in found.values() if bound}
    if len(bounds) != len({name for name, _ in bounds}):
        raise ValueError(f"one name, two versions: {sorted(bounds)}")
    return tuple(f"{name}=={version}" for name, version in sorted(bounds) if name != REPLACED)


def required(pyproject: Path) -> tuple[str, ...]:
    """What the package needs, with all its extras."""
    project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    return (*project["dependencies"], *(text for extra in project["optional-dependencies"].values() for text in extra))


if __name__ == "__main__":
    print(*constraints(required(Path(__file__).parents[1] / "pyproject.toml")), sep="\n")
