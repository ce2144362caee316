"""A folder from elsewhere is data: no record chooses code to run, whatever it names and however it is read."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kexport import pipeline, store
from kexport.errors import SourceError, StoreError
from kexport.pipeline import Request
from kexport.pipeline.reproduce import model_of
from kexport.records import Signature, SourceFacts, Status, decode
from kexport.specs import Cell, Format, ModelSpec, WeightsSpec
from tests.pipeline.test_faults import Silent

SMALL = ModelSpec(application="MobileNetV3Small", weights=WeightsSpec(kind="random", seed=0), input_shape=(64, 64, 3))
SCRIPT = "import sys; from kexport.cli import main; sys.exit(main(sys.argv[1:]))"
EVIL = "open('PWNED', 'w').write('ran')\ndef build():\n    raise ValueError('ran')\n"
SHAPE = (Signature(name="x", shape=(None, 4), dtype="float32"),)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("foreign") / "foreign"
    request = Request(cells=(Cell(model=SMALL, format=Format.ONNX),), directory=directory)
    assert [record.status for record in pipeline.run(request, Silent())] == [Status.PASS]
    return directory


@pytest.fixture
def edited(original: Path, tmp_path: Path) -> Callable[[dict[str, Any]], Path]:
    """A copy of the folder in which the record's source says something else, and a module that would tell."""

    def edit(source: dict[str, Any]) -> Path:
        import shutil

        directory = tmp_path / "foreign"
        shutil.copytree(original, directory)
        (directory / "evil.py").write_text(EVIL)
        (tmp_path / "evil.py").write_text(EVIL)
        for path in directory.glob("*/*.json"):
            record = json.loads(path.read_text())
            record["source"] |= source
            path.write_text(json.dumps(record))
        return directory

    return edit


def run(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """kexport started beside the folder, as its user would: the folder of the call is importable."""
    return subprocess.run(
        [sys.executable, "-c", SCRIPT, *arguments], cwd=directory.parent, capture_output=True, text=True,
        check=False, timeout=200, env={**os.environ, "PYTHONPATH": str(directory.parent)},
    )  # fmt: skip


FACTORIES = ("foreign.evil:build", "evil:build", "os:getcwd")


@pytest.mark.parametrize("name", FACTORIES)
@pytest.mark.parametrize(
    "command", [("parity",), ("bench", "--with-keras", "--repetitions", "1")], ids=["parity", "bench"]
)
def test_a_record_names_a_factory(
    edited: Callable[[dict[str, Any]], Path], name: str, command: tuple[str, ...]
) -> None:
    directory = edited({"kind": "factory", "source": name, "application": "", "weights": "model", "options": {}})
    before = sorted(path.read_bytes() for path in directory.glob("*/*.json"))
    done = run(directory, command[0], directory.name, *command[1:])
    assert "Traceback" not in done.stderr
    assert f"the record names Python code, {name}, which would run: expected --trust with that name" in (
        done.stderr + done.stdout
    ).replace("\n", " ")
    assert done.returncode in (1, 2)
    assert not (directory.parent / "PWNED").exists()
    assert sorted(path.read_bytes() for path in directory.glob("*/*.json")) == before


def test_what_the_user_types_runs(edited: Callable[[dict[str, Any]], Path]) -> None:
    """The other side of the check: the same record, and the name typed."""
    directory = edited(
        {"kind": "factory", "source": "evil:build", "application": "", "weights": "model", "options": {}}
    )
    done = run(directory, "parity", directory.name, "--trust", "evil:build")
    assert "evil:build raised ValueError: ran" in done.stderr.replace("\n", " ")
    assert (directory.parent / "PWNED").read_text() == "ran"


def with_lambda(path: Path) -> None:
    """A .keras file whose Lambda would write a file."""
    import keras

    def tell(x: Any) -> Any:
        open("PWNED", "w").write("ran")  # noqa: SIM115, PTH123 - what hostile code would do
        return x

    inputs = keras.Input((64, 64, 3))
    keras.Model(inputs, keras.layers.Lambda(tell, output_shape=(64, 64, 3))(inputs)).save(path)
    assert zipfile.is_zipfile(path)


@pytest.mark.parametrize(
    "command", [("parity",), ("bench", "--with-keras", "--repetitions", "1")], ids=["parity", "bench"]
)
def test_a_record_turns_trust_on(
    edited: Callable[[dict[str, Any]], Path], tmp_path: Path, command: tuple[str, ...]
) -> None:
    model, options = tmp_path / "evil.keras", {"trust": True, "options": {"trust": True}}
    directory = edited({
        "kind": "file", "source": str(model), "application": "", "weights": "model", "options": options,
    })  # fmt: skip
    with_lambda(model)
    (tmp_path / "PWNED").unlink(missing_ok=True)
    done = run(directory, command[0], directory.name, *command[1:])
    assert done.returncode in (1, 2), done.stderr
    assert "Lambda" in done.stderr + done.stdout
    assert not (tmp_path / "PWNED").exists()


def facts(**changes: Any) -> SourceFacts:
    plain = SourceFacts(
        application="", weights="model", weights_sha256="", parameters=1, inputs=SHAPE, outputs=SHAPE,
        ends_in_softmax=False, preprocessing=None, kind="file", source="net.keras",
    )  # fmt: skip
    return replace(plain, **changes)


def test_only_what_was_typed_is_trusted() -> None:
    assert not model_of(facts(options={"trust": True})).trust
    assert not model_of(facts(), trusted={"other.keras"}).trust
    assert model_of(facts(), trusted={"net.keras"}).trust
    with pytest.raises(SourceError, match="expected --trust with that name"):
        model_of(facts(kind="factory", source="a:b"), trusted={"a:c"})
    assert model_of(facts(kind="factory", source="a:b"), trusted={"a:b"}).factory == "a:b"


@pytest.mark.parametrize("path", ["/etc/passwd", "../../secret.onnx", "a/../../b", "", "a\0b"])
def test_an_artifact_lies_inside_its_folder(original: Path, path: str) -> None:
    (stored,) = original.glob("*/*.json")
    record = json.loads(stored.read_text())
    record["artifact"]["path"] = path
    with pytest.raises(StoreError, match="expected one inside the artifact directory"):
        decode(json.dumps(record))
    assert store.read_records(original)
