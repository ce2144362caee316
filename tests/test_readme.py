"""Commands of the documents parse, README's first example gives what it shows, its set-up is what the gate can run."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import rich_click as click

from kexport import reports, store
from kexport.cli import group, main
from kexport.options import TABLE
from kexport.registry import Format, Scheme
from kexport.sources.names import select
from tests.places import DOCUMENTS, ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
MOST_BYTES = 16_000
FIRST_FILE = "artifacts/MobileNetV3Small/MobileNetV3Small-float32.onnx"
FENCE = re.compile(
    r"^(?:<!-- (?P<marker>[a-z]+: [a-z]+) -->\n)?```(?P<language>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
FENCES = list(FENCE.finditer(README))
MARKED = {found["marker"]: found["text"].strip() for found in FENCES if found["marker"]}
OWN_FORMAT = ROOT / "docs" / "tutorials" / "own.md"
"""Installs a package that adds a format, which nothing else here knows; `tests/tutorials/run.py` types its commands."""
COMMAND_TEXTS = [
    path.read_text(encoding="utf-8") for path in DOCUMENTS if path.name != "CHANGELOG.md" and path != OWN_FORMAT
]
QUICK = ("kexport --help", "kexport list", "kexport list models --json", "kexport list targets", "kexport doctor")


def commands(document: str) -> Iterator[str]:
    """Every `kexport ...` of the shell blocks, of inline code and of the generated tables."""
    for found in FENCE.finditer(document):
        if found["language"] == "sh" and not (found["marker"] or "").startswith("ci"):
            lines = found["text"].replace("\\\n", " ").splitlines()
            yield from (line for line in lines if line.startswith("kexport "))
    inline = re.findall(r"`(kexport [^`\n]+)`", FENCE.sub("", document))
    yield from (line.replace("\\|", "|") for line in inline if not re.search(r"\b[A-Z]{3,}\b", line))


def parse(line: str) -> click.Context:
    """The context of the command: click and the callbacks of the options have read it. Nothing runs."""
    words = [word for word in shlex.split(re.split(r"\s(?:[|>2]*>|\|)\s", line)[0])[1:] if word]
    if words[0].startswith("-"):
        return group.make_context("kexport", words, resilient_parsing=True)
    command = group.commands[words[0]]
    named_only = len(words) == 1 or "--help" in words
    return command.make_context(words[0], words[1:], resilient_parsing=named_only)


def test_it_is_short() -> None:
    assert len(README.encode()) <= MOST_BYTES


def denied(limits: str) -> set[str]:
    """Words for what kexport has that stand in a sentence of ``limits`` that says "no" or "not"."""
    able = {*map(str, Scheme), *map(str, Format), *group.commands, *(option.name for option in TABLE)}
    able |= {"accuracy", "calibration", "models", "integers", "quantization", "labelled", "photographs"}
    sentences = re.split(r"[.;:]\s", limits)
    found = [
        sentence for sentence in sentences if re.search(r"\b(?:no|not|never|only|cannot)\b", sentence, re.IGNORECASE)
    ]
    return able & {word for sentence in found for word in re.findall(r"[\w-]+", sentence.lower())}


def test_the_limits_deny_nothing_that_there_is() -> None:
    limits = README.partition("\n## Limits\n")[2].partition("\n## ")[0]
    assert limits
    assert denied(limits) == set()


@pytest.mark.parametrize(
    "false",
    [
        "* Precision is float32 and float16. There is no quantization to integers.",
        "* Sources are the forty constructors. Not arbitrary Keras models.",
        "* Accuracy on labelled images is not measured.",
        "* There is no int8.",
    ],
)
def test_a_false_limit_is_found(false: str) -> None:
    assert denied(false)


def test_every_format_and_scheme_is_named() -> None:
    assert {str(name) for name in (*Format, *Scheme)} <= set(re.findall(r"[\w-]+", README))


def test_every_command_is_shown() -> None:
    assert {line.split()[1] for line in [*commands(README), parse_first(MARKED["ci: run"])]} == set(group.commands)


def parse_first(set_up: str) -> str:
    return set_up.rpartition(" && ")[2].removeprefix(".venv/bin/")


def test_its_sizes_and_times_are_those_that_were_measured() -> None:
    forty = json.loads((ROOT / "parity" / "float32-forty.json").read_text(encoding="utf-8"))["cells"]
    files = [cell for cell in forty if cell["format"] in ("onnx", "tflite")]
    gigabytes = sum(cell["size_bytes"] for cell in files) / 1e9
    assert f"{len(files)} files of {gigabytes:.1f} GB" in README
    runs = (ROOT / "parity" / "runs.md").read_text(encoding="utf-8")
    assert re.search(r"onnx,tflite` \| 80 cells: 80 PASS \| 5 min ", runs)
    assert "five minutes on the machine of the [measurements](parity/runs.md)" in README
    small = [cell["size_bytes"] for cell in files if cell["model"] == "MobileNetV3Small"]
    assert f"{round(sum(small) / 1e6, -1):.0f} MB of files" in README
    assert f"{round(small[0] / 1e6):.0f} MB of trained ImageNet weights" in README


def test_there_are_two_set_up_commands() -> None:
    lines = [line for found in FENCES for line in found["text"].splitlines() if re.search(r"\bpip\b|\bvenv\b", line)]
    assert lines == [MARKED["ci: run"], MARKED["ci: test"]]
    assert "pip install" not in re.sub(r"^\| .*$", "", FENCE.sub("", README), flags=re.MULTILINE)


def test_the_gate_runs_the_second_one() -> None:
    pattern = re.search(r"grep -E '([^']+)' README.md", (ROOT / ".ci" / "run").read_text(encoding="utf-8"))
    assert pattern is not None
    expression = pattern[1].replace("[[:space:]]", r"\s")
    assert re.findall(rf"(?m){expression}.*$", README) == [MARKED["ci: test"]]


def test_the_two_set_up_commands_differ_in_extra_and_end_only() -> None:
    run, tests = (MARKED[name].split(" && ") for name in ("ci: run", "ci: test"))
    assert run[0] == tests[0] == "python3.11 -m venv .venv"
    assert tests[1] == run[1].replace("install '.[cpu]'", "install -e '.[cpu,dev]'")
    assert tests[2] == ".venv/bin/python -m pytest -n 2 --dist loadfile"
    job = parse(run[2].removeprefix(".venv/bin/"))
    assert job.command.name == "all"
    assert job.params["weights"] == "random:0"


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_a_command_on_a_line_of_its_own_is_a_block(path: Path) -> None:
    """Without its fence it is read as a sentence, and no test parses it."""
    prose = FENCE.sub("", path.read_text(encoding="utf-8"))
    assert re.findall(rf"(?m)^kexport (?:{'|'.join(group.commands)}) .*$", prose) == []


@pytest.mark.parametrize("line", sorted({line for text in COMMAND_TEXTS for line in commands(text)}))
def test_commands_parse(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for path in re.findall(r"(?:^|\s)((?:kexport-demo/)?artifacts\S*)", line):
        (tmp_path / path).mkdir(parents=True, exist_ok=True)
    for name in re.findall(r"(?<![\w/])[\w/.-]+\.(?:keras|h5|json|jpg|png)", line):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    for name in re.findall(r"(?<=export )folder\b", line):
        (tmp_path / name).mkdir()
        (tmp_path / name / "saved_model.pb").touch()
    context = parse(line)
    if context.command.name == "export" and line not in ("kexport export", "kexport export --help"):
        assert select(context.params["sources"])


def test_the_parsing_can_fail() -> None:
    with pytest.raises(click.NoSuchOption):
        parse("kexport export MobileNet --quantize")
    with pytest.raises(KeyError, match="train"):
        parse("kexport train artifacts")


@pytest.mark.parametrize("line", QUICK)
def test_quick_commands_run(line: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    assert main(shlex.split(line)[1:]) == 0
    assert capsys.readouterr().out.strip()


def test_the_unknown_name_is_told_as_shown(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    assert main(["export", "Resnet50"]) == 2
    error = capsys.readouterr().err
    assert error.strip()
    assert error in README


def cells(table: str) -> list[list[str]]:
    """Rows of a terminal table without the two error figures, whose last digits differ between machines."""
    rows = [re.split(r"\s*[│┃]\s*", line)[1:-1] for line in table.splitlines() if line[:1] in "│┃"]
    return [row[:7] + row[9:] for row in rows]


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    folder = tmp_path_factory.mktemp("readme")
    words = [sys.executable, "-m", *shlex.split(MARKED["example: export"])]
    wide = {**os.environ, "COLUMNS": "130"}
    return folder, subprocess.run(words, cwd=folder, env=wide, capture_output=True, text=True, check=False, timeout=300)


def test_the_first_example_gives_what_is_shown(example: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    _, done = example
    assert done.returncode == 0, done.stderr
    assert cells(done.stdout) == cells(MARKED["example: output"])
    assert len(cells(done.stdout)) == 3
    shown, told = MARKED["example: verdict"].splitlines(), done.stderr.splitlines()[-4:]
    assert (told[0], told[2:]) == (shown[0], shown[2:])
    figures = r"\d+\.\d+ GiB · wall time: .*s$"
    assert re.sub(figures, "", told[1]) == re.sub(figures, "", shown[1])


def test_files_land_where_the_readme_says(example: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    folder, _ = example
    stem = "artifacts/MobileNetV3Small/MobileNetV3Small-float32"
    expected = {f"{stem}{end}" for end in (".onnx", ".onnx.json", ".tflite", ".tflite.json")}
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    shown = {name for name in found if "/." not in name and "-reference-" not in name}
    assert shown == expected | {"artifacts/manifest.json"}


def answer(folder: Path) -> list[str]:
    """What the example says of a photograph: the class, its name, its probability."""
    from PIL import Image

    values = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    Image.fromarray(values).save(folder / "photo.jpg")
    command = [sys.executable, "-W", "error", "-c", MARKED["example: use"]]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    number, *name, probability = done.stdout.split()
    return [number, " ".join(name), probability]


def test_from_a_photograph_to_a_class(example: tuple[Path, subprocess.CompletedProcess[str]], tmp_path: Path) -> None:
    """With the names that the file holds, and where it holds none."""
    import onnx

    number, name, probability = answer(example[0])
    assert int(number) in range(1000)
    assert name
    assert 0.001 < float(probability) <= 1
    for labels, said in ((None, "without a name"), ([f"name {index}" for index in range(1000)], f"name {number}")):
        (path := tmp_path / FIRST_FILE).parent.mkdir(parents=True, exist_ok=True)
        model = onnx.load(example[0] / FIRST_FILE)
        kept = [each for each in model.metadata_props if each.key != "kexport.labels"]
        del model.metadata_props[:]
        model.metadata_props.extend(kept)
        if labels:
            model.metadata_props.add(key="kexport.labels", value=json.dumps(labels))
        onnx.save(model, path)
        assert answer(tmp_path) == [number, said, probability]


FOLLOW = ("classify", "inspect", "bundle", "parity", "report", "diff", "verify")


def test_what_follows_the_file_is_typed_as_shown(
    example: tuple[Path, subprocess.CompletedProcess[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the files of the first example, which are float32; the baseline is a summary of them."""
    folder = shutil.copytree(example[0], tmp_path / "here")
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    answer(folder)
    (folder / "baseline.json").write_text(reports.render(store.read_records(folder / "artifacts"), "summary"))
    shown = [line.replace("-int8.", "-float32.").partition(" > ")[0] for line in commands(README)]
    typed = [line for line in dict.fromkeys(shown) if line.split()[1] in FOLLOW and len(line.split()) > 2]
    assert {line.split()[1] for line in typed} == set(FOLLOW)
    assert {line: main(shlex.split(line)[1:]) for line in typed} == dict.fromkeys(typed, 0)
    assert (folder / "photo-client" / "classify.py").is_file()


def test_the_functions_give_the_same_records(example: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    folder, _ = example
    command = [sys.executable, "-c", MARKED["example: python"]]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=120)
    expected = "MobileNetV3Small onnx PASS\nMobileNetV3Small tflite PASS\n"
    assert (done.returncode, done.stdout, done.stderr) == (0, expected, "")


def test_every_part_of_the_record_that_is_named_exists() -> None:
    from dataclasses import fields

    from kexport.records import Artifact, BenchRecord, Check, OutputParity, ParityRecord, Record, SourceFacts

    known = {field.name for kind in (Record, Artifact, ParityRecord, OutputParity, Check, SourceFacts, BenchRecord)
             for field in fields(kind)}  # fmt: skip
    section = (ROOT / "docs" / "evidence.md").read_text(encoding="utf-8")
    paths = [path for row in re.findall(r"^\| .*$", section, re.MULTILINE) for path in re.findall(r"`([^`]+)`", row)]
    assert paths
    assert {name for path in paths for name in path.replace("[]", "").split(".")} <= known


def test_security_claims() -> None:
    sources = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "kexport").rglob("*.py"))
    found = re.findall(r"^\s*[^#'\"\n]*\b(?:load_model|pickle\.loads?|allow_pickle=True)\(.*$", sources, re.MULTILINE)
    assert [line.strip() for line in found] == [
        "model = keras.saving.load_model(folder, custom_objects=custom, compile=False, safe_mode=not trust)"
    ], "after all checks, and nowhere else"
    assert "keras>=3.15.1" in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
