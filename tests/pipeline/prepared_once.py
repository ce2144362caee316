"""A small network as the Keras process leaves it, made by hand: runs that find it so take a second each."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from kexport.graph import Graph, Node, TensorSpec
from kexport.graph import file as graph_file
from kexport.operations import Activation, Conv, Dense, GlobalPool, PoolKind
from kexport.pipeline.events import Event
from kexport.records import Signature, SourceFacts, encode
from kexport.sources import prepared
from kexport.sources.prepared import Prepared, Reference
from kexport.specs import Cell, Format, ModelSpec, WeightsSpec
from tests.numpy_reference import compute

SHAPE = (16, 16, 3)
SEEDED = WeightsSpec(kind="random", seed=0)
SMALL = ModelSpec(application="MobileNet", alpha=0.25, weights=SEEDED, input_shape=(64, 64, 3))
ONNX, TFLITE = Cell(model=SMALL, format=Format.ONNX), Cell(model=SMALL, format=Format.TFLITE)
CELLS = (ONNX, TFLITE)
COPY = """
import shutil, sys
from pathlib import Path
request, answer = map(Path, sys.argv[2:])
for path in Path(SAVED).iterdir():
    shutil.copy(path, request.parent)
"""
"""In place of the Keras process, with ``SAVED`` set to what `prepare` has made."""


class Silent:
    def observe(self, event: Event) -> None:
        del event


def numbers(*shape: int) -> npt.NDArray[np.float32]:
    return np.random.default_rng([5, *shape]).normal(size=shape).astype(np.float32) / 10


def network() -> Graph:
    operations = {
        "stem": Conv(kernel=numbers(3, 3, 3, 64), bias=numbers(64), activation=Activation.RELU),
        "wide": Conv(kernel=numbers(3, 3, 64, 256), bias=numbers(256), activation=Activation.RELU),
        "pool": GlobalPool(kind=PoolKind.AVERAGE),
        "head": Dense(kernel=numbers(256, 1000), bias=numbers(1000)),
    }
    nodes: list[Node] = []
    name, shape = "input", (None, *SHAPE)
    for layer, operation in operations.items():
        shape = operation.infer(shape)
        nodes.append(Node(name=layer, operation=operation, inputs=(name,), shape=shape, layers=(layer,)))
        name = layer
    spec = TensorSpec(name="input", shape=(None, *SHAPE))
    return Graph(name="small", inputs=(spec,), nodes=tuple(nodes), outputs={"output": "head"})


def prepare(folder: Path) -> Path:
    """What the Keras process leaves, with its answer."""
    made = folder / "prepared"
    made.mkdir()
    graph, image = network(), numbers(4, *SHAPE) * 10
    values = {"input": np.asarray(image, np.float64)}
    for node in graph:
        values[node.name] = compute(node.operation, *(values[name] for name in node.inputs))
    outputs = {"output": values["head"].astype(np.float32)}
    facts = SourceFacts(
        application="MobileNet",
        weights="random:0",
        weights_sha256="0" * 64,
        parameters=1,
        inputs=(Signature(name="input", shape=(None, *SHAPE), dtype="float32"),),
        outputs=(Signature(name="output", shape=(None, 1000), dtype="float32"),),
        ends_in_softmax=False,
        preprocessing=None,
        input_range=(-1.0, 1.0),
    )
    ready = Prepared(facts=facts, refusal="", seconds={}, peak_memory_bytes=0)
    graph_file.save(graph, made)
    prepared.save_reference(Reference(inputs={"input": image}, outputs=outputs), made, facts=facts)
    prepared.save(ready, made)
    (made / "prepare-answer.json").write_text(encode(ready))
    return made
