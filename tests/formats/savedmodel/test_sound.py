"""A SavedModel from elsewhere: plain files, and no operator that touches others in what loading and serving run."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from kexport.bundles.tfrecord import message, text
from kexport.errors import ArtifactError
from kexport.formats.savedmodel.sound import require_sound


def node(operation: str, *, calls: str = "", words: str = "", listed: bool = False) -> bytes:
    called = message(9 if listed else 10, text(1, calls))
    value = message(1, called) if listed else called
    attributes = [message(5, text(1, "f") + message(2, value))] if calls else []
    attributes += [message(5, text(1, "output_stream") + message(2, text(2, words)))] if words else []
    return text(1, operation) + text(2, operation) + b"".join(attributes)


def function(name: str, *nodes: bytes) -> bytes:
    return message(1, message(1, text(1, name)) + b"".join(message(3, each) for each in nodes))


def saved(
    folder: Path, *functions: bytes, main: tuple[bytes, ...] = (), concrete: tuple[str, ...] = ("serve",)
) -> Path:
    """A folder as TensorFlow 2 writes it; without a ``concrete`` function as TensorFlow 1."""
    graph = b"".join(message(1, each) for each in main) + message(2, b"".join(functions))
    objects = b"".join(message(2, text(1, name) + message(2, b"")) for name in concrete)
    path = folder / "a-savedmodel"
    (path / "variables").mkdir(parents=True)
    (path / "saved_model.pb").write_bytes(message(2, message(2, graph) + (message(7, objects) if objects else b"")))
    return path


SAVER = function("traced_save", node("ShardedFilename"), node("SaveV2"), node("MergeV2Checkpoints"))
PLAIN = function("serve", node("Conv2D"), node("PartitionedCall", calls="inner")), function("inner", node("MatMul"))


def test_what_keras_writes(tmp_path: Path) -> None:
    """A saver that only the main graph calls, which is not run."""
    require_sound(saved(tmp_path, *PLAIN, SAVER, main=(node("StatefulPartitionedCall", calls="traced_save"),)))


FOUND = {
    "in the serving function": ("WriteFile", (function("serve", node("WriteFile")),)),
    "in one that it calls": ("PyFunc", (PLAIN[0], function("inner", node("PyFunc")))),
    "in a branch": (
        "ReadFile",
        (function("serve", node("Case", calls="branch", listed=True)), function("branch", node("ReadFile"))),
    ),
    "in one called by its name": ("SqlDataset", (function("serve", node("f")), function("f", node("SqlDataset")))),
    "the saver called by the network": ("SaveV2", (function("serve", node("Call", calls="traced_save")), SAVER)),
    "a print into a file": ("PrintV2", (function("serve", node("PrintV2", words="file:///etc/passwd")),)),
}


@pytest.mark.parametrize("name", FOUND)
def test_an_operator_that_touches_files(tmp_path: Path, name: str) -> None:
    operation, functions = FOUND[name]
    with pytest.raises(ArtifactError, match=f"it would run the operator {operation}, which reads or writes files"):
        require_sound(saved(tmp_path, *functions))


def test_a_print_to_the_terminal_and_functions_in_a_circle(tmp_path: Path) -> None:
    require_sound(saved(tmp_path, function("serve", node("PrintV2", words="stderr"), node("If", calls="serve"))))


def test_tensorflow_1_has_its_saver_in_its_graph(tmp_path: Path) -> None:
    require_sound(saved(tmp_path, main=(node("SaveV2"), node("RestoreV2"), node("MatMul")), concrete=()))
    with pytest.raises(ArtifactError, match="would run the operator WriteFile"):
        require_sound(saved(tmp_path / "b", main=(node("WriteFile"),), concrete=()))


@pytest.mark.parametrize(("make", "told"), [
    (os.mkfifo, "no regular file"), (lambda path: path.symlink_to("/etc/passwd"), "a symbolic link"),
], ids=["fifo", "link"])  # fmt: skip
def test_what_is_no_plain_file(tmp_path: Path, make: object, told: str) -> None:
    path = saved(tmp_path, *PLAIN)
    make(path / "variables" / "variables.index")  # type: ignore[operator]
    wanted = re.escape(f"variables/variables.index is {told}, expected plain files")
    with pytest.raises(ArtifactError, match=wanted):
        require_sound(path)


@pytest.mark.parametrize("content", [b"\xff" * 20, b"\x12\x7f", b"\x12\x03\x12\x09x"], ids=range(3))
def test_damage_is_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "saved_model.pb").write_bytes(content)
    with pytest.raises(ArtifactError, match=r"saved_model.pb is not a SavedModel: "):
        require_sound(tmp_path)
