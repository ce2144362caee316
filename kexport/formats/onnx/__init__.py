"""ONNX, NCHW inside: `writer` for floats, `qdq` for quantization plans, `engines` with the independent one."""

from __future__ import annotations

from kexport.registry import Format, engines_of

FORMAT = Format.register(
    "onnx", suffix=".onnx", engines=engines_of(f"{__name__}.engines"), default=True, has_opset=True
)
