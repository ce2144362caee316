"""The table of consumers in small: what the dev extra installs reads a network of every kind of layer, in both formats.

`tests/consumers/every.py` asks all the others.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kexport.formats.onnx import writer as onnx_writer
from kexport.formats.onnx.qdq import writer as qdq_writer
from kexport.formats.tflite import writer as tflite_writer
from kexport.formats.tflite.quantized import writer as quantized_writer
from kexport.graph import Graph
from kexport.operations import Activate, Activation, Add, Conv, Dense, GlobalPool, Multiply, PoolKind
from kexport.quantization.plan import Precision, has_int8_form
from kexport.records import Artifact, Record, SourceFacts, Status
from kexport.sources.answered import Reference
from tests.consumers import asking, cells, environments, every, faults, page
from tests.consumers.artifacts import NETWORKS, File, Network
from tests.consumers.consumer import CONSUMERS
from tests.formats.plans import Sketch, float_values, plan_of

CLIENTS = ("onnxruntime_", "onnx_reference", "litert_", "compiled_model")
SIDE, ROWS = 12, 4
LARGEST = {"float32": 1e-5, "int8": 0.06}
REFUSED = {("onnx_reference", "int8")}
"""It has DequantizeLinear from opset 19 on alone."""
WRITERS = {
    ("onnx", "float32"): onnx_writer.write,
    ("onnx", "int8"): qdq_writer.write,
    ("tflite", "float32"): tflite_writer.write,
    ("tflite", "int8"): quantized_writer.write,
}


def network() -> Graph:
    """A stem, a depthwise convolution, squeeze-and-excite, a residual, a classifier."""
    rng, sketch = np.random.default_rng(3), Sketch((SIDE, SIDE, 3))

    def conv(*shape: int, groups: int = 1, activation: Activation | None = Activation.RELU6) -> Conv:
        kernel = rng.normal(0, 1 / np.sqrt(np.prod(shape[:3])), shape).astype(np.float32)
        bias = rng.normal(0, 0.1, shape[-1]).astype(np.float32)
        return Conv(kernel=kernel, bias=bias, groups=groups, activation=activation)

    sketch("stem", conv(3, 3, 3, 8), "in0")
    sketch("depthwise", conv(3, 3, 1, 8, groups=8), "stem")
    sketch("swish", Activate(function=Activation.HARD_SWISH), "depthwise")
    sketch("squeeze", GlobalPool(kind=PoolKind.AVERAGE, keepdims=True), "swish")
    sketch("gate", conv(1, 1, 8, 8, activation=None), "squeeze")
    sketch("hard", Activate(function=Activation.HARD_SIGMOID), "gate")
    sketch("excited", Multiply(), "swish", "hard")
    sketch("residual", Add(), "excited", "swish")
    sketch("pool", GlobalPool(kind=PoolKind.AVERAGE), "residual")
    kernel = rng.normal(0, 2, (8, 5)).astype(np.float32)
    sketch("dense", Dense(kernel=kernel, bias=np.zeros(5, np.float32)), "pool")
    sketch("softmax", Activate(function=Activation.SOFTMAX), "dense")
    return sketch.graph()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The network's files, four rows and what numpy says of them."""
    place, graph = tmp_path_factory.mktemp("consumers"), network()
    rows = np.random.default_rng(4).uniform(-1, 1, (ROWS, SIDE, SIDE, 3)).astype(np.float32)
    floating = {node.name: Precision.FLOAT32 for node in graph if not has_int8_form(node.operation)}
    plan = plan_of(graph, {"in0": rows}, floating)
    for (form, scheme), write in WRITERS.items():
        write(plan if scheme == "int8" else graph, place / f"{scheme}.{form}")
    np.save(place / "rows.npy", rows)
    np.save(place / "expected.npy", float_values(graph, {"in0": rows})["softmax"])
    return place


@pytest.mark.parametrize("client", CLIENTS)
def test_the_consumers_of_the_dev_extra_are_right(client: str, folder: Path) -> None:
    consumer = next(one for one in CONSUMERS if one.client == client and not one.packages)
    expected = np.load(folder / "expected.npy")
    with asking.Asked(environments.command(consumer, folder), environments.variables(folder)) as asked:
        for scheme, largest in LARGEST.items():
            if (client, scheme) in REFUSED:
                continue
            file = folder / f"{scheme}.{consumer.formats[0]}"
            said = asked.answer(asking.request(file, folder / "rows.npy", folder / "answers.npy", []), 60)
            assert "seconds" in said, said
            assert np.abs(np.load(folder / "answers.npy") - expected).max() <= largest, scheme
        assert asked.version


def test_a_consumer_that_refuses_crashes_or_takes_too_long_is_told_and_asked_again(tmp_path: Path) -> None:
    client = tmp_path / "client.py"
    client.write_text(
        "import json, os, sys, time\n"
        "print(json.dumps({'version': '1'}), flush=True)\n"
        "for line in sys.stdin:\n"
        "    file = json.loads(line)['file']\n"
        "    if file == 'crash': sys.stderr.write('bad operator\\n'), sys.stderr.flush(), os.abort()\n"
        "    if file == 'slow': time.sleep(60)\n"
        "    print(json.dumps({'refused': 'no'} if file == 'no' else {'seconds': 1.0}), flush=True)\n"
    )
    with asking.Asked([sys.executable, "-S", str(client)], {}) as asked:

        def answer(name: str, seconds: float = 30) -> dict[str, object]:
            return asked.answer(asking.request(Path(name), Path("r"), Path("a"), []), seconds)

        assert answer("no") == {"refused": "no"}
        assert answer("crash") == {"crashed": "SIGABRT: bad operator"}
        assert set(answer("slow", 0.2)) == {"slow"}
        assert answer("good") == {"seconds": 1.0}


def reference() -> tuple[Reference, np.ndarray]:
    """Probabilities that differ between rows and classes."""
    logits = np.random.default_rng(5).normal(0, 1, (4, 10))
    found = (np.exp(logits) / np.exp(logits).sum(1, keepdims=True)).astype(np.float32)
    return Reference(inputs={}, outputs={"output": found}), found


def files() -> Iterator[File]:
    """A float file of either format."""
    for form in ("onnx", "tflite"):
        record = Record(
            model="MobileNet", format=form, scheme="float32", status=Status.PASS, source=SOURCE,
            artifact=Artifact(
                path=f"a.{form}", format=form, scheme="float32", size_bytes=1, sha256="0" * 64, engine="native",
                engine_reason="", operations={}, inputs=(), outputs=(),
            ),
        )  # fmt: skip
        yield File(network=Network(application="MobileNet"), format=form, scheme="float32", path=Path(), record=record)


SOURCE = SourceFacts(
    application="MobileNet", weights="random:0", weights_sha256="", parameters=1, inputs=(), outputs=(),
    ends_in_softmax=True, activations={"output": "softmax"}, preprocessing=None,
)  # fmt: skip


@pytest.mark.parametrize("file", list(files()), ids=lambda file: file.format)
def test_what_is_wrong_is_called_wrong(file: File) -> None:
    expected, found = reference()
    assert cells.judged(file, expected, found)["state"] == "right"
    assert cells.judged(file, expected, found + np.float32(1e-8))["state"] == "right"
    for wrong in (found[::-1], np.roll(found, 1, 1), np.full_like(found, np.nan), found[:, :-1], found**1.1):
        said = cells.judged(file, expected, wrong)
        assert said["state"] == "wrong"
        assert said["told"]


def test_a_cell_is_kept_for_its_file_alone(tmp_path: Path) -> None:
    file = next(files())
    cell = cells.made(file, CONSUMERS[0], "1", {"state": "right"})
    place = cells.place(tmp_path, CONSUMERS[0], file)
    cells.keep(cell, place)
    assert cells.kept(place, file) == cell
    assert file.record.artifact is not None
    other = replace(file.record, artifact=replace(file.record.artifact, sha256="1" * 64))
    assert cells.kept(place, replace(file, record=other)) is None


def test_what_is_not_right_has_its_reason() -> None:
    cell = cells.made(next(files()), CONSUMERS[0], "1", {"state": "refused", "told": "no | such\noperator"})
    assert faults.why(cell) == "it says: no \\| such operator"


def test_the_page_counts_right_of_tried_and_gives_reasons() -> None:
    file = next(files())
    states = ({"state": "right"}, {"state": "refused", "told": "no"}, {"state": "slow", "told": "more than 60 s"})
    text = list(page.lines([cells.made(file, CONSUMERS[0], "1.2", state) for state in states], ["a: why"]))
    assert "| ONNX Runtime | 1.2 | **1 / 2**, 1 too slow | - | - | - |  |" in text
    assert "| ONNX Runtime | onnx float32 | MobileNet | refused: it says: no |" in text
    assert text[-1] == "* a: why"


def test_the_table_is_as_large_as_it_says() -> None:
    assert len(CONSUMERS) >= 10
    assert len(NETWORKS) == 12
    assert len({one.folder for one in CONSUMERS}) == len(CONSUMERS)
    assert all((environments.CLIENTS / f"{one.client}.py").is_file() for one in CONSUMERS)


@pytest.mark.parametrize("option", ["--consumers", "--networks"])
def test_a_name_that_nobody_has_is_told_before_any_work(option, capsys):
    """Not a run that asks nobody and ends well."""
    known = {"--consumers": CONSUMERS[0].name, "--networks": NETWORKS[0].name}[option]
    assert every._options(["cache", option, known]).cache == Path("cache")
    with pytest.raises(SystemExit):
        every._options(["cache", option, f"{known},nobody"])
    told = capsys.readouterr().err
    assert f"{option} nobody" in told
    assert known in told
