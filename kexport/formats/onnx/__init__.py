"""ONNX, NCHW inside: `writer` for floats, `qdq` for quantization plans, `engines` with the independent one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from kexport.records.contents import Contents
from kexport.registry import Format, engines_of


def bare(path: Path, copy: Path, wanted: Mapping[str, str]) -> frozenset[str]:
    """As `kexport.formats.onnx.check_copy.write`."""
    from kexport.formats.onnx.check_copy import write

    return write(path, copy, wanted)


def contents(path: Path) -> Contents:
    """As `kexport.formats.onnx.contents.read`."""
    from kexport.formats.onnx.contents import read

    return read(path)


FORMAT = Format.register(
    "onnx",
    suffix=".onnx",
    engines=engines_of(f"{__name__}.engines"),
    default=True,
    has_opset=True,
    bare=bare,
    contents=contents,
)
