"""Quantization plans as TFLite: int8 and int16 operators."""
