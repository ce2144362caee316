"""TensorFlow's TFLiteConverter: the independent converter for TFLite, and the referee of the native writer.

Always through a SavedModel: `from_concrete_functions` with a Keras 3 model writes a file without weights,
whose outputs are NaN, and says nothing. Batch is static, as in the native files. ``float16`` stores weights
as float16 and computes in float32.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from kexport.errors import ArtifactError, UnsupportedError
from kexport.formats.savedmodel import writer as savedmodel
from kexport.formats.tflite import standard
from kexport.records import Signature, WrittenFile
from kexport.registry import Engine, Scheme
from kexport.sources import backend
from kexport.sources.loading.served import SERVING

if TYPE_CHECKING:
    from kexport.specs import Cell

SCHEMES = (Scheme.FLOAT32, Scheme.FLOAT16)
_HINT = "--engine native"


def convert(
    model: Any,
    path: Path,
    *,
    batch: int = 1,
    scheme: str = "float32",
    metadata: Mapping[str, str] | None = None,
) -> WrittenFile:
    """Convert ``model`` to TFLite at exactly ``path``; signature names as in the SavedModel.

    Raises UnsupportedError with the converter's own words where it refuses, ArtifactError where the file is
    not sound or its signature is not the model's. A bad file is never left at ``path``.
    """
    if scheme not in SCHEMES:
        raise UnsupportedError(f"scheme {scheme!r} of the TFLite converter: expected one of {', '.join(SCHEMES)}")
    inputs, outputs = savedmodel.signatures(model, batch=batch)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".kexport-") as folder:
        source = Path(folder) / "saved"
        with _silenced() as said:
            savedmodel.write(model, source, batch=batch)
            content = _converted(source, scheme, said)
    with savedmodel.complete_or_absent(path):
        content, reason = _described(content, metadata) if metadata else (content, "")
        path.write_bytes(content)
        del content
        operations = _check_interpreter(path, inputs=inputs, outputs=outputs)
    return WrittenFile(operations=operations, inputs=inputs, outputs=outputs, notes=(reason,) if reason else ())


def _converted(source: Path, scheme: str, said: IO[bytes]) -> bytes:
    import tensorflow as tf
    from tensorflow.lite.python.convert_phase import ConverterError  # it derives from Exception alone

    converter = tf.lite.TFLiteConverter.from_saved_model(str(source), signature_keys=[SERVING])
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    if scheme == Scheme.FLOAT16:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [tf.float16]
    try:
        return bytes(converter.convert())
    except (ConverterError, ValueError, RuntimeError) as error:
        raise UnsupportedError(f"the TFLite converter refuses the model: {_cause(error, said)}", hint=_HINT) from error


def _described(content: bytes, metadata: Mapping[str, str]) -> tuple[bytes, str]:
    """The file with ``metadata`` beside that of the converter, by name, and with the standard's.

    Also why the standard cannot express the contract, empty if it does.
    """
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(content, 0)
    own = {name: value.encode() for name, value in sorted(metadata.items())}
    found = standard.of(_network(model), own)
    model.metadata = model.metadata or []
    for name, value in (own | dict(found.entries)).items():
        buffer, entry = schema.BufferT(), schema.MetadataT()
        buffer.data = list(value)
        entry.name, entry.buffer = name, len(model.buffers)
        model.buffers.append(buffer)
        model.metadata.append(entry)
    builder = flatbuffers.Builder(len(content) + 2**20)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    made = bytes(builder.Output())
    return made + (standard.archive(found.files, start=len(made)) if found.files else b""), found.reason


def _network(model: Any) -> standard.Network:
    """What standard metadata speak of, by the names of the signature, in the order of the subgraph."""
    signature, main = model.signatureDefs[0], model.subgraphs[model.signatureDefs[0].subgraphIndex]

    def borders(named: Any, order: Any) -> tuple[standard.Border, ...]:
        names = {int(entry.tensorIndex): entry.name.decode() for entry in named}
        shapes = {index: tuple(int(size) for size in main.tensors[index].shape) for index in map(int, order)}
        return tuple(standard.Border(name=names[i], shape=shape, dtype="float32") for i, shape in shapes.items())

    inputs, outputs = borders(signature.inputs, main.inputs), borders(signature.outputs, main.outputs)
    return standard.Network(name=(main.name or b"main").decode(), inputs=inputs, outputs=outputs)


def _cause(error: BaseException, said: IO[bytes]) -> str:
    """The lines that name the operations it lacks, out of a page of compiler notes; else the first and last words."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    named = [line for line in lines if line.startswith(("Custom ops:", "Flex ops:", "TF Select ops:"))]
    return "; ".join(named) if named else f"{lines[0] if lines else type(error).__name__} {_last(said)}".strip()


@contextmanager
def _silenced() -> Iterator[IO[bytes]]:
    """Stdout and stderr of the process, C++ included, go to the yielded file."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [os.dup(1), os.dup(2)]
    with tempfile.TemporaryFile() as said:
        try:
            for number in (1, 2):
                os.dup2(said.fileno(), number)
            yield said
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for number, copy in zip((1, 2), kept, strict=True):
                os.dup2(copy, number)
                os.close(copy)


def _last(said: IO[bytes], lines: int = 3) -> str:
    said.seek(0)
    return "\n".join(said.read().decode(errors="replace").strip().splitlines()[-lines:])


def _check_interpreter(path: Path, *, inputs: tuple[Signature, ...], outputs: tuple[Signature, ...]) -> dict[str, int]:
    """Operators by name, after the signature that LiteRT reads was compared with the model's."""
    interpreter = _loaded(path)
    runner = interpreter.get_signature_runner(SERVING)
    for kind, wanted, details in (
        ("inputs", inputs, runner.get_input_details()),
        ("outputs", outputs, runner.get_output_details()),
    ):
        found = {name: _signature(name, detail) for name, detail in details.items()}
        if found != {spec.name: spec for spec in wanted}:
            raise ArtifactError(
                f"the TFLite converter: the {kind} became {tuple(found.values())}, expected {wanted}", hint=_HINT
            )
    operators = interpreter._get_ops_details()  # noqa: SLF001 - no public reader exists
    return dict(sorted(Counter(str(operator["op_name"]) for operator in operators).items()))


def _loaded(path: Path) -> Any:
    """The file in LiteRT with its built-in kernels: the flatbuffer and every operator were checked."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    try:
        interpreter = Interpreter(
            str(path), experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        )
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise ArtifactError(f"the TFLite converter's file does not load in LiteRT: {error}", hint=_HINT) from error
    return interpreter


def _signature(name: str, detail: Any) -> Signature:
    import numpy as np

    return Signature(
        name=name, shape=tuple(int(size) for size in detail["shape"]), dtype=np.dtype(detail["dtype"]).name
    )


def _write(model: Any, cell: Cell, path: Path, metadata: Mapping[str, str]) -> WrittenFile:
    return convert(model, path, batch=cell.rows, scheme=cell.scheme, metadata=metadata)


def lacks() -> str:
    """Why it cannot work here: the converter is TensorFlow's."""
    return backend.without_tensorflow("the engine tflite-converter")


ENGINE = Engine(name="tflite-converter", schemes=SCHEMES, write=_write, from_model=True, weight_copies=8, lacks=lacks)
