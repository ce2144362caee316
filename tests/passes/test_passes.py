"""Each pass: the outputs stay, it fires where it must, and leaves alone what it cannot prove."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kexport import passes
from kexport.errors import GraphError
from kexport.graph import Graph, Node, TensorSpec
from kexport.operations import (
    NO_PADDING,
    Activate,
    Activation,
    Add,
    Clip,
    Conv,
    Crop,
    Dense,
    GlobalPool,
    Multiply,
    Operation,
    Pad,
    Pool,
    PoolKind,
    Reshape,
    ScaleShift,
)
from kexport.passes import (
    PASSES,
    drop_identities,
    drop_unread,
    fuse_activation,
    global_pool_shape,
    hard_sigmoid,
    merge_scales,
    optimize,
    pad_into_window,
    scale_after_linear,
    scale_before_linear,
)
from kexport.passes.contract import Pass, applied, check_order

SHAPE, ONE = (8, 7, 4), ((1, 1), (1, 1))
RELU, RELU6 = Activate(function=Activation.RELU), Activate(function=Activation.RELU6)
Interpret = Callable[..., dict[str, np.ndarray]]


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).normal(0.2, 0.6, shape).astype(np.float32)


def scale(channels: int = 4, seed: int = 1, *, offset: bool = True) -> ScaleShift:
    shift = numbers(channels, seed=seed + 1) if offset else np.zeros(channels, np.float32)
    return ScaleShift(scale=numbers(channels, seed=seed) + 2, offset=shift)


def uniform(factor: float, shift: float) -> ScaleShift:
    return ScaleShift(scale=np.full(4, factor, np.float32), offset=np.full(4, shift, np.float32))


def conv(**options: Any) -> Conv:
    return Conv(kernel=numbers(3, 3, 4, 4), bias=numbers(4), **options)


def build(steps: Iterable[tuple[str, Operation, tuple[str, ...]]], *outputs: str, shape: Any = SHAPE) -> Graph:
    shapes: dict[str, Any] = {"input": (None, *shape)}
    nodes = []
    for name, operation, inputs in steps:
        shapes[name] = operation.infer(*(shapes[value] for value in inputs))
        nodes.append(Node(name=name, operation=operation, inputs=inputs, shape=shapes[name], layers=(name,)))
    spec = TensorSpec(name="input", shape=(None, *shape))
    return Graph(name="test", inputs=(spec,), nodes=tuple(nodes), outputs={f"out_{value}": value for value in outputs})


def chain(*operations: Operation, shape: Any = SHAPE) -> Graph:
    names = ["input", *(f"n{index}" for index in range(len(operations)))]
    steps = [(names[i + 1], operation, (names[i],)) for i, operation in enumerate(operations)]
    return build(steps, names[-1], shape=shape)


def branch(*operations: Operation, also: Operation = RELU) -> Graph:
    """A chain whose first value has a second reader."""
    graph = chain(*operations)
    extra = Node(name="extra", operation=also, inputs=("n0",), shape=also.infer(graph.shapes["n0"]))
    return replace(graph, nodes=(*graph.nodes, extra), outputs={**graph.outputs, "out_extra": "extra"})


def shown(*operations: Operation) -> Graph:
    """A chain whose first value is an output too."""
    graph = chain(*operations)
    return replace(graph, outputs={**graph.outputs, "out_first": "n0"})


def kinds(graph: Graph) -> list[str]:
    return [type(node.operation).__name__ for node in graph]


def assert_equal(before: Graph, after: Graph, interpret: Interpret) -> None:
    value = 3 * numbers(2, *before.inputs[0].shape[1:], seed=9)
    want, have = interpret(before, {"input": value}), interpret(after, {"input": value})
    assert list(after.outputs) == list(before.outputs)
    for name in before.outputs:
        assert want[name].std() > 1e-3, "the reference carries no signal"
        np.testing.assert_allclose(have[name], want[name], rtol=1e-5, atol=1e-5 * want[name].std())


FIRES: dict[str, tuple[Any, Graph, list[str]]] = {
    "merge_scales": (merge_scales, chain(scale(), scale(seed=5), scale(seed=9)), ["ScaleShift"]),
    "hard_sigmoid": (hard_sigmoid, chain(uniform(1, 3), RELU6, uniform(1 / 6, 0)), ["Activate"]),
    "identity_scale": (drop_identities, chain(RELU, uniform(1, 0)), ["Activate"]),
    "identity_shapes": (
        drop_identities,
        chain(Pad(padding=NO_PADDING), Crop(cropping=NO_PADDING), Reshape(shape=SHAPE), RELU),
        ["Activate"],
    ),
    "identity_shown": (drop_identities, shown(uniform(1, 0), RELU), ["Activate"]),
    "after_conv": (scale_after_linear, chain(conv(), scale()), ["Conv"]),
    "after_conv_twice": (scale_after_linear, chain(conv(padding=ONE), scale(), scale(seed=4)), ["Conv"]),
    "after_conv_no_bias": (scale_after_linear, chain(Conv(kernel=numbers(3, 3, 4, 4)), scale()), ["Conv"]),
    "after_grouped": (scale_after_linear, chain(Conv(kernel=numbers(3, 3, 2, 4), groups=2), scale()), ["Conv"]),
    "after_depthwise": (scale_after_linear, chain(Conv(kernel=numbers(3, 3, 1, 8), groups=4), scale(8)), ["Conv"]),
    "after_dense": (scale_after_linear, chain(Dense(kernel=numbers(4, 5)), scale(5)), ["Dense"]),
    "fuse_conv": (fuse_activation, chain(conv(), RELU), ["Conv"]),
    "fuse_dense": (fuse_activation, chain(Dense(kernel=numbers(4, 5)), RELU6), ["Dense"]),
    "fuse_add": (fuse_activation, build([("a", Add(), ("input", "input")), ("b", RELU, ("a",))], "b"), ["Add"]),
    "pad_conv": (pad_into_window, chain(Pad(padding=((0, 1), (2, 1))), conv(padding=ONE, strides=(2, 2))), ["Conv"]),
    "pad_max_pool": (
        pad_into_window,
        chain(RELU, Pad(padding=ONE), Pool(kind=PoolKind.MAX, size=(3, 3), strides=(2, 2))),
        ["Activate", "Pool"],
    ),
    "pad_max_pool_fused": (
        pad_into_window,
        chain(
            conv(activation=Activation.RELU), Pad(padding=ONE), Pool(kind=PoolKind.MAX, size=(2, 2), strides=(1, 1))
        ),
        ["Conv", "Pool"],
    ),
    "pad_two_readers": (pad_into_window, branch(Pad(padding=ONE), conv(), also=conv()), ["Conv", "Conv"]),
    "before_conv": (scale_before_linear, chain(scale(), conv()), ["Conv"]),
    "before_padded_scale": (scale_before_linear, chain(scale(offset=False), conv(padding=ONE)), ["Conv"]),
    "before_grouped": (scale_before_linear, chain(scale(), Conv(kernel=numbers(3, 3, 2, 6), groups=2)), ["Conv"]),
    "before_depthwise": (scale_before_linear, chain(scale(), Conv(kernel=numbers(3, 3, 1, 8), groups=4)), ["Conv"]),
    "before_dense": (scale_before_linear, chain(scale(), Dense(kernel=numbers(4, 5), bias=numbers(5))), ["Dense"]),
    "pool_keepdims": (
        global_pool_shape,
        chain(GlobalPool(kind=PoolKind.AVERAGE), Reshape(shape=(1, 1, 4))),
        ["GlobalPool"],
    ),
    "pool_flattened": (
        global_pool_shape,
        chain(GlobalPool(kind=PoolKind.MAX, keepdims=True), Reshape(shape=(4,))),
        ["GlobalPool"],
    ),
    "unread": (drop_unread, build([("a", RELU, ("input",)), ("b", RELU6, ("a",)), ("c", RELU, ("input",))], "c"),
               ["Activate"]),
}  # fmt: skip


@pytest.mark.parametrize("name", FIRES)
def test_a_pass_fires_and_the_outputs_stay(name, interpret):
    module, before, expected = FIRES[name]
    after = module.run(before)
    assert kinds(after) == expected
    assert_equal(before, after, interpret)


MAX = Pool(kind=PoolKind.MAX, size=(2, 2), strides=(1, 1))
IDLE: dict[str, tuple[Any, Graph]] = {
    "merge, two readers": (merge_scales, branch(scale(), scale(seed=4))),
    "merge, shown": (merge_scales, shown(scale(), scale(seed=4))),
    "hard sigmoid, other offset": (hard_sigmoid, chain(uniform(1, 2.5), RELU6, uniform(1 / 6, 0))),
    "hard sigmoid, other slope": (hard_sigmoid, chain(uniform(1, 3), RELU6, uniform(0.2, 0))),
    "hard sigmoid, relu": (hard_sigmoid, chain(uniform(1, 3), RELU, uniform(1 / 6, 0))),
    "hard sigmoid, clip at five": (hard_sigmoid, chain(uniform(1, 3), Clip(minimum=0, maximum=5), uniform(1 / 6, 0))),
    "hard sigmoid, two readers": (hard_sigmoid, branch(uniform(1, 3), RELU6, uniform(1 / 6, 0))),
    "hard sigmoid, shown": (hard_sigmoid, shown(uniform(1, 3), RELU6, uniform(1 / 6, 0))),
    "identity, one channel scaled": (
        drop_identities,
        chain(ScaleShift(scale=np.array([1, 1, 1, 2], np.float32), offset=np.zeros(4, np.float32))),
    ),
    "identity, shifted": (drop_identities, chain(uniform(1, 1e-6))),
    "after, two readers": (scale_after_linear, branch(conv(), scale())),
    "after, shown": (scale_after_linear, shown(conv(), scale())),
    "after, activation between": (scale_after_linear, chain(conv(activation=Activation.RELU), scale())),
    "after, not linear": (scale_after_linear, chain(RELU, scale())),
    "fuse, two readers": (fuse_activation, branch(conv(), RELU, also=RELU6)),
    "fuse, shown": (fuse_activation, shown(conv(), RELU)),
    "fuse, already fused": (fuse_activation, chain(conv(activation=Activation.RELU6), RELU)),
    "fuse, sigmoid": (fuse_activation, chain(conv(), Activate(function=Activation.SIGMOID))),
    "fuse, product": (fuse_activation, build([("a", Multiply(), ("input", "input")), ("b", RELU, ("a",))], "b")),
    "pad, possibly negative maximum": (pad_into_window, chain(scale(), Pad(padding=ONE), MAX)),
    "pad, maximum of the input": (pad_into_window, chain(Pad(padding=ONE), MAX)),
    "pad, linear convolution": (pad_into_window, chain(conv(), Pad(padding=ONE), MAX)),
    "pad, window of padding only": (pad_into_window, chain(RELU, Pad(padding=((2, 0), (0, 0))), MAX)),
    "pad, average": (
        pad_into_window,
        chain(RELU, Pad(padding=ONE), Pool(kind=PoolKind.AVERAGE, size=(3, 3), strides=(1, 1))),
    ),
    "before, two readers": (scale_before_linear, branch(scale(), conv())),
    "before, shown": (scale_before_linear, shown(scale(), conv())),
    "before, not linear": (scale_before_linear, chain(scale(), RELU)),
    "before padding, shift only": (scale_before_linear, chain(uniform(1, 3), conv(padding=ONE))),
    "before padding, zero scale": (scale_before_linear, chain(uniform(0, 3), conv(padding=ONE))),
    "before padding, vanishing scale": (scale_before_linear, chain(uniform(1e-30, 3), conv(padding=ONE))),
    "pool, other shape": (global_pool_shape, chain(GlobalPool(kind=PoolKind.MAX), Reshape(shape=(2, 2)))),
    "pool, two readers": (global_pool_shape, branch(GlobalPool(kind=PoolKind.MAX), Reshape(shape=(1, 1, 4)))),
    "unread, all shown": (drop_unread, shown(RELU, RELU6)),
}

CONSTANT = {"before padding, zero scale"}  # every image gives the same output: comparing it would prove nothing


@pytest.mark.parametrize("name", IDLE)
def test_a_pass_leaves_alone_what_it_cannot_prove(name):
    module, before = IDLE[name]
    after = module.run(before)
    assert after.nodes == before.nodes
    assert after.outputs == before.outputs


def test_before_a_padded_convolution_only_the_scale_commutes(interpret):
    before = chain(scale(), conv(padding=ONE))
    after = scale_before_linear.run(before)
    first = after.nodes[0].operation
    assert isinstance(first, ScaleShift)
    assert np.all(first.scale == 1)
    assert_equal(before, after, interpret)


def test_a_joint_node_keeps_the_reader_s_name_and_both_layers():
    (node,) = scale_after_linear.run(chain(conv(), scale()))
    assert (node.name, node.layers) == ("n1", ("n0", "n1"))


def test_every_module_with_a_pass_stands_in_the_tuple_once():
    folder = Path(passes.__file__).parent
    modules = {path.stem for path in folder.glob("*.py")} - {"__init__", "contract", "rewriting", "embed"}
    assert sorted(each.run.__module__.rpartition(".")[2] for each in PASSES) == sorted(modules)
    assert len({each.name for each in PASSES}) == len(PASSES)


@pytest.mark.parametrize("name", FIRES)
def test_what_a_pass_ensures_does_not_hold_before_it_fires_and_holds_after(name):
    module, before, _ = FIRES[name]
    if name not in ("pad_max_pool", "pad_max_pool_fused"):
        assert any(list(prop.breaks(before)) for prop in module.PASS.ensures), "nothing to ensure: it cannot fail"
    after = applied(module.PASS, before) if not module.PASS.requires else module.run(before)
    assert not any(list(prop.breaks(after)) for prop in module.PASS.ensures)


LAZY = Pass(name="lazy", run=lambda graph: graph, ensures=merge_scales.PASS.ensures)
PICKY = Pass(name="picky", run=lambda graph: graph, requires=merge_scales.PASS.ensures)
RENAMING = Pass(
    name="renaming",
    run=lambda graph: replace(graph, outputs={f"new_{name}": value for name, value in graph.outputs.items()}),
)
INVENTING = Pass(
    name="inventing",
    run=lambda graph: replace(graph, nodes=tuple(replace(node, layers=("ghost",)) for node in graph)),
)
REFUSED = {
    "ensures": (LAZY, "the pass 'lazy' did not do what it ensures: 'no scale-and-shift .* hold of node 'n1' of test"),
    "requires": (PICKY, "the pass 'picky' was given a graph that it cannot take: .* of node 'n1'"),
    "outputs": (RENAMING, "the pass 'renaming' changed the outputs of test"),
    "layers": (INVENTING, "the pass 'inventing' names layer 'ghost', which test does not have"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_pass_that_breaks_its_word_is_refused(name):
    bad, message = REFUSED[name]
    with pytest.raises(GraphError, match=message):
        optimize(chain(scale(), scale(seed=5)), (bad,))


def test_a_pass_cannot_stand_before_the_one_that_it_needs():
    check_order(PASSES)
    with pytest.raises(GraphError, match=r"'fuse activation' requires .*, which no pass before it ensures"):
        check_order((fuse_activation.PASS, scale_after_linear.PASS))


def test_a_row_of_paddings_or_scales_goes_into_the_window_whole(interpret):
    padded = chain(Pad(padding=ONE), Pad(padding=((0, 1), (2, 0))), conv())
    scaled = chain(scale(), uniform(1, 0), scale(seed=5), Dense(kernel=numbers(4, 5)))
    for before, expected in ((padded, ["Conv"]), (scaled, ["Dense"])):
        after = optimize(before)
        assert kinds(after) == expected
        assert_equal(before, after, interpret)


@pytest.mark.parametrize("name", sorted({*FIRES, *IDLE} - CONSTANT))
def test_all_passes_together_change_no_output(name, interpret):
    before = (FIRES.get(name) or IDLE[name])[1]
    assert_equal(before, optimize(before), interpret)


@pytest.mark.parametrize("seed", range(30))
def test_random_graphs_keep_their_outputs(seed, interpret):
    before = random_graph(np.random.default_rng(seed))
    after = optimize(before)
    assert len(after.nodes) <= len(before.nodes)
    assert_equal(before, after, interpret)


def random_graph(rng: np.random.Generator) -> Graph:
    """Up to 14 steps on ``(N, H, W, 4)`` values, with shared readers and several outputs."""
    choices: tuple[Callable[[], Operation], ...] = (
        lambda: scale(seed=int(rng.integers(99))),
        lambda: conv(padding=ONE),
        lambda: Conv(kernel=numbers(3, 3, 1, 4, seed=int(rng.integers(99))), groups=4, padding=ONE),
        lambda: Dense(kernel=numbers(4, 4, seed=int(rng.integers(99))), bias=numbers(4)),
        lambda: RELU,
        lambda: RELU6,
        Add,
        Multiply,
        lambda: uniform(1, 0),
    )
    steps, names = [], ["input"]
    for index in range(14):
        operation = choices[rng.integers(len(choices))]()
        read = names[-1] if rng.random() < 0.8 else names[rng.integers(len(names))]
        second = (names[rng.integers(len(names))],) if isinstance(operation, (Add, Multiply)) else ()
        steps.append((f"n{index}", operation, (read, *second)))
        names.append(f"n{index}")
    return build([*steps, ("bounded", Activate(function=Activation.TANH), (names[-1],)), ("sum", Add(), ("bounded",
                 "input"))], "sum", names[rng.integers(1, len(names))])  # fmt: skip
