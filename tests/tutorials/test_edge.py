"""docs/edge.md says what its runner executes: commands that can be read, files that they make, every output."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from kexport.options import ExportOptions
from kexport.pipeline import requests
from kexport.sources.names import select
from tests.consumers import edge
from tests.test_readme import parse

DOCUMENT = edge.DOCUMENT.read_text(encoding="utf-8")
STEPS = {step["name"]: step["text"].strip().splitlines() for step in edge.STEP.finditer(DOCUMENT)}
LINES = [line for lines in STEPS.values() for line in lines]
SHOWN = dict(re.findall(r"^<!-- shown: (\w+) -->\n```text\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL))


def test_every_command_is_a_step_with_its_output() -> None:
    assert len(STEPS) == DOCUMENT.count("```sh\n") == 6
    assert set(SHOWN) == {*STEPS, "web", "times"} - {"bundle"}, "which says nothing on standard output"
    assert all(text.strip() for text in SHOWN.values()), "executed, and pasted"
    assert all(line[:70] in SHOWN["times"] for line in LINES), "timed, each"
    for line in LINES:
        if line.startswith("kexport "):
            parse(line)


def test_each_device_names_the_seven() -> None:
    run = edge.Run(Path(), said=dict(SHOWN))
    assert edge.wrong(run) == []
    run.said["pi"] = run.said["pi"].replace("prime", "neither", 1)
    run.said["web"] = ""
    assert edge.wrong(run) == ["web", "pi"]


def test_the_files_are_called_as_the_export_calls_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("primes.keras").touch()
    for folder in ("calibration", "held-out/prime"):
        Path(folder).mkdir(parents=True)
        (Path(folder) / "a.png").touch()
    words = shlex.split(STEPS["export"][0])
    targets = tuple(words[place + 1] for place, word in enumerate(words) if word == "--target")
    options = ExportOptions(target=targets, calibration="calibration")
    made = {f"artifacts/{cell.model.name}/{cell.file_name}" for cell in requests.cells(select([words[2]]), options)}
    named = {word for line in LINES for word in shlex.split(line) if word.startswith("artifacts/")}
    assert len(named) == 4
    assert named <= made


def test_what_was_said_is_pasted_and_a_change_is_seen() -> None:
    said = dict.fromkeys(SHOWN, "prime  0.97")
    page = edge.pasted(DOCUMENT, said)
    assert page.count("prime  0.97\n```") == len(SHOWN)
    assert edge.alike(edge.pasted(DOCUMENT, SHOWN | {"web": f"{SHOWN['web'].strip()}"}), DOCUMENT)
    assert not edge.alike(page, DOCUMENT)
