"""A command is one file: its presence in ``kexport/cli`` registers it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

from kexport.cli import group
from tests.places import ROOT

WAVE = '''"""Says hello."""

import rich_click as click


@click.command("wave")
def command() -> int:
    """Wave."""
    print("hello")
    return 0
'''


def test_commands_come_in_the_order_of_use() -> None:
    usual = ["list", "export", "all", "parity", "bench", "sensitivity", "report", "verify", "sign", "doctor"]
    assert [name for name in group.commands if name in usual] == usual


def test_a_file_is_a_command(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "kexport", tmp_path / "kexport", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "kexport" / "cli" / "wave.py").write_text(WAVE)
    script = (
        "import sys, json; from kexport.cli import group, main; main(['wave']);"
        "print(json.dumps([list(group.commands)[-1], [n for n in ('numpy', 'keras', 'pydantic') if n in sys.modules]]))"
    )
    alone = {"PYTHONPATH": str(tmp_path), "PATH": ""}
    words = [sys.executable, "-c", script]
    done = subprocess.run(words, cwd=tmp_path, env=alone, capture_output=True, text=True, timeout=60, check=True)
    said, rest = done.stdout.splitlines()
    assert said == "hello"
    assert json.loads(rest) == ["wave", []], "last, as it names no ORDER; and nothing heavy was imported"
