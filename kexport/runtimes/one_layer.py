"""One layer of a file as a file of its own, with the values that it reads there: the least that shows a difference."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from kexport import runtimes
from kexport.formats.onnx import one_layer
from kexport.formats.tflite import parts
from kexport.runtimes import SessionOptions, Tensor
from kexport.runtimes.inner import filled
from kexport.runtimes.ort import OrtSession

Read = dict[str, Tensor]


def write(
    path: Path, inputs: Mapping[str, Tensor], made: str, border: Collection[str], copy: Path, *, threads: int
) -> Read:
    """Write to ``copy`` what makes the tensor ``made`` of tensors of the ``border``; their values, as stored, by name.

    ``copy`` has the suffix of the file. Raises ArtifactError where the file does not run.
    """
    if path.suffix == ".onnx":
        return _onnx(path, inputs, made, border, copy, threads=threads)
    return _tflite(path, inputs, made, border, copy, threads=threads)


def _onnx(
    path: Path, inputs: Mapping[str, Tensor], made: str, border: Collection[str], copy: Path, *, threads: int
) -> Read:
    import onnx

    model = onnx.load(str(path), load_external_data=False)
    wanted = one_layer.read_by(model, made, border)
    given = _shown(path, inputs, wanted, threads=threads)
    one_layer.cut(model, made, given, copy)
    return given


def _shown(path: Path, inputs: Mapping[str, Tensor], names: Sequence[str], *, threads: int) -> Read:
    """The values of the file by name, for one row; its own inputs are among them."""
    from kexport.runtimes.ort_inner import outputs

    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / path.name
        shutil.copyfile(path, copy)
        with copy.open("ab") as file:
            file.write(outputs([name for name in names if name not in inputs]))
        session = runtimes.open_session(OrtSession, copy, options=SessionOptions(threads=threads))
        fed = filled(session, inputs)
        found = session.run(fed)
    return {name: found[name] if name in found else fed[name] for name in names}


def _tflite(
    path: Path, inputs: Mapping[str, Tensor], made: str, border: Collection[str], copy: Path, *, threads: int
) -> Read:
    from kexport.runtimes.litert_inner import every_tensor

    model = parts.read(path)
    numbers = {parts.called(tensor): index for index, tensor in enumerate(model.subgraphs[0].tensors)}
    wanted = [numbers[name] for name in border if name in numbers]
    content, given = parts.cut_layer(model, numbers[made], wanted)
    copy.write_bytes(content)
    values = every_tensor(path, inputs, given, threads=threads)
    names = {index: name for name, index in numbers.items()}
    return {names[index]: value for index, value in values.items()}
