"""Quantized ONNX: a plan as QuantizeLinear and DequantizeLinear, in the forms that ONNX Runtime runs fast."""
