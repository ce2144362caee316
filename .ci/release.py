"""What is released under a tag: its section of the changelog, once tag, version and changelog agree.

    python .ci/release.py v0.2.0 > notes.md

Exits with 1 and a line where the tag is not ``v`` and the version of kexport/version.py, or where the changelog has no
section of that version, or still calls it unreleased.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def version(text: str) -> str:
    """The version that a text like kexport/version.py states."""
    found = re.search(r'^__version__ = "([^"]+)"$', text, re.MULTILINE)
    if found is None:
        raise SystemExit("kexport/version.py: expected a line __version__ = ...")
    return found[1]


def notes(tag: str, stated: str, changelog: str) -> str:
    """The section of the changelog under this tag; SystemExit with what does not agree."""
    if tag != f"v{stated}":
        raise SystemExit(f"tag {tag}: expected v{stated}, which is what kexport/version.py states")
    head = re.search(rf"^## \[{re.escape(stated)}\](.*)$", changelog, re.MULTILINE)
    if head is None:
        raise SystemExit(f"CHANGELOG.md: expected a section ## [{stated}]")
    if not re.fullmatch(r" - \d{4}-\d{2}-\d{2}", head[1]):
        raise SystemExit(f"CHANGELOG.md: {head[0]!r}: expected the day of the release after it, as in - 2026-01-31")
    section, _, _ = changelog[head.end() :].partition("\n## [")
    return section.strip() + "\n"


if __name__ == "__main__":
    name = sys.argv[1]
    stated = version((ROOT / "kexport" / "version.py").read_text(encoding="utf-8"))
    sys.stdout.write(notes(name, stated, (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")))
