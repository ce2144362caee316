"""What TFLite Micro reads otherwise than LiteRT, without a word: it is looked for in the file before bundling."""

from __future__ import annotations

from kexport.formats.tflite.check import schema
from kexport.formats.tflite.check.reader import Reader, Table


def several_scales(content: bytes) -> tuple[str, ...]:
    """Names of the constants that DEQUANTIZE reads with a scale per channel: TFLite Micro takes the first for all.

    ``content`` is a sound TFLite file.
    """
    reader = Reader(content)
    model = reader.table(reader.number("I", 0), "model")
    codes = [_code(table) for table in model.tables(schema.Model.OPERATOR_CODES, "operator_codes")]
    found = []
    for subgraph in model.tables(schema.Model.SUBGRAPHS, "subgraphs"):
        tensors = subgraph.tables(schema.SubGraph.TENSORS, "tensors")
        for operator in subgraph.tables(schema.SubGraph.OPERATORS, "operators"):
            if codes[operator.number(schema.Operator.OPCODE_INDEX, "I", 0)] == schema.BuiltinOperator.DEQUANTIZE:
                source = tensors[operator.numbers(schema.Operator.INPUTS, "i", "inputs")[0]]
                found += [source.text(schema.Tensor.NAME, "name")] * (_scales(source) > 1)
    return tuple(found)


def _code(table: Table) -> int:
    """An operator's number: the newer field counts where the older one is full."""
    older = table.number(schema.OperatorCode.DEPRECATED_BUILTIN_CODE, "b", 0)
    return max(older, table.number(schema.OperatorCode.BUILTIN_CODE, "i", 0))


def _scales(tensor: Table) -> int:
    quantization = tensor.child(schema.Tensor.QUANTIZATION, "quantization")
    return 0 if quantization is None else len(quantization.reals(schema.QuantizationParameters.SCALE, "scale"))
