"""ONNX, NCHW inside: `writer` for floats, `qdq` for quantization plans, `tf2onnx` the independent engine."""
