"""TFRecord files and the wire format of protobuf, as far as one request needs them.

A record is its length, the masked CRC-32C of that, its bytes, and the masked CRC-32C of those
(tensorflow/core/lib/io/record_writer.h); fields are numbers with values (protobuf.dev/programming-guides/encoding).
"""

from __future__ import annotations

import struct
from functools import cache

_POLYNOMIAL = 0x82F63B78  # Castagnoli's, bits reversed
_MASK = 0xA282EAD8
_WORD = 0xFFFFFFFF


def record(content: bytes) -> bytes:
    """One record."""
    length = struct.pack("<Q", len(content))
    return length + _checksum(length) + content + _checksum(content)


def integer(field: int, value: int) -> bytes:
    """A field with a whole number of 0 or more."""
    return _varint(field << 3) + _varint(value)


def message(field: int, content: bytes) -> bytes:
    """A field with bytes, or with a message."""
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def text(field: int, content: str) -> bytes:
    """A field with text."""
    return message(field, content.encode())


def crc32c(content: bytes) -> int:
    """CRC-32C (RFC 3720, B.4)."""
    table, found = _table(), _WORD
    for byte in content:
        found = table[(found ^ byte) & 0xFF] ^ (found >> 8)
    return found ^ _WORD


def _checksum(content: bytes) -> bytes:
    found = crc32c(content)
    return struct.pack("<I", ((found >> 15 | found << 17) + _MASK) & _WORD)


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])


@cache
def _table() -> tuple[int, ...]:
    found = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = value >> 1 ^ (_POLYNOMIAL if value & 1 else 0)
        found.append(value)
    return tuple(found)
