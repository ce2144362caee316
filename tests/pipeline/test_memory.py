"""Memory of a request: never less parameters than the network has, and a refusal only where nothing would fit."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kexport.api import Quiet
from kexport.errors import EnvironmentFailure, UsageError
from kexport.options.kinds import Bytes
from kexport.pipeline import Request, memory, run
from kexport.pipeline.cells import CellRun
from kexport.pipeline.events import Event
from kexport.sources import catalog
from kexport.specs import Cell, Format, ModelSpec, WeightsSpec

GIB = 2**30
RANDOM = WeightsSpec(kind="random", seed=0)
# What the installed Keras builds: `model.count_params()`.
COUNTED: tuple[tuple[str, dict[str, Any], int], ...] = (
    ("MobileNet", {}, 4_253_864),
    ("MobileNet", {"alpha": 0.25}, 475_544),
    ("MobileNetV2", {"alpha": 1.4}, 6_156_712),
    ("ResNet50", {"classes": 5000}, 33_832_712),
    ("VGG16", {"input_shape": (448, 448, 3)}, 446_638_888),
    ("VGG16", {"include_top": False, "input_shape": (448, 448, 3)}, 14_714_688),
)


def spec(name: str, **options: Any) -> ModelSpec:
    return ModelSpec(application=name, weights=RANDOM, **options)


@pytest.mark.parametrize(("name", "options", "counted"), COUNTED)
def test_no_network_has_more_parameters_than_estimated(name: str, options: dict[str, Any], counted: int) -> None:
    estimated = memory.parameters(spec(name, **options))
    assert counted <= estimated * 1.001
    assert memory.least_bytes(spec(name, **options)) - 224 * 224 * 350 <= 4 * counted + 448 * 448 * 350


@pytest.mark.parametrize("application", catalog.APPLICATIONS, ids=lambda row: row.name)
def test_every_application_fits_into_a_gibibyte_by_the_least(application: catalog.Application) -> None:
    memory.check(spec(application.name), available_bytes=GIB)
    assert memory.parameters(spec(application.name)) == application.parameters


@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        ("MobileNet", {"input_shape": (20000, 20000, 3)}, "MobileNet at 20000x20000x3 with 1000 classes needs 130 GiB"),
        ("MobileNet", {"input_shape": (224, 224, 99999)}, "MobileNet at 224x224x99999 with 1000 classes needs 37 GiB"),
        ("ResNet50", {"classes": 10**9}, "ResNet50 at its own size with 1000000000 classes needs 3815 GiB"),
        ("VGG16", {"input_shape": (2048, 2048, 3)}, "VGG16 at 2048x2048x3 with 1000 classes needs 33 GiB"),
    ],
)
def test_what_cannot_fit_is_refused(name: str, options: dict[str, Any], told: str) -> None:
    with pytest.raises(EnvironmentFailure) as caught:
        memory.check(spec(name, **options), available_bytes=int(23.5 * GIB))
    assert caught.value.message == f"{told} of memory or more, 23.5 GiB are there"
    assert caught.value.hint == "a smaller --input-shape or fewer --classes, or a machine with more memory"


def test_a_large_photograph_is_not_refused() -> None:
    memory.check(spec("MobileNet", input_shape=(4000, 6000, 3)), available_bytes=int(23.5 * GIB))


class Deaf:
    def observe(self, event: Event) -> None:
        raise AssertionError(event)


def test_nothing_is_started_for_a_request_that_cannot_fit(tmp_path: Path) -> None:
    cell = Cell(model=spec("MobileNet", input_shape=(60000, 60000, 3)), format=Format.ONNX)
    with pytest.raises(EnvironmentFailure, match="GiB of memory or more"):
        CellRun(directory=tmp_path / "out", workspace=tmp_path, observer=Deaf()).run((cell,), jobs=1)
    assert [path.name for path in tmp_path.iterdir()] == ["reserve"], "what is held for a full disk"


def test_wider_networks_are_planned_with_more_memory() -> None:
    narrow, wide = (spec("MobileNet", alpha=alpha) for alpha in (0.25, 4.0))
    assert memory.keras_bytes(wide) - memory.keras_bytes(narrow) > 3 * 4 * 60_000_000


class TestLimit:
    """``--memory``: what does not fit is told before it begins, with what it needs."""

    @pytest.mark.parametrize("name", ["MobileNet", "ResNet50", "VGG16"])
    def test_what_a_cell_needs_is_told_and_is_enough(self, name: str) -> None:
        cell = Cell(model=spec(name), format=Format.ONNX)
        small = memory.Limits(cores=1, memory_bytes=GIB, asked_bytes=GIB, own_bytes=GIB // 8)
        error = small.refusal(cell)
        assert error is not None
        assert error.message.startswith(f"{name} onnx float32 needs about ")
        assert error.message.endswith("GiB of memory with the program itself, --memory allows 1.0 GiB")
        enough = Bytes().take("--memory", str(error.hint).removeprefix("--memory "))
        assert replace(small, asked_bytes=enough).refusal(cell) is None
        assert replace(small, asked_bytes=enough - GIB // 5).refusal(cell) is not None

    def test_no_limit_refuses_nothing(self) -> None:
        cell = Cell(model=spec("VGG16"), format=Format.ONNX)
        assert memory.Limits(cores=1, memory_bytes=1).refusal(cell) is None

    def test_the_limit_is_below_what_the_machine_allows(self) -> None:
        found = memory.limits(asked_bytes=2 * GIB, cores=1)
        assert found.cores == 1
        assert found.memory_bytes <= 2 * GIB - found.own_bytes
        assert memory.limits(asked_bytes=None, cores=None).asked_bytes is None

    def test_all_that_does_not_fit_is_refused_before_any_process(self, tmp_path: Path) -> None:
        cells = (Cell(model=spec("VGG16"), format=Format.ONNX),)
        asked = Request(cells=cells, directory=tmp_path / "out", memory_bytes=GIB)
        with pytest.raises(EnvironmentFailure, match=r"VGG16 onnx float32 needs about \d+\.\d GiB") as caught:
            run(asked, Quiet())
        needed = float(re.findall(r"needs about (\S+) GiB", caught.value.message)[0])  # this process counts as well
        allowed = float(str(caught.value.hint).removeprefix("--memory ").removesuffix("GiB"))
        assert needed - 0.01 < allowed < needed + 0.15, "what is typed is enough, so that it is rounded up"
        assert not (tmp_path / "out").exists()

    def test_each_is_told_what_it_needs(self, tmp_path: Path) -> None:
        cells = tuple(Cell(model=spec(name), format=Format.ONNX) for name in ("VGG16", "VGG19", "NASNetLarge"))
        (tmp_path / "out").mkdir()
        ran = CellRun(directory=tmp_path / "out", workspace=tmp_path, observer=Quiet(), memory_bytes=GIB)
        records = ran.run(cells, jobs=1)
        assert [record.exit_code for record in records.values()] == [3, 3, 3]
        assert all(str(record.hint).startswith("--memory ") for record in records.values())


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("8GiB", 8 * GIB),
        ("1.5 gib", GIB * 3 // 2),
        ("500MB", 500_000_000),
        ("2TB", 2 * 10**12),
        ("4096B", 4096),
        (7, 7),
    ],
)
def test_sizes(text: object, size: int) -> None:
    assert Bytes().take("--memory", text) == size
    assert Bytes().take("--memory", Bytes().words("--memory", size)[1]) == size


@pytest.mark.parametrize("text", ["8", "0GiB", "-1GiB", "8 GiBs", "many", "", 0, -5, True, 1.5, "1e3GiB"])
def test_what_is_no_size(text: object) -> None:
    with pytest.raises(
        UsageError, match=r"expected a size above 0(, in bytes or with a unit of kB| with its unit)"
    ) as caught:
        Bytes().take("--memory", text)
    assert caught.value.hint == "--memory 8GiB"
