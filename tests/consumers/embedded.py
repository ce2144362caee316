"""Embedded preprocessing beside the outside path, for the forty applications: parity/embedded.md.

    PYTHONPATH=. python tests/consumers/embedded.py [MODEL...]

Each application is built small and cut after its first convolution; what follows never sees a pixel. The cut graph
goes through the passes and the writers of both formats, float32 and int8, once as it is and once with the
preprocessing inside. An image that has every value in every channel is fed to both: normalised outside as
`kexport.images.photographs.prepare` does it, and as uint8 pixels.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kexport import runtimes
from kexport.formats.onnx import writer as onnx_writer
from kexport.formats.onnx.qdq import writer as qdq_writer
from kexport.formats.tflite import writer as tflite_writer
from kexport.formats.tflite.quantized import writer as quantized_writer
from kexport.graph import Graph
from kexport.images.photographs import prepare
from kexport.lowerings.model import lower_model
from kexport.passes import optimize
from kexport.passes.embed import embedded
from kexport.quantization.embed import embedded_plan
from kexport.quantization.plan import Precision, has_int8_form
from kexport.sources import catalog
from kexport.sources.build import make
from kexport.sources.catalog import Application
from kexport.specs import ModelSpec, WeightsSpec
from tests.formats.plans import plan_of

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "parity" / "embedded.md"
LARGEST = 1e-5
"""Of a float value at the first convolution, relative to the largest: steps that are rounded once more each."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One application: the largest difference by format in float32, and whether int8 is equal bit by bit."""

    name: str
    mode: str
    first: str
    floats: tuple[float, ...]
    integers: tuple[bool, ...]

    @property
    def right(self) -> bool:
        """Whether both hold."""
        return max(self.floats) <= LARGEST and all(self.integers)


def head(application: Application, side: int) -> tuple[Graph, str]:
    """The optimized graph up to its first convolution, and that layer's name."""
    import keras

    keras.backend.clear_session()
    weights = WeightsSpec(kind="random", seed=0)
    model = make(ModelSpec(application=application.name, weights=weights, input_shape=(side, side, 3))).model
    first = next(layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D))
    cut = keras.Model(model.inputs, first.output)
    return optimize(lower_model(cut)), first.name


def every_value(side: int) -> np.ndarray:
    """A row of pixels with each of the 256 values in each channel, at places that differ, as often as it fits."""
    values = np.resize(np.arange(256), side * side)
    return np.stack([np.roll(values, turn).reshape(side, side) for turn in (0, 85, 170)], -1).astype(np.uint8)[None]


def checked(application: Application, folder: Path) -> Row:
    """Both formats and schemes of one application."""
    side = application.smallest_size
    graph, first = head(application, side)
    contract, images = catalog.preprocessing(application, (side, side)), every_value(side)
    outside = prepare(images, contract)
    floating = {node.name: Precision.FLOAT32 for node in graph if not has_int8_form(node.operation)}
    plan = plan_of(graph, {graph.inputs[0].name: outside}, floating)
    inside, inside_plan = embedded(graph, contract)[0], embedded_plan(plan, contract)
    floats, integers = [], []
    for form, write, write_plan in (
        ("onnx", onnx_writer.write, qdq_writer.write),
        ("tflite", tflite_writer.write, quantized_writer.write),
    ):
        path = folder / f"a.{form}"
        one, two = (answer(write, what, path, fed) for what, fed in ((graph, outside), (inside, images)))
        floats.append(float(np.abs(one - two).max() / np.abs(one).max()))
        one, two = (answer(write_plan, what, path, fed) for what, fed in ((plan, outside), (inside_plan, images)))
        integers.append(bool(np.array_equal(one, two)))
    return Row(name=application.name, mode=contract.mode, first=first, floats=tuple(floats), integers=tuple(integers))


def answer(write: Any, what: Any, path: Path, fed: np.ndarray) -> np.ndarray:
    """What the written file says."""
    write(what, path)
    runtime = runtimes.for_format(path.suffix[1:])
    runtime.require_sound(path)
    session = runtimes.open_session(runtime, path)
    (spec,) = session.signature[0]
    (found,) = session.run_real({spec.name: fed}).values()
    return np.asarray(found)


def page(rows: list[Row]) -> str:
    """The table."""
    right = sum(row.right for row in rows)
    told = " ".join((__doc__ or "").split("\n\n")[2].split())
    lines = [
        "# Preprocessing inside the graph",
        "",
        f"`tests/consumers/embedded.py`: {right} of {len(rows)} applications equal. {told}",
        "",
        f"float32: the largest difference at the first convolution, relative to the largest, at most {LARGEST:g}.",
        "int8: whether the values after the first convolution are equal bit by bit.",
        "",
        "| application | preprocessing | first convolution | ONNX float32 | TFLite float32 | ONNX int8 | TFLite int8 |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        same = ["equal" if each else "DIFFERENT" for each in row.integers]
        cells = [row.name, row.mode, row.first, *(f"{each:.1e}" for each in row.floats), *same]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main(names: list[str]) -> int:
    """Check, write the page where all were asked for; exit 1 where one differs."""
    rows = []
    for application in catalog.select(names) if names else catalog.APPLICATIONS:
        with tempfile.TemporaryDirectory() as folder:
            rows.append(checked(application, Path(folder)))
        sys.stdout.write(f"{rows[-1]}\n")
        sys.stdout.flush()
    if not names:
        PAGE.write_text(page(rows), encoding="utf-8")
    return 0 if all(row.right for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
