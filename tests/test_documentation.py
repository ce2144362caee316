"""Documents are generated where they repeat the code; links lead somewhere; nothing of one machine is in them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.places import DOCUMENTS, ROOT

BY_NAME = {path.relative_to(ROOT).as_posix(): path for path in DOCUMENTS}
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
MACHINE_PATH = re.compile(r"(?<![\w./])/(?:home|root|Users|work|tmp|mnt|opt)/")


def anchors(text: str) -> set[str]:
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}


def test_generated_parts_are_up_to_date() -> None:
    command = [sys.executable, "tests/benchmarks/tables.py", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("path", BY_NAME.values(), ids=BY_NAME)
def test_links_and_paths(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not MACHINE_PATH.search(text)
    local = [link for link in LINK.findall(text) if "://" not in link]
    broken = [link for link in local if not leads_somewhere(path, link)]
    assert broken == []


def leads_somewhere(document: Path, link: str) -> bool:
    name, _, anchor = link.partition("#")
    target = document.parent / name if name else document
    return target.exists() and (not anchor or anchor in anchors(target.read_text(encoding="utf-8")))


def test_the_link_check_can_fail() -> None:
    assert not leads_somewhere(ROOT / "README.md", "parity/none.md")
    assert not leads_somewhere(ROOT / "README.md", "#no-such-title")
    assert leads_somewhere(ROOT / "README.md", "#measured")


def test_the_changelog_has_this_version() -> None:
    from kexport import __version__

    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(rf"^## \[{re.escape(__version__)}\]", text, re.MULTILINE)


def places_named_in(text: str) -> list[str]:
    return re.findall(r"`((?:kexport|targets|parity|tests|docs)/[\w/.-]*)`", text)


def test_places_that_documents_name_exist() -> None:
    named = {
        name for path in DOCUMENTS if path.name != "CHANGELOG.md" for name in places_named_in(path.read_text("utf-8"))
    }
    assert len(named) > 20
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


def test_a_place_that_is_gone_is_found() -> None:
    gone = places_named_in("in `kexport/engines/`, `kexport/cli/`, `kexport cli`")
    assert [name for name in gone if not (ROOT / name).exists()] == ["kexport/engines/"]
