"""What the Keras process leaves is what the cells read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kexport.errors import StoreError
from kexport.records import Signature, SourceFacts
from kexport.sources import catalog, prepared
from kexport.sources.prepared import Prepared, Reference

FACTS = SourceFacts(
    application="VGG16",
    weights="random:0",
    weights_sha256="0" * 64,
    parameters=3,
    inputs=(Signature(name="input", shape=(None, 8, 8, 3), dtype="float32"),),
    outputs=(Signature(name="output", shape=(None, 5), dtype="float32"),),
    ends_in_softmax=True,
    preprocessing=catalog.preprocessing(catalog.application("VGG16")),
    options={"classes": 5, "input_shape": [8, 8, 3]},
)


def test_facts(tmp_path: Path) -> None:
    value = Prepared(facts=FACTS, refusal="no layer Foo", seconds={"build": 1.5}, peak_memory_bytes=7)
    prepared.save(value, tmp_path)
    assert prepared.load(tmp_path) == value


def test_damaged_facts(tmp_path: Path) -> None:
    (tmp_path / prepared.FACTS).write_text('{"facts": 1}')
    with pytest.raises(StoreError, match="the record is damaged"):
        prepared.load(tmp_path)


def test_reference(tmp_path: Path) -> None:
    """Names may hold anything; arrays come back bit by bit."""
    rng = np.random.default_rng(0)
    value = Reference(
        inputs={"a/b:0": rng.normal(size=(2, 3)).astype(np.float32)},
        outputs={"a/b:0": rng.normal(size=(2, 5)), "input:x": np.array([[np.nan, np.inf]], np.float16)},
    )
    prepared.save_reference(value, tmp_path)
    found = prepared.load_reference(tmp_path)
    for ours, theirs in ((found.inputs, value.inputs), (found.outputs, value.outputs)):
        assert list(ours) == list(theirs)
        for name, array in theirs.items():
            assert ours[name].dtype == array.dtype
            np.testing.assert_array_equal(ours[name], array)
