"""What is committed of the consumers stays until it is asked anew, each cell with its version."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.consumers import committed, page
from tests.consumers.artifacts import NETWORKS
from tests.consumers.cells import Cell
from tests.consumers.committed import Committed
from tests.consumers.faults import FAULTS

OLD = Cell(
    consumer="tract", version="0.1", network="MobileNetV2", format="onnx", scheme="float32", sha256="", state="right"
)
ASKED = ("MobileNet-a0.25", "ResNet50", "ConvNeXtTiny")
"""One before, two behind the network that is kept."""


def written(place: Path) -> dict[str, Any]:
    """The file of all cells."""
    data: dict[str, Any] = json.loads((place / "consumers.json").read_text(encoding="utf-8"))
    return data


def test_what_is_committed_is_written_again_as_it_is(tmp_path: Path) -> None:
    shutil.copy(page.PLACE / "consumers.json", tmp_path)
    page.write([], [], tmp_path)
    assert (tmp_path / "consumers.md").read_text() == (page.PLACE / "consumers.md").read_text()
    before, after = written(page.PLACE), written(tmp_path)
    assert {**before, "kexport": ""} == {**after, "kexport": ""}
    assert before["cells"]


@pytest.mark.parametrize("network", ASKED)
def test_a_cell_stays_beside_those_of_other_networks(network: str) -> None:
    new = replace(OLD, network=network, state="wrong")
    names = [one.name for one in NETWORKS]
    both = Committed(cells=(OLD,)).with_cells([new])
    assert {cell.network: cell.state for cell in both} == {"MobileNetV2": "right", network: "wrong"}
    assert both == sorted(both, key=lambda cell: names.index(cell.network))


@pytest.mark.parametrize("other", [{"consumer": "LiteRT"}, {"format": "tflite"}, {"scheme": "int8"}])
def test_a_cell_goes_for_one_of_the_same_file_alone(other: dict[str, str]) -> None:
    new = replace(OLD, version="0.2", state="wrong")
    assert Committed(cells=(OLD,)).with_cells([new]) == [new]
    assert len(Committed(cells=(OLD,)).with_cells([replace(new, **other)])) == 2


@pytest.mark.parametrize("network", ASKED)
def test_another_version_is_said_on_the_page_and_stays_with_its_cell(network: str, tmp_path: Path) -> None:
    page.write([OLD], [], tmp_path)
    page.write([replace(OLD, version="0.2", network=network)], [], tmp_path)
    versions = {cell.network: cell.version for cell in committed.read(tmp_path / "consumers.json").cells}
    assert versions == {"MobileNetV2": "0.1", network: "0.2"}
    [line] = [each for each in (tmp_path / "consumers.md").read_text().splitlines() if "in 2 versions" in each]
    assert line.startswith("tract was asked in 2 versions. ")
    assert "0.1: MobileNetV2" in line
    assert f"0.2: {network}" in line
    assert [row for row in written(tmp_path)["cells"] if "version" in row], "one of the two is not the consumer's"


def test_one_version_is_no_sentence() -> None:
    assert not list(
        committed.mixed([OLD, replace(OLD, network="ResNet50"), replace(OLD, consumer="LiteRT", version="9")])
    )


@pytest.mark.parametrize("network", ASKED)
def test_what_was_not_written_stays_for_networks_that_are_not_exported_anew(network: str) -> None:
    before = Committed(missing=(f"{network} tflite int16x8: no", "MobileNetV3Small onnx int8: no"))
    assert before.with_missing([], [network]) == ["MobileNetV3Small onnx int8: no"]
    found = before.with_missing([f"{network} tflite int16x8: still"], [network])
    assert sorted(found) == sorted([f"{network} tflite int16x8: still", "MobileNetV3Small onnx int8: no"])


def test_every_machine_is_told_once() -> None:
    assert Committed().with_machine("A") == "A"
    assert Committed(machines="A").with_machine("A") == "A"
    assert Committed(machines="A, B").with_machine("C") == "A, B, C"


def test_every_cell_that_is_not_right_has_a_known_cause() -> None:
    cells = committed.read(page.PLACE / "consumers.json").cells
    found = [cell for cell in cells if cell.state not in ("right", "slow")]
    assert found
    for cell in found:
        assert any(fault.explains(cell) for fault in FAULTS), cell
