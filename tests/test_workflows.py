"""What continuous integration runs: actions by the hash of their commit, every version promised, the release."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import tomllib
from types import ModuleType
from typing import Any

import pytest
import yaml

from kexport.version import __version__
from tests.places import ROOT

WORKFLOWS = {path.name: path.read_text(encoding="utf-8") for path in sorted((ROOT / ".github/workflows").glob("*.yml"))}
JOBS: dict[str, dict[str, Any]] = {
    f"{name}: {job}": content
    for name, text in WORKFLOWS.items()
    for job, content in yaml.safe_load(text)["jobs"].items()
}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
USES = re.compile(r"uses:\s*(.*)")
PINNED = re.compile(r"[\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+")


def script(name: str) -> ModuleType:
    """A script of ``.ci``, as a module."""
    spec = importlib.util.spec_from_file_location(f"ci_{name}", ROOT / ".ci" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_actions_are_named_by_hash() -> None:
    recipes = (ROOT / "docs" / "ci.md").read_text(encoding="utf-8")
    used = [line for text in (*WORKFLOWS.values(), recipes) for line in USES.findall(text) if line.strip() != "./"]
    assert used
    assert [line for line in used if not PINNED.fullmatch(line.strip())] == []
    assert not PINNED.fullmatch("actions/checkout@v4")


def test_packages_are_audited_and_fuzzed_for_long() -> None:
    text = "".join(WORKFLOWS.values())
    assert "pip-audit --path" in text
    assert re.search(r'KEXPORT_FUZZ_SECONDS: "(\d+)"', text)
    assert 'KEXPORT_LONG: "1"' in text
    assert "pytest -m long" in text
    assert all("permissions:\n  contents: read" in each for each in WORKFLOWS.values())


@pytest.mark.parametrize("job", JOBS.values(), ids=JOBS)
def test_every_job_ends_and_its_scripts_are_shell(job: dict[str, Any]) -> None:
    assert job["timeout-minutes"] <= 120
    for step in job["steps"]:
        done = subprocess.run(["bash", "-n"], input=step.get("run", ""), capture_output=True, text=True, check=False)
        assert done.stderr == ""


def test_every_python_that_is_promised_is_tried() -> None:
    promised = [text.rpartition(" ")[2] for text in PROJECT["classifiers"] if ":: Python :: 3." in text]
    for job in ("ci.yml: wheel", "release.yml: check"):
        assert JOBS[job]["strategy"]["matrix"]["python"] == promised
    assert PROJECT["requires-python"] == f">={promised[0]}"


def test_the_wheel_is_what_the_tests_import() -> None:
    text = (ROOT / ".ci" / "wheel").read_text(encoding="utf-8")
    assert 'pip" wheel' in text
    assert 'kexport" demo' in text
    assert " -e " not in text
    assert [job for job, content in JOBS.items() if "bash .ci/wheel" in str(content)] == [
        "ci.yml: wheel",
        "ci.yml: lowest",
    ]
    assert subprocess.run(["bash", "-n", ROOT / ".ci" / "wheel"], check=False).returncode == 0


def test_only_what_attaches_and_publishes_may_write() -> None:
    more = {job: content["permissions"] for job, content in JOBS.items() if "permissions" in content}
    assert more == {"release.yml: attach": {"contents": "write"}, "release.yml: publish": {"id-token": "write"}}
    for job in more:
        assert not any("checkout" in step.get("uses", "") for step in JOBS[job]["steps"]), (
            "no code of the checkout runs"
        )
    assert "secrets." not in WORKFLOWS["release.yml"]


def test_nothing_is_published_that_was_not_checked() -> None:
    order = ["build", "check", "attach", "publish"]
    needs = {job: JOBS[f"release.yml: {job}"].get("needs") for job in order}
    assert needs == {"build": None, "check": "build", "attach": "check", "publish": "attach"}
    assert "twine check --strict" in WORKFLOWS["release.yml"]


def test_lowest_versions_come_from_the_project() -> None:
    lowest = script("lowest")
    found = dict(line.split("==") for line in lowest.constraints(lowest.required(ROOT / "pyproject.toml")))
    assert found["keras"] == "3.15.1"
    assert {"numpy", "onnxruntime", "jinja2", "model-signing", "pytest", "ruff"} < set(found)
    assert not {"kexport", "onnxruntime-gpu"} & set(found)


def test_lowest_versions_of_a_project() -> None:
    lowest = script("lowest")
    assert lowest.constraints(["b>=2.0", "a[x,y]>=1", "kexport[cpu]", "b>=2.0"]) == ("a==1", "b==2.0")
    for wrong in (["a"], ["a==1"], ["a>=1,<2"], ["a>=1", "a>=2"]):
        with pytest.raises(ValueError, match=r"expected NAME>=VERSION|two versions"):
            lowest.constraints(wrong)


def test_a_tag_gets_its_notes() -> None:
    release = script("release")
    text = "# C\n\n## [1.1.0] - 2026-01-31\n\n### Added\n\n- this\n\n## [1.0.0] - 2025-01-01\n\n- that\n"
    assert release.notes("v1.1.0", "1.1.0", text) == "### Added\n\n- this\n"


def test_a_tag_that_does_not_agree_is_refused() -> None:
    release = script("release")
    for tag, stated, text, said in (
        ("v1.2.0", "1.1.0", "", "expected v1.1.0"),
        ("v1.1.0", "1.1.0", "## [1.0.0] - 2025-01-01\n", "expected a section"),
        ("v1.1.0", "1.1.0", "## [1.1.0] (unreleased)\n", "expected the day"),
    ):
        with pytest.raises(SystemExit, match=re.escape(said)):
            release.notes(tag, stated, text)
    with pytest.raises(SystemExit, match="expected a line"):
        release.version("version = 1\n")


def test_this_version_can_be_released() -> None:
    release = script("release")
    assert release.version((ROOT / "kexport" / "version.py").read_text(encoding="utf-8")) == __version__
    assert "### Added" in release.notes(f"v{__version__}", __version__, (ROOT / "CHANGELOG.md").read_text("utf-8"))
