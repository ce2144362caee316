"""Step: how much each layer's quantization alone hurts the logits.

The float network is walked once, as calibration does. At each layer the walk branches: the layer and what follows it
up to the next one are quantized with the scales and the bias correction of a plan, and the rest of the network runs in
float from there, so that nothing before the layer is computed twice. Weights are rounded to the nearest: rounding that
looks at the images would fit these few, and show no damage on them. All images are held, but only those values that
are still read: take few images, 16 or so.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from kexport import metrics
from kexport.graph import Graph, Node, TensorSpec
from kexport.images.calibration import CalibrationSet
from kexport.images.checks import Images
from kexport.operations import Activate, Activation, Conv, Dense
from kexport.quantization import Array, Batches, Compile
from kexport.quantization.network import Network
from kexport.quantization.prepare import rewrites
from kexport.quantization.prepare.layer_groups import layer_groups
from kexport.quantization.ranking import LayerDamage
from kexport.quantization.sequence import BATCH_NUMBERS, Decided, Walk, inputs_of
from kexport.quantization.survey import survey
from kexport.quantization.waiting import Waiting

IMAGES, FEWEST = 16, 4
BATCH, _PIXELS = 8, 224 * 224
Values = Mapping[str, npt.NDArray[Any]]


def usual_images(shape: tuple[int, ...]) -> int:
    """`IMAGES`, or fewer of those larger than 224x224 pixels, so that memory stays the same."""
    return max(FEWEST, IMAGES * _PIXELS // max(_PIXELS, math.prod(shape[:2])))


def few(images: CalibrationSet, count: int) -> Iterator[dict[str, Images]]:
    """``count`` images evenly over the set, or all of a smaller one, in its order and in batches."""
    held: list[dict[str, Images]] = []
    for index, feeds in enumerate(images.batches(1)):
        if index * count // images.count != (index - 1) * count // images.count or images.count <= count:
            held.append(feeds)
        if len(held) == BATCH:
            yield _together(held)
            held = []
    if held:
        yield _together(held)


def _together(rows: Sequence[dict[str, Images]]) -> dict[str, Images]:
    return {name: np.concatenate([each[name] for each in rows]) for name in rows[0]}


def rank(graph: Graph, batches: Batches, compile_: Compile) -> tuple[LayerDamage, ...]:
    """The damage of every layer that a plan of this optimized graph quantizes, in the order of the network.

    Raises SourceError if a value is not finite on the images.
    """
    network = survey(rewrites.rewrite(graph), batches, compile_)
    quantized = {names[0]: names for names in layer_groups(network.graph, network.precisions)}
    walk = _walk(network, inputs_of(_float(network), batches), compile_, precise=())
    left = {name: len(readers) for name, readers in network.graph.consumers.items()}
    branches: dict[str, Values] = {}
    for place, node in enumerate(network.graph):
        if node.name in quantized:
            branches[node.name] = _branch(network, walk.stored, quantized[node.name], place, compile_)
        walk.visit(node, last=False)
        for value in dict.fromkeys(node.inputs):
            left[value] -= 1
            if not left[value] and value not in _shown(network.graph):
                del walk.stored[value]
    expected = {value: walk.stored[value][:] for value in _shown(network.graph)}
    return tuple(
        _damage(network.graph, place, quantized[name], _sqnr_db(network.graph, expected, branches[name]))
        for place, name in enumerate(quantized)
    )


def _float(network: Network) -> Network:
    return replace(network, precisions={})


def _walk(network: Network, stored: Mapping[str, Waiting], compile_: Compile, *, precise: Sequence[str]) -> Walk:
    """A walk on which the nodes named in ``precise`` are quantized, and no others."""
    chosen = {name: network.precisions[name] for name in precise}
    return Walk(
        network=replace(network, precisions=chosen),
        compile_=compile_,
        stored=dict(stored),
        decided=Decided(),
    )


def _branch(
    network: Network, stored: Mapping[str, Waiting], names: Sequence[str], start: int, compile_: Compile
) -> Values:
    """The shown values if the nodes ``names``, the first of which stands at ``start``, are quantized."""
    nodes = network.graph.nodes
    walk = _walk(network, stored, compile_, precise=names)
    end = next(place for place in range(len(nodes) - 1, -1, -1) if nodes[place].name == names[-1]) + 1
    for node in nodes[start:end]:
        walk.visit(node, last=False)
    real = {value: _real(walk, value) for value in walk.stored}
    return _rest(network.graph, nodes[end:], real, compile_)


def _real(walk: Walk, value: str) -> Array:
    stored = walk.stored[value][:]
    if stored.dtype == np.int8:
        return walk.network.values[value].dequantize(stored)
    return stored


def _rest(graph: Graph, nodes: Sequence[Node], values: Mapping[str, Array], compile_: Compile) -> Values:
    """The shown values, from the values that are there when ``nodes`` begin."""
    read = dict.fromkeys(value for node in nodes for value in node.inputs if value in values)
    shown = _shown(graph)
    made = tuple(value for value in shown if value not in values)
    if not made:
        return {value: values[value] for value in shown}
    rest = Graph(
        name=f"{graph.name} from {nodes[0].name}",
        inputs=tuple(TensorSpec(name=value, shape=graph.shapes[value]) for value in read),
        nodes=tuple(nodes),
        outputs={value: value for value in made},
    )
    run = compile_(rest)
    count, step = len(next(iter(values.values()))), _images_at_once(rest)
    parts = [run({value: values[value][first : first + step] for value in read}) for first in range(0, count, step)]
    joined = {value: np.concatenate([part[value] for part in parts]) for value in made}
    return {value: joined[value] if value in joined else values[value] for value in shown}


def _images_at_once(graph: Graph) -> int:
    largest = max(math.prod(axis or 1 for axis in shape) for shape in graph.shapes.values())
    return max(1, BATCH_NUMBERS // largest)


def _shown(graph: Graph) -> tuple[str, ...]:
    """The values whose noise counts: outputs, or what a softmax at the end reads."""
    return tuple(dict.fromkeys(_before_softmax(graph, value) for value in graph.outputs.values()))


def _before_softmax(graph: Graph, value: str) -> str:
    node = graph.producers.get(value)
    operation = node.operation if node else None
    is_softmax = isinstance(operation, Activate) and operation.function is Activation.SOFTMAX
    return node.inputs[0] if node and is_softmax else value


def _sqnr_db(graph: Graph, expected: Values, found: Values) -> float:
    """The worst of all shown values; NaN if any is."""
    ratios = [_ratio_db(graph, value, expected[value], found[value]) for value in expected]
    return math.nan if any(map(math.isnan, ratios)) else min(ratios)


def _ratio_db(graph: Graph, value: str, expected: Array, found: Array) -> float:
    """NaN where there is no signal; before a softmax without the constant that it forgets."""
    signal, noisy = metrics.rows(expected), metrics.rows(found)
    if value not in graph.outputs.values():
        signal, noisy = metrics.centred(signal), metrics.centred(noisy)
    return metrics.sqnr_db(signal, noisy) if np.square(signal).sum() > 0 else math.nan


@dataclass(frozen=True, kw_only=True)
class _Cost:
    parameters: int
    multiplications: int


def named(damages: Sequence[LayerDamage], layers: Mapping[str, tuple[str, int]]) -> tuple[LayerDamage, ...]:
    """The damages by the names and classes of Keras: of the layers of a node, the one with most weights.

    ``layers`` gives class and number of weights of every Keras layer by name; what it does not know stays.
    """
    return tuple(_named(damage, layers) for damage in damages)


def _named(damage: LayerDamage, layers: Mapping[str, tuple[str, int]]) -> LayerDamage:
    known = [name for name in damage.layers if name in layers]
    if not known:
        return damage
    name = max(known, key=lambda each: layers[each][1])
    return replace(damage, name=name, kind=layers[name][0])


def _damage(graph: Graph, place: int, names: tuple[str, ...], sqnr_db: float) -> LayerDamage:
    node = graph.producers[names[0]]
    cost = _cost(node)
    return LayerDamage(
        place=place,
        name=node.layers[0] if node.layers else node.name,
        kind=_kind(node),
        layers=node.layers,
        node=node.name,
        nodes=names,
        sqnr_db=sqnr_db,
        parameters=cost.parameters,
        multiplications=cost.multiplications,
    )


def _kind(node: Node) -> str:
    operation = node.operation
    if isinstance(operation, Conv):
        window = "x".join(map(str, operation.kernel.shape[:2]))
        return f"{'depthwise' if operation.depthwise else 'conv'} {window}"
    return type(operation).__name__.lower()


def _cost(node: Node) -> _Cost:
    operation = node.operation
    if not isinstance(operation, (Conv, Dense)):
        return _Cost(parameters=0, multiplications=0)
    bias = 0 if operation.bias is None else operation.bias.size
    positions = math.prod(axis or 1 for axis in node.shape[:-1])
    return _Cost(parameters=operation.kernel.size + bias, multiplications=positions * operation.kernel.size)
