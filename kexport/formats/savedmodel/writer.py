"""SavedModel: a folder written by Keras's own exporter, with stable names and a checked signature.

Endpoint ``serve``, which TensorFlow Serving also finds as ``serving_default``. Float32 as Keras computes;
one input is called ``input`` and one output ``output``, several keep the names that Keras gives.
"""

from __future__ import annotations

import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

from kexport.errors import ArtifactError
from kexport.formats import WrittenFile
from kexport.records import Signature
from kexport.sources.keras_walk import input_names, output_names, packed
from kexport.sources.loading.served import SERVING, Served

ENDPOINT = "serve"
_CALLS = "PartitionedCall"  # with StatefulPartitionedCall: an operation that calls a function of the library


def write(model: Any, path: Path, *, batch: int | None = None) -> WrittenFile:
    """Write ``model``, Keras's or a `Served` one, to the folder ``path``; ``batch`` of None keeps its axis symbolic.

    ``operations`` counts the operations of the serving function, called functions included. Raises
    ArtifactError where the signature in the written folder is not the model's; nothing is left then.
    """
    inputs, outputs = signatures(model, batch=batch)
    with complete_or_absent(path):
        with redirect_stdout(sys.stderr):
            if isinstance(model, Served):
                _save_again(model, path, inputs)
            else:
                _save(model, path, inputs)
        meta = _read(path)
        _check(path, meta.signature_def[SERVING], inputs=inputs, outputs=outputs)
        return WrittenFile(operations=_operations(meta), inputs=inputs, outputs=outputs)


def _save(model: Any, path: Path, inputs: tuple[Signature, ...]) -> None:
    import keras

    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint(ENDPOINT, serving_function(model), input_signature=tensor_specs(inputs))
    archive.write_out(str(path), verbose=False)


def _save_again(model: Served, path: Path, inputs: tuple[Signature, ...]) -> None:
    """The same folder where it has the names and the batch already, else one whose function calls it."""
    if inputs == model.inputs and not model.renamed:
        shutil.copytree(model.path, path)
        return
    import tensorflow as tf

    module = tf.Module()
    module.loaded = model.loaded
    module.serve = tf.function(model, autograph=False, input_signature=tensor_specs(inputs))
    tf.saved_model.save(module, str(path), signatures={ENDPOINT: module.serve, SERVING: module.serve})


@contextmanager
def complete_or_absent(path: Path) -> Iterator[None]:
    """Remove what was written at ``path``, file or folder, if an error ends the block."""
    try:
        yield
    except BaseException:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
        raise


def signatures(model: Any, *, batch: int | None) -> tuple[tuple[Signature, ...], tuple[Signature, ...]]:
    """Public inputs and outputs of ``model``, with ``batch`` as the first axis."""
    if isinstance(model, Served):
        return model.signatures(batch)
    inputs, outputs = input_names(model), output_names(model)
    return _signatures(inputs, model.inputs, batch), _signatures(outputs, model.outputs, batch)


def _signatures(names: list[str], tensors: list[Any], batch: int | None) -> tuple[Signature, ...]:
    return tuple(
        Signature(name=name, shape=(batch, *tensor.shape[1:]), dtype=str(tensor.dtype))
        for name, tensor in zip(names, tensors, strict=True)
    )


def serving_function(model: Any) -> Callable[..., dict[str, Any]]:
    """``model`` in inference mode as a function of its inputs in order; outputs by public name."""
    if isinstance(model, Served):
        return model.__call__
    _, outputs = signatures(model, batch=None)

    def serve(*values: Any) -> dict[str, Any]:
        import keras

        results = keras.tree.flatten(model(packed(model, values), training=False))
        return {spec.name: value for spec, value in zip(outputs, results, strict=True)}

    return serve


def tensor_specs(inputs: tuple[Signature, ...]) -> list[Any]:
    """The `tf.TensorSpec` of every input, with its public name."""
    import tensorflow as tf

    return [tf.TensorSpec(spec.shape, spec.dtype, name=spec.name) for spec in inputs]


def _read(path: Path) -> Any:
    from tensorflow.core.protobuf import saved_model_pb2

    content = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes())
    return content.meta_graphs[0]


def _check(path: Path, written: Any, *, inputs: tuple[Signature, ...], outputs: tuple[Signature, ...]) -> None:
    for kind, wanted, infos in (("inputs", inputs, written.inputs), ("outputs", outputs, written.outputs)):
        found = {name: _signature(name, info) for name, info in infos.items()}
        if found != {spec.name: spec for spec in wanted}:
            raise ArtifactError(
                f"{path}: the written {kind} are {_told(found.values())}, the model's are {_told(wanted)}",
                hint="kexport doctor shows the versions of Keras and TensorFlow",
            )


def _signature(name: str, info: Any) -> Signature:
    import tensorflow as tf

    sizes = tuple(None if axis.size < 0 else int(axis.size) for axis in info.tensor_shape.dim)
    return Signature(name=name, shape=sizes, dtype=str(tf.dtypes.as_dtype(info.dtype).name))


def _told(specs: Any) -> str:
    return ", ".join(f"{spec.name} {spec.dtype}{list(spec.shape)}" for spec in specs) or "none"


def _operations(meta: Any) -> dict[str, int]:
    """Operations of the serving function by type, those of the functions that it calls included."""
    functions = {function.signature.name: function for function in meta.graph_def.library.function}
    name = meta.signature_def[SERVING].outputs
    output_node = next(iter(name.values())).name.partition(":")[0]
    calls = [node.attr["f"].func.name for node in meta.graph_def.node if node.name == output_node]
    counts: Counter[str] = Counter()
    while calls:
        for node in functions[calls.pop()].node_def:
            if node.op.endswith(_CALLS):
                calls.append(node.attr["f"].func.name)
            else:
                counts[node.op] += 1
    return dict(sorted(counts.items()))
