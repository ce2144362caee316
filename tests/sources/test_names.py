"""What a SOURCE on the command line means, before anything is loaded."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from kexport.errors import KexportError, SourceError, UnknownNameError, UsageError
from kexport.pipeline import requests
from kexport.pipeline.requests import ExportOptions
from kexport.sources import names as named
from kexport.sources.names import Factory, ModelFile
from kexport.sources.weights import hdf5_file
from kexport.specs import ModelSpec, WeightsSpec

OWN = WeightsSpec(kind="model")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("a.keras", "b.h5", "a.h5", "c.weights.h5", "d.onnx", "VGG16.keras"):
        (tmp_path / name).write_bytes(hdf5_file.SIGNATURE)  # as a file of weights begins
    (tmp_path / "saved").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_many_at_once(folder: Path) -> None:
    models = folder / "models"
    (models / "more").mkdir(parents=True)
    (models / ".hidden").mkdir()
    (models / "served").mkdir()
    (models / "served" / "saved_model.pb").touch()
    for name in ("b.keras", "a.h5", "more/c.keras", ".hidden/d.keras", "e.weights.h5", "notes.txt"):
        (models / name).touch()
    (folder / "list.txt").write_text("# mine\nVGG16\n\n  models/b.keras\nmodels/*.h5\n")
    assert [named.told(each) for each in named.select(["models/*.keras"])] == ["models/b.keras"]
    assert [named.told(each) for each in named.select(["models/**/*.keras"])] == [
        "models/b.keras",
        "models/more/c.keras",
    ]
    assert [named.told(each) for each in named.select(["models"])] == [
        "models/a.h5", "models/b.keras", "models/more/c.keras", "models/served",
    ]  # fmt: skip
    assert [named.told(each) for each in named.select(["@list.txt"])] == ["VGG16", "models/b.keras", "models/a.h5"]


@pytest.mark.parametrize(
    ("source", "text", "message"),
    [
        ("@none.txt", None, "none.txt cannot be read as a list of sources: No such file or directory\nhint: "),
        ("@list.txt", "# nothing\n", "@list.txt names no source; expected one source a line"),
        ("@list.txt", "VGG16\n@list.txt", "@list.txt names another list, @list.txt; expected one source a line"),
        ("@list.txt", "mine.models:build", "@list.txt names code, mine.models:build; expected models alone"),
        ("@/dev/null", None, "/dev/null cannot be read as a list of sources: "),
        ("models/*.keras", None, "models/*.keras matches no model; expected a .keras file"),
    ],
)
def test_many_that_are_none(folder: Path, source: str, text: str | None, message: str) -> None:
    if text is not None:
        (folder / "list.txt").write_text(text)
    with pytest.raises(SourceError, match=re.escape(message)):
        named.select([source])


@pytest.mark.parametrize("typed", ["./-dash.keras", "./*dash.keras", "@list.txt"])
def test_a_name_that_begins_like_an_option_can_be_typed_again(folder: Path, typed: str) -> None:
    (folder / "-dash.keras").touch()
    (folder / "list.txt").write_text("./-dash.keras\n")
    (found,) = named.select([typed])
    assert named.command(found) == "kexport export ./-dash.keras"


def test_a_name_that_begins_like_a_comment_is_in_a_list_with_its_folder(folder: Path) -> None:
    (folder / "#a.keras").touch()
    (folder / "list.txt").write_text("# models\n#a.keras\n./#a.keras\n")
    assert [named.told(each) for each in named.select(["@list.txt"])] == ["#a.keras"]


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("list.txt", "kexport export @list.txt, if it names one SOURCE a line"),
        ("./all.list", "kexport export @./all.list, if it names one SOURCE a line"),
        ("net.onnx", 'model.save("model.keras")'),
    ],
)
def test_a_list_that_is_typed_without_its_sign(folder: Path, name: str, hint: str) -> None:
    (folder / name).write_text("VGG16\n")
    with pytest.raises(SourceError, match="is neither an application nor a model file") as caught:
        named.select([name])
    assert caught.value.hint == hint


def test_a_list_that_nobody_writes_into_and_one_without_end(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(folder / "pipe")
    with pytest.raises(SourceError, match="pipe cannot be read as a list of sources: "):
        named.select(["@pipe"])
    monkeypatch.setattr(named, "MOST_LIST_BYTES", 10)
    (folder / "list.txt").write_text("VGG16\n" * 3)
    with pytest.raises(SourceError, match=r"list\.txt cannot be read as a list of sources: "):
        named.select(["@list.txt"])


def test_kinds(folder: Path) -> None:
    found = named.select(["a.keras", "mine.models:build", "b.h5", "VGG19", "efficientnet_v2"])
    assert found[:3] == (ModelFile(path="a.keras"), Factory(text="mine.models:build"), ModelFile(path="b.h5"))
    assert [each.name for each in found[:4]] == ["a", "build", "b", "VGG19"]
    assert len(found) == 4 + 7
    assert named.select(["a.keras", "a.keras"]) == found[:1]


@pytest.mark.parametrize(
    ("sources", "names"),
    [
        (["a.keras", "a.h5"], ["a-keras", "a-h5"]),
        (["VGG16.keras", "VGG16"], ["VGG16-keras", "VGG16"]),
        (["one/a.keras", "two/a.keras", "b.h5"], ["one-a", "two-a", "b"]),
        (["one/a.keras", "one/a.h5", "two/a.keras"], ["one-a-keras", "one-a-h5", "two-a-keras"]),
        (["deep/one/a.keras", "other/one/a.keras"], ["deep-one-a", "other-one-a"]),
        (["mine.models:build", "mine.others:build", "a.keras"], ["models-build", "others-build", "a"]),
    ],
    ids=str,
)
def test_sources_of_one_name_are_told_apart(folder: Path, sources: list[str], names: list[str]) -> None:
    for source in sources:
        if "/" in source:
            (folder / source).parent.mkdir(parents=True, exist_ok=True)
            (folder / source).touch()
    found = named.select(sources)
    assert [each.name for each in found] == names
    made = requests.cells(found, ExportOptions(weights=None))
    assert list(dict.fromkeys(cell.model.name for cell in made)) == names
    assert len({(cell.model.name, cell.file_name) for cell in made}) == len(made)


@pytest.mark.parametrize(
    "other", ["./a.keras", "{folder}/a.keras", "nested/../a.keras", "*.keras", "."], ids=lambda text: text.strip("{}")
)
def test_one_file_in_two_words_is_one_source(folder: Path, other: str) -> None:
    (folder / "nested").mkdir(exist_ok=True)
    first, *others = named.select(["a.keras", other.format(folder=folder)])
    assert named.told(first) == "a.keras"
    places = [Path(named.told(each)).resolve() for each in (first, *others) if isinstance(each, ModelFile)]
    assert len(places) == len(set(places))


@pytest.mark.parametrize(
    ("sources", "kind", "message"),
    [
        (["missing.keras"], SourceError, "missing.keras does not exist; expected a .keras file, a .h5 file that"),
        (["c.weights.h5"], SourceError, "c.weights.h5 holds weights alone; expected a .keras file"),
        (["saved"], SourceError, "saved is a folder; expected a .keras file"),
        (["d.onnx"], SourceError, "d.onnx is neither an application nor a model file; expected a .keras file"),
        (["no/such/place"], SourceError, "no/such/place does not exist; expected a .keras file"),
        (["Resnet50"], UnknownNameError, "unknown model 'Resnet50': did you mean ResNet50?"),
    ],
    ids=lambda value: str(value[0]) if isinstance(value, list) else "",
)
def test_refused(folder: Path, sources: list[str], kind: type[KexportError], message: str) -> None:
    with pytest.raises(kind) as caught:
        named.select(sources)
    assert caught.value.message.startswith(message)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weights": "random:0"}, "--weights random:0 is for applications: a.keras has its own weights"),
        ({"weights": "b.h5"}, "--weights b.h5 is for applications: a.keras has its own weights"),
        ({"alpha": 0.5}, "--alpha is for applications: a.keras has its own weights"),
        ({"classes": 3}, "--classes is for applications: a.keras has its own weights"),
        ({"no_top": True}, "--no-top is for applications: a.keras has its own weights"),
        ({"pooling": "avg"}, "--pooling is for applications: a.keras has its own weights"),
        ({"minimalistic": True}, "--minimalistic is for applications: a.keras has its own weights"),
    ],
    ids=str,
)
def test_options_of_applications(folder: Path, options: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        requests.cells(named.select(["a.keras"]), ExportOptions(**options))  # type: ignore[arg-type]
    assert (caught.value.message, caught.value.hint) == (message, "kexport export a.keras")


def test_cells_of_a_file_and_of_a_factory(folder: Path) -> None:
    options = ExportOptions(layers=("x", "y"), trust=True, input_shape=(8, 8, 3))
    first, _ = requests.cells(named.select(["a.keras"]), options)
    assert first.model == ModelSpec(file="a.keras", weights=OWN, layers=("x", "y"), trust=True, input_shape=(8, 8, 3))
    assert first.file_name == "a-8x8-at-x+y-float32.onnx"
    second, _ = requests.cells(named.select(["mine:build"]), ExportOptions(weights="b.h5"))
    assert second.model == ModelSpec(factory="mine:build", weights=WeightsSpec(kind="file", path="b.h5"))


def test_mistakes_in_labels_are_told_before_work_begins(folder: Path) -> None:
    with pytest.raises(SourceError, match=r"--labels none.txt cannot be read: No such file"):
        requests.cells(named.select(["VGG16"]), ExportOptions(labels="none.txt"))


def test_a_source_has_weights_of_its_kind() -> None:
    with pytest.raises(UsageError, match="expected one of them"):
        ModelSpec(application="VGG16", file="a.keras")
    with pytest.raises(UsageError, match="weights model of VGG16: an application has imagenet"):
        ModelSpec(application="VGG16", weights=OWN)
    with pytest.raises(UsageError, match=r"weights imagenet of a.keras: .* a model file its own"):
        ModelSpec(file="a.keras")


def test_the_command_that_makes_a_cell_again(folder: Path) -> None:
    from kexport.pipeline.reproduce import reproduce

    options = ExportOptions(layers=("x y",), trust=True, labels=None)
    cell, _ = requests.cells(named.select(["a.keras"]), options)
    assert reproduce(cell, Path("out")).startswith("kexport export a.keras --formats onnx --schemes float32")
    assert "--layer 'x y' --trust" in reproduce(cell, Path("out"))
    assert "--weights" not in reproduce(cell, Path("out"))
