"""Runs a tutorial as a reader would: its files are written, its commands typed, its output compared.

    python tests/tutorials/run.py NAME... [--write]

NAME is that of a page in ``docs/tutorials``. Everything happens in a new folder and a new environment, which sees the
packages of this one and goes afterwards. A block is told by the comment above it: ``file: PATH`` is written, ``run``
is typed and has to end with 0, or with the code behind it, ``output`` is what the block before wrote to standard
output. Figures differ between machines: numbers, and how wide a table is for them, are not compared. ``--write`` puts
the true output and the time into the page.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import sysconfig
import tempfile
import time
import venv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = ROOT / "docs" / "tutorials"
BLOCK = re.compile(
    r"^<!-- (?P<kind>file|run|output)(?:: (?P<word>\S+))? -->\n```\w*\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
TIME = re.compile(r"(<!-- time: {name} -->).*?(<!-- end -->)".replace("{name}", r"[a-z0-9]+"))
LIMIT_SECONDS = 600


@dataclass(frozen=True, kw_only=True)
class Block:
    """A block of a page: what to do with it, the word behind that, its text, and where the text stands."""

    kind: str
    word: str
    text: str
    span: tuple[int, int]


class Failed(Exception):
    """A command that ends otherwise, or writes something else, than the page says."""


def blocks(page: str) -> Iterator[Block]:
    """Those that are executed, in their order."""
    for found in BLOCK.finditer(page):
        yield Block(kind=found["kind"], word=found["word"] or "", text=found["text"], span=found.span("text"))


def alike(one: str, other: str) -> bool:
    """Whether two outputs are the same but for numbers, spaces and rules of tables."""
    return _words(one) == _words(other)


def _words(text: str) -> list[str]:
    return re.sub(
        r"[-+]?\d+(?:[.,]\d+)*(?:e[-+]?\d+)?\*?", "#", re.sub(r"[│┃━─┏┓┡┩└┘┳╇┴|:-]{2,}|[│┃]", " ", text)
    ).split()


def follow(page: str, folder: Path, environment: dict[str, str], *, compare: bool = True) -> list[tuple[Block, str]]:
    """Do what the page says, in ``folder``; every output block with the true output. Raises Failed."""
    outputs, last = [], ""
    for block in blocks(page):
        if block.kind == "file":
            path = folder / block.word
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text, encoding="utf-8")
        elif block.kind == "run":
            last = _type(block, folder, environment)
        else:
            outputs.append((block, last))
            if compare and not alike(last, block.text):
                raise Failed(f"the page shows\n{block.text}\nand it was\n{last}")
    return outputs


def _type(block: Block, folder: Path, environment: dict[str, str]) -> str:
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", block.text]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=LIMIT_SECONDS
    )
    print(f"$ {block.text}{done.stdout}{done.stderr}", flush=True)
    if done.returncode != int(block.word or 0):
        raise Failed(f"{block.text}ended with {done.returncode}, expected {block.word or 0}:\n{done.stderr}")
    return done.stdout


def prepared(folder: Path) -> dict[str, str]:
    """A new environment in ``folder`` that sees this one's packages; the variables that make it the present one."""
    place = folder / "environment"
    venv.create(place, with_pip=True, symlinks=True)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    seen = [sysconfig.get_path("purelib")] if _is_installed_elsewhere() else [str(ROOT), sysconfig.get_path("purelib")]
    (place / "lib" / version / "site-packages" / "seen.pth").write_text("\n".join(seen) + "\n")
    program = place / "bin" / "kexport"
    program.write_text(f'#!/bin/sh\nexec "{place}/bin/python" -m kexport "$@"\n')
    program.chmod(0o755)
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return kept | {"PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}", "NO_COLOR": "1", "COLUMNS": "120"}


def _is_installed_elsewhere() -> bool:
    """Whether kexport is that of a wheel, not of this checkout."""
    import kexport

    return not Path(kexport.__file__).is_relative_to(ROOT / "kexport")


def written(page: str, outputs: list[tuple[Block, str]], seconds: float) -> str:
    """The page with the true outputs, and how long it took."""
    for block, text in reversed(outputs):
        start, end = block.span
        page = page[:start] + "\n".join(line.rstrip() for line in text.strip("\n").splitlines()) + "\n" + page[end:]
    return TIME.sub(rf"\g<1>{_duration(seconds)}\g<2>", page)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def main() -> int:
    """Exit codes: 0, 1 where a page does not say what happens."""
    parser = argparse.ArgumentParser(description="Run tutorials.")
    parser.add_argument("names", nargs="+", choices=sorted(path.stem for path in PAGES.glob("*.md")), metavar="NAME")
    parser.add_argument("--write", action="store_true", help="put the true output and the time into the page")
    options = parser.parse_args()
    for name in options.names:
        path = PAGES / f"{name}.md"
        page, started = path.read_text(encoding="utf-8"), time.monotonic()
        with tempfile.TemporaryDirectory(prefix=f"kexport-{name}-") as folder:
            try:
                (Path(folder) / "work").mkdir()
                outputs = follow(page, Path(folder) / "work", prepared(Path(folder)), compare=not options.write)
            except Failed as error:
                print(f"{name}: {error}", file=sys.stderr)
                return 1
        seconds = time.monotonic() - started
        if options.write:
            path.write_text(written(page, outputs, seconds), encoding="utf-8")
        print(f"{name}: {_duration(seconds)}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
