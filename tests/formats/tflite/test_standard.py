"""The standard metadata of TFLite files, read back by slots and with `zipfile`: nothing of the writer is used."""

from __future__ import annotations

import struct
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kexport.formats.tflite import standard, standard_reader
from kexport.formats.tflite.check.bounds import require_bounds
from kexport.formats.tflite.check.structure import verify_structure
from kexport.formats.tflite.standard import Border, Network
from kexport.records import Preprocessing, Signature
from tests.evidence.small_files import COLOURS, SIDE, colours, contract, metadata, write


class Slots:
    """A flatbuffer table, as https://flatbuffers.dev/internals/ has it."""

    def __init__(self, data: bytes, place: int) -> None:
        self.data, self.place = data, place
        self.fields = place - struct.unpack_from("<i", data, place)[0]

    def at(self, slot: int) -> int | None:
        length = struct.unpack_from("<H", self.data, self.fields)[0]
        offset = struct.unpack_from("<H", self.data, self.fields + 4 + 2 * slot)[0] if 4 + 2 * slot < length else 0
        return self.place + offset if offset else None

    def number(self, slot: int, code: str) -> int:
        place = self.at(slot)
        return 0 if place is None else struct.unpack_from(f"<{code}", self.data, place)[0]

    def target(self, slot: int) -> int:
        place = self.at(slot)
        assert place is not None, f"slot {slot} is there"
        return place + struct.unpack_from("<I", self.data, place)[0]

    def table(self, slot: int) -> Slots:
        return Slots(self.data, self.target(slot))

    def text(self, slot: int) -> str:
        start = self.target(slot)
        return self.data[start + 4 : start + 4 + struct.unpack_from("<I", self.data, start)[0]].decode()

    def reals(self, slot: int) -> list[float]:
        start = self.target(slot)
        return list(struct.unpack_from(f"<{struct.unpack_from('<I', self.data, start)[0]}f", self.data, start + 4))

    def tables(self, slot: int) -> list[Slots]:
        start = self.target(slot)
        places = [start + 4 + 4 * i for i in range(struct.unpack_from("<I", self.data, start)[0])]
        return [Slots(self.data, place + struct.unpack_from("<I", self.data, place)[0]) for place in places]


def entry_of(path: Path) -> bytes | None:
    """The buffer that the model's metadata calls TFLITE_METADATA."""
    data = path.read_bytes()
    model = Slots(data, struct.unpack_from("<I", data)[0])
    for each in model.tables(6):
        if each.text(0) == "TFLITE_METADATA":
            start = model.tables(4)[each.number(1, "I")].target(0)
            return data[start + 4 : start + 4 + struct.unpack_from("<I", data, start)[0]]
    return None


@pytest.mark.parametrize("io", ["", "int8", "uint8"])
@pytest.mark.parametrize("mode", ["tf", "unit", "raw"])
def test_what_android_and_mediapipe_read(tmp_path: Path, io: str, mode: str) -> None:
    path = write(tmp_path / "a.tflite", colours(), io=io, entries=metadata(mode))
    content = entry_of(path)
    if io == "uint8" and mode != "tf":
        assert content is None, "the input of this file stores values from -1 to 1: pixels as they are would be wrong"
        return
    assert content is not None
    assert content[4:8] == b"M001"
    model = Slots(content, struct.unpack_from("<I", content)[0])
    (graph,) = model.tables(3)
    (image,), (classes,) = graph.tables(2), graph.tables(3)
    assert (image.text(0), classes.text(0), model.text(7)) == ("in0", "output", "1.0.0")
    properties = image.table(3)
    assert properties.number(0, "B") == 2, "ImageProperties"
    assert properties.table(1).number(0, "b") == 1, "RGB"
    assert [properties.table(1).table(1).number(slot, "I") for slot in (0, 1)] == [SIDE, SIDE]
    (unit,) = image.tables(4)
    assert unit.number(0, "B") == 1, "NormalizationOptions"
    wanted = {"tf": (127.5, 127.5), "unit": (0.0, 255.0), "raw": (0.0, 1.0)}[mode]
    assert (*unit.table(1).reals(0), *unit.table(1).reals(1)) == pytest.approx(wanted)
    ends = {"tf": (1.0, -1.0), "unit": (1.0, 0.0), "raw": (255.0, 0.0)}[mode]
    assert (*image.table(5).reals(0), *image.table(5).reals(1)) == pytest.approx(ends)
    (file,) = classes.tables(6)
    assert (file.text(0), file.number(2, "b")) == ("labels.txt", 2)
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert archive.read("labels.txt").decode().splitlines() == list(COLOURS)
        (info,) = archive.infolist()
        assert info.compress_type == zipfile.ZIP_STORED
    assert path.read_bytes()[info.header_offset :][:4] == b"PK\x03\x04", "offsets count from the start of the file"


def test_the_same_file_twice_and_still_checked(tmp_path: Path) -> None:
    first, again = (write(tmp_path / name, colours()) for name in ("a.tflite", "b.tflite"))
    assert first.read_bytes() == again.read_bytes()
    verify_structure(first)
    require_bounds(first)


def test_mean_and_deviation_are_those_of_the_contract() -> None:
    """``(pixel - mean) / std`` of the standard is the contract's value of every pixel."""
    pixels = np.arange(256.0)
    for mode in ("tf", "unit", "raw"):
        made = contract(mode)
        entry = standard.describe(NETWORK, made, ()).entries["TFLITE_METADATA"]
        unit = Slots(entry, struct.unpack_from("<I", entry)[0]).tables(3)[0].tables(2)[0].tables(4)[0].table(1)
        values = (pixels - unit.reals(0)[0]) / unit.reals(1)[0]
        np.testing.assert_allclose(values, (pixels * made.scale - made.mean[0]) / made.std[0], atol=1e-6)


NETWORK = Network(
    name="net",
    inputs=(Border(name="input", shape=(1, SIDE, SIDE, 3), dtype="float32"),),
    outputs=(Border(name="output", shape=(1, 3), dtype="float32", probabilities=True),),
)
UINT8 = replace(NETWORK, inputs=(replace(NETWORK.inputs[0], dtype="uint8", stored=(1.0, 0)),))


@pytest.mark.parametrize(
    ("made", "network", "told"),
    [
        (contract("caffe"), NETWORK, "it cannot say BGR; put it into the graph: --embed-preprocessing"),
        (
            contract("torch"),
            NETWORK,
            "one mean and one standard deviation for all channels; put it into the graph: --embed-preprocessing",
        ),
        (replace(contract(), mode="unknown"), NETWORK, "--preprocessing states it"),
        (
            contract("tf"),
            UINT8,
            "254.0 steps from what the uint8 input takes; put it into the graph: --embed-preprocessing",
        ),
        (replace(contract(), mean=(0.0,) * 4, std=(1.0,) * 4), NETWORK, "3 channels or 1, not 4"),
        (contract(), replace(NETWORK, inputs=NETWORK.inputs * 2), "networks of one input, this one has 2"),
    ],
)
def test_what_the_standard_cannot_express_is_said(made: Preprocessing, network: Network, told: str) -> None:
    assert told in standard.refusal(made, network)
    assert standard.refusal(contract("raw"), UINT8) == ""


def test_a_record_says_what_the_standard_cannot_express(tmp_path: Path) -> None:
    from kexport.formats.tflite import writer

    entries = {name: text.encode() for name, text in metadata("caffe").items()}
    written = writer.write(colours(), tmp_path / "a.tflite", metadata=entries)
    assert written.notes == (
        "no standard TFLite metadata: it cannot say BGR; put it into the graph: --embed-preprocessing",
    )
    assert entry_of(tmp_path / "a.tflite") is None


def test_labels_that_no_line_holds_are_left_out() -> None:
    assert standard.describe(NETWORK, contract(), ("a", "b\nc", "d")).files == {}
    assert standard.describe(NETWORK, contract(), ("a", "b")).files == {}, "two names for three classes"


def test_read_back_as_a_contract(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tflite", colours())
    content = entry_of(path)
    assert content is not None
    inputs = (Signature(name="in0", shape=(1, SIDE, SIDE, 3), dtype="float32"),)
    found = standard_reader.read(content, path, inputs)
    assert found.labels == COLOURS
    assert found.contract is not None
    assert (found.contract.mean, found.contract.std) == ((127.5,) * 3, (127.5,) * 3)
    for end in range(0, len(content), 7):  # never anything but a value and its notes
        standard_reader.read(content[:end], path, inputs)
    (tmp_path / "short.tflite").write_bytes(path.read_bytes()[:-60])
    cut = standard_reader.read(content, tmp_path / "short.tflite", inputs)
    assert (cut.labels, len(cut.notes)) == ((), 1)
