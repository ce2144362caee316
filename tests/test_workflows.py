"""What continuous integration runs: actions by the hash of their commit, with their version beside it."""

from __future__ import annotations

import re

from tests.places import ROOT

WORKFLOWS = {path.name: path.read_text(encoding="utf-8") for path in sorted((ROOT / ".github/workflows").glob("*.yml"))}
USES = re.compile(r"uses:\s*(.*)")
PINNED = re.compile(r"[\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+")


def test_actions_are_named_by_hash() -> None:
    used = [line for text in WORKFLOWS.values() for line in USES.findall(text)]
    assert used
    assert [line for line in used if not PINNED.fullmatch(line.strip())] == []
    assert not PINNED.fullmatch("actions/checkout@v4")


def test_packages_are_audited_and_fuzzed_for_long() -> None:
    text = "".join(WORKFLOWS.values())
    assert "pip-audit --path" in text
    assert re.search(r'KEXPORT_FUZZ_SECONDS: "(\d+)"', text)
    assert "permissions:\n  contents: read" in text
