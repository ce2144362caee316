"""TFLite, NHWC: `writer` for floats, `quantized` for plans, `check` of written files, `engines`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from kexport.records.contents import Contents
from kexport.registry import Format, Scheme, engines_of


def check(path: Path) -> None:
    """Raise ArtifactError unless the flatbuffer at ``path`` is sound."""
    from kexport.formats.tflite.check.structure import verify_structure

    verify_structure(path)


def check_foreign(path: Path) -> None:
    """Raise ArtifactError unless the tables and buffers of the flatbuffer lie inside it."""
    from kexport.formats.tflite.check.structure import verify_whole

    verify_whole(path)


def bare(path: Path, copy: Path, wanted: Mapping[str, str]) -> frozenset[str]:
    """As `kexport.formats.tflite.check_copy.write`."""
    from kexport.formats.tflite.check_copy import write

    return write(path, copy, wanted)


def contents(path: Path) -> Contents:
    """As `kexport.formats.tflite.contents.read`."""
    from kexport.formats.tflite.contents import read

    return read(path)


FORMAT = Format.register(
    "tflite",
    suffix=".tflite",
    engines=engines_of(f"{__name__}.engines"),
    static_batch=True,
    default=True,
    integer_io=(Scheme.INT8,),
    half_biases=(Scheme.FLOAT16,),
    check=check,
    check_foreign=check_foreign,
    bare=bare,
    contents=contents,
)
