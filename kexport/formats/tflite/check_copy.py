"""A check copy of a TFLite file that shows the values before its last softmax or sigmoid.

Every operator and every weight is the file's own; only that last step is left out, and who read its result reads what
it read. See `kexport.formats.onnx.check_copy`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kexport.formats.tflite.check.schema import BuiltinOperator

_LAST = {"softmax": BuiltinOperator.SOFTMAX, "sigmoid": BuiltinOperator.LOGISTIC}
_KEEPING = {
    BuiltinOperator.RESHAPE,
    BuiltinOperator.TRANSPOSE,
    BuiltinOperator.SQUEEZE,
    BuiltinOperator.EXPAND_DIMS,
}
_MOVING = _KEEPING | {BuiltinOperator.DEQUANTIZE}


def write(path: Path, copy: Path, wanted: Mapping[str, str]) -> frozenset[str]:
    """As `kexport.formats.onnx.check_copy.write`; outputs are called as in the file's signature."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    named = {entry.name.decode(): entry for entry in model.signatureDefs[0].outputs}
    main = model.subgraphs[model.signatureDefs[0].subgraphIndex]
    codes = [max(code.builtinCode, code.deprecatedBuiltinCode) for code in model.operatorCodes]
    shown = frozenset(name for name, kind in wanted.items() if _bare(main, codes, named[name], _LAST[kind]))
    if shown:
        builder = flatbuffers.Builder(path.stat().st_size + 2**20)
        builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
        copy.write_bytes(builder.Output())
    return shown


def _bare(main: Any, codes: list[int], entry: Any, last: int) -> bool:
    """Leave the last step of one output out; False, and nothing changed, where there is none."""
    makers = {int(value): operator for operator in main.operators for value in operator.outputs}
    readers = Counter(int(value) for operator in main.operators for value in operator.inputs)
    public, value = [int(index) for index in main.outputs], int(entry.tensorIndex)
    passed: list[Any] = []
    if readers[value]:
        return False
    while (operator := makers.get(value)) is not None and codes[operator.opcodeIndex] in _MOVING:
        passed.append(operator)
        value = int(operator.inputs[0])
        if readers[value] != 1 or value in public:
            return False
    if operator is None or codes[operator.opcodeIndex] != last:
        return False
    _leave_out(main, operator, passed, entry, value)
    _requantize(main, codes, passed, int(operator.inputs[0]))
    return True


def _leave_out(main: Any, operator: Any, passed: list[Any], entry: Any, value: int) -> None:
    before = int(operator.inputs[0])
    main.operators = [each for each in main.operators if each is not operator]
    if passed:
        passed[-1].inputs = [before, *passed[-1].inputs[1:]]
        return
    main.outputs = [before if int(index) == value else int(index) for index in main.outputs]
    entry.tensorIndex = before


def _requantize(main: Any, codes: list[int], passed: list[Any], before: int) -> None:
    """What only moves integers has the scale of what it moves: that of the values before the last step now."""
    for operator in reversed(passed):
        if codes[operator.opcodeIndex] not in _KEEPING:
            return
        moved = main.tensors[int(operator.outputs[0])]
        moved.type, moved.quantization = main.tensors[before].type, main.tensors[before].quantization
