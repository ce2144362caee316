"""The action's steps and the snippet for GitLab, run as they stand, with a regression and without."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import kexport
from kexport import store
from kexport.records import Record, Status
from kexport.reports import render
from tests.reports import made_up

ROOT = Path(kexport.__file__).parents[1]
RECORDS = tuple(
    replace(record, artifact=None, status=Status.UNSUPPORTED, reason="a layer is unknown")
    for record in made_up.run(models=1, schemes=("float32",))
)


def steps() -> dict[str, str]:
    """Name -> script of the action's steps: the lines of each ``run``, without YAML's indentation."""
    text = (ROOT / "action.yml").read_text(encoding="utf-8")
    found = re.findall(r"- name: (\w+)\n(.*?)(?=\n    - name:|\Z)", text, re.DOTALL)
    return {
        name: re.sub(r"^ {8}", "", body.partition("run: ")[2].removeprefix("|\n"), flags=re.MULTILINE)
        for name, body in found
    }


@pytest.fixture
def shell(tmp_path: Path):
    """Runs a script in ``tmp_path`` where ``kexport`` is this one."""
    program = tmp_path / "bin" / "kexport"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m kexport "$@"\n')
    program.chmod(0o755)
    environment = {
        **os.environ, "PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(ROOT),
        "GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md"), "KEXPORT_ARTIFACTS": "artifacts",
        "KEXPORT_BASELINE": "base.json", "KEXPORT_ARGUMENTS": "--allow operators",
    }  # fmt: skip

    def run(script: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script],
            cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip

    return run


def fill(directory: Path, records: tuple[Record, ...]) -> None:
    directory.mkdir(exist_ok=True)
    for record in records:
        store.write_record(directory, record, f"{record.model}-{record.scheme}.{record.format}")
    store.write_manifest(directory)


def test_the_steps_of_the_action(tmp_path: Path, shell) -> None:  # type: ignore[no-untyped-def]
    fill(tmp_path / "artifacts", RECORDS)
    (tmp_path / "base.json").write_text(render(RECORDS, "summary"))
    found = steps()
    assert list(found) == ["verify", "report", "diff"]
    assert shell(found["verify"]).returncode == 0
    reported = shell(found["report"])
    assert reported.returncode == 1, "cells that did not pass fail the job"
    assert "UNSUPPORTED" in reported.stderr
    assert "# kexport report" in (tmp_path / "summary.md").read_text()
    assert (tmp_path / "kexport-junit.xml").read_text().startswith("<?xml")
    assert shell(found["diff"]).returncode == 0
    (tmp_path / "base.json").write_text(render([replace(record, status=Status.PASS) for record in RECORDS], "summary"))
    assert shell(found["diff"]).returncode == 1
    assert "kexport diff: REGRESSED" in (tmp_path / "summary.md").read_text()


def test_the_snippet_for_gitlab(tmp_path: Path, shell) -> None:  # type: ignore[no-untyped-def]
    text = (ROOT / "docs" / "ci.md").read_text(encoding="utf-8").partition("<!-- example: gitlab -->")[2]
    lines = re.findall(r"^    - (kexport .*)$", text, re.MULTILINE)
    assert len(lines) == 4
    fill(tmp_path / "artifacts", RECORDS)
    (tmp_path / "kexport-baseline.json").write_text(render(RECORDS, "summary"))
    for line in lines:
        done = shell(line)
        assert done.returncode == 0, (line, done.stderr)
    assert (tmp_path / "kexport-report.html").read_text().startswith("<!doctype html>")
    (tmp_path / "kexport-baseline.json").write_text(
        render([replace(r, status=Status.PASS) for r in RECORDS], "summary")
    )
    assert shell(lines[-1]).returncode == 1
