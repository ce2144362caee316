"""What must not pass, does not: damaged networks go through the real cell, from the graph on disk to the record."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kexport.graph import Graph, Node
from kexport.graph import file as graph_file
from kexport.operations import Conv, Dense
from kexport.pipeline import worker
from kexport.pipeline.steps import Clock
from kexport.pipeline.tasks import Failure
from kexport.pipeline.tasks.cell import CellRequest, make_cell
from kexport.pipeline.tasks.prepare import PrepareRequest, prepare
from kexport.records import Record, Status, decode_as, encode
from kexport.sources import build, prepared
from kexport.sources.build import Built, make
from kexport.specs import Cell, Format, ModelSpec, WeightsSpec
from tests.own_models import saved

APPLICATIONS = {
    "MobileNetV3Small": ModelSpec(
        application="MobileNetV3Small", weights=WeightsSpec(kind="random", seed=0), input_shape=(96, 96, 3)
    ),
    "ResNet50": ModelSpec(application="ResNet50", weights=WeightsSpec(kind="random", seed=0), input_shape=(64, 64, 3)),
}
KINDS = ("one output", "one probability", "saturated softmax", "weak signal")
Change = Callable[[Graph], Graph]


def own(kind: str, folder: Path) -> ModelSpec:
    """A small network that ends as people's networks do."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(7)
    value = image = keras.Input((32, 32, 3))
    for place in range(6):
        value = layers.Conv2D(8, 3, strides=2 - bool(place), padding="same", activation="relu")(value)
    units = 1 if kind.startswith("one") else 6
    last = layers.Dense(units, activation={"one probability": "sigmoid", "saturated softmax": "softmax"}.get(kind))
    model = keras.Model(image, last(layers.GlobalAveragePooling2D()(value)))
    scale = {"saturated softmax": 1e5, "weak signal": 1e-2}.get(kind, 30.0)
    last.kernel.assign(last.kernel * scale)
    last.bias.assign(np.linspace(-1.0, 1.0, units) if units > 1 else [0.5])
    return saved(model, folder)


SUBJECTS = ["MobileNetV3Small", pytest.param("ResNet50", marks=pytest.mark.long), *KINDS]


@pytest.fixture(scope="module", params=SUBJECTS)
def ready(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[ModelSpec, Path]:
    """A model with its reference and graph on disk, as the cells find it."""
    folder = tmp_path_factory.mktemp("prepared")
    spec = APPLICATIONS.get(request.param) or own(request.param, tmp_path_factory.mktemp("own"))
    made = prepare(PrepareRequest(model=spec, folder=str(folder)), Clock())
    assert made.refusal == ""
    return spec, folder


@pytest.fixture
def judged(ready: tuple[ModelSpec, Path], tmp_path: Path) -> Callable[..., Record]:
    """Make the cell of a changed graph; its record."""
    spec, original = ready

    def make(change: Change, file_format: Format = Format.ONNX) -> Record:
        folder = tmp_path / "prepared"
        shutil.copytree(original, folder)
        graph = change(graph_file.load(original))
        graph_file.save(graph, folder)
        cell = Cell(model=spec, format=file_format)
        (tmp_path / "out").mkdir(exist_ok=True)
        request = CellRequest(cell=cell, folder=str(folder), directory=str(tmp_path / "out"), reproduce="again")
        record = make_cell(request, Clock())
        published = (tmp_path / "out" / spec.name / cell.file_name).exists()
        assert published == (record.status is Status.PASS), "only what passes is published"
        return record

    return make


def heavy(graph: Graph, kind: type[Conv | Dense] = Conv) -> list[Node]:
    return [node for node in graph if isinstance(node.operation, kind)]


def with_kernel(graph: Graph, node: Node, change: Callable[[np.ndarray], None]) -> Graph:
    kernel = np.array(node.operation.kernel)  # type: ignore[attr-defined]
    change(kernel)
    new = replace(node, operation=replace(node.operation, kernel=kernel))  # type: ignore[call-arg]
    return replace(graph, nodes=tuple(new if each is node else each for each in graph))


def perturb(place: float) -> Change:
    """The largest weight of the convolution at that depth changes its sign."""

    def change(graph: Graph) -> Graph:
        nodes = heavy(graph)

        def flip(kernel: np.ndarray) -> None:
            index = np.unravel_index(np.abs(kernel).argmax(), kernel.shape)
            kernel[index] = -kernel[index]

        return with_kernel(graph, nodes[int(place * (len(nodes) - 1))], flip)

    return change


def swap_channels(place: float) -> Change:
    def change(graph: Graph) -> Graph:
        nodes = heavy(graph)

        def swap(kernel: np.ndarray) -> None:
            kernel[..., [0, 1]] = kernel[..., [1, 0]]

        return with_kernel(graph, nodes[int(place * (len(nodes) - 1))], swap)

    return change


def drop_layer(graph: Graph) -> Graph:
    """A convolution in the middle that keeps its input's shape is left out: its readers read its input."""
    candidates = [node for node in heavy(graph) if graph.shapes[node.inputs[0]] == node.shape]
    gone = candidates[len(candidates) // 2]
    return replace(
        graph,
        nodes=tuple(
            replace(node, inputs=tuple(gone.inputs[0] if name == gone.name else name for name in node.inputs))
            for node in graph
            if node is not gone
        ),
    )


def nan_weight(graph: Graph) -> Graph:
    def spoil(kernel: np.ndarray) -> None:
        kernel.flat[0] = np.nan

    return with_kernel(graph, heavy(graph)[3], spoil)


def classifier(graph: Graph) -> Node:
    """The last layer with weights: a dense one, or a 1x1 convolution."""
    return [node for node in graph if isinstance(node.operation, (Conv, Dense))][-1]


def constant_output(graph: Graph) -> Graph:
    return with_kernel(graph, classifier(graph), lambda kernel: kernel.fill(0.0))


def saturated_output(graph: Graph) -> Graph:
    def scale(kernel: np.ndarray) -> None:
        kernel *= 1e4

    return with_kernel(graph, classifier(graph), scale)


@pytest.mark.parametrize("file_format", [Format.ONNX, Format.TFLITE])
def test_the_sound_network_passes(judged: Callable[..., Record], file_format: Format) -> None:
    record = judged(lambda graph: graph, file_format)
    assert (record.status, record.reason) == (Status.PASS, "")
    assert record.parity is not None
    assert all(check.passed for check in record.parity.checks)
    assert {check.name for check in record.parity.checks} >= {"logits_error_to_signal", "sqnr_db"}
    limits = {check.name: check.bound for check in record.parity.checks}
    assert limits["logits_error_to_signal"] <= 0.02, "rounding widens no bound far, nor those of applications"
    if record.source is not None and record.source.application:
        assert (limits["logits_error_to_signal"], limits["top1_agreement"]) == (0.001, 1.0)


DAMAGE: dict[str, Change] = {
    "one weight near the input": perturb(0.0),
    "one weight in the middle": perturb(0.5),
    "one weight near the output": perturb(1.0),
    "two channels near the input": swap_channels(0.0),
    "two channels in the middle": swap_channels(0.5),
    "a layer left out": drop_layer,
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_fails_with_figure_and_bound(judged: Callable[..., Record], damage: str) -> None:
    record = judged(DAMAGE[damage])
    assert record.status is Status.FAIL
    assert "logits_error_to_signal is" in record.reason
    assert "the bound is 0.0" in record.reason
    assert record.hint == "again"


def test_damage_fails_in_the_other_format_too(judged: Callable[..., Record]) -> None:
    record = judged(perturb(0.5), Format.TFLITE)
    assert record.status is Status.FAIL
    assert "logits_error_to_signal is" in record.reason


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize("file_format", [Format.ONNX, Format.TFLITE])
def test_nan_in_the_artifact_never_passes(judged: Callable[..., Record], file_format: Format) -> None:
    record = judged(nan_weight, file_format)
    assert record.status is Status.FAIL
    assert "logits_error_to_signal is nan" in record.reason


def test_constant_output_of_the_artifact_fails(judged: Callable[..., Record]) -> None:
    record = judged(constant_output)
    assert record.status is Status.FAIL
    assert "logits_error_to_signal is" in record.reason


def test_saturated_output_of_the_artifact_fails(judged: Callable[..., Record]) -> None:
    record = judged(saturated_output)
    assert record.status is Status.FAIL
    assert "logits_error_to_signal is" in record.reason


def changed(monkeypatch: pytest.MonkeyPatch, change: Callable[[np.ndarray], np.ndarray]) -> ModelSpec:
    """An application whose last layer is changed in Keras itself."""

    def damaged(spec: ModelSpec) -> Built:
        built = make(spec)
        model = built.model
        kernel = model.layers[-1].kernel if hasattr(model.layers[-1], "kernel") else model.get_layer("logits").kernel
        kernel.assign(change(kernel.numpy()))
        return replace(built, answered=None)  # other weights answer otherwise

    monkeypatch.setattr(build, "make", damaged)
    return APPLICATIONS["MobileNetV3Small"]


def test_a_reference_that_is_not_finite_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    spec = changed(monkeypatch, lambda kernel: kernel * np.float32("nan"))
    (tmp_path / "request.json").write_text(encode(PrepareRequest(model=spec, folder=str(tmp_path))))
    assert worker.main(["prepare", str(tmp_path / "request.json"), str(tmp_path / "result.json")]) == 1
    failure = decode_as(Failure, (tmp_path / f"result.json{worker.FAILED}").read_bytes())
    assert failure.status is Status.ERROR
    assert "of Keras holds NaN or infinity: the weights or the inputs" in failure.message
    assert failure.traceback == ""
    assert not (tmp_path / prepared.FACTS).exists()


@pytest.mark.parametrize(("factor", "status"), [(0.0, Status.UNPROVEN), (1e4, Status.PASS)])
def test_a_constant_is_unproven_and_a_saturated_softmax_is_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, factor: float, status: Status
) -> None:
    """Where Keras itself says nothing, agreement proves nothing: the file is made, and no PASS."""
    spec = changed(monkeypatch, lambda kernel: kernel * np.float32(factor))
    prepare(PrepareRequest(model=spec, folder=str(tmp_path)), Clock())
    out = tmp_path / "out"
    out.mkdir()
    cell = Cell(model=spec, format=Format.ONNX)
    request = CellRequest(cell=cell, folder=str(tmp_path), directory=str(out), reproduce="again")
    record = make_cell(request, Clock())
    assert record.status is status, record.reason
    assert (out / spec.name / cell.file_name).exists()
    if status is Status.UNPROVEN:
        assert "is nearly constant in Keras" in record.reason
        assert record.hint.startswith("kexport export MobileNetV3Small --weights imagenet")


def test_a_channel_permuted_classifier_is_seen_by_its_classes(judged: Callable[..., Record]) -> None:
    """The likeliest mistake of a layout conversion: features in another order before the classifier."""

    def roll(kernel: np.ndarray) -> None:
        kernel[:] = np.roll(kernel, 1, axis=-2)

    record = judged(lambda graph: with_kernel(graph, classifier(graph), roll))
    assert record.status is Status.FAIL
    assert "sqnr_db is" in record.reason
