"""The reference evaluator of the onnx package: the standard's own numpy."""

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator


def version():
    return onnx.__version__


def answer(file, rows, pictures):
    evaluator = ReferenceEvaluator(file)
    (name,) = evaluator.input_names
    return np.concatenate([evaluator.run(None, {name: row[None]})[0] for row in rows])
