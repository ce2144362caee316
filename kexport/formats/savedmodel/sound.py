"""Whether a SavedModel folder may be given to TensorFlow: plain files, and nothing that it runs touches other files.

A SavedModel is a program: its operators can read and write any file, and answer over the network. What a network needs
does none of that, so a folder whose serving functions have such an operator is refused before it is loaded. Operators
for checkpoints stand in every SavedModel, in functions that only a saver calls: they are refused where one is called
otherwise. TensorFlow itself is no sandbox, and its operators have had faults: this is a look, not a proof.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from kexport import files
from kexport.errors import ArtifactError
from kexport.formats.savedmodel.contents import MAX_BYTES, fields, first

CHECKPOINTS = frozenset({
    "MergeV2Checkpoints", "Restore", "RestoreSlice", "RestoreV2", "Save", "SaveSlices", "SaveV2",
})  # fmt: skip
FILES = frozenset({
    "AnonymousMultiDeviceIterator", "AssertCardinalityDataset", "CSVDataset", "CSVDatasetV2", "CacheDataset",
    "CacheDatasetV2", "CloseSummaryWriter", "CreateSummaryDbWriter", "CreateSummaryFileWriter", "DataServiceDataset",
    "DataServiceDatasetV2", "DataServiceDatasetV3", "DataServiceDatasetV4", "DebugIdentity", "DebugIdentityV2",
    "DebugIdentityV3", "DebugNanCount", "DebugNumericSummary", "DecodeProtoV2", "EagerPyFunc", "EncodeProto",
    "FixedLengthRecordDataset", "FixedLengthRecordDatasetV2", "FixedLengthRecordReader", "FixedLengthRecordReaderV2",
    "GenerateVocabRemapping", "ImmutableConst", "LMDBDataset", "LMDBReader", "ListDataset", "LoadAndRemapMatrix",
    "LoadDataset", "MatchingFiles", "MatchingFilesDataset", "PyFunc", "PyFuncStateless", "ReadFile", "RegisterDataset",
    "RegisterDatasetV2", "RemoteCall", "RpcCall", "RpcClient", "RpcServer", "SaveDataset", "SaveDatasetV2",
    "SnapshotDataset", "SnapshotDatasetV2", "SqlDataset", "TFRecordDataset", "TFRecordDatasetV2", "TFRecordReader",
    "TFRecordReaderV2", "TextLineDataset", "TextLineReader", "TextLineReaderV2", "WholeFileReader",
    "WholeFileReaderV2", "WriteFile", "WriteRawProtoSummary", "WriteSummary",
})  # fmt: skip
"""Operators that read or write files of their own choice, run Python, or speak with other machines."""
_PRINT = "PrintV2"
_META_GRAPHS, _GRAPH, _OBJECTS, _CONCRETE = 2, 2, 7, 2
_NODE, _LIBRARY, _FUNCTION = 1, 2, 1
_SIGNATURE, _FUNCTION_NODES = 1, 3
_OPERATION, _ATTRIBUTE, _LIST, _CALLED, _CALLED_OF_LIST = 2, 5, 1, 10, 9
_HINT = "kexport verify DIR; kexport export MODEL --formats savedmodel --force makes it again"


@dataclass(frozen=True, kw_only=True)
class _Graph:
    """Nodes by the function that they are in, the main graph's under the empty name; what loading may run of it."""

    functions: Mapping[str, tuple[bytes, ...]]
    started: frozenset[str]


def require_sound(path: Path) -> None:
    """Raise ArtifactError for links and what is no file in the folder, and for operators that touch files."""
    for inner in sorted(path.rglob("*")):
        mode = inner.lstat().st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            what = "a symbolic link" if stat.S_ISLNK(mode) else "no regular file"
            raise ArtifactError(f"{path}: {files.relative(inner, path)} is {what}, expected plain files", hint=_HINT)
    try:
        content = files.read(path / "saved_model.pb", limit_bytes=MAX_BYTES)
        found = next((name for graph in _graphs(content) for name in _touching(graph)), None)
    except OSError as error:
        raise ArtifactError(f"{path}: saved_model.pb cannot be read: {error.strerror}", hint=_HINT) from error
    except (IndexError, ValueError) as error:
        raise ArtifactError(f"{path}: saved_model.pb is not a SavedModel: {error}", hint=_HINT) from error
    if found is not None:
        raise ArtifactError(
            f"{path}: it would run the operator {found}, which reads or writes files, or runs other programs: "
            "no network needs it",
            hint=_HINT,
        )


def _graphs(content: bytes) -> Iterator[_Graph]:
    for number, value in fields(content):
        if number == _META_GRAPHS:
            yield _graph(value)


def _graph(meta: bytes) -> _Graph:
    definition, objects = first(meta, _GRAPH), first(meta, _OBJECTS)
    functions = {"": tuple(value for number, value in fields(definition) if number == _NODE)}
    for number, function in fields(first(definition, _LIBRARY)):
        if number == _FUNCTION:
            name = first(first(function, _SIGNATURE), 1).decode()
            functions[name] = tuple(value for inner, value in fields(function) if inner == _FUNCTION_NODES)
    concrete = {first(value, 1).decode() for number, value in fields(objects) if number == _CONCRETE}
    return _Graph(functions=functions, started=frozenset(concrete) if objects else frozenset({""}))


def _touching(graph: _Graph) -> Iterator[str]:
    """Operators that touch files in what is run. TensorFlow 1 wrote its saver into the one graph that there is."""
    allowed = CHECKPOINTS if graph.started == {""} else frozenset()
    pending, seen = list(graph.started), set(graph.started)
    while pending:
        for node in graph.functions.get(pending.pop(), ()):
            operation = first(node, _OPERATION).decode()
            if (operation in FILES | CHECKPOINTS and operation not in allowed) or _prints_to_a_file(operation, node):
                yield operation
            new = {operation, *_called(node)} & set(graph.functions) - seen
            seen |= new
            pending += new


def _prints_to_a_file(operation: str, node: bytes) -> bool:
    return operation == _PRINT and b"file:" in node


def _called(node: bytes) -> Iterator[str]:
    """The functions that a node calls, by its attributes."""
    for number, attribute in fields(node):
        if number == _ATTRIBUTE:
            value = first(attribute, 2)
            yield from _names(value, _CALLED)
            yield from _names(first(value, _LIST), _CALLED_OF_LIST)


def _names(value: bytes, wanted: int) -> Iterator[str]:
    return (first(called, 1).decode() for number, called in fields(value) if number == wanted)
