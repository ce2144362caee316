"""Model files that would take the machine's time, memory or disk: refused by what they declare, before they are built.

Every case is a few kilobytes to a few megabytes on disk. Bounds: `test_hostile.refused` holds them.
"""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from kexport.errors import SourceError
from kexport.sources import loading
from kexport.sources.loading import bounded
from kexport.sources.loading import config as config_file
from tests.sources.loading.test_hostile import good, legacy, refused, rewritten

__all__ = ["good"]  # a fixture


def relu(name: str) -> dict[str, Any]:
    return {"module": "keras.layers", "class_name": "ReLU", "config": {"name": name}, "registered_name": None}


def row(config: dict[str, Any]) -> None:
    config["config"]["layers"][2:2] = [relu(f"r{number}") for number in range(6_000)]


def rows(config: dict[str, Any]) -> None:
    """No model is too large, but all of them."""
    inner = {"module": "keras", "class_name": "Sequential", "registered_name": None}
    config["config"]["layers"][2:2] = [
        {**inner, "config": {"name": f"s{outer}", "layers": [relu(f"r{outer}_{number}") for number in range(400)]}}
        for outer in range(20)
    ]


def calls(config: dict[str, Any]) -> None:
    config["config"]["layers"][2] |= {"inbound_nodes": [{"args": [], "kwargs": {}}] * 6000}


def many_values(config: dict[str, Any]) -> None:
    config["config"]["layers"][1]["config"]["x"] = [[]] * 20_000


def many_bytes(config: dict[str, Any]) -> None:
    config["config"]["layers"][1]["config"]["x"] = "x" * (2**24 + 1)


def deep(config: dict[str, Any]) -> None:
    layer = config["config"]["layers"][1]
    for number in range(120):
        layer = {
            "module": "keras.layers", "class_name": "TimeDistributed", "registered_name": None,
            "config": {"name": f"t{number}", "layer": layer},
        }  # fmt: skip
    config["config"]["layers"][1] = layer


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (row, "a Sequential has 6004 layers, expected at most 500"),
        (rows, "its configuration has more than 5000 layers"),
        (calls, "its configuration has more than 5000 calls of layers"),
        (many_values, "its configuration has more than 10000 values"),
        (many_bytes, "expected at most 16777216, which"),
        (deep, "its configuration is nested more than 200 deep"),
    ],
)
def test_more_than_a_network_has(
    good: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[dict[str, Any]], None],
    message: str,
) -> None:
    if change is many_values:
        monkeypatch.setattr(config_file, "MAX_VALUES", 10_000)
    assert message in refused(rewritten(good / "good.keras", tmp_path / "model.keras", change))


def test_a_legacy_file_is_bounded_alike(good: Path, tmp_path: Path) -> None:
    def change(file: Any) -> None:
        import json

        config = json.loads(file.attrs["model_config"])
        row(config)
        file.attrs["model_config"] = json.dumps(config)

    assert "a Sequential has 6004 layers" in refused(legacy(good / "good.h5", tmp_path / "m.h5", change))


@pytest.mark.parametrize(
    ("name", "options", "shape"),
    [
        ("UpSampling2D", {"size": [10**6, 10**6]}, "(8000000, 8000000, 3)"),
        ("ZeroPadding2D", {"padding": [[10**8, 10**8], [10**8, 10**8]]}, "(200000008, 200000008, 3)"),
        ("Resizing", {"height": 10**5, "width": 10**5}, "(100000, 100000, 3)"),
    ],
)
def test_an_image_of_a_terabyte(good: Path, tmp_path: Path, name: str, options: dict[str, Any], shape: str) -> None:
    def change(config: dict[str, Any]) -> None:
        config["config"]["layers"][1:] = [
            {"module": "keras.layers", "class_name": name, "config": {"name": "odd", **options}},
            {"module": "keras.layers", "class_name": "GlobalAveragePooling2D", "config": {"name": "pool"}},
        ]

    message = refused(rewritten(good / "good.keras", tmp_path / "model.keras", change))
    assert "the output of layer 'odd' for one image has " in message or "objects could not be loaded" in message
    assert f"{shape}, expected at most 2147483648" in message


def spin() -> None:
    while True:
        pass


def test_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded, "BUILD_SECONDS", 0.2)
    with pytest.raises(SourceError, match="of processor time"), bounded.timed(Path("x")):
        spin()


def test_time_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded, "BUILD_SECONDS", 0.05)
    with bounded.timed(Path("x")):
        pass
    sum(range(3 * 10**6))


@pytest.mark.parametrize("members", [80, 150])
def test_many_members_that_are_each_small_enough(good: Path, tmp_path: Path, members: int) -> None:
    path = tmp_path / "model.keras"
    path.write_bytes((good / "good.keras").read_bytes())
    content = bytes(2**20)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        for number in range(members):
            archive.writestr(f"assets/{number}", content)
    message = refused(path)
    assert message.startswith("model FILE has members of ")
    assert message.endswith("(a zip bomb), which a Keras archive does not")


def test_a_member_that_is_longer_than_it_says(good: Path, tmp_path: Path) -> None:
    content = bytearray((good / "good.keras").read_bytes())
    entry = content.rindex(b"PK\x01\x02")
    content[entry + 24 : entry + 28] = (10).to_bytes(4, "little")
    path = tmp_path / "model.keras"
    path.write_bytes(content)
    assert refused(path).startswith("model FILE is damaged: ")


def test_a_member_without_a_name(good: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    path.write_bytes((good / "good.keras").read_bytes())
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(zipfile.ZipInfo(""), b"x")
    assert refused(path).startswith("model FILE has a member that leads out of the archive: ''")


def replaced(make: Callable[[Any, str], Any]) -> Callable[[Any], None]:
    def change(file: Any) -> None:
        found: list[str] = []
        group = file["model_weights"]
        group.visititems(lambda name, item: found.append(name) if getattr(item, "ndim", 0) == 4 else None)
        del group[found[0]]
        make(group, found[0])

    return change


def huge_chunk(group: Any, name: str) -> None:
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_chunk((512, 512, 3, 512))
    plist.set_deflate(9)
    space = h5py.h5s.create_simple((3, 3, 3, 4), (h5py.h5s.UNLIMITED,) * 4)
    h5py.h5d.create(group.id, name.encode(), h5py.h5t.NATIVE_FLOAT, space, plist)


def inflating_chunk(group: Any, name: str) -> None:
    dataset = group.create_dataset(name, (3, 3, 3, 4), "f4", chunks=(3, 3, 3, 4), compression="gzip")
    dataset.id.write_direct_chunk((0, 0, 0, 0), zlib.compress(bytes(2**26)))


def two_compressors(group: Any, name: str) -> None:
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_chunk((3, 3, 3, 4))
    plist.set_deflate(9)
    plist.set_deflate(9)
    h5py.h5d.create(group.id, name.encode(), h5py.h5t.NATIVE_FLOAT, h5py.h5s.create_simple((3, 3, 3, 4)), plist)


def unknown_filter(group: Any, name: str) -> None:
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_chunk((3, 3, 3, 4))
    plist.set_filter(32015, h5py.h5z.FLAG_OPTIONAL, (3,))
    h5py.h5d.create(group.id, name.encode(), h5py.h5t.NATIVE_FLOAT, h5py.h5s.create_simple((3, 3, 3, 4)), plist)


def many_empty(group: Any, name: str) -> None:
    for number in range(100):
        group.create_dataset(f"{name}{number}", (2**21,), "f4")


CHUNKS = [
    (huge_chunk, "is 432 bytes of data in chunks of 1610612736"),
    (inflating_chunk, "is a chunk of more than 432 bytes in "),
    (two_compressors, "is data behind the filters [1, 1]"),
    (unknown_filter, "is data behind the filters [32015]"),
    (many_empty, "bytes of data in "),
]


@pytest.mark.parametrize(("make", "message"), CHUNKS)
@pytest.mark.parametrize("suffix", ["h5", "keras"])
def test_a_chunk_bomb(good: Path, tmp_path: Path, suffix: str, make: Callable[[Any, str], Any], message: str) -> None:
    path = tmp_path / f"model.{suffix}"
    if suffix == "h5":
        legacy(good / "good.h5", path, replaced(make))
    else:
        with h5py.File(tmp_path / "inner.h5", "w") as file:
            make(file, "kernel")
        with zipfile.ZipFile(good / "good.keras") as old, zipfile.ZipFile(path, "w") as new:
            new.writestr("config.json", old.read("config.json"))
            new.write(tmp_path / "inner.h5", "model.weights.h5")
    assert message in refused(path)


@pytest.mark.parametrize("options", [{"compression": "gzip"}, {"compression": "lzf"}, {"fletcher32": True}, {}])
@pytest.mark.parametrize("shuffle", [False, True])
def test_compressed_weights_are_read(good: Path, tmp_path: Path, options: dict[str, Any], shuffle: bool) -> None:
    values = np.arange(108, dtype=np.float32).reshape(3, 3, 3, 4)

    def make(group: Any, name: str) -> None:
        group.create_dataset(name, data=values, chunks=(3, 3, 2, 4), shuffle=shuffle, **options)

    model = loading.load(legacy(good / "good.h5", tmp_path / "m.h5", replaced(make)), trust=False)
    assert np.array_equal(np.asarray(model.layers[0].kernel), values)


TYPES = [
    h5py.string_dtype(), h5py.vlen_dtype("f4"), h5py.ref_dtype, np.dtype([("a", "f4")]), np.dtype("S8"),
    np.dtype("c8"), np.dtype("V4"),
]  # fmt: skip


@pytest.mark.parametrize("kind", TYPES, ids=str)
def test_data_that_is_no_number(good: Path, tmp_path: Path, kind: Any) -> None:
    path = legacy(
        good / "good.h5",
        tmp_path / "m.h5",
        replaced(lambda group, name: group.create_dataset(name, (3, 3, 3, 4), kind)),
    )
    assert "is data of type " in refused(path)


def test_a_dataset_without_values_and_a_group(good: Path, tmp_path: Path) -> None:
    empty = replaced(lambda group, name: group.create_dataset(name, data=h5py.Empty("f4")))
    assert "is a dataset without values, which" in refused(legacy(good / "good.h5", tmp_path / "a.h5", empty))
    group = replaced(lambda group, name: group.create_group(name))
    assert "of layer 'conv2d" in refused(legacy(good / "good.h5", tmp_path / "b.h5", group))
    nested = legacy(good / "good.h5", tmp_path / "c.h5", lambda file: file.create_group("/".join("g" * 400)))
    assert "is the first of more than 100 groups in each other" in refused(nested)


NAMES = [
    ("layer_names", 5, "model_weights: layer_names is not a list of names"),
    ("layer_names", h5py.Empty("S1"), "layer_names is not a list of names"),
    ("layer_names", np.array([[b"a", b"b"]]), "layer_names is not a list of names"),
    ("layer_names", np.array([1, 2]), "layer_names is not a list of names"),
    ("layer_names", np.array([b"\xff\xfe"]), "can't decode byte 0xff"),
    ("layer_names", np.array([b"/"]), "layer '/' is listed but absent"),
    ("layer_names", np.array([b"."]), "layer '.' is listed but absent"),
    ("weight_names", 7, "weight_names is not a list of names"),
    ("weight_names", np.array([b"/", b"/"]), "'/' of layer "),
    ("weight_names", np.array([b".", b"."]), "'.' of layer "),
]


@pytest.mark.parametrize(("attribute", "value", "message"), NAMES, ids=lambda value: f"{value!s:.24}")
def test_names_that_are_none(good: Path, tmp_path: Path, attribute: str, value: Any, message: str) -> None:
    def change(file: Any) -> None:
        place = file["model_weights"]
        if attribute == "weight_names":
            place = next(place[name] for name in place if len(place[name].attrs.get(attribute, ())))
        del place.attrs[attribute]
        place.attrs[attribute] = value

    assert message in refused(legacy(good / "good.h5", tmp_path / "m.h5", change))


@pytest.mark.parametrize("value", [5, np.arange(5), h5py.Empty("S1"), ["{}", "{}"]], ids=["int", "ints", "none", "two"])
def test_a_configuration_attribute_that_is_no_text(good: Path, tmp_path: Path, value: Any) -> None:
    def change(file: Any) -> None:
        del file.attrs["model_config"]
        file.attrs["model_config"] = value

    assert "holds no model_config" in refused(legacy(good / "good.h5", tmp_path / "m.h5", change))


def test_weights_that_are_one_dataset(good: Path, tmp_path: Path) -> None:
    def change(file: Any) -> None:
        del file["model_weights"]
        file["model_weights"] = np.zeros(3)

    assert "holds no model_config with model_weights" in refused(legacy(good / "good.h5", tmp_path / "m.h5", change))


def test_a_policy_that_is_none(good: Path, tmp_path: Path) -> None:
    import json

    def change(file: Any) -> None:
        config = json.loads(file.attrs["model_config"])
        config["config"]["layers"][1]["config"]["dtype"] = {"class_name": "Policy", "config": "x"}
        file.attrs["model_config"] = json.dumps(config)

    assert "Keras cannot load it: " in refused(legacy(good / "good.h5", tmp_path / "m.h5", change))


def test_what_is_no_file_is_told_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "m.keras")
    (tmp_path / "folder.keras").mkdir()
    for name, what in (("m.keras", "a FIFO"), ("folder.keras", "a folder")):
        assert refused(tmp_path / name) == f"model FILE cannot be read: it is {what}, not a file"
    assert "it is a device, not a file" in refused(Path("/dev/zero"))
    assert "cannot be read: File name too long" in refused(tmp_path / ("x" * 5000))
