"""TFLite, NHWC: `writer` for floats, `quantized` for plans, `check` of written files, `converter` the engine."""
