"""Products halfway between two numbers: found, and gone after a few float32 steps of a scale."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kexport.formats.onnx.qdq import writer as onnx_writer
from kexport.formats.tflite.quantized import writer as tflite_writer
from kexport.graph import Graph
from kexport.operations import Activation, Multiply
from kexport.quantization.plan import Affine, Precision, QuantPlan
from kexport.quantization.scales.ties import ties, without_ties
from tests.formats.plans import Sketch
from tests.quantization.networks import activate

HALF = Affine(scale=2.0**-8, zero_point=-128)  # of a sigmoid
STEP = Affine(scale=0.25, zero_point=-127)
MADE = Affine(scale=0.125, zero_point=-127)


def product() -> Graph:
    net = Sketch((4, 4, 2), (4, 4, 2))
    net("gate", activate(Activation.SIGMOID), "in1")
    net("product", Multiply(), "in0", "gate")
    return net.graph()


def plain_product() -> Graph:
    net = Sketch((4, 4, 2), (4, 4, 2))
    net("product", Multiply(), "in0", "in1")
    return net.graph()


SCALES = {"in0": STEP, "in1": STEP, "gate": HALF, "product": MADE}
INT8 = {"gate": Precision.INT8, "product": Precision.INT8}


def test_products_halfway_are_counted():
    """a b / 128 is halfway for every odd multiple of 64, up to what saturates."""
    halfway = [number for number in range(-255, 255 * 255 + 1) if number % 128 == 64 and -1 < number / 128 < 254]
    assert ties(STEP, HALF, MADE) == len(halfway)
    assert ties(STEP, HALF, replace(MADE, zero_point=-128)) == 0, "even stays even"
    assert ties(STEP, HALF, replace(MADE, scale=float(np.float32(0.1234567)))) <= 3


ALMOST = {  # of a trained MobileNetV3Small: 26.4999... and 16 make 42.5
    "in0": Affine(scale=0.016897939145565033, zero_point=-69),
    "in1": Affine(scale=float(np.float32(1 / 255)), zero_point=-128),
    "product": Affine(scale=0.009047242812812328, zero_point=-112),
}


def test_almost_halfway_counts_where_the_zero_point_drops_the_last_bits():
    assert ALMOST["product"].zero_point % 2 == 0
    assert ties(*ALMOST.values()) > 0
    settled = without_ties(plain_product(), INT8, ALMOST, [("product",)])["product"]
    assert ties(ALMOST["in0"], ALMOST["in1"], settled) == 0
    assert settled.scale < ALMOST["product"].scale * (1 + 3e-4)


@pytest.mark.parametrize("seed", range(8))
def test_a_scale_without_ties_is_near_any_other(seed):
    """As drawn in the field: both zero points anywhere, results that fill the range."""
    rng = np.random.default_rng(seed)
    first, second = (
        Affine(scale=float(np.float32(rng.uniform(0.003, 0.3))), zero_point=int(rng.integers(-128, 128)))
        for _ in range(2)
    )
    scale = first.scale * second.scale * rng.uniform(60, 250)
    made = Affine(scale=float(np.float32(scale)), zero_point=int(rng.integers(-128, 128)))
    values = {"in0": first, "in1": second, "product": made}
    settled = without_ties(plain_product(), INT8, values, [("product",)])["product"]
    assert ties(first, second, settled) == 0


@pytest.mark.parametrize("zero_point", [-127, 3, 127])
def test_an_odd_zero_point_gets_a_scale_without(zero_point):
    made = replace(MADE, zero_point=zero_point)
    found = without_ties(product(), INT8, SCALES | {"product": made}, [("product",)])["product"]
    assert ties(STEP, HALF, found) == 0
    assert made.scale < found.scale < made.scale * (1 + 3e-4)
    assert found.zero_point == zero_point


def test_scales_without_ties_and_fixed_ones_stay():
    even = SCALES | {"product": replace(MADE, zero_point=-128)}
    assert without_ties(product(), INT8, even, [("product",)]) == even
    assert without_ties(product(), INT8, SCALES, []) == SCALES
    assert without_ties(product(), {"gate": Precision.INT8}, SCALES, [("product",)]) == SCALES


def made_by_both(values: dict[str, Affine], folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """What ONNX Runtime and LiteRT make of all pairs of stored numbers, in steps."""
    import onnxruntime
    from ai_edge_litert.interpreter import Interpreter

    plan = QuantPlan(graph=product(), values=values, kernels={}, precisions=INT8)
    onnx_writer.write(plan, folder / "m.onnx")
    tflite_writer.write(plan, folder / "m.tflite")
    numbers = np.random.default_rng(0).integers(-128, 128, (2, 4, 4, 2, 512))
    session = onnxruntime.InferenceSession(folder / "m.onnx", providers=["CPUExecutionProvider"])
    interpreter = Interpreter(model_path=str(folder / "m.tflite"))
    runner = interpreter.get_signature_runner("serving_default")
    found = []
    for first, second in zip(*(np.moveaxis(each, -1, 0)[:, np.newaxis] for each in numbers), strict=True):
        feeds = {"in0": STEP.dequantize(first.astype(np.int8)), "in1": STEP.dequantize(second.astype(np.int8))}
        found.append((session.run(None, feeds)[0], runner(**feeds)["output"]))
    ours, theirs = (np.rint(np.stack(each) / values["product"].scale) for each in zip(*found, strict=True))
    return ours, theirs


def test_runtimes_agree_where_nothing_is_halfway(tmp_path):
    halfway = made_by_both(SCALES, tmp_path)
    assert (halfway[0] != halfway[1]).any(), "they round a tie to different sides, if this can be told at all"
    settled = without_ties(product(), INT8, SCALES, [("product",)])
    ours, theirs = made_by_both(settled, tmp_path)
    np.testing.assert_array_equal(ours, theirs)
