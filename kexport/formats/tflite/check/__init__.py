"""A written TFLite file read again: structure, shapes, quantization parameters."""
