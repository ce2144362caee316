"""TFLite, NHWC: `writer` for floats, `quantized` for plans, `check` of written files, `engines`."""

from __future__ import annotations

from pathlib import Path

from kexport.registry import Format, Scheme, engines_of


def check(path: Path) -> None:
    """Raise ArtifactError unless the flatbuffer at ``path`` is sound."""
    from kexport.formats.tflite.check.structure import verify_structure

    verify_structure(path)


FORMAT = Format.register(
    "tflite",
    suffix=".tflite",
    engines=engines_of(f"{__name__}.engines"),
    static_batch=True,
    default=True,
    integer_io=(Scheme.INT8,),
    check=check,
)
