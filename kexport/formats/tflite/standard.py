"""The standard metadata of TFLite files, which Android's and MediaPipe's tools read: written with flatbuffers.

``ModelMetadata`` (file identifier M001) is the buffer that the model's metadata calls TFLITE_METADATA; label files are
a ZIP archive of stored files behind the model, with offsets from the start of the model's file. Slots are those of
``metadata_schema.fbs`` of tensorflow/tflite-support. It says mean and standard deviation of pixels, one for all
channels in RGB; it cannot say BGR, and its readers refuse a standard deviation for each channel. Readers feed pixels
as they are to a uint8 input: its scale and zero point have to stand for the same normalisation, up to one step.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kexport.errors import StoreError
from kexport.records import UNKNOWN, Preprocessing, decode_as

ENTRY, IDENTIFIER, PARSER_VERSION = "TFLITE_METADATA", b"M001", "1.0.0"
LABELS = "labels.txt"
CONTRACT, LABELS_ENTRY = "kexport.preprocessing", "kexport.labels"
MAX_LABELS_BYTES = 2**24
EMBED = "put it into the graph: --embed-preprocessing"
_AXIS_LABELS, _RGB, _GRAY, _IMAGE, _FEATURE, _NORMALIZATION = 2, 1, 2, 2, 1, 1
_FIRST_DAY = 0x21  # 1 January 1980, where the dates of archives begin
_MOST_STEP = 1.0  # of an integer, between a pixel and how a uint8 input stores its value


@dataclass(frozen=True, kw_only=True)
class Border:
    """An input or output of the first subgraph. ``stored`` are its scale and zero point, if it is quantized."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    stored: tuple[float, int] | None = None
    probabilities: bool = False


@dataclass(frozen=True, kw_only=True)
class Network:
    """What the metadata speak of; inputs and outputs in the order of the subgraph, each tensor once."""

    name: str
    inputs: tuple[Border, ...]
    outputs: tuple[Border, ...]


@dataclass(frozen=True, kw_only=True)
class Standard:
    """The entries and the files of the archive; where there are none, ``reason`` says why."""

    entries: Mapping[str, bytes] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)
    reason: str = ""


def of(network: Network, metadata: Mapping[str, bytes]) -> Standard:
    """The standard metadata beside kexport's own entries, which say the contract and the labels.

    Nothing, without a reason, for a file that says no contract of an image.
    """
    contract = _entry(metadata, CONTRACT, Preprocessing)
    if contract is None:
        return Standard()
    reason = refusal(contract, network)
    if reason:
        return Standard(reason=f"no standard TFLite metadata: {reason}")
    return describe(network, contract, json.loads(metadata.get(LABELS_ENTRY, b"[]")))


def _entry(metadata: Mapping[str, bytes], name: str, kind: Any) -> Any:
    try:
        return decode_as(kind, metadata[name]) if name in metadata else None
    except StoreError:  # an entry of that name that is none of kexport's
        return None


def refusal(contract: Preprocessing, network: Network) -> str:
    """Why the standard cannot express the contract; empty if it can."""
    return next(_refusals(contract, network), "")


def _refusals(contract: Preprocessing, network: Network) -> Iterator[str]:
    if len(network.inputs) != 1:
        yield f"its readers take networks of one input, this one has {len(network.inputs)}"
    if contract.mode == UNKNOWN:
        yield "what the model makes of pixels is not known: --preprocessing states it"
    if contract.channel_order == "BGR":
        yield f"it cannot say BGR; {EMBED}"
    if len(set(contract.mean)) > 1 or len(set(contract.std)) > 1:
        yield f"its readers take one mean and one standard deviation for all channels; {EMBED}"
    if len(contract.mean) not in (1, 3):
        yield f"its images have 3 channels or 1, not {len(contract.mean)}"
    step = _largest_step(contract, network.inputs[0])
    if step > _MOST_STEP:
        yield f"its readers feed pixels as they are, {step:.1f} steps from what the uint8 input takes; {EMBED}"


def _largest_step(contract: Preprocessing, border: Border) -> float:
    """How far, in integers of a uint8 input, a pixel as it is lies from its value as the input stores it."""
    if border.dtype != "uint8":
        return 0.0
    scale, zero_point = border.stored or (1.0, 0)
    pixels = np.arange(256.0)
    wanted = (pixels * contract.scale - contract.mean[0]) / contract.std[0]
    return float(np.abs(wanted / scale + zero_point - pixels).max())


def describe(network: Network, contract: Preprocessing, labels: Sequence[str]) -> Standard:
    """The metadata of a network with one image input, which `refusal` allows; labels go to the output that fits."""
    text = "".join(f"{name}\n" for name in labels).encode()
    legal = len(text) <= MAX_LABELS_BYTES and not any("\n" in name or not name for name in labels)
    classes = next((border for border in network.outputs if _fits(border, labels)), None) if legal else None
    entry = _Writer().model(network, contract, labelled=classes)
    return Standard(entries={ENTRY: entry}, files={} if classes is None else {LABELS: text})


def _fits(border: Border, labels: Sequence[str]) -> bool:
    return bool(labels) and len(border.shape) == 2 and border.shape[-1] == len(labels)


class _Writer:
    """Tables of one flatbuffer; children are written before what points at them."""

    def __init__(self) -> None:
        import flatbuffers

        self.builder: Any = flatbuffers.Builder(1024)

    def model(self, network: Network, contract: Preprocessing, *, labelled: Border | None) -> bytes:
        """The whole ModelMetadata."""
        inputs = self._tables([self._input(border.name, contract) for border in network.inputs])
        outputs = self._tables([self._output(border, labelled is border) for border in network.outputs])
        subgraphs = self._tables([self._table({2: inputs, 3: outputs})])
        name, description = self._text(network.name), self._text(_description(contract))
        version = self._text(PARSER_VERSION)
        self.builder.Finish(
            self._table({0: name, 1: description, 3: subgraphs, 7: version}), file_identifier=IDENTIFIER
        )
        return bytes(self.builder.Output())

    def _input(self, name: str, contract: Preprocessing) -> int:
        gray, (height, width) = len(contract.mean) == 1, contract.size
        size = self._numbers({0: width, 1: height})
        image = self._table({1: size}, bytes_={0: _GRAY if gray else _RGB})
        mean = [value / contract.scale for value in contract.mean[:1]]
        std = [value / contract.scale for value in contract.std[:1]]
        units = self._tables([self._union(1, _NORMALIZATION, self._table({0: self._reals(mean), 1: self._reals(std)}))])
        ends = sorted((pixel * contract.scale - contract.mean[0]) / contract.std[0] for pixel in (0.0, 255.0))
        return self._table(
            {
                0: self._text(name),
                1: self._text("image"),
                3: self._union(1, _IMAGE, image),
                4: units,
                5: self._table({0: self._reals(ends[1:]), 1: self._reals(ends[:1])}),
            }
        )

    def _output(self, border: Border, labelled: bool) -> int:
        fields = {0: self._text(border.name), 1: self._text("scores of classes" if labelled else "output")}
        fields[3] = self._union(1, _FEATURE, self._table({}))
        if border.probabilities:
            fields[5] = self._table({0: self._reals([1.0]), 1: self._reals([0.0])})
        if labelled:
            file = self._table({0: self._text(LABELS), 1: self._text("names of the classes")}, bytes_={2: _AXIS_LABELS})
            fields[6] = self._tables([file])
        return self._table(fields)

    def _text(self, text: str) -> int:
        return int(self.builder.CreateString(text))

    def _reals(self, values: Sequence[float]) -> int:
        return int(self.builder.CreateNumpyVector(np.array(values, "<f4")))

    def _tables(self, places: Sequence[int]) -> int:
        self.builder.StartVector(4, len(places), 4)
        for place in reversed(places):
            self.builder.PrependUOffsetTRelative(place)
        return int(self.builder.EndVector())

    def _table(self, fields: Mapping[int, int], bytes_: Mapping[int, int] | None = None) -> int:
        """A table of offsets by slot, and of single bytes."""
        add = self.builder.PrependUOffsetTRelativeSlot
        return self._made({**fields}, add, bytes_ or {})

    def _numbers(self, fields: Mapping[int, int]) -> int:
        return self._made(fields, self.builder.PrependUint32Slot, {})

    def _union(self, slot: int, kind: int, place: int) -> int:
        """A table with a union: its kind stands in the slot before its value."""
        return self._table({slot: place}, bytes_={slot - 1: kind})

    def _made(self, fields: Mapping[int, int], add: Callable[[int, int, int], None], bytes_: Mapping[int, int]) -> int:
        self.builder.StartObject(max((*fields, *bytes_), default=-1) + 1)
        for slot, value in fields.items():
            add(slot, value, 0)
        for slot, value in bytes_.items():
            self.builder.PrependUint8Slot(slot, value, 0)
        return int(self.builder.EndObject())


def _description(contract: Preprocessing) -> str:
    """What the standard has no field for, in words."""
    shorter = f" of {contract.resize_shorter_side} pixels on the shorter side" if contract.resize == "crop" else ""
    return f"resize by {contract.interpolation} interpolation: {contract.resize}{shorter}"


def archive(files: Mapping[str, bytes], *, start: int) -> bytes:
    """A ZIP archive of stored files for a file that has ``start`` bytes before it; the same files, the same bytes."""
    local, central = bytearray(), bytearray()
    for name, content in files.items():
        told = name.encode()
        sizes = zlib.crc32(content), len(content), len(content), len(told)
        facts = struct.pack("<HHHHHIIIHH", 20, 0, 0, 0, _FIRST_DAY, *sizes, 0)
        central += struct.pack("<IH", 0x02014B50, 20) + facts
        central += struct.pack("<HHHII", 0, 0, 0, 0, start + len(local)) + told
        local += struct.pack("<I", 0x04034B50) + facts + told + content
    end = struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, len(files), len(files), len(central), start + len(local), 0)
    return bytes(local + central + end)
