"""Hostile and damaged model files: refused in one message, nothing executed, little time and memory spent."""

from __future__ import annotations

import json
import stat
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from kexport import machine
from kexport.errors import SourceError
from kexport.sources import loading, reference

MANY_SECONDS = 20.0
MUCH_MEMORY = 2**30


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one small model as ``.keras`` and as legacy ``.h5``."""
    import keras

    folder = tmp_path_factory.mktemp("good")
    model = keras.Sequential(
        [keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3), keras.layers.Flatten(), keras.layers.Dense(3)], name="good"
    )
    model.save(folder / "good.keras")
    model.save(folder / "good.h5")
    return folder


@pytest.fixture
def bystander(tmp_path: Path) -> Path:
    """What code in a model file would create."""
    return tmp_path / "executed"


def refused(path: Path, *, trust: bool = False) -> str:
    """The message, after what every refusal must hold."""
    started, memory = time.monotonic(), machine.peak_memory_bytes()
    with pytest.raises(SourceError) as caught:
        loading.load(path, trust=trust)
    assert time.monotonic() - started < MANY_SECONDS
    assert machine.peak_memory_bytes() - memory < MUCH_MEMORY
    assert caught.value.exit_code == 2
    assert caught.value.hint
    assert "\n" not in caught.value.message
    return caught.value.message.replace(str(path), "FILE")


def rewritten(source: Path, target: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """A copy of an archive with another configuration."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name == "config.json":
                config = json.loads(content)
                change(config)
                content = json.dumps(config).encode()
            new.writestr(name, content)
    return target


def added(source: Path, target: Path, member: zipfile.ZipInfo | str, content: bytes = b"x", **options: Any) -> Path:
    """A copy of an archive with one more member."""
    target.write_bytes(source.read_bytes())
    with zipfile.ZipFile(target, "a") as archive:
        archive.writestr(member, content, **options)
    return target


def legacy(source: Path, target: Path, change: Callable[[Any], None]) -> Path:
    """A copy of an HDF5 model after ``change`` has had the open file."""
    target.write_bytes(source.read_bytes())
    with h5py.File(target, "a") as file:
        change(file)
    return target


def kernel(file: Any) -> tuple[Any, str]:
    """The group and the name of the first dataset of a legacy model."""
    found: list[str] = []
    file["model_weights"].visititems(lambda name, item: found.append(name) if isinstance(item, h5py.Dataset) else None)
    return file["model_weights"], found[0]


def with_lambda(path: Path, bystander: Path) -> Path:
    import keras

    place = str(bystander)
    code = keras.layers.Lambda(lambda x: (open(place, "w").close(), x)[1], name="evil")  # noqa: PTH123
    model = keras.Sequential([keras.Input((8, 8, 3)), code, keras.layers.Flatten(), keras.layers.Dense(3)])
    model.save(path)
    bystander.unlink(missing_ok=True)  # the model was traced while it was built
    return path


@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_a_lambda_is_not_executed(tmp_path: Path, bystander: Path, suffix: str) -> None:
    path = with_lambda(tmp_path / f"model.{suffix}", bystander)
    assert refused(path) == "model FILE: layer 'evil' is a Lambda, which holds Python code"
    assert not bystander.exists()
    loading.load(path, trust=True)
    assert bystander.exists(), "the test's code does run where it may"


def test_a_lambda_within_a_nested_model(tmp_path: Path) -> None:
    import keras

    inner = keras.Sequential([keras.Input((4,)), keras.layers.Lambda(lambda x: x, name="deep", output_shape=(4,))])
    keras.Sequential([keras.Input((4,)), inner, keras.layers.Dense(2)]).save(tmp_path / "model.keras")
    message = refused(tmp_path / "model.keras")
    assert message == "model FILE: layer 'deep' is a Lambda, which holds Python code"


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ({"module": "os", "class_name": "system"}, "is a os.system, which is no class of Keras"),
        ({"module": "mine.layers", "class_name": "Own"}, "is a mine.layers.Own, which is no class of Keras"),
        ({"module": None, "class_name": "Own", "registered_name": "mine>Own"}, "is a mine>Own, which is no class"),
        ({"module": "keras.utils", "class_name": "get_file"}, "is a keras.utils.get_file, which is no class of"),
        (
            {"module": "keras.config", "class_name": "function", "config": "enable_unsafe_deserialization"},
            "is a keras.config.enable_unsafe_deserialization, which is no class of Keras",
        ),
        ({"module": "keras.src.saving.saving_lib", "class_name": "load_model"}, "load_model, which is no class of"),
        ({"module": "keras.layers", "class_name": "TFSMLayer"}, "is a TFSMLayer, which runs a SavedModel"),
        ({"module": "keras.layers", "class_name": "TorchModuleWrapper"}, "unpickles a PyTorch module"),
        ({"module": "builtins", "class_name": "__lambda__"}, "is a Python lambda"),
        ({"module": "keras", "class_name": "layers.Lambda"}, "is a Lambda, which holds Python code"),
        ({"module": "keras", "class_name": "saving.load_model"}, "is a keras.saving.load_model, which is no class of"),
        ({"module": "keras", "class_name": "function", "config": "utils.get_file"}, "is a keras.utils.get_file, which"),
        ({"module": "keras.models", "class_name": "function", "config": "load_model"}, "is a keras.models.load_model"),
        (
            {"module": "keras.applications.imagenet_utils", "class_name": "function", "config": "decode_predictions"},
            "decode_predictions, which is no class of Keras",
        ),
        ({"module": "keras.applications", "class_name": "VGG16"}, "is a keras.applications.VGG16, which is no class"),
        ({"module": "builtins", "class_name": "exec"}, "is a builtins.exec, which is no class of Keras"),
        ({"module": None, "class_name": "subprocess.call"}, "is a subprocess.call, which is no class of Keras"),
        ({"module": None, "class_name": "Own", "registered_name": "keras>Lambda"}, "is a Lambda, which holds"),
        ({"module": "keras.layers", "class_name": "Dense", "registered_name": "x>layers.TFSMLayer"}, "runs a SavedMod"),
        (
            {"module": "keras", "class_name": "__typespec__", "spec_name": "saving.load_model"},
            "is a keras.saving.load_model, which is no class of Keras",
        ),
    ],
    ids=lambda value: str(value["class_name"]) if isinstance(value, dict) else "",
)
def test_code_outside_keras(good: Path, tmp_path: Path, layer: dict[str, Any], message: str) -> None:
    def change(config: dict[str, Any]) -> None:
        config["config"]["layers"][1] = {"config": {"name": "odd"}, **layer}

    assert message in refused(rewritten(good / "good.keras", tmp_path / "model.keras", change))


@pytest.mark.parametrize(
    ("module", "name", "message"),
    [
        ("keras.layers", "TFSMLayer", "is a TFSMLayer, which runs a SavedModel"),
        ("keras", "layers.TFSMLayer", "is a TFSMLayer, which runs a SavedModel"),
        ("keras.src", "layers.JaxLayer", "is a JaxLayer, which runs JAX code"),
        ("own", "keras.layers.TorchModuleWrapper", "unpickles a PyTorch module"),
        ("keras", "saving.load_model", "is a keras.saving.load_model, which is no class of Keras"),
        ("keras.config", "enable_unsafe_deserialization", "which is no class of Keras"),
    ],
)
def test_what_is_refused_although_trusted(good: Path, tmp_path: Path, module: str, name: str, message: str) -> None:
    layer = {"module": module, "class_name": name, "config": {"name": "odd", "filepath": "x"}, "registered_name": None}
    outer = {"module": "keras.layers", "class_name": "TimeDistributed", "config": {"name": "t", "layer": layer}}

    for chosen in (layer, outer):

        def change(config: dict[str, Any], chosen: dict[str, Any] = chosen) -> None:
            config["config"]["layers"][1] = chosen

        found = refused(rewritten(good / "good.keras", tmp_path / "model.keras", change), trust=True)
        assert found.startswith("model FILE: layer 'odd' ")
        assert message in found


def test_a_function_of_the_user_is_trusted_by_its_module(
    good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A registered function has two names, and the module says where it is."""
    own = {"module": "keras_like", "class_name": "function", "config": "twice", "registered_name": "mine>twice"}
    (tmp_path / "keras_like.py").write_text("def twice(x):\n    return 2 * x\n")
    monkeypatch.syspath_prepend(tmp_path)

    def change(config: dict[str, Any]) -> None:
        config["config"]["layers"][1]["config"]["activation"] = own

    path = rewritten(good / "good.keras", tmp_path / "model.keras", change)
    assert refused(path).endswith("is a keras_like.twice, which is no class of Keras")
    assert loading.load(path, trust=True).layers[0].activation(3) == 6


def test_what_only_training_needs_is_not_read(good: Path, tmp_path: Path) -> None:
    """Losses and optimizers of the user's own need no trust, wherever a nested model has them."""
    training = {"loss": {"module": "own", "class_name": "Loss", "config": {}, "registered_name": "own>Loss"}}

    def change(config: dict[str, Any]) -> None:
        config["compile_config"] = training
        config["config"]["layers"][1]["compile_config"] = training

    loading.load(rewritten(good / "good.keras", tmp_path / "model.keras", change), trust=False)


def test_a_custom_class_that_cannot_be_imported(good: Path, tmp_path: Path) -> None:
    def change(config: dict[str, Any]) -> None:
        config["config"]["layers"][1] |= {"class_name": "Own", "module": "no_such_package", "registered_name": "Own"}

    path = rewritten(good / "good.keras", tmp_path / "model.keras", change)
    assert refused(path, trust=True) == (
        "model FILE: its class no_such_package.Own cannot be imported: No module named 'no_such_package'"
    )


@pytest.mark.parametrize("module", [None, "", "__main__"])
def test_a_class_of_a_script_has_no_module_and_a_way_all_the_same(good: Path, tmp_path: Path, module: str) -> None:
    """To save it again, as other files are advised, would write the same file."""

    def change(config: dict[str, Any]) -> None:
        config["config"]["layers"][1] |= {"class_name": "Own", "module": module, "registered_name": "my>Own"}

    path = rewritten(good / "good.keras", tmp_path / "model.keras", change)
    with pytest.raises(SourceError) as caught:
        loading.load(path, trust=True)
    assert "Own" in caught.value.message
    assert str(caught.value.hint).startswith("a class of a script or notebook: kexport.export(model) there")


@pytest.mark.parametrize("name", ["../evil", "/evil", "assets/../../evil", "assets\\..\\evil", "C:evil"])
def test_a_path_out_of_the_archive(good: Path, tmp_path: Path, name: str) -> None:
    message = refused(added(good / "good.keras", tmp_path / "model.keras", name))
    assert message.startswith("model FILE has a member that leads out of the archive: ")
    assert not (tmp_path.parent / "evil").exists()


def test_a_link_in_the_archive(good: Path, tmp_path: Path) -> None:
    link = zipfile.ZipInfo("assets/link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    path = added(good / "good.keras", tmp_path / "model.keras", link, b"/etc/passwd")
    assert refused(path) == "model FILE has a link: 'assets/link', which a Keras archive does not"


def test_an_unknown_member(good: Path, tmp_path: Path) -> None:
    path = added(good / "good.keras", tmp_path / "model.keras", "model.pkl")
    assert refused(path) == "model FILE has an unknown member: 'model.pkl', which a Keras archive does not"


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_member_twice(good: Path, tmp_path: Path) -> None:
    path = added(good / "good.keras", tmp_path / "model.keras", "config.json", b"{}")
    assert refused(path) == "model FILE holds 'config.json' twice, which a Keras archive does not"


def test_a_zip_bomb(good: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    path.write_bytes((good / "good.keras").read_bytes())
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive, archive.open("assets/bomb", "w") as member:
        for _ in range(64):
            member.write(bytes(2**20))
    message = refused(path)
    assert message.startswith("model FILE has a member of 67108864 bytes in ")
    assert "(a zip bomb): 'assets/bomb'" in message


def test_members_that_overlap(good: Path, tmp_path: Path) -> None:
    path = added(good / "good.keras", tmp_path / "model.keras", "assets/noise", np.random.default_rng(0).bytes(2**15))
    content = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        entry = archive.getinfo("assets/noise")
    lying = content.rindex(b"PK\x01\x02")  # the central entry of the last member: its sizes are made larger
    sizes = (entry.file_size * 4).to_bytes(4, "little") * 2
    path.write_bytes(content[: lying + 20] + sizes + content[lying + 28 :])
    assert "(a zip bomb)" in refused(path)


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_truncated(good: Path, tmp_path: Path, suffix: str, part: float) -> None:
    content = (good / f"good.{suffix}").read_bytes()
    path = tmp_path / f"model.{suffix}"
    path.write_bytes(content[: int(len(content) * part)])
    assert "FILE is damaged: " in refused(path)


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x80\x04\x95pickle"])
def test_something_else(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.keras"
    path.write_bytes(content)
    assert refused(path).startswith("model FILE: neither a .keras archive nor an HDF5 file (")


def test_a_flipped_byte_in_the_weights(good: Path, tmp_path: Path) -> None:
    content = bytearray((good / "good.keras").read_bytes())
    with zipfile.ZipFile(good / "good.keras") as archive:
        entry = archive.getinfo("model.weights.h5")
    content[entry.header_offset + entry.file_size // 2] ^= 0xFF
    path = tmp_path / "model.keras"
    path.write_bytes(content)
    assert refused(path).startswith("model FILE is damaged: Bad CRC-32")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"{", "its configuration is not JSON: "),
        (b"[" * 100_000, "its configuration is not JSON: "),
        (b"[]", "its configuration is not one of a Keras model"),
        (b'{"class_name": "Functional"}', "its configuration is not one of a Keras model"),
        (
            b'{"class_name": "S", "config": ' + b'{"a": ' * 300 + b"1" + b"}" * 300 + b"}",
            "its configuration is nested more than 200 deep",
        ),
        (b'{"class_name": "Sequential", "config": {}, "module": "keras"}', "Keras cannot load it: "),
    ],
    ids=["half", "brackets", "list", "no config", "deep", "empty"],
)
def test_a_configuration_that_is_none(good: Path, tmp_path: Path, text: bytes, message: str) -> None:
    path = tmp_path / "model.keras"
    with zipfile.ZipFile(good / "good.keras") as old, zipfile.ZipFile(path, "w") as new:
        new.writestr("config.json", text)
        new.writestr("model.weights.h5", old.read("model.weights.h5"))
    assert refused(path).startswith(f"model FILE: {message}")


def test_an_archive_without_weights(good: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    with zipfile.ZipFile(good / "good.keras") as old, zipfile.ZipFile(path, "w") as new:
        new.writestr("config.json", old.read("config.json"))
    assert refused(path) == "model FILE holds no model.weights.h5, which a Keras archive does not"


def test_layers_far_larger_than_the_file(good: Path, tmp_path: Path) -> None:
    def change(config: dict[str, Any]) -> None:
        config["config"]["layers"][-1]["config"]["units"] = 10**9

    message = refused(rewritten(good / "good.keras", tmp_path / "model.keras", change))
    assert "its layers ask for far more weights than its " in message
    assert "(144, 1000000000)" in message


def test_an_external_link(good: Path, tmp_path: Path) -> None:
    def change(file: Any) -> None:
        group, name = kernel(file)
        del group[name]
        group[name] = h5py.ExternalLink("/etc/passwd", "/")

    assert "is a ExternalLink, which a model file" in refused(legacy(good / "good.h5", tmp_path / "m.h5", change))


def test_a_soft_link(good: Path, tmp_path: Path) -> None:
    path = legacy(good / "good.h5", tmp_path / "m.h5", lambda file: file.__setitem__("loop", h5py.SoftLink("/loop")))
    assert "/loop is a SoftLink, which a model file does not hold" in refused(path)


def test_data_in_another_file(good: Path, tmp_path: Path) -> None:
    def change(file: Any) -> None:
        group, name = kernel(file)
        del group[name]
        group.create_dataset(name, (8,), "u1", external=[("/etc/passwd", 0, 8)])

    assert "is data in another file, which a model" in refused(legacy(good / "good.h5", tmp_path / "m.h5", change))


def test_a_virtual_dataset(good: Path, tmp_path: Path) -> None:
    def change(file: Any) -> None:
        group, name = kernel(file)
        del group[name]
        layout = h5py.VirtualLayout((8,), "u1")
        layout[:] = h5py.VirtualSource("/etc/passwd", "x", (8,))
        group.create_virtual_dataset(name, layout)

    assert "is data in another file, which a model" in refused(legacy(good / "good.h5", tmp_path / "m.h5", change))


@pytest.mark.parametrize("shape", [(10**9,), (2**40, 2**40)], ids=["empty", "absurd"])
def test_a_shape_bomb(good: Path, tmp_path: Path, shape: tuple[int, ...]) -> None:
    def change(file: Any) -> None:
        group, name = kernel(file)
        del group[name]
        space = h5py.h5s.create_simple(shape)
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_chunk((1024,) * len(shape))
        h5py.h5d.create(group.id, name.encode(), h5py.h5t.NATIVE_FLOAT, space, plist)

    message = refused(legacy(good / "good.h5", tmp_path / "m.h5", change))
    assert "bytes of data in 0, which a model file" in message or "GB of data declared" in message


def test_a_shape_bomb_within_an_archive(good: Path, tmp_path: Path) -> None:
    inner = tmp_path / "weights.h5"
    with h5py.File(inner, "w") as file:
        file.create_dataset("bomb", (10**9,), "f4", chunks=(2**20,))
    path = tmp_path / "model.keras"
    with zipfile.ZipFile(good / "good.keras") as old, zipfile.ZipFile(path, "w") as new:
        new.writestr("config.json", old.read("config.json"))
        new.write(inner, "model.weights.h5")
    assert "model FILE: model.weights.h5: /bomb is 4000000000 bytes of data in 0, which a model file" in refused(path)


def test_weights_of_another_model(good: Path, tmp_path: Path) -> None:
    def change(file: Any) -> None:
        group, name = kernel(file)
        del group[name]
        group.create_dataset(name, (2, 2), "f4")

    message = refused(legacy(good / "good.h5", tmp_path / "m.h5", change))
    assert message.startswith("model FILE: layer 'conv2d")
    assert "its weights" in message


def test_weights_that_are_not_finite(good: Path, tmp_path: Path) -> None:
    def change(file: Any) -> None:
        group, name = kernel(file)
        group[name][...] = np.nan

    assert refused(legacy(good / "good.h5", tmp_path / "m.h5", change)).endswith("values are NaN or infinite")


def test_weights_alone(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file.attrs["layer_names"] = []
    assert refused(tmp_path / "m.h5") == "model FILE holds no model_config with model_weights: it is not a whole model"


def test_the_command_line_tells_it_once(
    good: Path, tmp_path: Path, bystander: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from kexport.cli import main

    path = with_lambda(tmp_path / "mine.keras", bystander)
    assert main(["export", str(path), "-o", str(tmp_path / "out")]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines()[-2:] == [
        f"error: model {path}: layer 'evil' is a Lambda, which holds Python code",
        "hint: --trust loads it and runs that code: only for files whose origin you know",
    ]
    assert not bystander.exists()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_a_vocabulary_in_another_file(good: Path, tmp_path: Path, suffix: str) -> None:
    """A lookup layer may name a text file as its vocabulary: any file of this machine (CVE-2025-12058)."""
    secret = tmp_path / "secret.txt"
    secret.write_text("one\ntwo\n")
    lookup = {"class_name": "StringLookup", "config": {"name": "words", "vocabulary": str(secret)}}
    path = tmp_path / f"m.{suffix}"
    if suffix == "keras":
        layer = {**lookup, "module": "keras.layers", "registered_name": None}
        rewritten(good / "good.keras", path, lambda config: config["config"]["layers"].insert(1, layer))
    else:

        def change(file: Any) -> None:
            config = json.loads(file.attrs["model_config"])
            config["config"]["layers"].insert(1, lookup)
            file.attrs["model_config"] = json.dumps(config)

        legacy(good / "good.h5", path, change)
    assert refused(path) == "model FILE: layer 'words' names a file of this machine as its vocabulary"


@pytest.mark.parametrize("name", ["while_loop", "scan", "cond"])
def test_a_layer_that_cannot_be_called_is_no_bug_of_kexport(good: Path, tmp_path: Path, name: str) -> None:
    """Functions of `keras.ops` are no code, and may stand where an activation should: the file loads."""
    function = {"module": "keras.ops", "class_name": "function", "config": name, "registered_name": "function"}

    def change(config: dict[str, Any]) -> None:
        config["config"]["layers"][1]["config"]["activation"] = function

    model = loading.load(rewritten(good / "good.keras", tmp_path / "model.keras", change), trust=False)
    with pytest.raises(
        SourceError, match=r"^Keras itself cannot run the model: .*required positional argument"
    ) as caught:
        reference.compute(model, {"input": np.ones((2, 8, 8, 3), np.float32)})
    assert "\x1b" not in caught.value.message
