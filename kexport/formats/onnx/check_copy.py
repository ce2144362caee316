"""A check copy of an ONNX file that shows the values before its last softmax or sigmoid.

Every node and every weight is the file's own; only that last step becomes an Identity, and with it the pair that
quantizes its result. What the copy answers under an output's name are that output's logits, so that the file proves
itself where a saturated softmax hides what it computes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_LAST = {"softmax": "Softmax", "sigmoid": "Sigmoid"}
_QUANTIZING = {"QuantizeLinear", "DequantizeLinear"}
_MOVING = {"Reshape", "Transpose", "Cast", "Identity", "Flatten", "Squeeze", "Unsqueeze"} | _QUANTIZING


def write(path: Path, copy: Path, wanted: Mapping[str, str]) -> frozenset[str]:
    """Write the copy of the file at ``path``; the outputs that it shows bare.

    ``wanted`` has ``softmax`` or ``sigmoid`` by output. An output is left as it is where the file ends it otherwise, or
    where something else reads a value on the way. Nothing is written if none is shown.
    """
    import onnx

    model = onnx.load(str(path))
    makers = {value: node for node in model.graph.node for value in node.output}
    readers = Counter(value for node in model.graph.node for value in node.input)
    public = {value.name for value in model.graph.output}
    shown = frozenset(name for name, kind in wanted.items() if _bare(name, _LAST[kind], makers, readers, public))
    if shown:
        onnx.save(model, str(copy))
    return shown


def _bare(name: str, last: str, makers: Mapping[str, Any], readers: Counter[str], public: set[str]) -> bool:
    """Leave the last step of one output out; False, and nothing changed, where there is none."""
    passed, value = [], name
    if readers[name]:
        return False
    while (node := makers.get(value)) is not None and node.op_type in _MOVING:
        passed.append(node)
        value = node.input[0]
        if readers[value] != 1 or value in public:
            return False
    if node is None or node.op_type != last:
        return False
    for step in (node, *(step for step in passed if step.op_type in _QUANTIZING)):
        _pass_on(step)
    return True


def _pass_on(node: Any) -> None:
    first = node.input[0]
    node.op_type = "Identity"
    del node.attribute[:]
    del node.input[:]
    node.input.append(first)
