"""Folders that tests look into."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
"""The checkout."""

LAB = Path(os.environ.get("KEXPORT_LAB") or ROOT.parent / "shared" / "imagenet")
"""Real weights and photographs, where they are: tests that need them are marked `lab`."""
DOCUMENTS = tuple(
    path
    for folder in (".", "docs", "docs/tutorials", "parity", "targets", ".github", "kexport/lowerings")
    for path in sorted((ROOT / folder).glob("*.md"))
)
"""What is written for readers."""
