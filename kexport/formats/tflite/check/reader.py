"""A flatbuffer read with every offset checked. Raises ArtifactError, and nothing else, on damaged bytes."""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass

from kexport.errors import ArtifactError

DATA = "data"
"""What vectors of constants are called: they are looked at by their ends alone."""
MOST_TIMES = 8
_FREE_BYTES = 16 * 2**20


class Shared:
    """How much of a file was read again and again.

    Tables may point at one another's vectors and texts, as often as they like: a file of a megabyte can so have
    terabytes to read. No writer shares that much.
    """

    def __init__(self, size: int) -> None:
        self._left = MOST_TIMES * size + _FREE_BYTES

    def take(self, count: int) -> None:
        """Raise ArtifactError where more was read than the file's size `MOST_TIMES` over."""
        self._left -= count
        if self._left < 0:
            raise ArtifactError(f"its tables share their contents more than {MOST_TIMES} times over")


@dataclass(frozen=True)
class Reader:
    """Numbers of a file at absolute positions; ``shared`` bounds what is read in all, where the file is foreign."""

    data: bytes | bytearray | mmap.mmap
    shared: Shared | None = None

    @property
    def size(self) -> int:
        """Bytes in the file."""
        return len(self.data)

    def raw(self, position: int, length: int) -> bytes:
        """``length`` bytes at ``position``."""
        if position < 0 or length < 0 or position + length > self.size:
            raise ArtifactError(f"{length} bytes at {position} lie outside of the file's {self.size}")
        return bytes(self.data[position : position + length])

    def number(self, code: str, position: int) -> int:
        """One little-endian number, ``code`` as in `struct`."""
        (value,) = struct.unpack(f"<{code}", self.raw(position, struct.calcsize(f"<{code}")))
        return int(value)

    def take(self, count: int) -> None:
        """Count what is read. Raises ArtifactError where it is too much of one file."""
        if self.shared is not None:
            self.shared.take(count)

    def table(self, position: int, where: str) -> Table:
        """The table at ``position``; its own size and that of its field list are checked."""
        fields = position - self.number("i", position)
        length, extent = self.number("H", fields), self.number("H", fields + 2)
        if length < 4 or length % 2 or extent < 4:
            raise ArtifactError(f"{where}: no table at {position}")
        self.raw(fields, length)
        self.raw(position, extent)
        self.take(length + extent)
        return Table(reader=self, position=position, fields=fields, length=length, extent=extent, where=where)


@dataclass(frozen=True, kw_only=True)
class Table:
    """A flatbuffer table. Fields are named by their slot (`kexport.formats.tflite.check.schema`)."""

    reader: Reader
    position: int
    fields: int
    length: int
    extent: int
    where: str

    def field(self, slot: int, size: int) -> int | None:
        """Position of a field of ``size`` bytes, None if it is absent."""
        entry = 4 + 2 * slot
        offset = self.reader.number("H", self.fields + entry) if entry < self.length else 0
        if offset and (offset < 4 or offset + size > self.extent):
            raise ArtifactError(f"{self.where}: field {slot} at {offset} lies outside of its table")
        return self.position + offset if offset else None

    def number(self, slot: int, code: str, default: int) -> int:
        """A scalar field, or its default."""
        place = self.field(slot, struct.calcsize(f"<{code}"))
        return default if place is None else self.reader.number(code, place)

    def child(self, slot: int, label: str) -> Table | None:
        """The table that a field points at, or None."""
        place = self.field(slot, 4)
        where = f"{self.where}.{label}"
        return None if place is None else self.reader.table(place + self.reader.number("I", place), where)

    def vector(self, slot: int, item_bytes: int, label: str) -> tuple[int, int]:
        """Position of the first item and number of items; ``(0, 0)`` if the field is absent."""
        place = self.field(slot, 4)
        if place is None:
            return 0, 0
        start = place + self.reader.number("I", place)
        count = self.reader.number("I", start)
        if start + 4 + count * item_bytes > self.reader.size:
            raise ArtifactError(f"{self.where}.{label}: {count} items at {start} end behind the file")
        if label != DATA:
            self.reader.take(count * item_bytes)
        return start + 4, count

    def reals(self, slot: int, label: str) -> list[float]:
        """A vector of float32."""
        start, count = self.vector(slot, 4, label)
        return [float(value) for value in struct.unpack(f"<{count}f", self.reader.raw(start, count * 4))]

    def numbers(self, slot: int, code: str, label: str) -> list[int]:
        """A vector of whole numbers."""
        size = struct.calcsize(f"<{code}")
        start, count = self.vector(slot, size, label)
        return [int(value) for value in struct.unpack(f"<{count}{code}", self.reader.raw(start, count * size))]

    def tables(self, slot: int, label: str) -> list[Table]:
        """A vector of tables."""
        start, count = self.vector(slot, 4, label)
        places = [start + 4 * index for index in range(count)]
        return [
            self.reader.table(place + self.reader.number("I", place), f"{self.where}.{label}[{index}]")
            for index, place in enumerate(places)
        ]

    def text(self, slot: int, label: str) -> str:
        """A string; empty if absent."""
        start, count = self.vector(slot, 1, label)
        try:
            return self.reader.raw(start, count).decode()
        except UnicodeDecodeError as error:
            raise ArtifactError(f"{self.where}.{label}: not UTF-8 text: {error}") from error
