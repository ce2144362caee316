"""Operations of the graph as ONNX operators: one function each, found in the `registry`."""
