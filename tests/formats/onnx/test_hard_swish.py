"""Hard swish: ONNX's operator where the opset has it, the two that it stands for before; the same numbers in both."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kexport.formats.onnx import writer
from kexport.graph import Graph
from kexport.operations import Activate, Activation, Conv
from tests.formats.onnx.test_writer import numbers
from tests.formats.plans import Sketch


def network() -> Graph:
    sketch = Sketch((6, 6, 3))
    linear = sketch("linear", Conv(kernel=3 * numbers(3, 3, 3, 4), bias=numbers(4)), "in0")
    sketch("swish", Activate(function=Activation.HARD_SWISH), linear)
    return sketch.graph()


def written(path: Path, opset: int, scheme: str = "float32") -> dict[str, int]:
    return writer.write(network(), path, opset=opset, scheme=scheme).operations


@pytest.mark.parametrize(
    ("opset", "operators"),
    [(13, {"HardSigmoid": 1, "Mul": 1}), (14, {"HardSwish": 1}), (18, {"HardSwish": 1}), (22, {"HardSwish": 1})],
)
@pytest.mark.parametrize("scheme", ["float32", "float16"])
def test_the_operator_where_the_opset_has_it(
    opset: int, operators: dict[str, int], scheme: str, tmp_path: Path
) -> None:
    found = written(tmp_path / "a.onnx", opset, scheme)
    assert {name: count for name, count in found.items() if name in ("HardSwish", "HardSigmoid", "Mul")} == operators


@pytest.mark.parametrize("opset", [14, 18, 22])
def test_to_the_bit_as_before(opset: int, tmp_path: Path) -> None:
    """Ends of the gate included: values far below -3, at -3, 0 and 3, and far above."""
    import onnxruntime

    images = np.random.default_rng(1).normal(size=(50, 6, 6, 3)).astype(np.float32)
    answers = []
    for number in (13, opset):
        written(tmp_path / f"{number}.onnx", number)
        session = onnxruntime.InferenceSession(tmp_path / f"{number}.onnx")
        answers.append(session.run(None, {session.get_inputs()[0].name: images})[0])
    assert answers[0].min() == pytest.approx(-0.375, abs=0.01)
    assert answers[0].max() > 10
    np.testing.assert_array_equal(*answers)


@pytest.mark.parametrize("opset", [13, 14])
def test_as_the_specification_computes_it(opset: int, tmp_path: Path) -> None:
    from onnx.reference import ReferenceEvaluator

    written(tmp_path / "a.onnx", opset)
    image = numbers(1, 6, 6, 3)
    evaluator = ReferenceEvaluator(str(tmp_path / "a.onnx"))
    (found,) = evaluator.run(None, {evaluator.input_names[0]: image})
    kernel, bias = 3 * numbers(3, 3, 3, 4), numbers(4)
    windows = np.lib.stride_tricks.sliding_window_view(image[0], (3, 3), axis=(0, 1))
    linear = np.einsum("yxcij,ijco->yxo", windows, kernel) + bias
    np.testing.assert_allclose(found[0], linear * np.clip(linear / 6 + 0.5, 0, 1), atol=1e-4)
